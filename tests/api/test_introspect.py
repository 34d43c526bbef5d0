"""/v0/introspect (RFC 7662): the meaning of a good token, and nothing about any other."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import jwt
import pytest
import requests
from authlib.integrations.flask_oauth2 import ResourceProtector, current_token  # type: ignore[import-untyped]
from authlib.oauth2.rfc7662 import IntrospectTokenValidator  # type: ignore[import-untyped]
from flask import Flask
from flask.testing import FlaskClient

from formats.api_key import write_key
from tests.rows import ago, move
from tests.servers import SERVE, Server
from tests.tokens import claims

Call = Callable[..., Any]
FORM = "application/x-www-form-urlencoded"
INACTIVE = b'{"active": false}'


@pytest.fixture
def ask(call: Call) -> Call:
    """ask(token): the answer, by default to an admin of the tenant `default`."""

    def send(token: str, by: str | None = "", **members: str) -> Any:
        return call("POST", "/v0/introspect", by=by, data={"token": token, **members})

    return send


def inactive(answer: Any) -> bool:
    return bool(answer.status_code == 200 and answer.mimetype == "application/json" and answer.data == INACTIVE)


def seconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp())


# Active


def test_a_key_with_everything_has_every_member(call: Call, mint: Call, ask: Call) -> None:
    key = mint("laptop", scopes=["b:x", "a"], role="read", expires_at="2099-01-02T03:04:05Z")
    shown = call("GET", "/v0/api_keys/laptop").json
    answer = ask(key)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json == {
        "active": True,
        "scope": "b:x a",
        "client_id": shown["id"],
        "username": "alice",
        "token_type": "Bearer",
        "exp": seconds("2099-01-02T03:04:05Z"),
        "iat": seconds(shown["created_at"]),
        "sub": "alice",
        "iss": "keyhook",
        "jti": shown["id"],
        "tenant": "default",
        "role": "read",
        "key_name": "laptop",
    }


def test_members_without_a_value_are_left_out_for_a_plain_key(mint: Call, ask: Call) -> None:
    answer = ask(mint()).json
    assert set(answer) == {
        "active", "client_id", "username", "token_type", "iat", "sub", "iss", "jti", "tenant", "role", "key_name",
    }  # fmt: skip
    assert [type(answer[member]) for member in ("active", "iat")] == [bool, int]


def test_members_without_a_value_are_left_out_for_a_person(token: Call, ask: Call) -> None:
    person = token(role="write", owner="bob", lifetime=600)
    claims = jwt.decode(person, options={"verify_signature": False})
    assert ask(person).json == {
        "active": True,
        "username": "bob",
        "token_type": "Bearer",
        "exp": claims["exp"],
        "iat": claims["iat"],
        "sub": "bob",
        "iss": "keyhook",
        "tenant": "default",
        "role": "write",
    }


@pytest.mark.parametrize("role", ["read", "write", "admin"])
def test_any_role_may_ask(mint: Call, token: Call, ask: Call, role: str) -> None:
    assert ask(mint(), by=token(role=role)).json["active"] is True


def test_a_key_may_ask_about_itself_and_others(mint: Call, ask: Call) -> None:
    reader, other = mint("reader", role="read"), mint("other")
    assert ask(reader, by=reader).json["key_name"] == "reader"
    assert ask(other, by=reader).json["key_name"] == "other"


def test_an_old_secret_is_active_until_its_grace_ends(call: Call, mint: Call, ask: Call, data_dir: Path) -> None:
    old = mint("turned")
    call("POST", "/v0/api_keys/turned/rotate", json={"grace_seconds": 600})
    assert 590 <= ask(old).json["exp"] - datetime.now(UTC).timestamp() <= 600
    move(data_dir, "turned", previous_until=ago(seconds=1))
    assert inactive(ask(old))


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "api_key", ""])
def test_a_hint_is_accepted_and_changes_nothing(mint: Call, ask: Call, hint: str) -> None:
    key = mint()
    assert ask(key, token_type_hint=hint).json == ask(key).json


def test_unknown_form_members_are_ignored(mint: Call, ask: Call) -> None:
    assert ask(mint(), client_id="x", client_secret="y", resource="z").json["active"] is True


def test_the_query_is_no_place_for_a_token(call: Call, mint: Call) -> None:
    answer = call("POST", f"/v0/introspect?token={mint()}", data={"x": "y"})
    assert answer.status_code == 400


# Inactive


@pytest.mark.parametrize(
    "end", ["disabled", "expired", "deleted", "rotated", "wrong secret", "mistyped", "cut", "longer"]
)
def test_a_key_that_is_not_good_is_just_inactive(call: Call, mint: Call, ask: Call, data_dir: Path, end: str) -> None:
    key = mint("ended", expires_at="2099-01-01T00:00:00Z")
    assert ask(key).json["active"] is True
    if end == "disabled":
        call("PATCH", "/v0/api_keys/ended", json={"disabled": True})
    elif end == "expired":
        move(data_dir, "ended", expires_at=ago(seconds=1))
    elif end == "deleted":
        call("DELETE", "/v0/api_keys/ended")
    elif end == "rotated":
        call("POST", "/v0/api_keys/ended/rotate", json={})
    changed = {
        "wrong secret": write_key("kh", key[3:35], "0" * 43),
        "mistyped": key[:40] + ("a" if key[40] != "a" else "b") + key[41:],
        "cut": key[:-1],
        "longer": key + "0",
    }
    answer = ask(changed.get(end, key))
    assert inactive(answer)
    assert "Keyhook-Key-Expires" not in answer.headers


GARBAGE = [
    " ", "  \t", "\n", "\0", "x", "kh_", "kh_x", "_", ".", "..", "...", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "é", "🔑",
    "\ufffd", "null", "[]", "'; DROP TABLE api_keys; --", "Bearer x", "x" * 60_000, "." * 20_000, "kh_" + "0" * 84,
]  # fmt: skip


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda text: ascii(text[:12]))
def test_garbage_is_just_inactive(ask: Call, garbage: str) -> None:
    assert inactive(ask(garbage))


@pytest.mark.parametrize(
    "raw", [b"token=%FF%FE", b"token=\xff", b"token=%", b"token=%ED%A0%80", b"token=+", b"&&token=x&"]
)
def test_bytes_that_are_no_text_are_just_inactive(call: Call, raw: bytes) -> None:
    assert inactive(call("POST", "/v0/introspect", data=raw, content_type=FORM))


CLAIMS: dict[str, dict[str, Any]] = {
    "expired": {"exp": 1},
    "of another issuer": {"iss": "other"},
    "for another audience": {"aud": "other"},
    "from the future": {"iat": 4_000_000_000},
    "without a subject": {"sub": ""},
    "with a role that is none": {"role": "root"},
    "with an empty tenant": {"tenant": ""},
    "of another tenant": {"tenant": "lab"},
}


@pytest.mark.parametrize("fault", CLAIMS)
def test_a_jwt_that_is_not_good_is_just_inactive(app: Flask, ask: Call, fault: str) -> None:
    secret = app.extensions["keyhook"].settings.secret_key
    assert ask(jwt.encode(claims(), secret)).json["active"] is True
    assert inactive(ask(jwt.encode(claims(**CLAIMS[fault]), secret)))


def test_a_jwt_under_another_secret_or_algorithm_is_just_inactive(app: Flask, ask: Call) -> None:
    secret = app.extensions["keyhook"].settings.secret_key
    assert inactive(ask(jwt.encode(claims(), "another secret of thirty-two bytes")))
    assert inactive(ask(jwt.encode(claims(), secret * 2, algorithm="HS512")))
    assert inactive(ask(jwt.encode(claims(), "", algorithm="none")))


def test_a_key_of_another_tenant_is_just_inactive(mint: Call, token: Call, ask: Call) -> None:
    there = token(tenant="lab")
    key = mint("laptop", by=there)
    assert inactive(ask(key))
    assert inactive(ask(key, by=mint("here")))
    assert ask(key, by=there).json["tenant"] == "lab"


# Refusals


@pytest.mark.parametrize("authorization", [None, "Basic dTpw", "Bearer bad", "Bearer kh_"])
def test_without_a_good_credential_of_its_own_nobody_is_told(
    client: FlaskClient, mint: Call, authorization: str | None
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    key = mint()
    for data in ({"token": key}, {}, {"token": "x", "client_id": "a", "client_secret": key}):
        answer: Any = client.post("/v0/introspect", data=data, headers=headers)
        assert answer.status_code == 401
        assert answer.json["error_code"] == "AuthenticationFailed"
        assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="keyhook"')


@pytest.mark.parametrize("body", [b"", b"x=y", b"token_type_hint=access_token", b"Token=x", b"token=", b"token"])
def test_a_missing_token_is_an_invalid_request_beside_the_usual_members(call: Call, body: bytes) -> None:
    answer = call("POST", "/v0/introspect", data=body, content_type=FORM)
    assert answer.status_code == 400
    assert set(answer.json) == {"error", "message", "error_code", "details"}
    assert answer.json["error"] == "invalid_request"
    assert answer.json["error_code"] == "ValidationError"
    assert list(answer.json["details"]) == ["token"]


def test_a_token_that_is_there_twice_is_an_invalid_request(call: Call, mint: Call) -> None:
    key = mint()
    for body in (f"token={key}&token={key}", f"token={key}&token=", f"token={key}&x=1&%74oken=y"):
        answer = call("POST", "/v0/introspect", data=body, content_type=FORM)
        assert answer.status_code == 400
        assert answer.json["error"] == "invalid_request"
        assert key[36:] not in answer.text


def test_a_member_that_is_a_credential_is_not_echoed(call: Call, mint: Call) -> None:
    key = mint()
    answer = call("POST", "/v0/introspect", data=f"{key}=1&{key}=2", content_type=FORM)
    assert answer.status_code == 400
    assert key[36:60] not in answer.text


WRONG_TYPES = [
    None, "application/json", "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded2",
    f"{FORM}; charset=latin-1",
]  # fmt: skip


@pytest.mark.parametrize("content_type", WRONG_TYPES)
def test_another_content_type_is_a_415(call: Call, mint: Call, content_type: str | None) -> None:
    answer = call("POST", "/v0/introspect", data=f"token={mint()}".encode(), content_type=content_type)
    assert answer.status_code == 415
    assert set(answer.json) == {"message", "error_code", "details"}
    assert answer.json["error_code"] == "UnsupportedMediaType"


@pytest.mark.parametrize("content_type", [f"{FORM};charset=UTF-8", FORM.upper(), f'{FORM}; charset="utf-8"'])
def test_the_content_type_is_read_as_http_has_it(call: Call, mint: Call, content_type: str) -> None:
    answer = call("POST", "/v0/introspect", data=f"token={mint()}".encode(), content_type=content_type)
    assert answer.json["active"] is True


def test_a_content_encoding_is_a_415(call: Call, mint: Call) -> None:
    answer = call("POST", "/v0/introspect", data={"token": mint()}, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


def test_a_body_over_64_kib_is_a_413(call: Call) -> None:
    limit = 64 * 1024 - len("token=")
    assert inactive(call("POST", "/v0/introspect", data=b"token=" + b"x" * limit, content_type=FORM))
    answer = call("POST", "/v0/introspect", data=b"token=" + b"x" * (limit + 1), content_type=FORM)
    assert answer.status_code == 413
    assert answer.json["error_code"] == "PayloadTooLarge"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_only_post_asks(call: Call, method: str) -> None:
    answer = call(method, "/v0/introspect", data={"token": "x"})
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"


# Somebody else's client


class Validator(IntrospectTokenValidator):  # type: ignore[misc]
    """The part that Authlib leaves to a resource server."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self._credential = server.mint("resource-server", role="read")

    def introspect_token(self, token_string: str) -> Any:
        answer = self._server.call("POST", "/v0/introspect", by=self._credential, data={"token": token_string})
        answer.raise_for_status()
        return answer.json()


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def resource_server(server: Server) -> Iterator[str]:
    """The address of a small application that Authlib guards."""
    require = ResourceProtector()
    require.register_token_validator(Validator(server))
    application = Flask("photos")

    @application.get("/photos")
    @require("photos:read")  # type: ignore[untyped-decorator]
    def photos() -> dict[str, Any]:
        return {"of": current_token["username"], "by": current_token["key_name"]}

    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/photos"
        finally:
            http.shutdown()
            thread.join()


@pytest.mark.ecosystem
def test_a_resource_server_with_authlib_lets_in_good_keys_alone(serve: Callable[..., Server]) -> None:
    server = serve(SERVE)
    good = server.mint("good", scopes=["photos:read", "music"])
    poor = server.mint("poor", scopes=["music"])
    none = server.mint("none")
    elsewhere = server.mint("elsewhere", by=server.token(tenant="lab"), scopes=["photos:read"])
    with resource_server(server) as url:

        def get(key: str) -> requests.Response:
            return requests.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=20)

        assert get(good).json() == {"of": "alice", "by": "good"}
        assert get(poor).status_code == get(none).status_code == 403
        assert get(poor).json()["error"] == "insufficient_scope"
        assert get(elsewhere).status_code == get("garbage").status_code == 401
        server.call("PATCH", "/v0/api_keys/good", json={"disabled": True})
        assert get(good).status_code == 401
        assert get(good).json()["error"] == "invalid_token"
