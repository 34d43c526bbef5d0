"""/v0/auth: every promise to a reverse proxy."""

import json
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from formats.api_key import write_key
from tests.rows import ago, move
from tests.servers import FLASK_RUN, SERVE, Server

IDENTITY = ("Remote-User", "Remote-Groups", "Keyhook-Key-Id", "Keyhook-Key-Name", "Keyhook-Role", "Keyhook-Tenant")
CHALLENGE = 'Bearer realm="keyhook"'
UNKNOWN_KEY = "kh_00000000000000000000000000000000_" + "0" * 43 + "9a0ff1bc"
ANY_METHOD = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
    "PROPFIND", "MKCOL", "REPORT", "SEARCH", "QUERY", "PURGE", "M-SEARCH", "BREW",
]  # fmt: skip

Call = Callable[..., Any]


def refusal(response: Any) -> dict[str, Any]:
    """The body of an error, with its three members. No header may tell who the caller is."""
    assert response.mimetype == "application/json"
    assert set(response.json) == {"message", "error_code", "details"}
    assert [header for header in IDENTITY if header in response.headers] == []
    return dict(response.json)


# Methods


@pytest.mark.parametrize("method", ANY_METHOD)
def test_any_method_asks_and_any_method_is_refused(call: Call, mint: Call, method: str) -> None:
    assert call(method, "/v0/auth", by=mint()).status_code == 200
    assert call(method, "/v0/auth", by=None).status_code == 401


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
@pytest.mark.parametrize("by", ["", None], ids=["with credential", "without"])
def test_connect_and_trace_are_405_before_any_credential_is_read(call: Call, method: str, by: str | None) -> None:
    answer = call(method, "/v0/auth", by=by)
    assert answer.status_code == 405
    assert refusal(answer)["error_code"] == "MethodNotAllowed"
    assert refusal(answer)["details"] is None
    assert {"GET", "HEAD", "POST"} <= set(answer.headers["Allow"].split(", "))
    assert not {"CONNECT", "TRACE"} & set(answer.headers["Allow"].split(", "))


def test_head_has_the_headers_and_no_body(call: Call, mint: Call) -> None:
    key = mint(scopes=["a"])
    head, get = call("HEAD", "/v0/auth", by=key), call("GET", "/v0/auth", by=key)
    assert head.data == b""
    assert [head.headers[name] for name in IDENTITY] == [get.headers[name] for name in IDENTITY]


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "text/plain; charset=klingon", "multipart/form-data", "§"]
)
@pytest.mark.parametrize("body", [b"", b"{", b"\xff\x00" * 200_000], ids=["empty", "broken", "large"])
def test_a_body_does_not_matter(call: Call, mint: Call, content_type: str | None, body: bytes) -> None:
    headers = {"Content-Encoding": "br"}
    answer = call("POST", "/v0/auth", by=mint(), data=body, content_type=content_type, headers=headers)
    assert answer.status_code == 200


# Which credential


def test_x_api_key_comes_before_authorization(call: Call, mint: Call) -> None:
    first, second = mint("first"), mint("second")
    answer = call("GET", "/v0/auth", by=second, headers={"X-API-Key": first})
    assert answer.json["key_name"] == "first"


@pytest.mark.parametrize("authorization", ["Basic dTpw", "Bearer an-application-token", "Digest x", "bogus", ""])
def test_the_applications_own_authorization_is_left_alone(call: Call, mint: Call, authorization: str) -> None:
    headers = {"X-API-Key": mint(), "Authorization": authorization}
    assert call("GET", "/v0/auth", by=None, headers=headers).status_code == 200


@pytest.mark.parametrize("empty", ["", " ", "\t "])
def test_an_empty_x_api_key_counts_as_absent(call: Call, mint: Call, empty: str) -> None:
    assert call("GET", "/v0/auth", by=mint(), headers={"X-API-Key": empty}).status_code == 200
    answer = call("GET", "/v0/auth", by=None, headers={"X-API-Key": empty})
    assert answer.headers["WWW-Authenticate"] == CHALLENGE


