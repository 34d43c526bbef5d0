"""Every error of the contract, and its shape under any method and path."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from auth import public
from errors import ExceedsCreator, Forbidden, KeyhookError
from tests.answers import UNAVAILABLE
from tests.outage import take_away
from web.contract import PUBLIC, contract_of

FAR, NEAR = "2099-01-01T00:00:00Z", "2050-01-01T00:00:00Z"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "X"]
PATHS = [
    "/", "/v0", "/v0/", "/v0/api_keys", "/v0/api_keys/", "/v0/api_keys/k", "/v0/api_keys/k/", "/v0/api_keys/k/rotate",
    "/v0/api_keys/k/rotate/x", "/v0//api_keys", "//v0/api_keys", "/v0/audit", "/v0/auth/", "/v0/introspect", "/healthz",
    "/favicon.ico", "/v0/api_keys/%00", "/v0/api_keys/%ff", "/v0/api_keys/a%2Fb", "/v0/api_keys/..", "/v1/x",
]  # fmt: skip

# Every path with a method that it may take and one that none takes; every method by a person and with a bad credential.
ODD_REQUESTS: list[tuple[str, str, str | None]] = [
    *((method, path, None) for path in PATHS for method in ("GET", "PROPFIND")),
    *((method, "/v0/api_keys/k", by) for method in METHODS for by in ("", "bad")),
]


@pytest.mark.parametrize(("method", "path", "by"), ODD_REQUESTS)
def test_nothing_is_html_or_lacks_the_three_members(
    call: Callable[..., Any], method: str, path: str, by: str | None
) -> None:
    response = call(method, path, by=by)
    assert response.status_code < 500
    assert "html" not in response.headers.get("Content-Type", "")
    if response.status_code >= 400 and method != "HEAD":
        assert list(response.json)[-3:] == ["message", "error_code", "details"]
        assert response.json["message"]
    assert response.status_code not in (301, 302, 307, 308)


@pytest.mark.parametrize("path", ["//v0/api_keys", "///healthz", "/v0//api_keys", "/healthz/"])
def test_a_slash_too_many_is_another_path(call: Callable[..., Any], path: str) -> None:
    response = call("GET", "/", environ_overrides={"PATH_INFO": path})
    assert (response.status_code, response.json["error_code"]) == (404, "NotFound")


def test_route_comes_before_method_credential_role_media_type_size_and_body(
    call: Callable[..., Any], mint: Callable[..., str]
) -> None:
    small = mint("small", role="read")
    big = b"x" * (64 * 1024 + 1)
    json = {"Content-Type": "application/json"}

    def refused(method: str, path: str, **kwargs: Any) -> tuple[int, str]:
        response = call(method, path, **kwargs)
        return response.status_code, response.json["error_code"]

    assert refused("PUT", "/v0/nothing", by=None, data=big) == (404, "NotFound")
    assert refused("PUT", "/v0/api_keys", by=None, data=big) == (405, "MethodNotAllowed")
    assert refused("POST", "/v0/api_keys", by=None, data=big) == (401, "AuthenticationFailed")
    assert refused("POST", "/v0/api_keys", by=small, data=big) == (403, "InsufficientPermissions")
    assert refused("POST", "/v0/api_keys", data=big) == (415, "UnsupportedMediaType")
    assert refused("POST", "/v0/api_keys", data=big, headers=json) == (413, "PayloadTooLarge")
    assert refused("POST", "/v0/api_keys", data=big[:100], headers=json) == (400, "MalformedBody")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v0/api_keys", "DELETE, GET, HEAD, PATCH, POST"),
        ("PUT", "/healthz", "GET, HEAD"),
        ("OPTIONS", "/v0/api_keys", "DELETE, GET, HEAD, PATCH, POST"),
        ("POST", "/v0/api_keys/k", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/v0/api_keys/k/rotate", "POST"),
        ("DELETE", "/v0/audit", "GET, HEAD"),
        ("GET", "/v0/introspect", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("POST", "/docs", "GET, HEAD"),
        ("TRACE", "/v0/auth", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
    ],
)
@pytest.mark.parametrize("by", [None, ""], ids=["nobody", "a person"])
def test_a_wrong_method_is_told_the_right_ones(
    call: Callable[..., Any], method: str, path: str, allow: str, by: str | None
) -> None:
    response = call(method, path, by=by)
    assert (response.status_code, response.headers["Allow"]) == (405, allow)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("DELETE", "?cascade=true"), ("POST", "/rotate")],
)
def test_an_unknown_key_is_a_404_with_the_name_of_the_path(call: Callable[..., Any], method: str, path: str) -> None:
    body = {"json": {"disabled": True} if method == "PATCH" else {}} if method in ("PATCH", "POST") else {}
    response = call(method, f"/v0/api_keys/no%20such%20%C3%A9{path}", **body)
    assert (response.status_code, response.json["error_code"]) == (404, "UnknownApiKey")
    assert response.json["details"] == {"name": "no such é"}


@pytest.mark.parametrize("role", ["read", "write"])
@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("POST", "/v0/api_keys", "write"),
        ("PATCH", "/v0/api_keys/k", "write"),
        ("DELETE", "/v0/api_keys/k", "write"),
        ("POST", "/v0/api_keys/k/rotate", "write"),
        ("GET", "/v0/audit", "admin"),
    ],
)
@pytest.mark.parametrize("kind", ["key", "token"])
def test_a_role_that_is_too_low(
    call: Callable[..., Any],
    mint: Callable[..., str],
    token: Callable[..., str],
    role: str,
    method: str,
    path: str,
    needed: str,
    kind: str,
) -> None:
    caller = mint("caller", role=role) if kind == "key" else token(role=role)
    response = call(method, path, by=caller, json={} if method in ("POST", "PATCH") else None)
    if role == needed:  # let through to the next check: no such key, or a body that lacks its name
        assert response.status_code in (400, 404)
    else:
        assert (response.status_code, response.json["error_code"]) == (403, "InsufficientPermissions")
        assert response.json["details"] == {"required": needed, "actual": role}


@pytest.mark.parametrize("path", ["/v0/api_keys", "/v0/api_keys/caller"])
def test_the_read_role_lists_and_shows(call: Callable[..., Any], mint: Callable[..., str], path: str) -> None:
    assert call("GET", path, by=mint("caller", role="read")).status_code == 200


def test_limits_are_told_with_what_was_asked_and_what_there_is(
    call: Callable[..., Any], mint: Callable[..., str]
) -> None:
    parent = mint("parent", scopes=["a"], expires_at=NEAR)
    response = call("POST", "/v0/api_keys", by=parent, json={"name": "x", "scopes": ["a", "b"]})
    assert (response.status_code, response.json["error_code"]) == (403, "ScopeExceedsCreator")
    assert response.json["details"] == {"requested": ["a", "b"], "creator": ["a"]}
    response = call("POST", "/v0/api_keys", by=parent, json={"name": "x", "expires_at": FAR})
    assert (response.status_code, response.json["error_code"]) == (403, "ExpiryExceedsCreator")
    assert response.json["details"] == {"requested": FAR, "creator": NEAR}


def test_a_fault_of_ours_is_logged_with_its_trace_and_told_to_nobody(
    app: Flask, call: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/crash")
    @public
    def crash() -> str:
        raise RuntimeError("the inner workings")

    logging.getLogger("keyhook").propagate = True
    response = call("GET", "/crash")
    assert (response.status_code, response.json["error_code"]) == (500, "InternalServerError")
    assert "inner workings" not in response.text
    assert response.json["details"] is None
    assert "inner workings" in caplog.text


NEEDS_THE_DATABASE: list[tuple[str, str, Callable[[str], dict[str, Any]]]] = [
    ("GET", "/v0/api_keys", lambda key: {}),
    ("POST", "/v0/api_keys", lambda key: {"json": {"name": "new"}}),
    ("GET", "/v0/api_keys/k", lambda key: {}),
    ("PATCH", "/v0/api_keys/k", lambda key: {"json": {"disabled": True}}),
    ("DELETE", "/v0/api_keys/k", lambda key: {}),
    ("POST", "/v0/api_keys/k/rotate", lambda key: {"json": {}}),
    ("GET", "/v0/audit", lambda key: {}),
    ("GET", "/v0/auth", lambda key: {"by": key}),
    ("POST", "/v0/introspect", lambda key: {"data": {"token": key}}),
    ("GET", "/healthz", lambda key: {"by": None}),
]


@pytest.mark.parametrize(("method", "path", "more"), NEEDS_THE_DATABASE)
def test_without_its_database_it_says_when_to_come_back_and_nothing_else(
    call: Callable[..., Any],
    mint: Callable[..., str],
    data_dir: Path,
    method: str,
    path: str,
    more: Callable[[str], dict[str, Any]],
) -> None:
    key = mint("k")
    take_away(data_dir)
    response = call(method, path, **more(key))
    assert response.status_code == 503
    assert response.json == UNAVAILABLE
    assert re.fullmatch("[1-9][0-9]*", response.headers["Retry-After"])  # seconds (RFC 9110 section 10.2.3)


def test_a_route_that_states_no_access_is_refused(app: Flask, call: Callable[..., Any]) -> None:
    app.add_url_rule("/open", view_func=lambda: "secrets")
    response = call("GET", "/open")
    assert (response.status_code, response.json["error_code"]) == (500, "InternalServerError")


def test_every_route_states_its_access(app: Flask) -> None:
    contracts = {rule.rule: contract_of(app.view_functions[rule.endpoint]) for rule in app.url_map.iter_rules()}
    stated = {path: terms and terms.access for path, terms in contracts.items()}
    assert stated
    assert set(stated.values()) <= {PUBLIC, "read", "write", "admin"}
    assert {path for path, access in stated.items() if access == PUBLIC} <= {
        "/healthz", "/v0/auth", "/v0/revoke", "/openapi.json", "/docs", "/docs/<path:file>", "/",
        "/console", "/console/",
        "/console/sign-in", "/console/sign-out", "/console/login", "/console/callback", "/console/logout",
        "/console/theme", "/console/static/<file>", "/console/<path:nothing>",
    }  # fmt: skip


def family(kind: type[KeyhookError]) -> list[type[KeyhookError]]:
    return [kind, *(error for child in kind.__subclasses__() for error in family(child))]


def test_every_error_has_a_code_in_camel_case_and_a_message() -> None:
    for error in family(KeyhookError)[1:]:
        assert error.code()[0].isupper()
        assert "_" not in error.code()
        assert error.message


def test_every_error_has_an_example_of_its_own() -> None:
    for error in set(family(KeyhookError)) - {Forbidden, ExceedsCreator}:  # which are bases alone
        example = error.example()
        assert type(example) is error
        assert example.body()["error_code"] == error.code()
