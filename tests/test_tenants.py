"""Tenants never see each other, whatever they ask."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from models import db

REQUESTS = [
    ("GET", "", None),
    ("PATCH", "", {"disabled": True}),
    ("PATCH", "", {}),
    ("DELETE", "", None),
    ("DELETE", "?cascade=true", None),
    ("POST", "/rotate", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
@pytest.mark.parametrize("kind", ["key", "token"])
def test_another_tenants_key_is_a_404_like_any_unknown_one(
    call: Callable[..., Any],
    mint: Callable[..., str],
    token: Callable[..., str],
    method: str,
    path: str,
    body: Any,
    kind: str,
) -> None:
    key = mint("theirs")
    stranger = token(tenant="other")
    if kind == "key":
        stranger = mint("own", by=stranger)
    kwargs = {} if body is None else {"json": body}
    response = call(method, f"/v0/api_keys/theirs{path}", by=stranger, **kwargs)
    assert (response.status_code, response.json["error_code"]) == (404, "UnknownApiKey")
    assert response.json["details"] == {"name": "theirs"}
    assert call("GET", "/v0/auth", by=key).status_code == 200


def test_names_lists_and_audits_are_a_tenants_own(
    call: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str]
) -> None:
    one, two = token(tenant="one"), token(tenant="two")
    mint("same", by=one)
    mint("same", by=two)
    mint("more", by=two)
    for by, names in ((one, ["same"]), (two, ["same", "more"])):
        assert [key["name"] for key in call("GET", "/v0/api_keys", by=by).json] == names
        assert [entry["key_name"] for entry in call("GET", "/v0/audit", by=by).json] == names[::-1]


def test_a_key_mints_in_its_own_tenant(
    call: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str]
) -> None:
    child = mint("child", by=mint("parent", by=token(tenant="one")))
    assert call("GET", "/v0/auth", by=child).json["tenant"] == "one"
    assert call("GET", "/v0/api_keys").json == []


def test_every_statement_on_keys_and_audit_names_the_tenant(
    app: Flask, call: Callable[..., Any], mint: Callable[..., str]
) -> None:
    """But for the two that look a key up by the id in its own credential, and those by an id found under the tenant."""
    seen: list[str] = []
    with app.app_context():
        engine = db.engine

    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(" ".join(statement.split()))

    event.listen(engine, "before_cursor_execute", note)
    key = mint("a")
    call("GET", "/v0/api_keys?limit=1", by=key)
    call("GET", "/v0/api_keys/a", by=key)
    call("GET", "/v0/audit")
    call("PATCH", "/v0/api_keys/a", json={"description": "x"}, by=key)
    call("POST", "/v0/api_keys/a/rotate", json={"grace_seconds": 60}, by=key)
    call("DELETE", "/v0/api_keys/a?cascade=true", by=key)
    event.remove(engine, "before_cursor_execute", note)
    reads = [text for text in seen if text.startswith("SELECT") and ("api_keys" in text or "audit_entries" in text)]
    assert len(reads) > 8
    for text in reads:
        assert "tenant = ?" in text or text.endswith("WHERE api_keys.id = ?"), text


def test_people_of_a_tenant_that_is_not_there_yet_find_it_empty(
    call: Callable[..., Any], token: Callable[..., str]
) -> None:
    assert call("GET", "/v0/api_keys", by=token(tenant="Team ß/1")).json == []


def test_the_tenant_is_stored_as_it_was_named(
    mint: Callable[..., str], token: Callable[..., str], data_dir: Path
) -> None:
    mint("k", by=token(tenant="Team ß"))
    connection = sqlite3.connect(data_dir / "keyhook.db")
    assert connection.execute("SELECT tenant FROM api_keys").fetchall() == [("Team ß",)]
    connection.close()