@pytest.mark.parametrize("bad", ["x", UNKNOWN_KEY, "kh_", "Bearer", "é", "a, b", "x" * 9000, "eyJ.eyJ.x"])
def test_a_bad_x_api_key_is_refused_whatever_else_was_sent(call: Call, mint: Call, bad: str) -> None:
    answer = call("GET", "/v0/auth", by=mint(), headers={"X-API-Key": bad})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_two_x_api_keys_are_none(client: FlaskClient, mint: Call) -> None:
    key = mint()
    assert client.get("/v0/auth", headers=[("X-API-Key", key), ("X-API-Key", key)]).status_code == 401


def test_a_jwt_may_come_in_x_api_key(call: Call, token: Call) -> None:
    assert call("GET", "/v0/auth", by=None, headers={"X-API-Key": token()}).json["kind"] == "jwt"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v0/api_keys"),
        ("POST", "/v0/api_keys"),
        ("GET", "/v0/api_keys/laptop"),
        ("PATCH", "/v0/api_keys/laptop"),
        ("DELETE", "/v0/api_keys/laptop"),
        ("POST", "/v0/api_keys/laptop/rotate"),
        ("GET", "/v0/audit"),
        ("POST", "/v0/introspect"),
    ],
)
def test_x_api_key_means_nothing_elsewhere(call: Call, mint: Call, token: Call, method: str, path: str) -> None:
    good = mint()
    for credential in (good, token()):
        answer = call(method, path, by=None, headers={"X-API-Key": credential})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == CHALLENGE
    assert call("GET", "/v0/api_keys", by=good, headers={"X-API-Key": "bad"}).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  "])
