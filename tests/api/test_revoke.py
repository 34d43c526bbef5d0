"""/v0/revoke (RFC 7009): whoever holds a key ends it, and learns nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.rows import ago, everything, move

Call = Callable[..., Any]


@pytest.fixture
def revoke(call: Call) -> Call:
    """revoke(token): the answer to somebody without any credential."""

    def send(token: str, **members: str) -> Any:
        answer = call("POST", "/v0/revoke", by=None, data={"token": token, **members})
        assert (answer.status_code, answer.data) == (200, b"")
        assert "Content-Type" not in answer.headers
        return answer

    return send


def good(call: Call, key: str) -> bool:
    return bool(call("GET", "/v0/auth", by=key).status_code == 200)


def test_a_good_key_ends_at_once_and_the_audit_says_how(call: Call, mint: Call, revoke: Call) -> None:
    key, other = mint("laptop"), mint("other")
    assert good(call, key)
    revoke(key, token_type_hint="access_token")
    assert [good(call, each) for each in (key, other)] == [False, True]
    shown = call("GET", "/v0/api_keys/laptop").json
    assert (shown["disabled"], shown["status"]) == (True, "disabled")
    newest = call("GET", "/v0/audit").json[0]
    assert (newest["action"], newest["key_id"], newest["key_name"]) == ("key.revoked", shown["id"], "laptop")
    assert newest["actor"] == {"kind": "holder", "owner": "alice", "key_id": shown["id"], "key_name": "laptop"}
    assert (newest["ip"], newest["details"]) == ("127.0.0.1", None)
    revoke(key)
    assert len(call("GET", "/v0/audit").json) == 3


def test_only_a_person_enables_it_again(call: Call, mint: Call, revoke: Call) -> None:
    manager = mint("manager")
    key = mint("laptop", by=manager)
    revoke(key)
    body = {"json": {"disabled": False}}
    refused = call("PATCH", "/v0/api_keys/laptop", by=manager, **body)
    assert (refused.status_code, refused.json["error_code"]) == (403, "InsufficientPermissions")
    assert call("PATCH", "/v0/api_keys/laptop", **body).status_code == 200
    assert good(call, key)


def test_the_secret_in_its_grace_ends_the_key_too(call: Call, mint: Call, revoke: Call) -> None:
    old = mint("laptop")
    new = call("POST", "/v0/api_keys/laptop/rotate", json={"grace_seconds": 60}).json["api_key"]
    revoke(f" {old}\n")
    assert not good(call, old)
    assert not good(call, new)


def test_what_is_no_good_key_changes_nothing(
    call: Call, mint: Call, token: Call, revoke: Call, app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    key, ended, replaced = mint("laptop"), mint("ended"), mint("replaced")
    move(app, "ended", expires_at=ago(hours=1))
    call("POST", "/v0/api_keys/replaced/rotate", json={})
    before = everything(app)
    wrong = key[:40] + "".join(sorted(key[40:79])) + key[79:]
    for sent in (ended, replaced, token(), wrong, key[:-1], f"Bearer {key}", f'"{key}"', "x", "\0", "k" * 9000, "é"):
        revoke(sent)
    assert everything(app) == before
    assert good(call, key)
    assert key[40:60] not in caplog.text


def test_without_a_token_it_is_no_request(call: Call) -> None:
    for data in ({}, {"token": ""}, {"token_type_hint": "x"}):
        refused = call(
            "POST", "/v0/revoke", by=None, data=data, headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert (refused.status_code, refused.json["error"]) == (400, "invalid_request")
    assert call("GET", "/v0/revoke").status_code == 405


def test_offspring_go_on_and_can_be_reached(call: Call, mint: Call, revoke: Call) -> None:
    parent = mint("parent")
    child = mint("child", by=parent)
    revoke(parent)
    assert good(call, child)
    key_id = call("GET", "/v0/api_keys/parent").json["id"]
    assert call("DELETE", f"/v0/api_keys?id={key_id}&cascade=true").status_code == 204
    assert not good(call, child)
