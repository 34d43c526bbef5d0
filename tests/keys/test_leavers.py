"""Somebody leaves: all their keys are disabled at once."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskCliRunner

from tests.rows import names

Call = Callable[..., Any]
Mint = Callable[..., str]
OFF = {"disabled": True}


@pytest.fixture
def keys(mint: Mint, token: Callable[..., str]) -> dict[str, str]:
    bob = token(owner="bob")
    first = mint("bob 1", by=bob)
    return {"bob 1": first, "bob 2": mint("bob 2", by=first), "alice": mint("alice")}


def disable(call: Call, owner: str = "bob", **how: Any) -> Any:
    return call("PATCH", f"/v0/api_keys?owner={owner}", **{"json": OFF, **how})


def entries(call: Call) -> list[tuple[str, Any]]:
    found = call("GET", "/v0/audit?action=key.updated").json
    return [(entry["key_name"], entry["details"]) for entry in found]


def test_all_keys_of_the_person_are_disabled_now(keys: dict[str, str], call: Call) -> None:
    response = disable(call)
    assert response.status_code == 200
    assert [(key["name"], key["disabled"], key["status"]) for key in response.json] == [
        ("bob 1", True, "disabled"),
        ("bob 2", True, "disabled"),
    ]
    assert [call("GET", "/v0/auth", by=key).status_code for key in keys.values()] == [401, 401, 200]
    changed = {"disabled": {"from": False, "to": True}}
    assert sorted(entries(call)) == [("bob 1", changed), ("bob 2", changed)]


def test_a_second_time_there_is_nothing_to_do(keys: dict[str, str], call: Call) -> None:
    disable(call)
    assert disable(call).json == []
    assert len(entries(call)) == 2


def test_a_person_takes_over_from_a_key(keys: dict[str, str], call: Call) -> None:
    call("PATCH", "/v0/api_keys/bob%202", by=keys["bob 1"], json=OFF)
    assert len(disable(call).json) == 2
    assert entries(call)[:2] == [
        ("bob 2", {"disabled": {"from": True, "to": True}}),
        ("bob 1", {"disabled": {"from": False, "to": True}}),
    ]
    refused = call("PATCH", "/v0/api_keys/bob%202", by=keys["alice"], json={"disabled": False})
    assert refused.json["error_code"] == "InsufficientPermissions"


def test_another_tenant_is_another_person(keys: dict[str, str], call: Call, token: Callable[..., str]) -> None:
    assert disable(call, by=token(tenant="lab")).json == []
    assert call("GET", "/v0/auth", by=keys["bob 1"]).status_code == 200


@pytest.mark.parametrize("owner", ["carol", "BOB", "%00"])
def test_nobody_of_that_name(keys: dict[str, str], call: Call, owner: str) -> None:
    assert disable(call, owner).json == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v0/api_keys?owner=bob", {"disabled": False}),
        ("/v0/api_keys?owner=bob", {}),
        ("/v0/api_keys?owner=bob", {"disabled": True, "role": "read"}),
        ("/v0/api_keys?owner=bob", {"disabled": 1}),
        ("/v0/api_keys?owner=", OFF),
        ("/v0/api_keys", OFF),
        ("/v0/api_keys?owner=bob&owner=alice", OFF),
    ],
)
def test_nothing_else_can_be_said(keys: dict[str, str], call: Call, path: str, body: Any) -> None:
    assert call("PATCH", path, json=body).json["error_code"] == "ValidationError"
    assert call("GET", "/v0/auth", by=keys["bob 1"]).status_code == 200


def test_only_an_admin_may(keys: dict[str, str], call: Call, token: Callable[..., str]) -> None:
    for credential in (keys["alice"], token(role="write")):
        assert disable(call, by=credential).json["error_code"] == "InsufficientPermissions"


def test_the_command_prints_the_names(keys: dict[str, str], call: Call, runner: FlaskCliRunner) -> None:
    done = runner.invoke(args=["keys", "disable", "--owner", "bob"])
    assert (done.exit_code, done.stdout) == (0, "bob 1\nbob 2\n")
    assert call("GET", "/v0/auth", by=keys["bob 2"]).status_code == 401
    assert names(call) == "bob 1 bob 2 alice"
    assert runner.invoke(args=["keys", "disable"]).exit_code == 2
    assert runner.invoke(args=["keys", "disable", "alice", "--owner", "bob"]).exit_code == 2