def test_the_scheme_is_read_in_any_case(call: Call, mint: Call, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {mint()}"}
    assert call("GET", "/v0/auth", by=None, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "value",
    ["Digest {}", "Negotiate {}", "{}", "Bearer{}", "Tokens {}", "Api-Key {}", "Bearer\t{}", "Bearer", "Bearer "],
)
def test_no_other_scheme_is_read(call: Call, mint: Call, value: str) -> None:
    answer = call("GET", "/v0/auth", by=None, headers={"Authorization": value.format(mint())})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == CHALLENGE


@pytest.mark.parametrize("place", ["?access_token={}", "?api_key={}", "?token={}", "?X-API-Key={}"])
def test_a_credential_in_the_query_is_none(call: Call, mint: Call, place: str) -> None:
    assert call("GET", "/v0/auth" + place.format(mint()), by=None).status_code == 403


def test_a_credential_in_the_body_or_a_cookie_is_none(call: Call, mint: Call) -> None:
    key = mint()
    assert call("POST", "/v0/auth", by=None, data={"access_token": key}).status_code == 401
    assert call("GET", "/v0/auth", by=None, headers={"Cookie": f"X-API-Key={key}; token={key}"}).status_code == 401


# Scopes and roles


@pytest.mark.parametrize(
    ("query", "missing"),
    [
        ("", None),
        ("?", None),
        ("?scope=a", None),
        ("?scope=a&scope=b:c/d.e_f-g", None),
        ("?scope=b%3Ac%2Fd.e_f-g", None),
        ("?scope=a&scope=a", None),
        ("?scope=x", ["x"]),
        ("?scope=a&scope=x&scope=y", ["x", "y"]),
        ("?scope=A", ["A"]),
        ("?scope=", [""]),
        ("?scope", [""]),
        ("?scope=a%20b:c/d.e_f-g", ["a b:c/d.e_f-g"]),
        ("?scope=a,b:c/d.e_f-g", ["a,b:c/d.e_f-g"]),
        ("?scope=a%0A", ["a\n"]),
        ("?scope=%2A", ["*"]),
    ],
)
def test_every_scope_that_is_asked_for_is_needed(call: Call, mint: Call, query: str, missing: list[str] | None) -> None:
    answer = call("GET", f"/v0/auth{query}", by=mint(scopes=["a", "b:c/d.e_f-g"]))
    if missing is None:
        assert answer.status_code == 200
        return
    assert answer.status_code == 403
    body = refusal(answer)
    assert body["error_code"] == "InsufficientScope"
    assert set(body["details"]) == {"required", "missing"}
    assert body["details"]["missing"] == missing
    assert set(missing) <= set(body["details"]["required"])
    assert answer.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="insufficient_scope"'


@pytest.mark.parametrize("role", ["read", "write", "admin"])
def test_a_person_has_no_scopes(call: Call, token: Call, role: str) -> None:
    answer = call("GET", "/v0/auth?scope=a", by=token(role=role))
    assert answer.status_code == 403
    assert refusal(answer)["details"] == {"required": ["a"], "missing": ["a"]}


@pytest.mark.parametrize("actual", ["read", "write", "admin"])
@pytest.mark.parametrize("required", ["read", "write", "admin"])
def test_a_role_is_a_least_role(call: Call, token: Call, actual: str, required: str) -> None:
    answer = call("GET", f"/v0/auth?role={required}", by=token(role=actual))
    order = ["read", "write", "admin"]
    if order.index(actual) >= order.index(required):
        assert answer.status_code == 200
        return
    assert answer.status_code == 403
    assert refusal(answer)["error_code"] == "InsufficientPermissions"
    assert answer.json["details"] == {"required": required, "actual": actual}
    assert answer.headers["WWW-Authenticate"].startswith(f'{CHALLENGE}, error="insufficient_scope"')


@pytest.mark.parametrize(
    "role", ["", "root", "Read", "read ", "write,read", "%00", "é", "x" * 5000, "%FF", "%ED%A0%80"]
)
def test_a_role_that_nobody_knows_is_one_that_nobody_has(call: Call, role: str) -> None:
    assert call("GET", f"/v0/auth?role={role}").status_code == 403


def test_every_role_that_is_asked_for_is_needed(call: Call, mint: Call) -> None:
    key = mint(role="read")
    assert call("GET", "/v0/auth?role=read&role=write", by=key).status_code == 403
    assert call("GET", "/v0/auth?role=write&role=read", by=key).status_code == 403


STRANGE = [
    "?scope=%FF", "?scope=%", "?scope=%ED%A0%80", "?%FF=1", "?&&&", "?=", "?scope[]=a", "?role=%00&scope=%00",
    "?a=b;scope=x", "?unknown=1", "?" + "scope=a&" * 2000, "?scope=" + "x" * 5000, "?role=read&role=read",
]  # fmt: skip


@pytest.mark.parametrize("query", STRANGE, ids=lambda query: query[:24])
@pytest.mark.parametrize("by", ["good", "jwt", "bad", "none"])
def test_nothing_that_is_asked_gets_another_answer_than_200_401_or_403(
    call: Call, mint: Call, query: str, by: str
) -> None:
    credential = {"good": mint(scopes=["a"]), "jwt": "", "bad": "bad", "none": None}[by]
    allowed = {200, 403} if by in ("good", "jwt") else {401, 403}
    assert call("GET", f"/v0/auth{query}", by=credential).status_code in allowed


@pytest.mark.parametrize("raw", ["\xff", "\xc3\xa9", "\xed\xa0\x80", "a\x80"])
@pytest.mark.parametrize(("parameter", "status"), [("scope", 403), ("role", 403), ("tenant", 403), ("other", 403)])
def test_bytes_in_the_query_that_are_no_ascii_are_a_refusal(
    call: Call, mint: Call, raw: str, parameter: str, status: int
) -> None:
    # A server hands the bytes on as Latin-1 (PEP 3333).
    environ = {"QUERY_STRING": f"{parameter}={raw}"}
    assert call("GET", "/v0/auth", by=mint(), environ_overrides=environ).status_code == status


@pytest.mark.parametrize("parameter", ["scope", "role"])
def test_a_credential_in_the_query_is_not_echoed(call: Call, mint: Call, token: Call, parameter: str) -> None:
    key = mint()
    for secret in (key, token(), key[:-8], f"prefix{key}suffix"):
        answer = call("GET", "/v0/auth", by=key, query_string={parameter: secret})
        assert answer.status_code == 403
        assert key[36:60] not in answer.text + str(answer.headers)
        assert secret not in answer.text + str(answer.headers)


# What it says


def test_the_body_says_who_a_key_is(call: Call, mint: Call) -> None:
    expires = "2099-01-02T03:04:05Z"
    key = mint("laptop", scopes=["b", "a"], role="read", expires_at=expires)
    shown = call("GET", "/v0/api_keys/laptop").json
    answer = call("GET", "/v0/auth", by=key)
    assert answer.mimetype == "application/json"
    assert answer.json == {
        "kind": "api_key",
        "tenant": "default",
        "owner": "alice",
        "role": "read",
        "scopes": ["b", "a"],
        "key_id": shown["id"],
        "key_name": "laptop",
        "expires_at": expires,
    }


def test_the_body_says_who_a_person_is(call: Call, token: Call) -> None:
    body = call("GET", "/v0/auth", by=token(role="write", tenant="lab", owner="bob", lifetime=600)).json
    until = datetime.fromisoformat(body.pop("expires_at")) - datetime.now(UTC)
    assert timedelta(seconds=590) < until <= timedelta(seconds=600)
    assert body == {
        "kind": "jwt",
        "tenant": "lab",
        "owner": "bob",
        "role": "write",
        "scopes": [],
        "key_id": None,
        "key_name": None,
    }


def test_all_six_headers_are_there_for_a_key(call: Call, mint: Call, token: Call) -> None:
    key = mint("laptop", by=token(tenant="lab", owner="bob"), scopes=["b", "a:x"])
    answer = call("GET", "/v0/auth", by=key)
    assert [answer.headers.getlist(name) for name in IDENTITY] == [
        ["bob"], ["b,a:x"], [answer.json["key_id"]], ["laptop"], ["write"], ["lab"],
    ]  # fmt: skip


def test_all_six_headers_are_there_for_a_person_and_empty_where_there_is_nothing(call: Call) -> None:
    answer = call("GET", "/v0/auth")
    assert [answer.headers.getlist(name) for name in IDENTITY] == [["alice"], [""], [""], [""], ["admin"], ["default"]]


def test_a_key_without_scopes_has_no_groups(call: Call, mint: Call) -> None:
    assert call("GET", "/v0/auth", by=mint()).headers.getlist("Remote-Groups") == [""]


@pytest.mark.parametrize(
    ("owner", "sent"), [(" alice", "%20alice"), ("alice  ", "alice%20%20"), (" ", "%20"), ("a b", "a b")]
)
def test_spaces_that_http_would_trim_are_encoded(call: Call, token: Call, owner: str, sent: str) -> None:
    answer = call("GET", "/v0/auth", by=token(owner=owner))
    assert answer.headers["Remote-User"] == sent


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("Küche", "K%C3%BCche"),
        ("100%", "100%25"),
        ("%41", "%2541"),
        ("鍵🔑", "%E9%8D%B5%F0%9F%94%91"),
        ("a b,c;d=\"e\"'f'\\<g>~", "a b,c;d=\"e\"'f'\\<g>~"),
    ],
)
def test_a_name_outside_printable_ascii_is_percent_encoded(call: Call, mint: Call, name: str, encoded: str) -> None:
    answer = call("GET", "/v0/auth", by=mint(name))
    assert answer.headers["Keyhook-Key-Name"] == encoded
    assert answer.json["key_name"] == name


