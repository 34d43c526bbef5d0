"""The service with the packages of requirements.txt alone, and none of the development environment."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import made as said_of
from tests.commands import run
from tests.machine import ROOT, missing
from tests.servers import Server

pytestmark = pytest.mark.ecosystem


@pytest.fixture
def flask(tmp_path: Path) -> str:
    """The `flask` of a new environment with the requirements installed."""
    binaries = tmp_path / "venv" / "bin"
    try:
        subprocess.run([sys.executable, "-m", "venv", binaries.parent], check=True, timeout=300)
        install = [str(binaries / "pip"), "install", "--quiet", "-r", "requirements.txt"]
        subprocess.run(install, cwd=ROOT, check=True, timeout=300)
    except subprocess.SubprocessError:
        missing("an environment with the requirements", "apt install python3-venv, and let pip reach an index")
    return str(binaries / "flask")


def test_the_requirements_are_enough(flask: str, serve: Callable[..., Server], data_dir: Path) -> None:
    made = run([flask, "keys", "create", "first"], KEYHOOK_DATA_DIR=data_dir)
    assert (made.returncode, made.stderr) == (0, said_of(data_dir))
    server = serve([flask, "run", "--port={port}"])
    for path in ("/healthz", "/docs", "/openapi.json"):
        assert server.call("GET", path, by=None).status_code == 200
    assert server.call("GET", "/v0/auth", by=made.stdout.strip()).status_code == 200
