"""A key's whole life: listed, changed, rotated without downtime, revoked with its offspring."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import insert

from errors import AuthenticationFailed, InsufficientPermissions, ScopeExceedsCreator
from formats.times import now, timestamp
from identity.principal import RequestOrigin
from keys.key_fields import KeyChanges, NewKey
from keys.tenant_keys import TenantKeys
from models import api_keys
from tests.rows import ago, links, move, names


@pytest.fixture
def good(call: Callable[..., Any]) -> Callable[[str], bool]:
    """good(key): whether the gate accepts it."""

    def check(key: str) -> bool:
        status = call("GET", "/v0/auth", by=key).status_code
        assert status in (200, 401)
        return bool(status == 200)

    return check


def follow(call: Callable[..., Any], path: str) -> list[Any]:
    """The pages that a client gets by the Link headers."""
    pages = []
    while path:
        response = call("GET", path)
        assert response.status_code == 200
        pages.append(response.json)
        link = response.headers.get("Link", "")
        assert not link or link.endswith('>; rel="next"')
        path = link[1:].partition(">")[0]
    return pages


@pytest.mark.parametrize(("limit", "sizes"), [(2, [2, 2, 1]), (5, [5]), (4, [4, 1]), (1, [1] * 5), (1000, [5])])
def test_pages_show_every_key_once_in_order_of_creation(
    call: Callable[..., Any], mint: Callable[..., str], limit: int, sizes: list[int]
) -> None:
    for name in "edcba":
        mint(name)
    pages = follow(call, f"/v0/api_keys?limit={limit}")
    assert [len(page) for page in pages] == sizes
    assert "".join(key["name"] for page in pages for key in page) == "edcba"


def test_without_keys_the_list_is_empty(call: Callable[..., Any]) -> None:
    response = call("GET", "/v0/api_keys")
    assert (response.json, "Link" in response.headers) == ([], False)


def test_the_next_page_comes_though_the_last_key_of_this_one_is_gone(
    call: Callable[..., Any], mint: Callable[..., str]
) -> None:
    for name in "abcd":
        mint(name)
    link = call("GET", "/v0/api_keys?limit=2").headers["Link"]
    for name in "ab":
        call("DELETE", f"/v0/api_keys/{name}")
    mint("e")
    assert [key["name"] for key in call("GET", link[1:].partition(">")[0]).json] == ["c", "d"]


def test_the_next_page_shows_what_was_minted_after_the_newest_key_was_deleted(
    call: Callable[..., Any], mint: Callable[..., str]
) -> None:
    """No number in the order of creation is used twice."""
    for name in "abc":
        mint(name)
    link = call("GET", "/v0/api_keys?limit=2").headers["Link"]
    for name in "bc":
        call("DELETE", f"/v0/api_keys/{name}")
    mint("d")
    assert [key["name"] for key in call("GET", link[1:].partition(">")[0]).json] == ["d"]


def test_the_default_page_holds_a_thousand(app: Flask, call: Callable[..., Any]) -> None:
    row = {"tenant": "default", "role": "read", "owner": "x", "created_at": now(), "secret_hash": "x"}
    rows = [{**row, "id": str(number), "name": f"k{number}"} for number in range(1001)]
    with app.extensions["keyhook"].storage.write() as tx:
        tx.execute(insert(api_keys), rows)
    pages = follow(call, "/v0/api_keys")
    assert [len(page) for page in pages] == [1000, 1]
    assert [key["name"] for page in pages for key in page] == [row["name"] for row in rows]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "renamed"},
        {"description": "new"},
        {"role": "read"},
        {"scopes": ["x", "y"]},
        {"scopes": []},
        {"expires_at": "2099-01-01T00:00:00Z"},
        {"disabled": True},
        {"name": "both", "disabled": True, "scopes": ["z"], "description": ""},
    ],
)
def test_a_change_changes_what_it_names_and_nothing_else(
    call: Callable[..., Any], mint: Callable[..., str], change: dict[str, Any]
) -> None:
    mint("k", scopes=["a"], description="old")
    before = call("GET", "/v0/api_keys/k").json
    response = call("PATCH", "/v0/api_keys/k", json=change)
    assert response.status_code == 200
    expected = {**before, **change, "status": "disabled" if change.get("disabled") else "active"}
    assert response.json == expected
    assert call("GET", f"/v0/api_keys/{expected['name']}").json == expected


def test_a_change_of_nothing_answers_the_key(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    mint("k")
    assert call("PATCH", "/v0/api_keys/k", json={}).json == call("GET", "/v0/api_keys/k").json
    assert len(call("GET", "/v0/audit").json) == 1


def test_a_rename_to_a_taken_name_is_the_409(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    mint("a")
    mint("b")
    response = call("PATCH", "/v0/api_keys/b", json={"name": "a", "disabled": True})
    assert (response.status_code, response.json["error_code"]) == (409, "DuplicateName")
    assert call("GET", "/v0/api_keys/b").json["disabled"] is False
    assert call("PATCH", "/v0/api_keys/a", json={"name": "a"}).status_code == 200


def test_an_expiry_can_be_taken_back(app: Flask, call: Callable[..., Any], mint: Callable[..., str], good: Any) -> None:
    key = mint("k", expires_at="2099-01-01T00:00:00Z")
    move(app, "k", expires_at=ago(seconds=1))
    assert not good(key)
    assert call("GET", "/v0/api_keys/k").json["status"] == "expired"
    assert call("PATCH", "/v0/api_keys/k", json={"expires_at": None}).json["status"] == "active"
    assert good(key)


def test_disabled_comes_before_expired(app: Flask, call: Callable[..., Any], mint: Callable[..., str]) -> None:
    mint("k")
    move(app, "k", expires_at=ago(seconds=1), disabled=True)
    assert call("GET", "/v0/api_keys/k").json["status"] == "disabled"


def test_disabled_and_enabled_act_on_the_next_request(
    call: Callable[..., Any], mint: Callable[..., str], good: Any
) -> None:
    key = mint("k")
    for disabled in (False, True, False, True):
        call("PATCH", "/v0/api_keys/k", json={"disabled": disabled})
        assert good(key) is not disabled


def test_a_rotation_keeps_the_key_and_ends_the_old_secret(
    call: Callable[..., Any], mint: Callable[..., str], good: Any
) -> None:
    old = mint("k", scopes=["a"])
    before = call("GET", "/v0/api_keys/k").json
    response = call("POST", "/v0/api_keys/k/rotate", json={})
    assert response.status_code == 201
    assert list(response.json) == ["api_key", "id", "name"]
    assert (response.json["id"], response.json["name"]) == (before["id"], "k")
    assert call("GET", "/v0/api_keys/k").json == {**before, "hint": f"…{response.json['api_key'][-4:]}"}
    assert good(response.json["api_key"])
    assert not good(old)


def test_in_its_grace_the_old_secret_works_and_says_when_it_ends(
    app: Flask, call: Callable[..., Any], mint: Callable[..., str], good: Any
) -> None:
    old = mint("k")
    new = call("POST", "/v0/api_keys/k/rotate", json={"grace_seconds": 3600}).json["api_key"]
    for _ in range(2):
        assert good(old)
        assert good(new)
    ends = call("GET", "/v0/auth", by=old).headers["Keyhook-Key-Expires"]
    assert timedelta(minutes=59) < datetime.fromisoformat(ends) - datetime.now(UTC) <= timedelta(hours=1)
    assert "Keyhook-Key-Expires" not in call("GET", "/v0/auth", by=new).headers
    move(app, "k", previous_until=ago(seconds=1))
    assert not good(old)
    assert good(new)


def test_a_grace_never_outlives_the_key(
    app: Flask, call: Callable[..., Any], mint: Callable[..., str], good: Any
) -> None:
    old = mint("k", expires_at="2099-01-01T00:00:00Z")
    call("POST", "/v0/api_keys/k/rotate", json={"grace_seconds": 3600})
    move(app, "k", expires_at=timestamp(datetime.now(UTC) + timedelta(minutes=5)))
    ends = datetime.fromisoformat(call("GET", "/v0/auth", by=old).headers["Keyhook-Key-Expires"])
    assert ends < datetime.now(UTC) + timedelta(minutes=6)
    move(app, "k", expires_at=ago(seconds=1))
    assert not good(old)


@pytest.mark.parametrize("grace", [0, 60])
def test_a_second_rotation_ends_an_earlier_grace(
    call: Callable[..., Any], mint: Callable[..., str], good: Any, grace: int
) -> None:
    first = mint("k")
    second = call("POST", "/v0/api_keys/k/rotate", json={"grace_seconds": 3600}).json["api_key"]
    third = call("POST", "/v0/api_keys/k/rotate", json={"grace_seconds": grace}).json["api_key"]
    assert not good(first)
    assert good(second) is bool(grace)
    assert good(third)


def test_a_key_can_rotate_itself(call: Callable[..., Any], mint: Callable[..., str], good: Any) -> None:
    old = mint("k", scopes=["a"], expires_at="2099-01-01T00:00:00Z")
    new = call("POST", "/v0/api_keys/k/rotate", json={}, by=old).json["api_key"]
    assert good(new)
    assert not good(old)


def test_a_deleted_key_is_gone_and_its_name_free(call: Callable[..., Any], mint: Callable[..., str], good: Any) -> None:
    old = mint("k")
    response = call("DELETE", "/v0/api_keys/k")
    assert (response.status_code, response.data, "Content-Type" in response.headers) == (204, b"", False)
    assert not good(old)
    assert call("GET", "/v0/api_keys/k").status_code == 404
    new = mint("k")
    assert good(new)
    assert not good(old)


@pytest.fixture
def family(mint: Callable[..., str]) -> dict[str, str]:
    """a minted b, b minted c, c minted d; b minted e; x stands alone and minted y."""
    keys = {"a": mint("a"), "x": mint("x")}
    for parent, child in ("ab", "bc", "cd", "be", "xy"):
        keys[child] = mint(child, by=keys[parent])
    return keys


@pytest.mark.parametrize(
    ("deletions", "left"),
    [
        (["a"], "x b c d e y"),
        (["a?cascade=false"], "x b c d e y"),
        (["a?cascade=true"], "x y"),
        (["b?cascade=true"], "a x y"),
        (["c?cascade=true"], "a x b e y"),
        (["b", "a?cascade=true"], "x y"),
        (["b", "c", "a?cascade=true"], "x y"),
        (["c", "b", "a?cascade=true"], "x y"),
        (["d", "c", "b?cascade=true"], "a x y"),
        (["d", "a?cascade=true"], "x y"),
        (["x?cascade=true"], "a b c d e"),
    ],
)
def test_a_cascade_reaches_all_that_was_minted_through_what_is_gone(
    call: Callable[..., Any], family: dict[str, str], good: Any, deletions: list[str], left: str
) -> None:
    for name in deletions:
        assert call("DELETE", f"/v0/api_keys/{name}").status_code == 204
    assert names(call) == left
    assert {name for name, key in family.items() if good(key)} == set(left.split())


def test_a_name_that_is_used_again_inherits_no_offspring(
    call: Callable[..., Any], mint: Callable[..., str], family: dict[str, str]
) -> None:
    call("DELETE", "/v0/api_keys/a")
    mint("a")
    call("DELETE", "/v0/api_keys/a?cascade=true")
    assert names(call) == "x b c d e y"


def test_nothing_of_a_family_is_left_after_its_cascade(
    call: Callable[..., Any], family: dict[str, str], app: Flask
) -> None:
    for name in ("a", "x"):
        call("DELETE", f"/v0/api_keys/{name}?cascade=true")
    assert links(app) == 0


@pytest.mark.parametrize(
    "order", ["a b c d e x y", "d c e b a x y", "b c d e a x y", "x y b d c e a", "x y b e c?cascade=true a"]
)
def test_nothing_of_a_family_is_left_when_all_are_gone_one_by_one(
    call: Callable[..., Any], family: dict[str, str], app: Flask, order: str
) -> None:
    for name in order.split():
        assert call("DELETE", f"/v0/api_keys/{name}").status_code == 204
    assert links(app) == 0


CHANGES: dict[str, Callable[[TenantKeys], Any]] = {
    "create": lambda keyring: keyring.create(NewKey(name="orphan", scopes=("a",))),
    "update": lambda keyring: keyring.update("target", KeyChanges(description="x")),
    "disable": lambda keyring: keyring.update("target", KeyChanges(disabled=True)),
    "rotate": lambda keyring: keyring.rotate("target"),
    "delete": lambda keyring: keyring.delete("target"),
}
ENDINGS: dict[str, dict[str, Any]] = {
    "disable": {"disabled": True},
    "expire": {"expires_at": "2020-01-01T00:00:00.000000Z"},
    "lower": {"role": "read"},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("ending", [*ENDINGS, "rotate", "delete"])
def test_a_key_that_ends_between_its_check_and_its_change_changes_nothing(
    app: Flask, call: Callable[..., Any], mint: Callable[..., str], good: Any, ending: str, change: str
) -> None:
    """The caller was authenticated; then their key ended; then the transaction of the change began."""
    service = app.extensions["keyhook"]
    target, actor = (
        mint("target", scopes=["a"]),
        service.authenticator.authenticate(mint("actor", scopes=["a"]), lambda: None),
    )
    if ending == "rotate":
        call("POST", "/v0/api_keys/actor/rotate", json={})
    elif ending == "delete":
        call("DELETE", "/v0/api_keys/actor?cascade=true")
    else:
        move(app, "actor", **ENDINGS[ending])
    before = call("GET", "/v0/api_keys").json, call("GET", "/v0/audit").json
    with pytest.raises(InsufficientPermissions if ending == "lower" else AuthenticationFailed):
        CHANGES[change](service.keyring(actor, RequestOrigin()))
    assert (call("GET", "/v0/api_keys").json, call("GET", "/v0/audit").json) == before
    assert good(target)


@pytest.mark.parametrize("change", ["create", "update", "rotate"])
def test_the_limits_are_those_at_the_moment_of_the_change(app: Flask, mint: Callable[..., str], change: str) -> None:
    service = app.extensions["keyhook"]
    mint("target", scopes=["a"])
    actor = service.authenticator.authenticate(mint("actor", scopes=["a"]), lambda: None)
    move(app, "actor", scopes="")
    with pytest.raises(ScopeExceedsCreator):
        CHANGES[change](service.keyring(actor, RequestOrigin()))
