"""`flask keys prune` deletes keys that ended long ago, in one transaction, and frees their names."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from formats.times import now
from storage import statements
from tests.rows import ago, everything, links, move, names
from tests.triggers import failing


@pytest.fixture
def prune(runner: Any) -> Callable[..., Any]:
    """prune("30d"): its stdout; the status is checked."""

    def run(*words: str, status: int = 0) -> Any:
        result = runner.invoke(args=["keys", "prune", *(["--expired", words[0]] if words else []), *words[1:]])
        assert result.exit_code == status, result.output
        return result.stdout if status == 0 else result.stderr

    return run


@pytest.fixture
def aged(app: Flask, mint: Callable[..., str]) -> None:
    """Keys that ended as many days ago as their name says, and some that have not ended."""
    for days in (31, 0, 29, 400):
        mint(f"{days} days")
        move(app, f"{days} days", expires_at=ago(days=days))
    mint("later", expires_at="2099-01-01T00:00:00Z")
    mint("never")
    mint("disabled")
    move(app, "disabled", disabled=True)


@pytest.mark.parametrize(
    ("span", "gone"),
    [
        ("30d", ["31 days", "400 days"]),
        ("1h", ["31 days", "29 days", "400 days"]),
        ("0s", ["31 days", "0 days", "29 days", "400 days"]),
        ("52w", ["400 days"]),
        ("5000d", []),
    ],
)
def test_what_ended_so_long_ago_is_deleted_and_named(
    aged: None, prune: Any, call: Callable[..., Any], span: str, gone: list[str]
) -> None:
    before = call("GET", "/v0/api_keys").json
    dry = prune(span, "--dry-run")
    assert call("GET", "/v0/api_keys").json == before
    assert prune(span) == dry == "".join(f"{name}\n" for name in gone)
    assert call("GET", "/v0/api_keys").json == [key for key in before if key["name"] not in gone]
    assert prune(span) == ""
    entries = [entry for entry in call("GET", "/v0/audit").json if entry["action"] == "key.deleted"]
    assert [entry["key_name"] for entry in reversed(entries)] == gone
    assert all((entry["actor"]["kind"], entry["details"], entry["ip"]) == ("cli", None, None) for entry in entries)


def test_a_key_that_is_disabled_too_has_ended_all_the_same(app: Flask, prune: Any, mint: Callable[..., str]) -> None:
    mint("k")
    move(app, "k", disabled=True, expires_at=ago(days=31))
    assert prune("30d") == "k\n"


def test_a_name_is_taken_until_then(app: Flask, prune: Any, call: Callable[..., Any], mint: Callable[..., str]) -> None:
    mint("nightly")
    move(app, "nightly", expires_at=ago(days=31))
    assert call("POST", "/v0/api_keys", json={"name": "nightly"}).json["error_code"] == "DuplicateName"
    prune("30d")
    mint("nightly")


def test_another_tenants_keys_stay(
    app: Flask, prune: Any, call: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str]
) -> None:
    theirs = token(tenant="theirs")
    mint("k", by=theirs)
    move(app, "k", expires_at=ago(days=31))
    assert prune("30d") == ""
    assert len(call("GET", "/v0/api_keys", by=theirs).json) == 1
    assert prune("30d", "--tenant", "theirs") == "k\n"
    assert call("GET", "/v0/api_keys", by=theirs).json == []


@pytest.mark.parametrize(
    ("words", "status"), [([], 2), (["30"], 2), (["30y"], 2), (["30d", "x"], 2), (["999999999w"], 1), (["9999w"], 0)]
)
def test_its_status_says_whether_the_span_was_taken(prune: Any, words: list[str], status: int) -> None:
    said = prune(*words, status=status)
    assert "Traceback" not in said
    assert (said == "") is (status == 0)


def test_a_cascade_still_reaches_past_what_was_pruned(
    app: Flask, prune: Any, call: Callable[..., Any], mint: Callable[..., str]
) -> None:
    """root minted b, b minted c and e, c minted d. A pruned key is forgotten only when no key below it lives."""
    keys = {"root": mint("root"), "other": mint("other")}
    for parent, child in (("root", "b"), ("b", "c"), ("c", "d"), ("b", "e"), ("other", "z")):
        keys[child] = mint(child, by=keys[parent])

    for name in ("b", "c", "z"):
        move(app, name, expires_at=ago(days=31))
    assert prune("30d") == "b\nc\nz\n"
    assert links(app) == 4  # z alone leads to nothing
    for name in ("d", "root"):
        move(app, name, expires_at=ago(days=31))
    assert prune("30d") == "root\nd\n"
    assert links(app) == 2  # e and b
    root = json.dumps(call("GET", "/v0/audit").json)
    key_id = next(entry["key_id"] for entry in json.loads(root) if entry["key_name"] == "root")
    assert call("DELETE", f"/v0/api_keys?id={key_id}&cascade=true").status_code == 204
    assert (names(call), links(app)) == ("other", 0)


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_more_than_one_statement_holds_is_one_transaction_all_the_same(
    app: Flask,
    prune: Any,
    mint: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
) -> None:
    monkeypatch.setattr(statements, "BATCH", batch)
    parent = mint("k0")
    for number in range(1, 7):
        parent = mint(f"k{number}", by=parent)
    for number in range(7):
        move(app, f"k{number}", expires_at=ago(days=31))
    with failing(app, "INSERT ON audit_entries WHEN NEW.key_name = 'k6'"):
        before = everything(app)
        prune("30d", status=1)
        assert everything(app) == before
    assert prune("30d") == "".join(f"k{number}\n" for number in range(7))
    assert links(app) == 0


def test_a_key_that_was_given_more_time_meanwhile_stays(
    app: Flask, mint: Callable[..., str], call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key was found expired; then somebody moved its end; then the deletion ran."""
    mint("k")
    move(app, "k", expires_at=ago(days=31))
    with app.app_context():
        from cli import options

        ring = options.operator_keys("default")
    found = ring.expired(now())
    monkeypatch.setattr(ring, "expired", lambda before: found)
    move(app, "k", expires_at="2099-01-01T00:00:00.000000Z")
    assert ring.prune(now()) == []
    assert names(call) == "k"
    assert [entry["action"] for entry in call("GET", "/v0/audit").json] == ["key.created"]
