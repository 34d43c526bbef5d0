"""A change that names the revision of a key is made only while the key is as it was shown."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from errors import KeyChanged
from identity.principal import Principal, RequestOrigin
from keys.key_fields import KeyChanges
from keys.revision import family_rev, rev
from keys.tenant_keys import TenantKeys
from models import KeyRow

Call = Callable[..., Any]
Mint = Callable[..., str]


@pytest.fixture
def keyring(app: Flask) -> TenantKeys:
    made: TenantKeys = app.extensions["keyhook"].keyring(Principal("jwt", "default", "alice", "admin"), RequestOrigin())
    return made


def family_revision(keyring: TenantKeys, name: str) -> str:
    """As a page shows the family now."""
    root = keyring.get(name)
    return family_rev(root, [row.id for row in keyring.doomed(name, cascade=True) if row.id != root.id])


CHANGES: dict[str, Callable[[TenantKeys, str], object]] = {
    "update": lambda keyring, seen: keyring.update("laptop", KeyChanges(description="mine"), seen),
    "disable": lambda keyring, seen: keyring.update("laptop", KeyChanges(disabled=True), seen),
    "rotate": lambda keyring, seen: keyring.rotate("laptop", if_rev=seen),
    "delete": lambda keyring, seen: keyring.delete("laptop", if_rev=seen),
    "delete by id": lambda keyring, seen: keyring.delete(key_id=keyring.get("laptop").id, if_rev=seen),
}
MEANWHILE: list[tuple[str, str, dict[str, Any]]] = [
    ("PATCH", "/v0/api_keys/laptop", {"description": "changed"}),
    ("PATCH", "/v0/api_keys/laptop", {"scopes": ["photos:read"]}),
    ("PATCH", "/v0/api_keys/laptop", {"role": "read"}),
    ("PATCH", "/v0/api_keys/laptop", {"expires_at": "2099-01-01T00:00:00Z"}),
    ("PATCH", "/v0/api_keys/laptop", {"disabled": True}),
    ("POST", "/v0/api_keys/laptop/rotate", {}),
    ("POST", "/v0/api_keys/laptop/rotate", {"grace_seconds": 60}),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_key_that_is_as_it_was_shown_is_changed_once(
    keyring: TenantKeys, mint: Mint, change: str, call: Call
) -> None:
    mint("laptop")
    seen = rev(keyring.get("laptop"))
    CHANGES[change](keyring, seen)
    before = call("GET", "/v0/audit").json
    if not change.startswith("delete"):
        with pytest.raises(KeyChanged):
            CHANGES[change](keyring, seen)
    assert call("GET", "/v0/audit").json == before
    assert [entry["action"] for entry in before][1:] == ["key.created"]


@pytest.mark.parametrize("change", list(CHANGES))
@pytest.mark.parametrize(("method", "path", "body"), MEANWHILE)
def test_a_key_that_was_changed_meanwhile_is_left_alone(
    keyring: TenantKeys, mint: Mint, call: Call, change: str, method: str, path: str, body: dict[str, Any]
) -> None:
    mint("laptop")
    seen = rev(keyring.get("laptop"))
    assert call(method, path, json=body).status_code < 300
    row, entries = keyring.get("laptop"), call("GET", "/v0/audit").json
    with pytest.raises(KeyChanged) as refusal:
        CHANGES[change](keyring, seen)
    assert (refusal.value.status, refusal.value.code()) == (409, "KeyChanged")
    assert (keyring.get("laptop"), call("GET", "/v0/audit").json) == (row, entries)


@pytest.mark.parametrize("seen", ["", "0" * 16, "\ud800", "\0", "é" * 1000])
def test_what_is_no_revision_changes_nothing(keyring: TenantKeys, mint: Mint, seen: str) -> None:
    mint("laptop")
    row = keyring.get("laptop")
    for change in CHANGES.values():
        with pytest.raises(KeyChanged):
            change(keyring, seen)
    assert keyring.get("laptop") == row


def test_another_key_under_the_name_is_another_revision(keyring: TenantKeys, mint: Mint, call: Call) -> None:
    mint("laptop")
    seen = rev(keyring.get("laptop"))
    assert call("PATCH", "/v0/api_keys/laptop", json={"name": "old laptop"}).status_code < 300
    mint("laptop")
    with pytest.raises(KeyChanged):
        keyring.delete("laptop", if_rev=seen)


def test_a_use_is_no_change(app: Flask, keyring: TenantKeys, mint: Mint, call: Call) -> None:
    key = mint("laptop")
    seen = rev(keyring.get("laptop"))
    assert call("GET", "/v0/auth", by=key).status_code < 300
    app.extensions["keyhook"].keys.last_use.settle()
    assert keyring.get("laptop").last_used_at is not None
    keyring.rotate("laptop", if_rev=seen)


def test_a_cascade_deletes_exactly_the_family_that_was_shown(keyring: TenantKeys, mint: Mint, call: Call) -> None:
    key = mint("laptop")
    child = mint("child", by=key)
    seen = family_revision(keyring, "laptop")
    mint("grandchild", by=child)
    with pytest.raises(KeyChanged):
        keyring.delete("laptop", cascade=True, if_rev=seen)
    with pytest.raises(KeyChanged):  # the revision of the key alone is not that of its family
        keyring.delete("laptop", cascade=True, if_rev=rev(keyring.get("laptop")))
    assert [each["name"] for each in call("GET", "/v0/api_keys").json] == ["laptop", "child", "grandchild"]
    keyring.delete("laptop", cascade=True, if_rev=family_revision(keyring, "laptop"))
    assert call("GET", "/v0/api_keys").json == []


def test_a_key_that_is_gone_has_no_revision(keyring: TenantKeys, mint: Mint) -> None:
    key = mint("laptop")
    mint("child", by=key)
    root, seen = keyring.get("laptop"), family_revision(keyring, "laptop")
    keyring.delete("laptop")
    with pytest.raises(KeyChanged):
        keyring.delete(key_id=root.id, cascade=True, if_rev=seen)
    assert keyring.get("child").name == "child"


def test_both_forms_of_a_flag_are_one_revision(keyring: TenantKeys, mint: Mint) -> None:
    mint("laptop")
    row = keyring.get("laptop")
    assert rev(row) == rev(row._replace(disabled=0)) != rev(row._replace(disabled=True))  # type: ignore[arg-type]
    assert isinstance(row, KeyRow)