@pytest.mark.parametrize(
    "character", ["\n", "\r", "\1", "\t", "\x1b", "\x7f", "\x80", "\xa0", "\u2028", "\U0010ffff", "%"]
)
def test_no_character_of_an_owner_breaks_a_header(call: Call, mint: Call, token: Call, character: str) -> None:
    owner = f"bob{character}Remote-Groups: admin"
    encoded = "".join(f"%{byte:02X}" for byte in character.encode())
    for credential in (token(owner=owner, tenant=owner), mint(by=token(owner=owner, tenant=owner))):
        answer = call("GET", "/v0/auth", by=credential)
        assert answer.headers["Remote-User"] == answer.headers["Keyhook-Tenant"] == f"bob{encoded}Remote-Groups: admin"
        assert answer.headers["Remote-Groups"] == ""
        assert answer.json["owner"] == owner


# When a key ends


def test_the_holder_of_a_key_that_will_end_learns_when(call: Call, mint: Call) -> None:
    key = mint(expires_at="2099-01-02T04:04:05.25+01:00")
    for query, status in {"": 200, "?scope=x": 403, "?role=admin": 403}.items():
        answer = call("GET", f"/v0/auth{query}", by=key)
        assert answer.status_code == status
        expires = datetime.fromisoformat(answer.headers["Keyhook-Key-Expires"])
        assert expires == datetime(2099, 1, 2, 3, 4, 5, 250_000, UTC)
        assert answer.headers["Keyhook-Key-Expires"].endswith("Z")


