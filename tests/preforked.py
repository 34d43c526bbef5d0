"""`flask` in processes that need not import the service first, which is most of what a command costs.

One process, for each worker of the tests, has imported it and forks for every command. From there on all is as it is
with `python -m flask`: the words, the environment, the files behind stdout and stderr, the end of the interpreter.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from tempfile import TemporaryFile

from tests.machine import ROOT

FLASK = [sys.executable, "-m", "flask"]
LIMIT = 60  # seconds until a command is killed
LARGEST = 1 << 17  # bytes of words and environment


def run(words: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """The command `flask` with these words, in the checkout, and with nothing else in its environment."""
    order = json.dumps([words, dict(environment)]).encode()
    read, write = os.pipe()
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err, os.fdopen(read) as told:
        socket.send_fds(_forking(), [order], [out.fileno(), err.fileno(), write])
        os.close(write)
        status = int(told.read())
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


def _run_and_tell(words: list[str], environment: dict[str, str], out: int, err: int, told: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(told, str(status).encode())
        os._exit(0)
    os.close(told)
    for fd, standard in ((out, 1), (err, 2)):
        os.dup2(fd, standard)
        os.close(fd)
    signal.alarm(LIMIT)
    _become_flask(words, environment)


def _become_flask(words: list[str], environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["flask", *words]
    runpy.run_module("flask", run_name="__main__", alter_sys=True)
