"""Minting: the key is shown once and works; a second key of that name is a 409."""

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from formats.api_key import read_key
from tests.bad_keys import other_secret
from tests.rows import everything, stored
from tests.statements import Statements

DUPLICATE = b'{"message": "An entity with this name already exists", "error_code": "DuplicateName", "details": null}'
SCANNER = re.compile(r"\bkh_[0-9a-f]{32}_[0-9A-Za-z]{43}[0-9a-f]{8}\b")


def test_the_201_is_these_bytes(call: Callable[..., Any]) -> None:
    response = call("POST", "/v0/api_keys", json={"name": "laptop"})
    members = json.loads(response.data)
    assert response.status_code == 201
    assert list(members) == ["api_key", "id", "name"]
    expected = f'{{"api_key": "{members["api_key"]}", "id": "{members["id"]}", "name": "laptop"}}'
    assert response.data == expected.encode()
    assert response.content_type == "application/json"
    assert response.headers["Location"] == "/v0/api_keys/laptop"
    assert str(uuid.UUID(members["id"])) == members["id"]
    assert SCANNER.fullmatch(members["api_key"])
    assert members["id"].replace("-", "") == members["api_key"].split("_")[1]


def test_the_409_is_these_bytes(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    mint("laptop")
    response = call("POST", "/v0/api_keys", json={"name": "laptop"})
    assert response.status_code == 409
    assert response.data == DUPLICATE
    assert response.content_type == "application/json"


def test_a_key_made_by_nothing_but_a_name_makes_the_next_one(mint: Callable[..., str]) -> None:
    key = mint("first")
    for name in ("second", "third", "fourth"):
        key = mint(name, by=key)


def test_the_location_leads_to_the_key(call: Callable[..., Any]) -> None:
    for name in ("a b", "größe", "50%", "a?b#c", "日本語", "..."):
        response = call("POST", "/v0/api_keys", json={"name": name})
        assert response.json["name"] == name
        assert call("GET", response.headers["Location"]).json["name"] == name


def test_a_secret_is_kept_nowhere(
    statements: Statements,
    app: Flask,
    call: Callable[..., Any],
    mint: Callable[..., str],
    token: Callable[..., str],
) -> None:
    """Neither in the database nor in what it is asked: not that of a key, nor that before a rotation, nor a token."""
    person = token()
    first = mint("laptop", by=person)
    second = call("POST", "/v0/api_keys/laptop/rotate", json={"grace_seconds": 60}, by=first).json["api_key"]
    for credential in (first, second, person):
        assert call("GET", "/v0/auth", by=credential).status_code == 200
        assert call("POST", "/v0/introspect", data={"token": credential}, by=credential).status_code == 200
        assert call("GET", "/v0/auth", by=other_secret(first)).status_code == 401
    everywhere = [repr(everything(app)).encode(), stored(app), "\n".join(statements()).encode()]
    assert all(b"laptop" in place for place in everywhere)
    for secret in (*(parsed.secret for parsed in map(read_key, (first, second)) if parsed), *person.split(".")[1:]):
        assert not any(secret.encode() in place for place in everywhere)


def test_the_defaults_of_a_key(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    key = mint("laptop")
    shown = call("GET", "/v0/api_keys/laptop").json
    assert list(shown) == [
        "id", "name", "role", "scopes", "description", "owner", "created_at", "created_by_key", "expires_at",
        "last_used_at", "last_used_ip", "disabled", "status", "hosts", "networks", "rate_limit", "metadata", "declared",
        "grace_until", "previous_last_used_at", "prefix", "hint",
    ]  # fmt: skip
    assert shown | {"id": "", "created_at": ""} == {
        "id": "",
        "name": "laptop",
        "role": "write",
        "scopes": [],
        "description": "",
        "owner": "alice",
        "created_at": "",
        "created_by_key": None,
        "expires_at": None,
        "last_used_at": None,
        "last_used_ip": None,
        "disabled": False,
        "status": "active",
        "hosts": [],
        "networks": [],
        "rate_limit": None,
        "metadata": {},
        "declared": False,
        "grace_until": None,
        "previous_last_used_at": None,
        "prefix": "kh",
        "hint": f"…{key[-4:]}",
    }


def test_every_member_is_kept(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    given = {
        "role": "read",
        "scopes": ["photos:read", "a", "A9:._/-"],
        "expires_at": "2099-12-31T23:59:59Z",
        "description": "for the 日本 office\n",
    }
    mint("laptop", **given)
    shown = call("GET", "/v0/api_keys/laptop").json
    assert {member: shown[member] for member in given} == given


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("2099-06-01T12:00:00+02:00", "2099-06-01T10:00:00Z"),
        ("2099-06-01T12:00:00-00:30", "2099-06-01T12:30:00Z"),
        ("2099-06-01t12:00:00z", "2099-06-01T12:00:00Z"),
        ("2099-06-01T12:00:00.25Z", "2099-06-01T12:00:00.250000Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        (None, None),
    ],
)
def test_an_expiry_is_taken_with_any_offset(
    call: Callable[..., Any], mint: Callable[..., str], given: str | None, shown: str | None
) -> None:
    mint("laptop", expires_at=given)
    assert call("GET", "/v0/api_keys/laptop").json["expires_at"] == shown


def test_a_key_made_with_a_key_names_its_parent_and_keeps_the_owner(
    call: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str]
) -> None:
    parent = mint("parent", by=token(owner="bob"))
    mint("child", by=parent)
    call("DELETE", "/v0/api_keys/parent")
    child = call("GET", "/v0/api_keys/child").json
    assert child["owner"] == "bob"
    assert child["created_by_key"].replace("-", "") == parent.split("_")[1]
