"""Tenants never see each other."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.rows import sql
from tests.statements import Statements

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


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS[1:])
def test_a_change_touches_no_key_of_the_same_name_elsewhere(
    call: Callable[..., Any],
    mint: Callable[..., str],
    token: Callable[..., str],
    app: Flask,
    method: str,
    path: str,
    body: Any,
) -> None:
    """Other tenants' keys come before and after ours, so ours is neither the first nor the last of that name."""

    def theirs() -> list[list[Any]]:
        tables = ("api_keys", "audit_entries")
        return [sql(app, f"SELECT * FROM {table} WHERE tenant != 'ours'") for table in tables]  # noqa: S608

    for tenant in ("before", "ours", "later"):
        mint("child", by=mint("same", by=token(tenant=tenant)))
    before = theirs()
    kwargs = {} if body is None else {"json": body}
    assert call(method, f"/v0/api_keys/same{path}", by=token(tenant="ours"), **kwargs).status_code < 300
    assert theirs() == before


def test_every_statement_on_keys_and_audit_names_the_tenant(
    statements: Statements, call: Callable[..., Any], mint: Callable[..., str]
) -> None:
    """Except a search by id, which comes from the credential or from a key of the tenant."""
    statements()  # of the start, which looks for any key at all
    key = mint("a")
    call("GET", "/v0/auth", by=key)
    mint("child", by=key)
    call("GET", "/v0/api_keys?limit=1&after=0", by=key)
    call("GET", "/v0/api_keys/a", by=key)
    call("GET", "/v0/audit?before=100")
    call("PATCH", "/v0/api_keys/a", json={"name": "b", "description": "x"}, by=key)
    call("POST", "/v0/api_keys/b/rotate", json={"grace_seconds": 60}, by=key)
    call("POST", "/v0/introspect", data={"token": key})
    call("DELETE", "/v0/api_keys/b?cascade=true", by=key)
    mint("c")
    call("DELETE", "/v0/api_keys/c?dry_run=true")
    call("DELETE", "/v0/api_keys/c")
    call("DELETE", "/v0/api_keys?id=0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11&cascade=true")
    found = [text for text in statements() if re.search("api_keys|audit_entries", text)]
    kinds = {(text.split()[0], table) for text in found for table in re.findall("api_keys|audit_entries", text)}
    assert kinds >= {
        *((verb, "api_keys") for verb in ("SELECT", "INSERT", "UPDATE", "DELETE")),
        *((verb, "audit_entries") for verb in ("SELECT", "INSERT")),
    }
    named = re.compile(r"tenant = 'default'|^INSERT .*\btenant, .*'default', |WHERE api_keys\.id (= '|IN \()")
    assert [text for text in found if not named.search(text)] == []


def test_a_check_asks_for_one_row(statements: Statements, call: Callable[..., Any], mint: Callable[..., str]) -> None:
    key = mint("a")
    assert call("GET", "/v0/auth", by=key).status_code == 200  # which also writes the use
    statements()
    assert call("GET", "/v0/auth", by=key).status_code == 200
    [asked] = statements()
    assert re.fullmatch("SELECT .* FROM api_keys WHERE api_keys.id = '[0-9a-f-]{36}'", asked)


def test_people_of_a_tenant_that_is_not_there_yet_find_it_empty(
    call: Callable[..., Any], token: Callable[..., str]
) -> None:
    assert call("GET", "/v0/api_keys", by=token(tenant="Team ß/1")).json == []


def test_the_tenant_is_stored_as_it_was_named(mint: Callable[..., str], token: Callable[..., str], app: Flask) -> None:
    mint("k", by=token(tenant="Team ß"))
    assert sql(app, "SELECT tenant FROM api_keys") == [("Team ß",)]
