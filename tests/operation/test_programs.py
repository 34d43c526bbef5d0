"""The commands of the table that need a process, or another server: each form prints what the page says."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import requests
from flask import Flask

from tests import preforked
from tests.commands import BACKUP, CREATE, LONG, run
from tests.oidc.issuer import running
from tests.operation.table import filled, rows
from tests.postgresql import Cluster, new_database, until
from tests.preforked import FLASK
from tests.rows import sql
from tests.servers import free_port

pytestmark = [pytest.mark.processes, pytest.mark.sqlite]


def lines(name: str) -> list[list[str]]:
    [row] = [row for row in rows() if name in row.options]
    return row.lines()


@pytest.mark.parametrize("line", lines("flask restore"), ids=" ".join)
def test_restore_prints_nothing_and_puts_the_copy_in_place(data_dir: Path, tmp_path: Path, line: list[str]) -> None:
    copy = tmp_path / "copy.db"
    run([*CREATE, "before"], KEYHOOK_DATA_DIR=data_dir)
    assert run([*BACKUP, str(copy)], KEYHOOK_DATA_DIR=data_dir).returncode == 0
    run([*CREATE, "after"], KEYHOOK_DATA_DIR=data_dir)
    done = run([*FLASK, *filled(line, FILE=str(copy))], KEYHOOK_DATA_DIR=data_dir)
    assert (done.returncode, done.stdout) == (0, "")
    assert sql(data_dir, "SELECT name FROM api_keys") == [("before",)]


@pytest.mark.parametrize("line", lines("flask copy-database"), ids=" ".join)
def test_copy_database_prints_nothing(server_of_postgresql: Cluster, data_dir: Path, line: list[str]) -> None:
    run([*CREATE, "laptop"], KEYHOOK_DATA_DIR=data_dir)
    with new_database(server_of_postgresql, "template1") as name:
        words = filled(line, URL=server_of_postgresql.url(name))
        done = run([*FLASK, *words], KEYHOOK_DATA_DIR=data_dir)
        assert (done.returncode, done.stdout) == (0, "")
        assert server_of_postgresql.sql("SELECT name FROM api_keys", database=name) == "laptop"


@pytest.mark.parametrize("line", lines("flask oidc check"), ids=" ".join)
def test_oidc_check_says_which_checks_a_token_passes(
    make_app: Callable[..., Flask], data_dir: Path, line: list[str]
) -> None:
    with running() as issuer:
        app = make_app(data_dir, KEYHOOK_OIDC_ISSUER=issuer.name, KEYHOOK_OIDC_READ_GROUPS="staff")
        for token in (issuer.token(), issuer.token(aud="photos")):
            said = app.test_cli_runner().invoke(args=filled(line), input=token)
            assert said.stdout.startswith(f"{issuer.name}: 1 key of use\n")
            assert "yes  " in said.stdout
            assert ("no   " in said.stdout) == (said.exit_code == 1)
            assert token not in said.output


def test_serve_prints_nothing(data_dir: Path, tmp_path: Path) -> None:
    for line in lines("flask serve"):
        port = str(free_port())
        words = filled(line, **{"--port": port}) if "--port" in line else [*filled(line), "--port", port]
        with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
            given = {**os.environ, "KEYHOOK_DATA_DIR": str(data_dir), "KEYHOOK_SECRET_KEY": LONG}
            process = preforked.start(words, given, out.fileno(), err.fileno())
            prefix = "/keys" if "--url-prefix" in line else ""
            until(partial(answers, f"http://127.0.0.1:{port}{prefix}/healthz"))
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        assert (tmp_path / "out").read_text() == ""


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).text.strip() == '{"status": "ok"}'
    except requests.ConnectionError:
        return False
