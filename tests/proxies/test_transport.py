"""The files in deploy/: HTTP reaches the application as if there were no gate."""

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxies.installed import (
    AND_README,
    HOST,
    Front,
    connected,
    name_of,
    proxied,
    read_final_status,
    read_status,
    read_until,
    tool,
)

pytestmark = pytest.mark.ecosystem

MEGABYTE = 1_000_000
HANDSHAKE = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}
ACCEPT = "ICX+Yqv66kxgM0FcWaLWlFLwTAI="  # for that key, by RFC 6455 section 4.2.2
MASK = b"abcd"


@pytest.fixture(scope="module", params=AND_README, ids=name_of)
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with proxied(request.param, tmp_path_factory.mktemp("proxy")) as front:
        yield front


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_method_and_body_reach_the_application(front: Front, method: str, chunked: bool) -> None:
    key, body = front.key(), b"line\n" * 20_000
    answer = front.ask(key=key, method=method, data=iter([body[:50_000], body[50_000:]]) if chunked else body)
    assert answer.status_code == 200
    assert answer.json()["method"] == method
    assert answer.json()["body"].encode() == body


def test_a_refused_body_gets_the_refusal(front: Front) -> None:
    assert front.ask(method="POST", data=b"x" * 100_000).status_code == 401


@pytest.mark.parametrize("path", ["/up", "/photos/up"])
@pytest.mark.parametrize("header", ["X-API-Key: {}", "Authorization: Bearer {}"])
@pytest.mark.parametrize("megabytes", [2, 20])
def test_curl_uploads_a_large_file(front: Front, tmp_path: Path, megabytes: int, header: str, path: str) -> None:
    """curl sends `Expect: 100-continue` by itself with a body of this size."""
    file = tmp_path / "file"
    file.write_bytes(os.urandom(megabytes * MEGABYTE))
    key = front.key(scopes=["photos:read"])
    url = f"http://127.0.0.1:{front.port}{path}"
    curl = [tool("curl"), "-sSv", "-m", "60", "-T", str(file), "-H", f"Host: {HOST}", "-H", header.format(key), url]
    done = subprocess.run(curl, capture_output=True, text=True, timeout=90)
    assert "> Expect: 100-continue" in done.stderr
    assert "< HTTP/1.1 200" in done.stderr, done.stderr
    assert f'"size": {megabytes * MEGABYTE}' in done.stdout


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(front: Front) -> None:
    headers = {"X-API-Key": front.key(), "Expect": "100-continue", "Content-Length": "6"}
    with connected(front, "PUT", "/up", headers) as connection:
        assert read_status(connection) == 100
        connection.sendall(b"photo\n")
        assert read_final_status(connection) == 200


def test_a_client_without_a_key_is_refused_without_its_body(front: Front) -> None:
    with connected(front, "PUT", "/up", {"Expect": "100-continue", "Content-Length": "6"}) as connection:
        assert read_status(connection) == 401


def test_a_websocket_opens_with_a_key_and_talks(front: Front) -> None:
    with connected(front, "GET", "/socket", {**HANDSHAKE, "X-API-Key": front.key()}) as connection:
        head = read_until(connection, b"\r\n\r\n").decode()
        assert head.startswith("HTTP/1.1 101 ")
        assert f"sec-websocket-accept: {ACCEPT}".lower() in head.lower()
        connection.sendall(b"\x81\x85" + MASK + bytes(byte ^ MASK[place % 4] for place, byte in enumerate(b"photo")))
        assert read_until(connection, b"photo") == b"\x81\x05photo"


@pytest.mark.parametrize("credential", [{}, {"X-API-Key": "kh_nonsense"}], ids=["none", "bad"])
def test_a_websocket_without_a_key_is_a_401(front: Front, credential: dict[str, str]) -> None:
    with connected(front, "GET", "/socket", {**HANDSHAKE, **credential}) as connection:
        assert read_status(connection) == 401


@pytest.mark.parametrize("how", ["events", "plain", "close"])
def test_a_long_answer_comes_as_it_is_made(front: Front, how: str) -> None:
    front.application.seen.clear()
    with connected(front, "GET", f"/events?{how}", {"X-API-Key": front.key()}) as connection:
        assert read_status(connection) == 200
        read_until(connection, b"data: first\r\n")
        front.application.seen.set()
        read_until(connection, b"data: second\r\n")
