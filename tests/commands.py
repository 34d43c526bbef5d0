"""Commands as a script runs them, which end by themselves."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests import preforked
from tests.machine import ROOT
from tests.servers import FLASK_RUN, SERVE, free_port

CREATE = [sys.executable, "-m", "flask", "keys", "create"]
TOKEN = [sys.executable, "-m", "flask", "token"]
BACKUP = [sys.executable, "-m", "flask", "backup"]
OURS = ("KEYHOOK_", "FLASK_")  # read when a command runs; the rest may matter when Python starts
LONG = "a-secret-of-32-bytes-for-tests-x"


def run(command: list[str], cwd: Path = ROOT, **environment: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command that ends by itself."""
    words = [word.format(port=free_port()) for word in command]
    given = {name: str(value) for name, value in environment.items()}
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **given}
    if words[:3] == preforked.FLASK and cwd == ROOT and all(name.startswith(OURS) for name in given):
        return preforked.run(words[3:], variables)
    return subprocess.run(
        words,
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def made(data: Path) -> str:
    """The line of a command that makes a data directory."""
    return f"made a new database at {data}/keyhook.db and a new secret at {data}/secret_key\n"


def assert_refused(start: str, before: Iterable[str] = (), **environment: Any) -> None:
    """Both servers end at once, with exactly one line on stderr, which starts with this text."""
    commands = [[*before, *FLASK_RUN], [*before, *SERVE]]
    with ThreadPoolExecutor(len(commands)) as starts:
        for done in starts.map(lambda command: run(command, **environment), commands):
            assert done.returncode == 1
            assert re.fullmatch(f"{re.escape(start)}.*\n", done.stderr), done.stderr
