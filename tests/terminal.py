"""A shell in a copy of the checkout, and the blocks of a page that are typed into it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.machine import ROOT

LEFT_OUT = shutil.ignore_patterns(".*", "instance", "__pycache__", "node_modules")
GOES_ON = re.compile(r"\bflask serve\b|\bcaddy run\b")  # until somebody ends it
ASKS = "--pwprompt"
PATIENCE = 300  # seconds: by then a command waits for an answer that nobody types
OUTER_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # make adds lines to its output when another make began the tests


@dataclass(frozen=True)
class Step:
    command: str
    output: str  # as the page shows it, with ... for anything; empty: the page shows none


def blocks(page: str, heading: str) -> list[list[Step]]:
    """The blocks of `console` under a heading."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", (ROOT / page).read_text(), re.M | re.S)
    assert found, heading
    texts = re.findall(r"^```console\n(.*?)^```", found[1], re.M | re.S)
    return [
        [
            Step(command.strip(), output.strip())
            for command, output in re.findall(r"^\$ ((?:.*\\\n)*.*\n)((?:(?!\$ ).*\n)*)", text, re.M)
        ]
        for text in texts
    ]


class Terminal:
    """One shell, whose variables and directory stay from step to step."""

    def __init__(self, stdin: IO[str], stdout: IO[str], changes: dict[str, str]) -> None:
        self.changes = changes  # what the page calls so: what it is here
        self._stdin = stdin
        self._stdout = stdout

    def type(self, block: list[Step], answer: str = "") -> None:
        """Each step succeeds and prints what the page shows. `answer` is typed where a command asks for a password."""
        for step in block:
            printed = self.run(self._here(step.command), answer if ASKS in step.command else "")
            shown = re.escape(self._here(step.output)).replace(r"\.\.\.", ".*")
            assert not shown or re.fullmatch(shown, printed, re.S), f"{step.command}\n{printed}\nis not\n{step.output}"

    def run(self, command: str, answer: str = "") -> str:
        """What a command prints, which has to succeed. One that goes on leaves its output in a file."""
        end = uuid.uuid4().hex
        then = ">>server.log 2>&1 </dev/null & echo" if GOES_ON.search(command) else "; echo"
        self._stdin.write(f"{command} {then} {end} $?\n{answer}")
        self._stdin.flush()
        printed = ""
        for line in self._stdout:
            before, found, status = line.partition(end)
            printed += before
            if found:
                assert int(status) == 0, f"{command}\n{printed}"
                return printed.strip()
        raise AssertionError(f"the shell ended at {command}\n{printed}")

    def _here(self, text: str) -> str:
        for name, here in self.changes.items():
            text = text.replace(name, here)
        return text


@contextmanager
def terminal(place: Path, changes: dict[str, str], **environment: str) -> Iterator[Terminal]:
    """In a copy of the checkout at `place`, with the programs of the environment that runs the tests."""
    shutil.copytree(ROOT, place, ignore=LEFT_OUT)
    (place / ".venv").symlink_to(sys.prefix)
    kept = {name: os.environ[name] for name in os.environ.keys() - OUTER_MAKE}
    shell = subprocess.Popen(
        ["bash"],
        cwd=place,
        env={**kept, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # without a terminal of its own, so that passwords are read from stdin
    )
    assert shell.stdin
    assert shell.stdout
    patience = threading.Timer(PATIENCE, os.killpg, [shell.pid, signal.SIGKILL])
    patience.start()
    try:
        with shell.stdin, shell.stdout:
            yield Terminal(shell.stdin, shell.stdout, changes)
    finally:
        patience.cancel()
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGTERM)
        shell.wait(20)
