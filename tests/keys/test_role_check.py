"""A key of role `check` is good at the gate, and does nothing here."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskCliRunner

Call = Callable[..., Any]
ROUTES = [
    ("GET", "/v0/api_keys"),
    ("POST", "/v0/api_keys"),
    ("PATCH", "/v0/api_keys?owner=alice"),
    ("DELETE", "/v0/api_keys?id=0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11"),
    ("GET", "/v0/api_keys/laptop"),
    ("PATCH", "/v0/api_keys/laptop"),
    ("DELETE", "/v0/api_keys/laptop"),
    ("POST", "/v0/api_keys/laptop/rotate"),
    ("GET", "/v0/api_keys/laptop/offspring"),
    ("GET", "/v0/api_keys/laptop/usage"),
    ("GET", "/v0/audit"),
    ("POST", "/v0/introspect"),
]


@pytest.fixture
def key(mint: Callable[..., str]) -> str:
    return mint("laptop", role="check", scopes=["a"])


def test_it_is_good_at_the_gate(call: Call, key: str) -> None:
    answer = call("GET", "/v0/auth?scope=a&role=check", by=key)
    assert (answer.status_code, answer.json["role"], answer.headers["Keyhook-Role"]) == (200, "check", "check")


def test_and_is_described_at_introspection(call: Call, key: str) -> None:
    said = call("POST", "/v0/introspect", data={"token": key}).json
    assert (said["active"], said["role"]) == (True, "check")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_it_may_call_no_other_route(call: Call, key: str, method: str, path: str) -> None:
    body = {"data": {"token": key}} if path == "/v0/introspect" else {"json": {}} if method != "GET" else {}
    answer = call(method, path, by=key, **body)
    assert (answer.status_code, answer.json["error_code"]) == (403, "InsufficientPermissions")
    assert answer.json["details"]["actual"] == "check"


def test_its_holder_may_end_it(call: Call, key: str) -> None:
    assert call("POST", "/v0/revoke", by=None, data={"token": key}).status_code == 200
    assert call("GET", "/v0/auth", by=key).status_code == 401


def test_the_gate_may_ask_for_more(call: Call, key: str) -> None:
    assert call("GET", "/v0/auth?role=read", by=key).json["details"] == {"required": "read", "actual": "check"}


def test_it_is_a_role_of_keys_alone(call: Call, key: str, runner: FlaskCliRunner, token: Callable[..., str]) -> None:
    assert call("GET", "/v0/auth", by=token("check")).status_code == 401
    assert runner.invoke(args=["token", "--role", "check"]).exit_code == 2
    assert runner.invoke(args=["keys", "create", "other", "--role", "check"]).exit_code == 0
    assert call("GET", "/v0/api_keys/other").json["role"] == "check"


def test_a_key_may_be_lowered_to_it(call: Call, mint: Callable[..., str]) -> None:
    key = mint("other")
    assert call("PATCH", "/v0/api_keys/other", by=key, json={"role": "check"}).status_code == 200
    assert call("GET", "/v0/api_keys", by=key).status_code == 403
