"""The headers of every answer: security headers, caching, the request id."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import docs
from observability.request_info import API_POLICY

KEY = "kh_" + "0b8f7a527f554d0c9b0a3f6f0f6f2a11" + "_" + "a" * 43 + "0" * 8
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"

ANSWERS: list[tuple[int, str, str, dict[str, Any]]] = [
    (200, "GET", "/v0/api_keys", {}),
    (200, "GET", "/v0/auth", {}),
    (200, "GET", "/healthz", {"by": None}),
    (200, "GET", "/openapi.json", {"by": None}),
    (200, "HEAD", "/healthz", {"by": None}),
    (201, "POST", "/v0/api_keys", {"json": {"name": "other"}}),
    (204, "DELETE", "/v0/api_keys/laptop", {}),
    (400, "POST", "/v0/api_keys", {"json": []}),
    (401, "GET", "/v0/api_keys", {"by": None}),
    (401, "GET", "/v0/auth", {"by": "x"}),
    (403, "GET", "/v0/auth?scope=x", {}),
    (404, "GET", "/v0/api_keys/nobody", {}),
    (404, "GET", "/nowhere", {"by": None}),
    (405, "PUT", "/healthz", {"by": None}),
    (409, "POST", "/v0/api_keys", {"json": {"name": "laptop"}}),
    (413, "POST", "/v0/api_keys", {"json": {"name": "x" * 70_000}}),
    (415, "POST", "/v0/api_keys", {"data": "x"}),
    (500, "GET", "/broken", {"by": None}),
]


@pytest.fixture(params=ANSWERS, ids=[f"{status}-{method}-{path}" for status, method, path, _ in ANSWERS])
def answer(request: pytest.FixtureRequest, app: Flask, call: Callable[..., Any], mint: Callable[..., str]) -> Any:
    """One answer of each kind, with its expected status."""
    status, method, path, more = request.param
    if path == "/broken":
        app.add_url_rule(path, "broken", lambda: "")  # a route that states no access is a fault
    mint("laptop")
    response = call(method, path, **more)
    assert response.status_code == status
    return response


def test_every_answer_carries_the_security_headers(answer: Any) -> None:
    assert answer.headers["Content-Security-Policy"] == API_POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


def test_every_answer_tells_caches_once_to_keep_nothing(answer: Any) -> None:
    assert answer.headers.get_all("Cache-Control") == ["no-store"]


def test_every_answer_has_an_id_of_its_own(answer: Any) -> None:
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])


def test_every_answer_is_json_or_empty(answer: Any) -> None:
    assert answer.headers.get("Content-Type") == (None if answer.status_code == 204 else "application/json")


def test_no_answer_sets_a_cookie(answer: Any) -> None:
    assert "Set-Cookie" not in answer.headers


def test_a_header_stands_once(answer: Any) -> None:
    names = [name.lower() for name, _ in answer.headers]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("directive", ["default-src 'none'", "frame-ancestors 'none'"])
@pytest.mark.parametrize("path", ["/healthz", "/docs"])
def test_the_policy_forbids(client: FlaskClient, path: str, directive: str) -> None:
    with client.get(path) as response:
        assert directive in response.headers["Content-Security-Policy"].split("; ")


def test_the_page_for_people_has_a_strict_policy_of_its_own(client: FlaskClient) -> None:
    with client.get("/docs") as response:
        policy = response.headers["Content-Security-Policy"]
        assert (response.status_code, response.content_type) == (200, "text/html; charset=utf-8")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
    assert policy == docs.PAGE_POLICY
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_the_page_has_no_inline_script_or_style(client: FlaskClient) -> None:
    with client.get("/docs") as response:
        text = response.get_data(as_text=True)
    assert not re.search(r"<style|<script[^>]*>[^<]|\son\w+=|\sstyle=|javascript:", text)
    assert "//" not in text  # nothing from elsewhere


KEPT = ["a", "A-z.0_9", "0" * 128, "0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11", "...", "kh_short"]
REPLACED = [
    "",
    "0" * 129,
    "a b",
    "a/b",
    "a,b",
    "a;b",
    "å",
    "a\tb",
    "<b>",
    '"',
    "%41",
    KEY,
    f"id-{KEY}",
    KEY[:-9],
    TOKEN,
]


@pytest.mark.parametrize("given", KEPT)
@pytest.mark.parametrize("path", ["/healthz", "/v0/api_keys", "/nowhere"])
def test_the_id_of_a_request_is_kept(client: FlaskClient, path: str, given: str) -> None:
    assert client.get(path, headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", REPLACED)
def test_what_is_no_id_or_a_credential_is_replaced(client: FlaskClient, given: str) -> None:
    answered = client.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", answered)


def test_no_two_requests_have_the_same_new_id(client: FlaskClient) -> None:
    assert len({client.get("/healthz").headers["X-Request-ID"] for _ in range(100)}) == 100


def test_the_id_is_in_the_audit(call: Callable[..., Any]) -> None:
    response = call("POST", "/v0/api_keys", json={"name": "laptop"}, headers={"X-Request-ID": "mine.1"})
    assert response.headers["X-Request-ID"] == "mine.1"
    assert call("GET", "/v0/audit").json[0]["request_id"] == "mine.1"


@pytest.mark.parametrize("path", ["/v0/auth", "/v0/api_keys", "/v0/api_keys/laptop", "/v0/api_keys/nobody"])
@pytest.mark.parametrize("expires_at", ["2099-01-01T00:00:00Z", None])
def test_the_holder_of_a_key_learns_when_it_ends(
    call: Callable[..., Any], mint: Callable[..., str], path: str, expires_at: str | None
) -> None:
    key = mint("laptop", expires_at=expires_at)
    assert call("GET", path, by=key).headers.get("Keyhook-Key-Expires") == expires_at


def test_a_token_is_no_key_that_ends(call: Callable[..., Any]) -> None:
    assert "Keyhook-Key-Expires" not in call("GET", "/v0/api_keys").headers
