"""Servers in separate processes, each pinned to its cores."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FLASK_RUN = ["-m", "flask", "--app", "app", "run", "--port={port}"]
SERVE = ["-m", "flask", "--app", "app", "serve", "--port={port}"]  # what docs/operation.md recommends


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    port: int
    seconds: float  # from its start to the first 200

    def resident(self) -> float:
        """Resident memory of the server and its children, in MB."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        found = [
            re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            for pid in (self.process.pid, *children)
        ]
        return sum(int(one[1]) for one in found if one) / 1024


@contextmanager
def running(command: list[str], path: str, log: Path, *cores: int, **environment: str) -> Iterator[Server]:
    """A server on these cores, once it answers 200 on the path; stopped at the end. Its output goes to the log."""
    port = free_port()
    started = time.perf_counter()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *(word.format(port=port) for word in command)],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    os.sched_setaffinity(process.pid, cores)  # at once, so that every later thread inherits it
    try:
        while not answers(f"http://127.0.0.1:{port}{path}"):
            assert process.poll() is None, log.read_text()
            time.sleep(0.005)
        yield Server(process, port, time.perf_counter() - started)
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):  # noqa: S310  (http to this machine)
            return True
    except OSError:  # refused, closed, or no answer in time
        return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
