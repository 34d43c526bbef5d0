"""`flask keys list` with demands, and with --check as cron runs it."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from tests.rows import ago, move

NAMES = {
    "": "new used idle soon over off bob",
    "--owner bob": "bob",
    "--status disabled": "off",
    "--status expired": "over",
    "--unused 90d": "idle",
    "--unused 90d --status disabled": "off",
    "--expiring 14d": "soon",
    "--expiring 1h": "",
    "--owner bob --expiring 14d": "",
}


@pytest.fixture
def keys(app: Flask, mint: Callable[..., str], token: Callable[..., str], call: Callable[..., object]) -> None:
    for name in ("new", "used", "idle", "soon", "over", "off"):
        mint(name)
    mint("bob", by=token(owner="bob"))
    call("PATCH", "/v0/api_keys/off", json={"disabled": True})
    old = ago(days=100)
    move(app, "used", created_at=old, last_used_at=ago(days=1))
    move(app, "idle", created_at=old, last_used_at=ago(days=91))
    move(app, "off", created_at=old)
    move(app, "over", created_at=old, expires_at=ago(days=1))
    move(app, "soon", expires_at=ago(days=-13))


@pytest.mark.parametrize("words", NAMES)
def test_the_list_has_what_is_asked_for(keys: None, runner: FlaskCliRunner, words: str) -> None:
    done = runner.invoke(args=["keys", "list", *words.split()])
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == NAMES[words].split()


@pytest.mark.parametrize("words", NAMES)
def test_with_check_the_status_says_whether_there_is_any(keys: None, runner: FlaskCliRunner, words: str) -> None:
    assert runner.invoke(args=["keys", "list", "--check", *words.split()]).exit_code == (3 if NAMES[words] else 0)
    assert runner.invoke(args=["keys", "list", "--json", "--check", *words.split()]).exit_code == (
        3 if NAMES[words] else 0
    )


@pytest.mark.parametrize("words", ["--status off", "--unused 90", "--expiring soon"])
def test_what_cannot_be_parsed_is_status_2(runner: FlaskCliRunner, words: str) -> None:
    assert runner.invoke(args=["keys", "list", *words.split()]).exit_code == 2


@pytest.mark.parametrize("words", ["--expiring 9999999999w", "--unused 9999999999w", "--expiring 0d"])
def test_a_moment_that_is_no_moment_is_status_1(runner: FlaskCliRunner, words: str) -> None:
    done = runner.invoke(args=["keys", "list", *words.split()])
    assert (done.exit_code, done.stdout) == (1, "")