def test_nobody_else_is_told_of_an_end(call: Call, mint: Call, data_dir: Path) -> None:
    answers = [
        call("GET", f"/v0/auth{query}", by=by)
        for by in (mint("for-ever"), "", None, "bad")
        for query in ("", "?scope=x")
    ]
    ended = mint("ended", expires_at="2099-01-01T00:00:00Z")
    move(data_dir, "ended", expires_at=ago(seconds=1))
    answers.append(call("GET", "/v0/auth", by=ended))
    assert [answer.headers.get("Keyhook-Key-Expires") for answer in answers] == [None] * 9


def test_a_secret_in_its_grace_ends_with_the_grace(call: Call, mint: Call) -> None:
    old = mint("turned", expires_at="2099-01-01T00:00:00Z")
    new = call("POST", "/v0/api_keys/turned/rotate", json={"grace_seconds": 600}).json["api_key"]
    until = datetime.fromisoformat(call("GET", "/v0/auth", by=old).headers["Keyhook-Key-Expires"])
    assert timedelta(seconds=590) < until - datetime.now(UTC) <= timedelta(seconds=600)
    assert call("GET", "/v0/auth", by=new).headers["Keyhook-Key-Expires"] == "2099-01-01T00:00:00Z"


# Refusals


def test_without_a_credential_the_challenge_tells_no_error(call: Call) -> None:
    answer = call("GET", "/v0/auth", by=None)
    assert answer.status_code == 401
    assert refusal(answer)["error_code"] == "AuthenticationFailed"
    assert refusal(answer)["details"] is None
    assert answer.headers.getlist("WWW-Authenticate") == [CHALLENGE]


def wrong_secret(key: str) -> str:
    """A key with the same id, another secret, and a right checksum."""
    return write_key("kh", key[3:35], "0" * 43)


def test_every_bad_key_looks_alike_and_has_a_challenge_of_rfc_6750(call: Call, mint: Call, data_dir: Path) -> None:
    disabled, expired, deleted = mint("disabled"), mint("expired", expires_at="2099-01-01T00:00:00Z"), mint("deleted")
    call("PATCH", "/v0/api_keys/disabled", json={"disabled": True})
    call("DELETE", "/v0/api_keys/deleted")
    move(data_dir, "expired", expires_at=ago(seconds=1))
    bad = [UNKNOWN_KEY, deleted, wrong_secret(disabled), wrong_secret(expired), disabled[:-1], "kh_", "x", "a.b.c"]
    answers = [call("GET", "/v0/auth", by=credential) for credential in bad]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    (challenge,) = {answer.headers["WWW-Authenticate"] for answer in answers}
    assert re.fullmatch(CHALLENGE + r', error="invalid_token", error_description="[ -!#-\[\]-~]+"', challenge)


@pytest.mark.parametrize("state", ["disabled", "expired"])
def test_only_the_holder_of_the_secret_learns_why(call: Call, mint: Call, data_dir: Path, state: str) -> None:
    key = mint("ended")
    if state == "disabled":
        call("PATCH", "/v0/api_keys/ended", json={"disabled": True})
    else:
        move(data_dir, "ended", expires_at=ago(seconds=1))
    told, untold = call("GET", "/v0/auth", by=key), call("GET", "/v0/auth", by=wrong_secret(key))
    assert told.status_code == untold.status_code == 401
    assert state in refusal(told)["message"]
    assert state in told.headers["WWW-Authenticate"]
    assert state not in untold.text + str(untold.headers)


def test_no_answer_of_the_gate_is_kept_by_a_cache(call: Call, mint: Call) -> None:
    for by, query in [(mint(), ""), ("", "?scope=x"), (None, "")]:
        assert call("GET", f"/v0/auth{query}", by=by).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/v0/auth/", "/v0/Auth", "//v0/auth", "/v0/auth/x"])
