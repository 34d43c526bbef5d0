"""Broken bodies and queries: each is a clear error, and none a 500."""

import io
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.serving import DechunkedInput

from tests.servers import FLASK_RUN, SERVE, Server

LIMIT = 64 * 1024


def padded(size: int) -> bytes:
    body = json.dumps({"name": "laptop", "description": ""}).encode()
    return body + b" " * (size - len(body))


MALFORMED = {
    "not JSON": b"name=laptop",
    "cut short": b'{"name": "lap',
    "trailing": b'{"name": "laptop"} x',
    "array": b'["name"]',
    "string": b'"name"',
    "number": b"1",
    "null": b"null",
    "white space": b"  ",
    "NaN": b'{"name": NaN}',
    "Infinity": b'{"name": Infinity}',
    "-Infinity": b'{"name": -Infinity}',
    "BOM": b'\xef\xbb\xbf{"name": "laptop"}',
    "UTF-16": '{"name": "laptop"}'.encode("utf-16"),
    "Latin-1": '{"name": "größe"}'.encode("latin-1"),
    "raw NUL": b'{"name": "a\x00b"}',
    "NUL after": b'{"name": "laptop"}\x00',
    "lone high surrogate": rb'{"name": "\ud800"}',
    "lone low surrogate": rb'{"name": "\udc00x"}',
    "lone surrogate as a member": rb'{"name": "laptop", "\ud800": 1}',
    "lone surrogate in UTF-8": b'{"name": "\xed\xa0\x80"}',
    "member twice": b'{"name": "laptop", "name": "laptop"}',
    "member twice below": b'{"name": {"a": 1, "a": 2}}',
    "30,000 arrays": b'{"name": ' + b"[" * 30000 + b"]" * 30000 + b"}",
    "10,000 objects": b'{"a":' * 10000 + b"1" + b"}" * 10000,
    "a number of 10,000 digits": b'{"name": ' + b"9" * 10000 + b"}",
    "single quotes": b"{'name': 'laptop'}",
    "comment": b'{"name": "laptop"} // x',
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("PATCH", "/k"), ("POST", "/k/rotate")])
def test_a_malformed_body(
    call: Callable[..., Any], mint: Callable[..., str], method: str, path: str, body: bytes
) -> None:
    mint("k")
    response = call(method, f"/v0/api_keys{path}", data=body, content_type="application/json")
    assert (response.status_code, response.json["error_code"], response.json["details"]) == (400, "MalformedBody", None)


