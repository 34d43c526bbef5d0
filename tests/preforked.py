"""`flask` in processes that need not import the service first, which is most of what a command costs.

One process, for each worker of the tests, has imported it and forks for every command. From there on all is as it is
with `python -m flask`: the words, the environment, the files behind stdout and stderr, the end of the interpreter.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from tempfile import TemporaryFile
from typing import TextIO

from tests.machine import ROOT

FLASK = [sys.executable, "-m", "flask"]
LIMIT = 60  # seconds until a command is killed
LARGEST = 1 << 17  # bytes of words and environment


class Process:
    """One of `flask`, with what subprocess.Popen says of a process."""

    def __init__(self, told: TextIO) -> None:
        self.returncode: int | None = None
        self._told = told
        self.pid = int(told.readline())

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(FLASK, timeout or 0)
        return status

    def send_signal(self, how: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, how)

    def _ended(self, within: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], within)[0]:
            self.returncode = int(self._told.readline())
            self._told.close()
        return self.returncode


def start(words: Sequence[str], environment: Mapping[str, str], out: int, err: int, limit: int = 0) -> Process:
    """`flask` with these words, in the checkout, and with nothing else in its environment; killed after a limit."""
    order = json.dumps([words, dict(environment), limit]).encode()
    read, write = os.pipe()
    socket.send_fds(_forking(), [order], [out, err, write])
    os.close(write)
    return Process(os.fdopen(read))


def run(words: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Such a command to its end."""
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        status = start(words, environment, out.fileno(), err.fileno(), LIMIT).wait()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess([*FLASK, *words], status, out.read(), err.read())


@cache
def _forking() -> socket.socket:
    """The way to the process that forks, which ends when this way does."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (here, there):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
    code = f"from tests import preforked; preforked._fork_for_each({there.fileno()})"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        pass_fds=[there.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # what a terminal says to the tests is not meant for it
    )
    there.close()
    atexit.register(process.wait)
    atexit.register(here.close)
    return here


def _fork_for_each(number: int) -> None:
    gc.disable()
    import app  # noqa: F401

    gc.freeze()  # or the end of each command would look through all that was imported
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=number) as orders:
        while True:
            order, fds, _, _ = socket.recv_fds(orders, LARGEST, 3)
            if not order:
                return
            if os.fork() == 0:
                break
            for fd in fds:
                os.close(fd)
    _run_and_tell(*json.loads(order), *fds)


def _run_and_tell(words: list[str], environment: dict[str, str], limit: int, out: int, err: int, told: int) -> None:
    """In a process that waits for the one that it makes. Each line that it tells is a number: the id, the end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child:
        os.close(out)
        os.close(err)
        os.write(told, b"%d\n" % child)
        os.write(told, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os._exit(0)
    os.setsid()
    os.close(told)
    for fd, standard in ((out, 1), (err, 2)):
        os.dup2(fd, standard)
        os.close(fd)
    signal.alarm(limit)
    _become_flask(words, environment)


def _become_flask(words: list[str], environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["flask", *words]
    runpy.run_module("flask", run_name="__main__", alter_sys=True)
