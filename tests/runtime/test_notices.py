"""Notices on stderr of a start or a command that goes on, one line each; and the refusal of Werkzeug's console."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from cli.options import login_name
from tests.commands import CREATE, LONG, TOKEN, made, run
from tests.machine import missing
from tests.servers import FLASK_RUN, SERVE, running

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("afresh")]


def started(data: Path, log: Path, **environment: Any) -> str:
    """The output of a server from its start to its end."""
    log.unlink(missing_ok=True)
    with running(data, log, SERVE, **environment):
        pass
    return log.read_text()


@pytest.mark.parametrize("command", [TOKEN, [*CREATE, "k"]], ids=["token", "keys create"])
def test_a_command_says_what_it_makes_and_the_next_one_nothing(data_dir: Path, command: list[str]) -> None:
    first, second = run(command, KEYHOOK_DATA_DIR=data_dir), run(TOKEN, KEYHOOK_DATA_DIR=data_dir)
    assert (first.returncode, first.stderr, len(first.stdout.split())) == (0, made(data_dir), 1)
    assert (second.returncode, second.stderr) == (0, "")


def test_a_command_says_that_it_made_a_secret_alone(data_dir: Path) -> None:
    run(TOKEN, KEYHOOK_DATA_DIR=data_dir, KEYHOOK_SECRET_KEY=LONG)
    done = run(TOKEN, KEYHOOK_DATA_DIR=data_dir)
    assert done.stderr.splitlines()[0] == f"made a new secret at {data_dir}/secret_key"
    assert done.stderr.splitlines()[1].startswith("the service last started with another secret")


def test_a_start_that_changes_nothing_writes_nothing(make_app: Callable[..., Flask], data_dir: Path) -> None:
    run(TOKEN, KEYHOOK_DATA_DIR=data_dir)
    before = (data_dir / "keyhook.db").read_bytes()
    make_app(data_dir)
    assert (data_dir / "keyhook.db-wal").stat().st_size == 0
    assert (data_dir / "keyhook.db").read_bytes() == before


def open_directory(data: Path) -> None:
    data.chmod(0o777)


def listed_directory(data: Path) -> None:
    data.chmod(0o755)


def read_secret(data: Path) -> None:
    (data / "secret_key").chmod(0o644)


def read_by_the_group(data: Path) -> None:
    (data / "secret_key").chmod(0o640)


def secret_behind_a_link(data: Path) -> None:
    elsewhere = data.with_name("elsewhere")
    (data / "secret_key").rename(elsewhere)
    elsewhere.chmod(0o604)
    (data / "secret_key").symlink_to(elsewhere)


def written_database(data: Path) -> None:
    (data / "keyhook.db").chmod(0o622)


def secret_of_another(data: Path) -> None:
    own(data / "secret_key")


def directory_of_another(data: Path) -> None:
    own(data)


def own(path: Path) -> None:
    if os.geteuid() != 0:
        missing("root", "run as root to give a file away")
    os.chown(path, 65534, -1)


OPEN: list[Any] = [
    (open_directory, "data", "has mode 777: others may read and write it; chmod 700 "),
    (listed_directory, "data", "has mode 755: others may read it; chmod 700 "),
    (read_secret, "data/secret_key", "has mode 644: others may read it; chmod 600 "),
    (read_by_the_group, "data/secret_key", "has mode 640: others may read it; chmod 600 "),
    (secret_behind_a_link, "data/secret_key", "has mode 604: others may read it; chmod 600 "),
    (written_database, "data/keyhook.db", "has mode 622: others may write it; chmod 600 "),
    (secret_of_another, "data/secret_key", "belongs to another user (id 65534)"),
    (directory_of_another, "data", "belongs to another user (id 65534)"),
]


@pytest.mark.parametrize(("loosen", "path", "said"), OPEN)
def test_files_that_others_may_use_are_said(
    after_first_start: Path, data_dir: Path, tmp_path: Path, loosen: Callable[[Path], None], path: str, said: str
) -> None:
    shutil.copytree(after_first_start, data_dir)
    loosen(data_dir)
    line = f"{tmp_path / path} {said}"
    done = run(TOKEN, KEYHOOK_DATA_DIR=data_dir)
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1)
    assert done.stderr.startswith(line)
    assert started(data_dir, tmp_path / "log").count(line) == 1


@pytest.mark.parametrize("more", [["--debug"], ["--debugger"], []], ids=["--debug", "--debugger", "FLASK_DEBUG"])
def test_a_server_with_a_console_does_not_start(data_dir: Path, more: list[str]) -> None:
    environment: dict[str, Any] = {"KEYHOOK_DATA_DIR": data_dir, **({} if more else {"FLASK_DEBUG": 1})}
    done = run([*FLASK_RUN, *more], **environment)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("FLASK_DEBUG or --debug ")
    assert not data_dir.exists()
    assert run(TOKEN, KEYHOOK_DATA_DIR=data_dir, FLASK_DEBUG=1).returncode == 0


def test_the_audit_names_the_user_and_not_the_environment(app: Flask, call: Callable[..., Any], data_dir: Path) -> None:
    run([*CREATE, "k"], KEYHOOK_DATA_DIR=data_dir, LOGNAME="bob", USER="bob", LNAME="bob", USERNAME="bob")
    [entry] = call("GET", "/v0/audit").json
    me = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    assert entry["actor"]["owner"] == me
    assert call("GET", "/v0/api_keys").json[0]["owner"] == me


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        missing("root", "run as root to become a user without a name")
    monkeypatch.setenv("LOGNAME", "bob")
    child = os.fork()
    if child == 0:
        os.setuid(54321)
        os._exit(0 if login_name() == "54321" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_token_for_long_is_warned_of_and_for_ever_refused(data_dir: Path) -> None:
    run(TOKEN, KEYHOOK_DATA_DIR=data_dir)
    for span, status, lines in (("30d", 0, 0), ("31d", 0, 1), ("3650d", 0, 1), ("3651d", 1, 1), ("400000w", 1, 1)):
        done = run([*TOKEN, "--expires-in", span], KEYHOOK_DATA_DIR=data_dir)
        assert (done.returncode, len(done.stderr.splitlines()), bool(done.stdout)) == (status, lines, not status)