INVALID: list[tuple[dict[str, Any], str]] = [
    ({}, "name"),
    ({"name": None}, "name"),
    ({"name": 1}, "name"),
    ({"name": True}, "name"),
    ({"name": ["a"]}, "name"),
    ({"name": {}}, "name"),
    ({"name": ""}, "name"),
    ({"name": " a"}, "name"),
    ({"name": "a "}, "name"),
    ({"name": " "}, "name"),
    ({"name": "a/b"}, "name"),
    ({"name": "/"}, "name"),
    ({"name": "."}, "name"),
    ({"name": ".."}, "name"),
    ({"name": "a\x00b"}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"name": "a\u200bb"}, "name"),
    ({"name": "a\u00a0b"}, "name"),
    ({"name": "a\u202eb"}, "name"),
    ({"name": "a\ue000"}, "name"),
    ({"name": "a" * 101}, "name"),
    ({"name": "é" * 101}, "name"),
    ({"name": "a" + "\u0301" * 4000 + "\u0323" * 4000}, "name"),
    ({"name": f"kh_{'0' * 32}_{'x' * 43}{'0' * 8}"}, "name"),
    ({"name": "k", "role": "admin"}, "role"),
    ({"name": "k", "role": "Write"}, "role"),
    ({"name": "k", "role": ""}, "role"),
    ({"name": "k", "role": None}, "role"),
    ({"name": "k", "role": ["read"]}, "role"),
    ({"name": "k", "scopes": "a"}, "scopes"),
    ({"name": "k", "scopes": None}, "scopes"),
    ({"name": "k", "scopes": {"a": 1}}, "scopes"),
    ({"name": "k", "scopes": [1]}, "scopes"),
    ({"name": "k", "scopes": [None]}, "scopes"),
    ({"name": "k", "scopes": [""]}, "scopes"),
    ({"name": "k", "scopes": ["a b"]}, "scopes"),
    ({"name": "k", "scopes": ["a,b"]}, "scopes"),
    ({"name": "k", "scopes": ["a\n"]}, "scopes"),
    ({"name": "k", "scopes": [":a"]}, "scopes"),
    ({"name": "k", "scopes": ["ä"]}, "scopes"),
    ({"name": "k", "scopes": ["a" * 65]}, "scopes"),
    ({"name": "k", "scopes": ["a"] * 51}, "scopes"),
    ({"name": "k", "description": None}, "description"),
    ({"name": "k", "description": 5}, "description"),
    ({"name": "k", "description": "\x00"}, "description"),
    ({"name": "k", "description": "for the\x00laptop"}, "description"),
    ({"name": "k", "description": "x" * 501}, "description"),
    ({"name": "k", "expires_at": "tomorrow"}, "expires_at"),
    ({"name": "k", "expires_at": ""}, "expires_at"),
    ({"name": "k", "expires_at": 4102444800}, "expires_at"),
    ({"name": "k", "expires_at": True}, "expires_at"),
    ({"name": "k", "expires_at": "2099-01-01"}, "expires_at"),
    ({"name": "k", "expires_at": "2099-01-01T00:00:00"}, "expires_at"),
    ({"name": "k", "expires_at": "20990101T000000Z"}, "expires_at"),
    ({"name": "k", "expires_at": "2099-W01-1T00:00:00Z"}, "expires_at"),
    ({"name": "k", "expires_at": "2099-02-30T00:00:00Z"}, "expires_at"),
    ({"name": "k", "expires_at": "2099-01-01T24:00:01Z"}, "expires_at"),
    ({"name": "k", "expires_at": "2099-01-01T24:00:00Z"}, "expires_at"),
    ({"name": "k", "expires_at": "2099-01-01T00:00:00+05:60"}, "expires_at"),
    ({"name": "k", "expires_at": "2099-01-01T00:00:00-24:00"}, "expires_at"),
    ({"name": "k", "expires_at": "2099-01-01T00:00:00Z\n"}, "expires_at"),
    ({"name": "k", "expires_at": "２０99-01-01T00:00:00Z"}, "expires_at"),
    ({"name": "k", "expires_at": "9999-12-31T23:59:59-01:00"}, "expires_at"),
    ({"name": "k", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
    ({"name": "k", "expires_at": "0001-01-01T00:00:00+01:00"}, "expires_at"),
    ({"name": "k", "expire_at": "2099-01-01T00:00:00Z"}, "expire_at"),
    ({"name": "k", "owner": "mallory"}, "owner"),
    ({"name": "k", "tenant": "other"}, "tenant"),
    ({"name": "k", "id": "x"}, "id"),
    ({"name": "k", "disabled": False}, "disabled"),
    ({"name": "k", "": 1}, ""),
]


def invalid(response: Any) -> set[str]:
    """The fields of a ValidationError, each with a list of texts."""
    assert (response.status_code, response.json["error_code"]) == (400, "ValidationError")
    for found in response.json["details"].values():
        assert isinstance(found, list)
        assert found
        assert {type(text) for text in found} == {str}
    return set(response.json["details"])


@pytest.mark.parametrize(("body", "field"), INVALID)
def test_an_invalid_member_is_named_and_mints_nothing(
    call: Callable[..., Any], body: dict[str, Any], field: str
) -> None:
    assert field in invalid(call("POST", "/v0/api_keys", json=body))
    assert call("GET", "/v0/api_keys").json == []


def test_the_most_of_everything_is_taken(call: Callable[..., Any]) -> None:
    scopes = [f"{number:02}{'s' * 62}" for number in range(50)]
    most = {"name": "n" * 100, "scopes": scopes, "description": "d" * 500}
    assert call("POST", "/v0/api_keys", json=most).status_code == 201
    shown = call("GET", f"/v0/api_keys/{most['name']}").json
    assert {member: shown[member] for member in most} == most
    rotated = call("POST", f"/v0/api_keys/{most['name']}/rotate", json={"grace_seconds": 2592000})
    assert rotated.status_code == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"grace_seconds": -1}, "grace_seconds"),
        ({"grace_seconds": 2592001}, "grace_seconds"),
        ({"grace_seconds": 1.5}, "grace_seconds"),
        ({"grace_seconds": "60"}, "grace_seconds"),
        ({"grace_seconds": True}, "grace_seconds"),
        ({"grace_seconds": None}, "grace_seconds"),
        ({"grace": 60}, "grace"),
    ],
)
def test_an_invalid_rotation(
    call: Callable[..., Any], mint: Callable[..., str], body: dict[str, Any], field: str
) -> None:
    key = mint("k")
    assert field in invalid(call("POST", "/v0/api_keys/k/rotate", json=body))
    assert call("GET", "/v0/auth", by=key).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"disabled": "true"}, "disabled"),
        ({"disabled": 1}, "disabled"),
        ({"disabled": None}, "disabled"),
        ({"name": None}, "name"),
        ({"role": "admin"}, "role"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expire_at": None}, "expire_at"),
        ({"status": "active"}, "status"),
        ({"owner": "mallory"}, "owner"),
    ],
)
def test_an_invalid_change(
    call: Callable[..., Any], mint: Callable[..., str], body: dict[str, Any], field: str
) -> None:
    mint("k")
    before = call("GET", "/v0/api_keys/k").json
    assert field in invalid(call("PATCH", "/v0/api_keys/k", json=body))
    assert call("GET", "/v0/api_keys/k").json == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v0/api_keys?limit=0"),
        ("GET", "/v0/api_keys?limit=1001"),
        ("GET", "/v0/api_keys?limit=-1"),
        ("GET", "/v0/api_keys?limit="),
        ("GET", "/v0/api_keys?limit=1.0"),
        ("GET", "/v0/api_keys?limit=+1"),
        ("GET", "/v0/api_keys?limit=%201"),
        ("GET", "/v0/api_keys?limit=1_0"),
        ("GET", "/v0/api_keys?limit=%D9%A1"),
        ("GET", "/v0/api_keys?limit=1&limit=2"),
        ("GET", "/v0/api_keys?after=x"),
        ("GET", "/v0/api_keys?after=99999999999999999999"),
        ("GET", "/v0/api_keys?after=9223372036854775808"),
        ("GET", "/v0/api_keys?offset=1"),
        ("GET", "/v0/api_keys/k?limit=1"),
        ("POST", "/v0/api_keys?dry_run=1"),
        ("PATCH", "/v0/api_keys/k?x=1"),
        ("POST", "/v0/api_keys/k/rotate?grace_seconds=1"),
        ("DELETE", "/v0/api_keys/k?casacde=true"),
        ("DELETE", "/v0/api_keys/k?cascade=1"),
        ("DELETE", "/v0/api_keys/k?cascade="),
        ("DELETE", "/v0/api_keys/k?cascade=True"),
        ("DELETE", "/v0/api_keys/k?cascade=false&cascade=true"),
        ("GET", "/v0/audit?limit=0"),
        ("GET", "/v0/audit?limit=1001"),
        ("GET", "/v0/audit?before=x"),
        ("GET", "/v0/audit?before=9223372036854775808"),
        ("GET", "/v0/audit?since=1"),
        ("GET", "/healthz?x=1"),
    ],
)
def test_an_invalid_query_changes_nothing(
    call: Callable[..., Any], mint: Callable[..., str], method: str, path: str
) -> None:
    mint("k")
    body: dict[str, Any] = {"json": {}} if method in ("POST", "PATCH") else {}
    assert invalid(call(method, path, **body))
    assert len(call("GET", "/v0/api_keys").json) == 1


