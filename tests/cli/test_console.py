"""`flask console`: one link on stdout, and the end of all sessions."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner

from tests.rows import sql

OWN = {"Origin": "http://localhost"}


def sign_in(client: FlaskClient, url: str) -> Any:
    return client.post("/console/sign-in", data={"token": url.strip().partition("#")[2]}, headers=OWN)


def test_s1_a_link_alone_is_on_stdout_and_signs_in_once(
    runner: FlaskCliRunner, client: FlaskClient, app: Flask
) -> None:
    done = runner.invoke(args=["console", "--owner", "bob", "--role", "read", "--tenant", "lab", "--expires-in", "1h"])
    assert re.fullmatch(r"http://127\.0\.0\.1:5000/console/sign-in#khc_[0-9a-f]{32}_\w{51}\n", done.stdout)
    assert done.stderr == "it works once, for 10 minutes\n"
    assert sign_in(client, done.stdout).status_code == 303
    assert sql(app, "SELECT owner, role, tenant FROM sessions") == [("bob", "read", "lab")]
    assert sign_in(client, done.stdout).status_code == 401


@pytest.mark.parametrize(
    ("given", "environment", "start"),
    [
        (["--url", "https://keys.example.com/"], {}, "https://keys.example.com/console/sign-in#"),
        ([], {"FLASK_RUN_HOST": "0.0.0.0", "FLASK_RUN_PORT": "8080"}, "http://127.0.0.1:8080/console/sign-in#"),  # noqa: S104
        ([], {"FLASK_RUN_HOST": "::1"}, "http://[::1]:5000/console/sign-in#"),
    ],
)
def test_the_link_leads_to_where_the_service_is(
    runner: FlaskCliRunner, given: list[str], environment: dict[str, str], start: str
) -> None:
    assert runner.invoke(args=["console", *given], env=environment).stdout.startswith(start)


@pytest.mark.parametrize(
    "given", [["--expires-in", "8d"], ["--expires-in", "0s"], ["--owner", " "], ["--tenant", "\n"]]
)
def test_what_makes_no_sense_is_refused(runner: FlaskCliRunner, app: Flask, given: list[str]) -> None:
    done = runner.invoke(args=["console", *given])
    assert (done.exit_code, done.stdout) == (1, "")
    assert sql(app, "SELECT count(*) FROM sessions") == [(0,)]


def test_s5_all_sessions_end_at_once(
    runner: FlaskCliRunner, make_client: Callable[[], FlaskClient], app: Flask
) -> None:
    clients = [make_client() for _ in range(2)]
    for client in clients:
        sign_in(client, runner.invoke(args=["console"]).stdout)
        assert client.get("/console/keys").status_code == 200
    waiting = runner.invoke(args=["console"]).stdout
    done = runner.invoke(args=["console", "--end-all"])
    assert (done.stdout, done.stderr) == ("", "ended 2 sessions\n")
    assert [client.get("/console/keys").status_code for client in clients] == [303, 303]
    assert sign_in(clients[0], waiting).status_code == 401


@pytest.fixture
def make_client(app: Flask) -> Callable[[], FlaskClient]:
    return app.test_client