def test_no_other_path_is_the_gate(call: Call, mint: Call, path: str) -> None:
    answer = call("GET", path, by=mint())
    assert answer.status_code == 404
    assert refusal(answer)["error_code"] == "NotFound"


# Real servers: what they make of a header's name is theirs


def exchange(server: Server, *lines: str, query: str = "") -> tuple[int, bytes]:
    """The status and the body for a raw request."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        head = [f"GET /v0/auth{query} HTTP/1.1", "Host: x", "Connection: close", *lines, "", ""]
        connection.sendall("\r\n".join(head).encode("latin-1"))
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("command", [FLASK_RUN, SERVE], ids=["flask run", "flask serve"])
def test_a_header_with_underscores_is_not_the_one_with_hyphens(
    serve: Callable[..., Server], command: list[str]
) -> None:
    server = serve(command, KEYHOOK_TRUSTED_PROXIES=1)
    good, other = server.mint("good"), server.mint("other")
    for name in ("X_API_Key", "X_Api-Key", "X-API_Key", "X_API_KEY", "HTTP_X_API_KEY", "X.API.Key", "X~API~Key"):
        assert exchange(server, f"{name}: {good}")[0] == 401, name
        status, body = exchange(server, f"{name}: bad", f"X-API-Key: {good}")
        assert (status, json.loads(body)["key_name"]) == (200, "good"), name
        status, body = exchange(server, f"{name}: {other}", f"Authorization: Bearer {good}", f"{name}: {other}")
        assert (status, json.loads(body)["key_name"]) == (200, "good"), name
    for name in (
        "HTTP_AUTHORIZATION",
        "_Authorization",
        "Authorization_",
        "Proxy-Authorization",
        "Proxy_Authorization",
    ):
        assert exchange(server, f"{name}: Bearer {good}")[0] == 401, name
    used = ["X-Forwarded-For: 192.0.2.7", "X_Forwarded_For: 203.0.113.66", f"X-API-Key: {other}"]
    assert exchange(server, *used)[0] == 200
    assert server.call("GET", "/v0/api_keys/other").json()["last_used_ip"] == "192.0.2.7"


@pytest.mark.parametrize("command", [FLASK_RUN, SERVE], ids=["flask run", "flask serve"])
def test_a_real_server_passes_methods_queries_and_bodies_through(
    serve: Callable[..., Server], command: list[str]
) -> None:
    server = serve(command)
    key = server.mint("laptop", scopes=["a"])
    for method in ANY_METHOD:
        assert server.call(method, "/v0/auth?scope=a", by=key, data=b"x" * 100_000).status_code == 200, method
    assert server.call("TRACE", "/v0/auth", by=key).status_code == 405
    assert server.call("GET", "/v0/auth").headers["Remote-Groups"] == ""
    # The recommended server itself refuses such a request line.
    assert exchange(server, f"X-API-Key: {key}", query="?scope=\xff")[0] == (400 if command is SERVE else 403)


ODD = [
    {"Connection": "upgrade", "Upgrade": "websocket"},
    {"Connection": "Upgrade", "Upgrade": "h2c"},
    {"Host": f"{'a' * 70}.example"},
    {"Host": ".."},
    {"Host": "a b"},
]


@pytest.mark.parametrize("headers", ODD)
def test_a_handshake_or_an_odd_host_changes_no_answer(call: Call, mint: Call, headers: dict[str, str]) -> None:
    """A proxy forwards the headers of the request that it asks about."""
    assert call("GET", "/v0/auth", by=mint(), headers=headers).status_code == 200


@pytest.mark.parametrize("headers", ODD)
@pytest.mark.parametrize("path", ["/v0/api_keys", "/healthz"])
def test_elsewhere_a_handshake_or_an_odd_host_is_what_flask_makes_of_it(
    call: Call, token: Call, headers: dict[str, str], path: str
) -> None:
    answer = call("GET", path, headers=headers)
    assert answer.status_code == 200 or answer.json["error_code"] in ("BadRequest", "MethodNotAllowed")
