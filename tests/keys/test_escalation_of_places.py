"""Nothing escalates: every parent tries to mint, change and rotate every child, by hosts, networks and rates."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.keys.test_escalation import check

Call = Callable[..., Any]
Mint = Callable[..., str]
LOCAL = "127.0.0.0/8"  # from where the tests ask

# What a key may have, and what of it lies within what.
HOSTS: dict[str, list[str]] = {
    "any": [],
    "photos": ["photos.example.com"],
    "one label": ["*.example.com"],
    "two": ["photos.example.com", "wiki.example.com"],
    "deeper": ["*.a.example.com"],
}
WITHIN_HOSTS = {
    "any": {"any", "photos", "one label", "two", "deeper"},
    "photos": {"photos"},
    "one label": {"one label", "photos", "two"},
    "two": {"two", "photos"},
    "deeper": {"deeper"},
}
NETWORKS: dict[str, list[str]] = {
    "any": [],
    "local": [LOCAL],
    "all of 4": ["0.0.0.0/0"],
    "host": ["127.0.0.1/32"],
    "local and 6": [LOCAL, "2001:db8::/32"],
}
WITHIN_NETWORKS = {
    "any": {"any", "local", "all of 4", "host", "local and 6"},
    "local": {"local", "host"},
    "all of 4": {"all of 4", "local", "host"},
    "host": {"host"},
    "local and 6": {"local and 6", "local", "host"},
}
CASES = [
    *[
        ("hosts", HOSTS[actor], HOSTS[wanted], None if wanted in WITHIN_HOSTS[actor] else "HostExceedsCreator")
        for actor in HOSTS
        for wanted in HOSTS
    ],
    *[
        (
            "networks",
            NETWORKS[actor],
            NETWORKS[wanted],
            None if wanted in WITHIN_NETWORKS[actor] else "NetworkExceedsCreator",
        )
        for actor in NETWORKS
        for wanted in NETWORKS
    ],
]


@pytest.mark.parametrize(("member", "has", "wanted", "expected"), CASES)
def test_a_child(call: Call, mint: Mint, member: str, has: list[str], wanted: list[str], expected: str | None) -> None:
    parent = mint("parent", **{member: has})
    check(call("POST", "/v0/api_keys", by=parent, json={"name": "child", member: wanted}), expected, 201)


@pytest.mark.parametrize(("member", "has", "wanted", "expected"), CASES)
def test_a_change_and_a_rotation(
    call: Call, mint: Mint, member: str, has: list[str], wanted: list[str], expected: str | None
) -> None:
    actor = mint("actor", **{member: has})
    mint("target", **{member: wanted})
    check(call("PATCH", "/v0/api_keys/target", by=actor, json={"description": "x"}), expected, 200)
    check(call("PATCH", "/v0/api_keys/target", by=actor, json={member: has}), expected, 200)  # before counts too
    mint("same", **{member: has})
    check(call("PATCH", "/v0/api_keys/same", by=actor, json={member: wanted}), expected, 200)
    mint("again", **{member: wanted})
    check(call("POST", "/v0/api_keys/again/rotate", by=actor, json={}), expected, 201)
    assert call("PATCH", "/v0/api_keys/target", by=actor, json={"disabled": True}).status_code == 200


@pytest.mark.parametrize("member", ["hosts", "networks"])
def test_a_child_takes_what_its_parent_has(call: Call, mint: Mint, member: str) -> None:
    has = {"hosts": ["*.example.com"], "networks": [LOCAL]}[member]
    mint("child", by=mint("parent", **{member: has}))
    assert call("GET", "/v0/api_keys/child").json[member] == has


def test_a_person_may_give_anything(call: Call, mint: Mint) -> None:
    mint("laptop", hosts=["a.com"], networks=[LOCAL])
    changed = call("PATCH", "/v0/api_keys/laptop", json={"hosts": [], "networks": []})
    assert (changed.json["hosts"], changed.json["networks"]) == ([], [])
