"""A key is its whole text: its prefix is stored, and the same secret under another prefix is unknown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.bad_keys import GENERIC, checksummed, other_secret, under
from tests.rows import sql


def test_under_another_prefix_a_key_is_one_that_nobody_knows(
    call: Callable[..., Any], mint: Callable[..., str]
) -> None:
    key = mint()
    unknown = checksummed(f"kh_{'0' * 32}{key[35:-8]}")
    for path in ("/v0/auth", "/v0/api_keys"):
        assert call("GET", path, by=key).status_code == 200
        said = [call("GET", path, by=bad) for bad in (under("zz", key), unknown)]
        assert [(answer.status_code, answer.json, answer.headers["WWW-Authenticate"]) for answer in said] == [
            (401, said[1].json, GENERIC)
        ] * 2
    assert call("GET", "/v0/auth", by=None, headers={"X-API-Key": under("zz", key)}).status_code == 401
    assert call("POST", "/v0/introspect", data={"token": key}).json["active"] is True
    assert call("POST", "/v0/introspect", data={"token": under("zz", key)}).json == {"active": False}


def test_nor_does_its_holder_hear_that_it_is_disabled(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    key = mint("k")
    call("PATCH", "/v0/api_keys/k", json={"disabled": True})
    assert call("GET", "/v0/auth", by=key).json["message"] == "The API key is disabled"
    assert call("GET", "/v0/auth", by=under("zz", key)).headers["WWW-Authenticate"] == GENERIC


def test_the_log_alone_says_why(
    call: Callable[..., Any], mint: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    call("GET", "/v0/auth", by=under("zz", mint()))
    assert "wrong prefix" in caplog.text


def test_a_use_under_another_prefix_is_none(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    call("GET", "/v0/auth", by=under("zz", mint("k")))
    assert call("GET", "/v0/api_keys/k").json["last_used_at"] is None


def test_the_command_line_does_not_know_it_either(runner: Any, mint: Callable[..., str]) -> None:
    key = mint("k")
    assert runner.invoke(args=["keys", "inspect"], input=key).exit_code == 0
    result = runner.invoke(args=["keys", "inspect"], input=under("zz", key))
    assert (result.exit_code, result.stdout) == (1, "")


@pytest.fixture
def rotated(make_app: Callable[..., Flask], data_dir: Path) -> tuple[Flask, str, str]:
    """The application with the prefix `team2`, an old secret with `kh` in its grace, and the new secret."""
    old = make_app(data_dir).test_cli_runner().invoke(args=["keys", "create", "k"]).stdout.strip()
    app = make_app(data_dir, KEYHOOK_KEY_PREFIX="team2")
    new = app.test_cli_runner().invoke(args=["keys", "rotate", "k", "--grace", "1h"]).stdout.strip()
    return app, old, new


def test_in_its_grace_a_secret_has_the_prefix_that_it_had(rotated: tuple[Flask, str, str]) -> None:
    app, old, new = rotated
    assert (old[:3], new[:6]) == ("kh_", "team2_")

    def good(key: str) -> bool:
        answer = app.test_client().get("/v0/auth", headers={"X-API-Key": key})
        return answer.status_code == 200

    assert [good(key) for key in (old, new, under("team2", old), under("kh", new))] == [True, True, False, False]
    assert not good(other_secret(new))


def test_prefix_and_hint_are_those_of_the_newest_secret(rotated: tuple[Flask, str, str]) -> None:
    app, _, new = rotated
    listed = app.test_cli_runner().invoke(args=["keys", "list", "--json"])
    assert f'"prefix": "team2",\n    "hint": "…{new[-4:]}"' in listed.stdout


def test_prefix_and_hint_are_shown_by_every_answer_with_a_key(
    call: Callable[..., Any], mint: Callable[..., str]
) -> None:
    shown = {"prefix": "kh", "hint": f"…{mint('k')[-4:]}"}
    answers = [
        call("GET", "/v0/api_keys/k").json,
        *call("GET", "/v0/api_keys").json,
        call("PATCH", "/v0/api_keys/k", json={}).json,
        call("PATCH", "/v0/api_keys/k", json={"description": "x"}).json,
        *call("DELETE", "/v0/api_keys/k?dry_run=true").json,
    ]
    assert [{member: answer[member] for member in shown} for answer in answers] == [shown] * 5


@pytest.mark.parametrize("member", ["prefix", "hint"])
def test_neither_can_be_given(call: Callable[..., Any], mint: Callable[..., str], member: str) -> None:
    mint("k")
    for method, path, body in (("POST", "", {"name": "x"}), ("PATCH", "/k", {})):
        answer = call(method, f"/v0/api_keys{path}", json={**body, member: "zz"})
        assert (answer.status_code, answer.json["details"]) == (400, {member: ["Unknown field."]})


def test_a_rotation_without_a_grace_keeps_nothing_of_the_old_prefix(
    call: Callable[..., Any], mint: Callable[..., str], app: Flask
) -> None:
    mint("k")
    for grace, kept in ((60, "kh"), (0, None)):
        call("POST", "/v0/api_keys/k/rotate", json={"grace_seconds": grace})
        assert sql(app, "SELECT previous_prefix FROM api_keys") == [(kept,)]


def test_other_rounds_and_another_prefix_leave_old_keys_working(make_app: Callable[..., Flask], data_dir: Path) -> None:
    kept: list[str] = []
    for prefix, rounds in [("kh", 4), ("acme", 5), ("zz9", 4)]:
        app = make_app(data_dir, KEYHOOK_KEY_PREFIX=prefix, KEYHOOK_BCRYPT_ROUNDS=rounds)
        made = app.test_cli_runner().invoke(args=["keys", "create", prefix])
        kept.append(made.stdout.strip())
        assert kept[-1].startswith(f"{prefix}_")
        for key in kept:
            answer = app.test_client().get("/v0/auth", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 200
    costs = [secret_hash[:7] for (secret_hash,) in sql(data_dir, "SELECT secret_hash FROM api_keys ORDER BY seq")]
    assert costs == ["$2b$04$", "$2b$05$", "$2b$04$"]
