"""docs/operation.md: what an operator types, from the install to the way back from an upgrade, as it stands there."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

import models
from tests.machine import ROOT, missing
from tests.operation import unit
from tests.operation.table import PAGE
from tests.postgresql import until
from tests.servers import free_port
from tests.terminal import Terminal, blocks, terminal

pytestmark = pytest.mark.ecosystem

# Blocks that nobody ran, with the reason; the page says so too.
NOT_RUN = {"In a container": "there is no image engine here; tests/serving/test_image.py carries out what is within"}
TYPED = ["Install", "Rotate without downtime", "The server for a long-running install", "Metrics"]
TYPED += ["Back up, restore, upgrade"]
ELSEWHERE = ["From a wheel"]  # tests/ecosystem/test_wheel.py

MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{newest}"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("shelf", sa.Text(), nullable=False, server_default="none"))
"""


@dataclass
class Machine:
    """A machine that an operator has the shell of."""

    shell: Terminal
    origin: Path  # the repository that is cloned
    root: Path  # below which it has /opt, /etc and /var/lib
    port: int

    @property
    def data(self) -> Path:
        return self.root / "var" / "lib" / "keyhook"

    def status(self, key: str, port: int = 0) -> int:
        """The answer of the gate; 0: nobody listens."""
        url = f"http://127.0.0.1:{port or self.port}/v0/auth"
        try:
            return requests.get(url, headers={"X-API-Key": key}, timeout=30).status_code
        except requests.ConnectionError:
            return 0

    def written(self, file: str) -> float:
        """When a file of the checkout was."""
        return (self.root / "opt" / "keyhook" / file).stat().st_mtime

    def runs(self) -> None:
        """Returns when the service answers."""
        until(lambda: self.status("none") == 401)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    systemctl, root, port = shutil.which("systemctl"), tmp_path / "root", free_port()
    if systemctl is None or shutil.which("prometheus") is None or os.geteuid() != 0:
        missing("root, systemctl or the user `prometheus`", "run this test as root; apt-get install systemd prometheus")
    for place in ("opt", "etc/systemd/system", "etc/prometheus", "bin", "home"):
        (root / place).mkdir(parents=True)
    instead = root / "bin" / "systemctl"
    instead.write_text(f'#!/bin/sh\nexec {sys.executable} {unit.__file__} "$@"\n')
    instead.chmod(0o755)
    changes = {f"/{place}/": f"{root}/{place}/" for place in ("opt", "etc", "var/lib")}
    changes |= {"https://git.example.com/keyhook.git": str(tmp_path / "origin"), "127.0.0.1:5000": f"127.0.0.1:{port}"}
    given = {"HOME": str(root / "home"), "PATH": f"{root}/bin:{os.environ['PATH']}", "PYTHON": sys.executable}
    given |= {"UNIT_ROOT": str(root), "UNIT_PORT": str(port), "SYSTEMCTL": str(systemctl)}
    with terminal(tmp_path / "origin", changes, **given) as shell:
        (tmp_path / "origin" / ".venv").unlink()
        commit(tmp_path / "origin", "init", "--quiet")
        yield Machine(shell, tmp_path / "origin", root, port)


def commit(repository: Path, *first: str) -> None:
    name = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com"]
    for words in ([*first], ["add", "--all"], [*name, "commit", "--quiet", "--message=more"]):
        if words:
            subprocess.run(["git", *words], cwd=repository, check=True, capture_output=True)


def test_from_the_install_to_the_way_back(machine: Machine) -> None:
    key = install(machine)
    configure(machine)
    rotate(machine, key)
    serve(machine)
    watch(machine)
    key = restore(machine)
    upgrade_and_back(machine, key)


def install(machine: Machine) -> str:
    """The packages are those of requirements.txt alone, and none of the development environment."""
    (clone, enter, make, *start), (settings, create, check) = blocks(PAGE, "Install")
    machine.shell.type([clone, enter])
    try:
        machine.shell.type([make])
    except AssertionError:
        missing("an environment with the requirements", "apt install python3-venv, and let pip reach an index")
    machine.shell.type(start)
    assert (machine.root / "etc/systemd/system/multi-user.target.wants/keyhook.service").is_symlink()
    machine.runs()
    machine.shell.type([settings])
    key = machine.shell.run(create.command)
    machine.shell.type([check])
    assert machine.status(key) == 200
    for path in ("/docs", "/openapi.json", "/console/sign-in"):
        assert requests.get(f"http://127.0.0.1:{machine.port}{path}", timeout=30).status_code == 200
    return key


