"""Servers, each a process on a free port: those of the benchmark and of the tests."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

ROOT = Path(__file__).resolve().parent.parent
FLASK_RUN = [sys.executable, "-m", "flask", "--app", "app", "run", "--port={port}"]
SERVE = [sys.executable, "-m", "flask", "--app", "app", "serve", "--port={port}"]  # what docs/operation.md recommends
PATIENCE = 30  # seconds until the first answer


class Process(Protocol):
    pid: int

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, how: int, /) -> None: ...


Spawn = Callable[[list[str], dict[str, str], BinaryIO], Process]  # words, environment, output


@dataclass
class Server:
    process: Process
    port: int
    log: Path
    seconds: float = 0  # from its start to the first answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def resident(self) -> float:
        """Resident memory of the server and its children, in MB."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        found = [
            re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            for pid in (self.process.pid, *children)
        ]
        return sum(int(one[1]) for one in found if one) / 1024

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Signals the whole process group and waits for it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)
        self.process.wait(20)


def spawn(words: list[str], environment: dict[str, str], output: BinaryIO) -> Process:
    return subprocess.Popen(
        words,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def start(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    *cores: int,
    path: str,
    port: int = 0,
    spawn: Spawn = spawn,
) -> Server:
    """Starts a server, on these cores or on all, and returns when it answers. Its output goes to the log."""
    port, started = port or free_port(), time.perf_counter()
    with log.open("ab") as output:
        process = spawn([word.format(port=port) for word in command], {**os.environ, **environment}, output)
    if cores:
        os.sched_setaffinity(process.pid, cores)  # at once, so that every later thread inherits it
    server = Server(process, port, log)
    while process.poll() is None and time.perf_counter() - started < PATIENCE:
        if answers(server.url + path):
            server.seconds = time.perf_counter() - started
            return server
        time.sleep(0.005)
    server.stop(signal.SIGKILL)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


@contextmanager
def running(command: Sequence[str], path: str, log: Path, *cores: int, **environment: str) -> Iterator[Server]:
    server = start(command, log, environment, *cores, path=path)
    try:
        yield server
    finally:
        server.stop()


def answers(url: str) -> bool:
    """Whether there is an answer, whatever its status."""
    try:
        with urllib.request.urlopen(url, timeout=10):  # noqa: S310  (http to this machine)
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:  # refused, closed, or no answer in time
        return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