def test_the_largest_cursor_is_the_largest_number_of_a_database(
    call: Callable[..., Any], mint: Callable[..., str]
) -> None:
    mint("k")
    for path, found in (("/v0/api_keys?after", 0), ("/v0/audit?before", 1)):
        answer = call("GET", f"{path}=9223372036854775807")
        assert (answer.status_code, len(answer.json)) == (200, found)


MEDIA: list[tuple[dict[str, str], bytes]] = [
    ({}, b'{"name": "a"}'),
    ({"Content-Type": "text/plain"}, b'{"name": "a"}'),
    ({"Content-Type": "application/x-www-form-urlencoded"}, b"name=a"),
    ({"Content-Type": "application/jsonx"}, b'{"name": "a"}'),
    ({"Content-Type": "application/json-patch+json"}, b'{"name": "a"}'),
    ({"Content-Type": "application/json; charset=latin-1"}, b'{"name": "a"}'),
    ({"Content-Type": "application/json; charset=utf-16"}, b'{"name": "a"}'),
    ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, b"\x1f\x8b\x08"),
    ({"Content-Type": "application/json", "Content-Encoding": "identity"}, b'{"name": "a"}'),
    ({"Content-Type": "application/json"}, b""),
    ({}, b""),
]


@pytest.mark.parametrize(("headers", "body"), MEDIA)
@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("PATCH", "/k"), ("POST", "/k/rotate")])
def test_a_media_type_that_is_not_taken(
    call: Callable[..., Any], mint: Callable[..., str], method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    mint("k")
    response = call(method, f"/v0/api_keys{path}", headers=headers, data=body)
    assert (response.status_code, response.json["error_code"]) == (415, "UnsupportedMediaType")
    assert response.json["details"] is None


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json; charset="UTF-8"',
        "application/json;charset=utf-8; profile=x",
    ],
)
def test_a_media_type_that_is_taken(call: Callable[..., Any], content_type: str) -> None:
    assert call("POST", "/v0/api_keys", data=b'{"name": "a"}', content_type=content_type).status_code == 201


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 201), (LIMIT + 1, 413), (10 * LIMIT, 413)])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_size_of_a_body(call: Callable[..., Any], size: int, status: int, chunked: bool) -> None:
    body = padded(size)
    if chunked:
        sent = {
            "environ_overrides": {"wsgi.input_terminated": True, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": ""}
        }
        response = call("POST", "/v0/api_keys", content_type="application/json", **sent)
    else:
        response = call("POST", "/v0/api_keys", data=body, content_type="application/json")
    assert response.status_code == status
    if status == 413:
        assert response.json == {"message": response.json["message"], "error_code": "PayloadTooLarge", "details": None}


@pytest.mark.parametrize("command", [FLASK_RUN, SERVE], ids=["flask run", "flask serve"])
def test_the_size_of_a_chunked_body_at_a_real_server(serve: Callable[..., Server], command: list[str]) -> None:
    server, headers = serve(command), {"Content-Type": "application/json"}
    answers = [
        server.call("POST", "/v0/api_keys", data=iter([padded(LIMIT + more)]), headers=headers) for more in (1, 0)
    ]
    assert [answer.status_code for answer in answers] == [413, 201]
    assert answers[0].json()["error_code"] == "PayloadTooLarge"


@pytest.mark.parametrize("scopes", [["a b"], ["a", 2, "b b"], [1]])
def test_what_is_wrong_is_a_list_of_texts_for_items_of_a_list_too(call: Callable[..., Any], scopes: list[Any]) -> None:
    assert invalid(call("POST", "/v0/api_keys", json={"name": "x", "scopes": scopes})) == {"scopes"}


def test_too_many_scopes_are_answered_for_once(call: Callable[..., Any]) -> None:
    response = call("POST", "/v0/api_keys", json={"name": "k", "scopes": ["!"] * 10_000})
    assert (response.status_code, len(response.json["details"]["scopes"])) == (400, 1)


def test_a_hundred_thousand_levels_are_too_large_before_they_are_too_deep(call: Callable[..., Any]) -> None:
    response = call("POST", "/v0/api_keys", data=b"[" * 100_000, content_type="application/json")
    assert response.status_code == 413


@pytest.mark.parametrize("chunk", [None, b"20\r\n", b"zz\r\n"])
def test_a_body_that_breaks_off_is_a_bad_request(call: Callable[..., Any], chunk: bytes | None) -> None:
    environ: dict[str, Any] = {"CONTENT_LENGTH": "200", "wsgi.input": io.BytesIO(b'{"name": "cut"}')}
    if chunk:
        chunks: Any = DechunkedInput(io.BytesIO(chunk + b'{"name": "cut"}'))
        environ = {"CONTENT_LENGTH": "", "wsgi.input": chunks, "wsgi.input_terminated": True}
    response = call("POST", "/v0/api_keys", content_type="application/json", environ_overrides=environ)
    assert (response.status_code, response.json["error_code"], response.json["details"]) == (400, "BadRequest", None)
    assert call("GET", "/v0/api_keys").json == []


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (FLASK_RUN, [("400", True)] * 3),
        (SERVE, [("", False), ("", False), ("400", True)]),  # which hands on nothing but whole bodies
    ],
    ids=["flask run", "flask serve"],
)
def test_a_body_that_breaks_off_mints_nothing(
    serve: Callable[..., Server], command: list[str], expected: list[tuple[str, bool]]
) -> None:
    """`expected` has the status of each answer, if there is one, and whether the answer is ours."""
    server = serve(command)
    head = f"POST /v0/api_keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token()}\r\n"
    answers = []
    for body in (
        'Content-Length: 200\r\n\r\n{"name": "cut"}',
        'Transfer-Encoding: chunked\r\n\r\n20\r\n{"name": "cut"}',
        'Transfer-Encoding: chunked\r\n\r\nzz\r\n{"name": "cut"}\r\n0\r\n\r\n',
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(f"{head}Content-Type: application/json\r\n{body}".encode())
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(1000), b"")).decode()
        answers.append((answer[9:12], '"error_code": "BadRequest"' in answer))
    assert answers == expected
    assert server.call("GET", "/v0/api_keys").json() == []
    assert "Traceback" not in server.log.read_text()
