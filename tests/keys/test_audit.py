"""The audit: one entry for each change, in its transaction, without secrets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from formats import api_key
from tests.rows import everything, sql
from tests.triggers import failing


def entries(call: Callable[..., Any], query: str = "") -> list[dict[str, Any]]:
    response = call("GET", f"/v0/audit{query}")
    assert response.status_code == 200
    return list(response.json)


def test_an_entry_says_who_did_what_from_where(call: Callable[..., Any]) -> None:
    made = call("POST", "/v0/api_keys", json={"name": "k", "scopes": ["a"]}, headers={"X-Request-ID": "req-1"}).json
    (entry,) = entries(call)
    assert list(entry) == ["id", "at", "action", "actor", "key_id", "key_name", "ip", "request_id", "details"]
    assert entry["action"] == "key.created"
    assert entry["actor"] == {"kind": "jwt", "owner": "alice", "key_id": None, "key_name": None}
    assert (entry["key_id"], entry["key_name"]) == (made["id"], "k")
    assert (entry["ip"], entry["request_id"]) == ("127.0.0.1", "req-1")
    assert entry["at"].endswith("Z")
    assert entry["details"]["scopes"] == ["a"]


def test_a_key_as_the_actor(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    parent = mint("parent")
    mint("child", by=parent)
    actor = entries(call)[0]["actor"]
    assert actor == {"kind": "api_key", "owner": "alice", "key_id": actor["key_id"], "key_name": "parent"}
    assert actor["key_id"].replace("-", "") == parent.split("_")[1]


def test_each_change_is_one_entry_and_outlives_the_key(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    mint("k")
    call("PATCH", "/v0/api_keys/k", json={"disabled": True, "name": "n", "scopes": ["a", "b"]})
    call("POST", "/v0/api_keys/n/rotate", json={"grace_seconds": 5})
    call("DELETE", "/v0/api_keys/n")
    found = entries(call)
    assert [entry["action"] for entry in found] == ["key.deleted", "key.rotated", "key.updated", "key.created"]
    assert [entry["key_name"] for entry in found] == ["n", "n", "n", "k"]
    assert len({entry["key_id"] for entry in found}) == 1
    assert found[2]["details"] == {
        "name": {"from": "k", "to": "n"},
        "disabled": {"from": False, "to": True},
        "scopes": {"from": [], "to": ["a", "b"]},
    }
    assert found[1]["details"] == {"grace_seconds": 5}


def test_a_refused_change_is_none(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    small = mint("small")
    for method, path, body in [
        ("POST", "", {"name": "small"}),
        ("POST", "", {"name": "x", "role": "admin"}),
        ("PATCH", "/small", {"scopes": ["a"]}),
        ("PATCH", "/none", {"disabled": True}),
    ]:
        assert call(method, f"/v0/api_keys{path}", json=body, by=small).status_code >= 400
    assert len(entries(call)) == 1


def test_a_cascade_is_one_entry_for_each_key(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    root = mint("root")
    child = mint("child", by=root)
    mint("grandchild", by=child)
    mint("other")
    call("DELETE", "/v0/api_keys/root?cascade=true")
    deleted = [entry for entry in entries(call) if entry["action"] == "key.deleted"]
    assert sorted(entry["key_name"] for entry in deleted) == ["child", "grandchild", "root"]
    below = {entry["key_name"]: entry["details"] for entry in deleted}
    assert below["root"] is None
    (root_id,) = (entry["key_id"] for entry in deleted if entry["key_name"] == "root")
    assert below["child"] == below["grandchild"] == {"cascade_of": root_id}


def test_a_cascade_of_a_key_that_is_gone_names_it_in_each_entry(
    call: Callable[..., Any], mint: Callable[..., str]
) -> None:
    root = mint("root")
    mint("grandchild", by=mint("child", by=root))
    call("DELETE", "/v0/api_keys/root")
    gone = entries(call)[0]
    call("DELETE", f"/v0/api_keys?id={gone['key_id']}&cascade=true", headers={"X-Request-ID": "req-1"})
    found = [entry for entry in entries(call) if entry["request_id"] == "req-1"]
    assert [entry["key_name"] for entry in found] == ["grandchild", "child"]
    for entry in found:
        assert (entry["action"], entry["actor"]["kind"]) == ("key.deleted", "jwt")
        assert entry["details"] == {"cascade_of": gone["key_id"]}


def test_pages_go_back_in_time_and_show_each_entry_once(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    for number in range(7):
        mint(f"k{number}")
    seen, path = [], "/v0/audit?limit=3"
    while path:
        response = call("GET", path)
        seen += [entry["id"] for entry in response.json]
        path = response.headers.get("Link", "")[1:].partition(">")[0]
        mint(f"more{len(seen)}")
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(set(seen)) == 7
    assert [entry["id"] for entry in entries(call, f"?before={seen[0]}")] == seen[1:]


def test_the_default_page_holds_a_hundred(call: Callable[..., Any], app: Flask) -> None:
    with app.extensions["keyhook"].storage.write() as tx:
        row = "('default', 'x', 'key.created', 'cli', 'x', 'x', 'x')"
        columns = "(tenant, at, action, actor_kind, actor_owner, key_id, key_name)"
        tx.execute(text(f"INSERT INTO audit_entries {columns} VALUES {', '.join([row] * 150)}"))  # noqa: S608
    assert len(entries(call)) == 100
    assert len(entries(call, "?limit=1000")) == 150


@pytest.mark.parametrize("by", ["read", "write", "key"])
def test_only_admins_read_it(
    call: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str], by: str
) -> None:
    caller = mint("k") if by == "key" else token(role=by)
    response = call("GET", "/v0/audit", by=caller)
    assert (response.status_code, response.json["error_code"]) == (403, "InsufficientPermissions")


def test_nothing_secret_is_in_it_wherever_it_stood(
    call: Callable[..., Any], mint: Callable[..., str], app: Flask
) -> None:
    key = mint("k")
    parsed = api_key.read_key(key)
    assert parsed is not None
    call("PATCH", "/v0/api_keys/k", json={"description": key}, headers={"X-Request-ID": key})
    call("POST", "/v0/api_keys", json={"name": key})
    text_of_audit = json.dumps(entries(call))
    assert parsed.secret not in text_of_audit
    rows = sql(app, "SELECT * FROM audit_entries")
    hashes = sql(app, "SELECT secret_hash FROM api_keys")
    assert parsed.secret not in repr(rows)
    assert all(stored not in repr(rows) for (stored,) in hashes)


@pytest.mark.parametrize("stored", ['{"description": {"from": "", "to": "\\[redacted]"}}', "[redacted]", "[1]"])
def test_an_entry_that_cannot_be_read_hides_no_other(
    call: Callable[..., Any], mint: Callable[..., str], app: Flask, stored: str
) -> None:
    mint("first")
    mint("second")
    sql(app, "UPDATE audit_entries SET details = :stored WHERE key_name = 'first'", stored=stored)
    second, first = entries(call)
    assert first["details"] == {"unreadable": stored}
    assert second["details"]["role"] == "write"


@pytest.mark.parametrize("kind", ["key", "token"])
def test_an_owner_that_is_a_credential_is_not_repeated(
    call: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str], app: Flask, kind: str
) -> None:
    owner = mint("k") if kind == "key" else token()
    mint("other", by=token(owner=owner))
    (shown,) = [entry["actor"]["owner"] for entry in entries(call) if entry["key_name"] == "other"]
    assert shown == (f"{owner[:35]}[redacted]" if kind == "key" else "[redacted]")
    rows = sql(app, "SELECT * FROM audit_entries")
    assert owner[36:] not in repr(rows)


def test_from_where_is_seen_from_behind_the_proxies(make_app: Callable[..., Flask], data_dir: Path) -> None:
    app = make_app(data_dir, KEYHOOK_TRUSTED_PROXIES=1)
    admin = app.test_cli_runner().invoke(args=["token"]).stdout.strip()
    headers = {"Authorization": f"Bearer {admin}", "X-Forwarded-For": "203.0.113.66, 192.0.2.7"}
    assert app.test_client().post("/v0/api_keys", json={"name": "k"}, headers=headers).status_code == 201
    answer: Any = app.test_client().get("/v0/audit", headers=headers)
    assert [entry["ip"] for entry in answer.json] == ["192.0.2.7"]


@pytest.mark.parametrize(
    ("fault", "method", "path", "body", "status"),
    [
        ("INSERT ON audit_entries", "POST", "", {"name": "new"}, 200),
        ("INSERT ON audit_entries", "PATCH", "/k", {"description": "x"}, 200),
        ("INSERT ON audit_entries", "POST", "/k/rotate", {}, 401),
        ("INSERT ON audit_entries", "DELETE", "/k", None, 401),
        ("INSERT ON audit_entries WHEN NEW.key_name = 'k'", "DELETE", "/k?cascade=true", None, 401),
        ("INSERT ON audit_entries WHEN NEW.key_name = 'child'", "DELETE", "/k?cascade=true", None, 401),
        ("INSERT ON api_keys", "POST", "", {"name": "new"}, 200),
        ("UPDATE ON api_keys", "PATCH", "/k", {"description": "x"}, 200),
        ("UPDATE ON api_keys", "POST", "/k/rotate", {}, 401),
        ("DELETE ON api_keys", "DELETE", "/k", None, 401),
        ("DELETE ON api_keys WHEN OLD.name = 'k'", "DELETE", "/k?cascade=true", None, 401),
        ("DELETE ON api_keys WHEN OLD.name = 'child'", "DELETE", "/k?cascade=true", None, 401),
        ("DELETE ON lineage", "DELETE", "/k?cascade=true", None, 401),
    ],
)
def test_a_change_and_its_entry_are_never_there_without_each_other(
    call: Callable[..., Any],
    mint: Callable[..., str],
    data_dir: Path,
    fault: str,
    method: str,
    path: str,
    body: Any,
    status: int,
) -> None:
    """A trigger makes one statement fail: then nothing has changed. Without it all has; `status` is then the status of
    the key."""
    key = mint("k")
    mint("child", by=key)
    change = {} if body is None else {"json": body}
    with failing(data_dir, fault):
        before = everything(data_dir)
        assert call(method, f"/v0/api_keys{path}", **change).status_code in (500, 503)
        assert everything(data_dir) == before
    assert call("GET", "/v0/auth", by=key).status_code == 200
    assert call(method, f"/v0/api_keys{path}", **change).status_code < 300
    assert call("GET", "/v0/auth", by=key).status_code == status


def test_a_commit_that_fails_leaves_neither(call: Callable[..., Any], mint: Callable[..., str], data_dir: Path) -> None:
    mint("k")
    with failing(data_dir, "INSERT ON audit_entries", at_commit=True):
        before = everything(data_dir)
        assert call("POST", "/v0/api_keys", json={"name": "new"}).status_code in (500, 503)
        assert everything(data_dir) == before
    mint("new")
