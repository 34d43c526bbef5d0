"""Containment: no key enables a key that a person disabled, or the offspring of a leaked key would."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.rows import move

PERSONS = ("jwt", "cli")
REFUSED = {"required": "jwt", "actual": "api_key"}


@pytest.fixture
def switch(call: Callable[..., Any], mint: Callable[..., str], runner: Any) -> Callable[[str, bool], int]:
    """switch(who, disabled): changes `target` as a person with a JWT, at the terminal, or as a key within limits."""
    mint("offspring", by=mint("target"))
    keys = {"key": mint("a"), "other key": mint("b")}

    def act(who: str, disabled: bool) -> int:
        if who == "cli":
            result = runner.invoke(args=["keys", "disable" if disabled else "enable", "target"])
            return 200 if result.exit_code == 0 else 500
        answer = call("PATCH", "/v0/api_keys/target", json={"disabled": disabled}, by=keys.get(who, ""))
        if answer.status_code == 403:
            assert (answer.json["error_code"], answer.json["details"]) == ("InsufficientPermissions", REFUSED)
        return int(answer.status_code)

    return act


def state(call: Callable[..., Any]) -> tuple[Any, Any]:
    return call("GET", "/v0/api_keys/target").json, call("GET", "/v0/audit").json


@pytest.mark.parametrize("person", PERSONS)
def test_a_key_enables_nothing_that_a_person_disabled(call: Callable[..., Any], switch: Any, person: str) -> None:
    assert switch(person, True) == 200
    before = state(call)
    assert switch("key", False) == 403
    assert state(call) == before
    assert before[0]["status"] == "disabled"


@pytest.mark.parametrize("other", PERSONS)
@pytest.mark.parametrize("person", PERSONS)
def test_any_person_does(call: Callable[..., Any], switch: Any, person: str, other: str) -> None:
    assert switch(person, True) == switch(other, False) == 200
    assert state(call)[0]["status"] == "active"


def test_its_offspring_does_not(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    child = mint("child", by=mint("leaked"))
    call("PATCH", "/v0/api_keys/leaked", json={"disabled": True})
    answer = call("PATCH", "/v0/api_keys/leaked", json={"disabled": False, "description": "x"}, by=child)
    assert (answer.status_code, answer.json["details"]) == (403, REFUSED)
    assert call("GET", "/v0/api_keys/leaked").json["description"] == ""


def test_nor_hears_a_key_of_limits_first(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    mint("big", scopes=["a"])
    call("PATCH", "/v0/api_keys/big", json={"disabled": True})
    answer = call("PATCH", "/v0/api_keys/big", json={"disabled": False}, by=mint("small"))
    assert answer.json["error_code"] == "InsufficientPermissions"


@pytest.mark.parametrize("who", ["key", "other key", *PERSONS])
def test_what_a_key_disabled_whoever_may_enables_again(call: Callable[..., Any], switch: Any, who: str) -> None:
    assert switch("key", True) == switch(who, False) == 200
    assert state(call)[0]["status"] == "active"


@pytest.mark.parametrize("person", PERSONS)
def test_a_person_takes_over_what_a_key_disabled(call: Callable[..., Any], switch: Any, person: str) -> None:
    assert switch("key", True) == switch(person, True) == 200
    entry = state(call)[1][0]
    assert (entry["action"], entry["actor"]["kind"]) == ("key.updated", person)
    assert entry["details"] == {"disabled": {"from": True, "to": True}}
    assert switch("key", False) == 403


@pytest.mark.parametrize("person", PERSONS)
def test_a_key_takes_nothing_over(call: Callable[..., Any], switch: Any, person: str) -> None:
    switch(person, True)
    before = state(call)
    assert switch("key", True) == 200
    assert state(call) == before
    assert switch("key", False) == 403


def test_once_enabled_nothing_of_it_is_left(switch: Any) -> None:
    for who, disabled in (("jwt", True), ("jwt", False), ("key", True), ("other key", False)):
        assert switch(who, disabled) == 200


def test_enabling_what_is_enabled_stays_no_change(call: Callable[..., Any], switch: Any) -> None:
    before = state(call)
    assert switch("key", False) == 200
    assert state(call) == before


def test_who_disabled_a_key_before_that_was_kept_is_unknown_so_keys_enable_it(
    app: Flask, call: Callable[..., Any], switch: Any
) -> None:
    move(app, "target", disabled=True, disabled_by=None)
    before = state(call)
    assert switch("key", True) == 200
    assert state(call) == before
    assert switch("key", False) == 200
    move(app, "target", disabled=True, disabled_by=None)
    assert switch("cli", True) == 200
    assert switch("key", False) == 403


def test_a_rotation_enables_nothing(call: Callable[..., Any], mint: Callable[..., str], switch: Any) -> None:
    switch("jwt", True)
    new = call("POST", "/v0/api_keys/target/rotate", json={}, by=mint("within")).json["api_key"]
    assert call("GET", "/v0/auth", by=new).status_code == 401
    assert switch("key", False) == 403