def configure(machine: Machine) -> None:
    """Settings count after a restart."""
    (machine.root / "etc" / "keyhook.env").write_text("KEYHOOK_CONSOLE=off\n")
    machine.shell.run("systemctl restart keyhook")
    machine.runs()
    assert requests.get(f"http://127.0.0.1:{machine.port}/console/sign-in", timeout=30).status_code == 404


def rotate(machine: Machine, key: str) -> None:
    [block] = blocks(PAGE, "Rotate without downtime")
    machine.shell.type(block)
    assert [machine.status(one) for one in (key, machine.shell.run("echo $NEW"))] == [200, 200]


def serve(machine: Machine) -> None:
    """`make serve` is the command that the page shows."""
    [[step]] = blocks(PAGE, "The server for a long-running install")
    assert machine.shell.run("make -n serve").splitlines()[-1] == step.command
    port = free_port()
    machine.shell.run(step.command.replace("--port 5000", f"--port {port}"))
    until(lambda: machine.status("none", port) == 401)
    machine.shell.run("kill $!; wait")


def watch(machine: Machine) -> None:
    [[*give, ask]] = blocks(PAGE, "Metrics")
    machine.shell.type(give)
    machine.runs()
    machine.shell.type([ask])
    token, copy = machine.data / "metrics-token", machine.root / "etc" / "prometheus" / "keyhook-token"
    assert copy.read_text() == token.read_text()
    assert (copy.owner(), copy.stat().st_mode & 0o777) == ("prometheus", 0o400)
    assert (token.owner(), token.stat().st_mode & 0o777) == (machine.data.owner(), 0o600)


def restore(machine: Machine) -> str:
    """Deletes a key after the backup. The file of a service that was stopped is complete by itself."""
    backup, (stop, *rest), _, _ = blocks(PAGE, "Back up, restore, upgrade")
    key = machine.shell.run(".venv/bin/flask keys create camera")
    machine.shell.type(backup)
    assert (machine.root / "home" / "keyhook-backup.db").stat().st_mode & 0o777 == 0o600
    machine.shell.run(".venv/bin/flask keys delete camera --yes")
    assert machine.status(key) == 401
    machine.shell.type([stop])
    assert not list(machine.data.glob("keyhook.db-*"))
    assert query(machine.data / "keyhook.db", "SELECT name FROM api_keys") == ["laptop"]
    machine.shell.type(rest)
    machine.runs()
    assert machine.status(key) == 200
    return key


def upgrade_and_back(machine: Machine, key: str) -> None:
    """The newer version has a schema of its own, which the earlier one refuses, and other requirements."""
    _, _, upgrade, back = blocks(PAGE, "Back up, restore, upgrade")
    publish(machine.origin)
    machine.shell.type(upgrade)
    machine.runs()
    assert query(machine.data / "keyhook.db", "SELECT version_num FROM alembic_version") == ["9999"]
    assert machine.written(".venv/runtime") >= machine.written("requirements.txt")  # what is new there was installed
    later = machine.shell.run(".venv/bin/flask keys create later")
    assert [machine.status(one) for one in (key, later)] == [200, 200]
    *code, restoration, start = back
    machine.shell.type(code)
    machine.shell.run("! .venv/bin/flask keys list")
    machine.shell.type([restoration, start])
    machine.runs()
    assert query(machine.data / "keyhook.db", "SELECT version_num FROM alembic_version") == [models.SCHEMA]
    assert [machine.status(one) for one in (key, later)] == [200, 401]


def publish(repository: Path) -> None:
    (repository / "migrations" / "versions" / "9999_shelf.py").write_text(MIGRATION.format(newest=models.SCHEMA))
    for name, old, new in (
        ("models.py", f'SCHEMA = "{models.SCHEMA}"', 'SCHEMA = "9999"'),
        ("requirements.txt", "flask==", "# newer\nflask=="),
    ):
        text = (repository / name).read_text()
        assert text.count(old) == 1
        (repository / name).write_text(text.replace(old, new))
    commit(repository)


def query(database: Path, statement: str) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [value for (value,) in connection.execute(statement)]


def test_no_block_is_left_out() -> None:
    """Those that are typed above, and those that the page marks, are all."""
    text = (ROOT / PAGE).read_text()
    known = sum(len(blocks(PAGE, heading)) for heading in [*TYPED, *ELSEWHERE, *NOT_RUN])
    assert known == text.count("```") / 2
    for heading in NOT_RUN:
        section = re.search(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
        assert section
        assert "*(not run" in section[1]
