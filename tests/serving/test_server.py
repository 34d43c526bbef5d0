"""The recommended server with odd, slow and hostile clients; each test has a real process."""

import json
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from serving.strict_http import HEAD_TIMEOUT, MAX_HEAD
from tests.commands import run
from tests.machine import missing
from tests.raw_http import Connection
from tests.servers import FLASK_RUN, SERVE, Server, running

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("afresh")]

MEGABYTE = b"a" * 1_000_000
BOTH = pytest.mark.parametrize("command", [FLASK_RUN, SERVE], ids=["flask run", "flask serve"])
ERROR_MEMBERS = {"message", "error_code", "details"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("server")
    with running(place / "data", place / "server.log", SERVE) as server:
        yield server


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return server.mint("laptop")


def deleted_files(server: Server) -> list[str]:
    """The deleted files that the process holds open, where a server would store a body."""
    directory = Path(f"/proc/{server.process.pid}/fd")
    return [target for one in directory.iterdir() if "(deleted)" in (target := os.readlink(one))]


@BOTH
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
def test_an_expectation_without_a_body_is_answered_at_once(
    serve: Callable[..., Server], command: list[str], method: str
) -> None:
    server = serve(command)
    key = server.mint("laptop")
    with Connection(server.port) as connection:
        for length in [(), ("Content-Length: 0",)]:
            connection.send(
                f"{method} /v0/auth HTTP/1.1", "Host: x", f"X-API-Key: {key}", "Expect: 100-continue", *length
            )
            answer = connection.answer(head_only=method == "HEAD")
            while answer.status == 100:  # the development server says so to everybody
                answer = connection.answer(head_only=method == "HEAD")
            assert (answer.status, answer.headers["keyhook-key-name"]) == (200, "laptop")
            if command is FLASK_RUN:
                return  # it closes each connection


def test_the_next_request_after_an_expectation_is_its_own(server: Server, key: str) -> None:
    with Connection(server.port) as connection:
        connection.send("GET /v0/auth HTTP/1.1", "Host: x", f"X-API-Key: {key}", "Expect: 100-continue")
        assert connection.answer().status == 200
        connection.send("GET /v0/auth HTTP/1.1", "Host: x")
        assert connection.answer().status == 401
    with Connection(server.port) as connection:  # sent before the first is answered
        connection.send("GET /v0/auth HTTP/1.1", "Host: x", f"X-API-Key: {key}", "Expect: 100-continue")
        connection.send("GET /v0/auth HTTP/1.1", "Host: x", "Expect: 100-continue")
        assert [connection.answer().status, connection.answer().status] == [200, 401]


def test_an_expectation_with_a_body_is_met(server: Server) -> None:
    body = b'{"name": "patient"}'
    head = ("POST /v0/api_keys HTTP/1.1", "Host: x", f"Authorization: Bearer {server.token()}")
    framing = {"Content-Length: 19": body, "Transfer-Encoding: chunked": b"13\r\n" + body + b"\r\n0\r\n\r\n"}
    with Connection(server.port) as connection:
        for status, (how, sent) in zip((201, 409), framing.items(), strict=True):
            connection.send(*head, "Content-Type: application/json", how, "Expect: 100-continue")
            assert connection.answer().status == 100
            connection.socket.sendall(sent)
            assert connection.answer().status == status
        connection.send(
            *head, "Content-Type: application/json", "Content-Length: 19", "Expect: 100-continue", body=body
        )
        assert [connection.answer().status, connection.answer().status] == [100, 409]


def test_a_body_that_is_too_large_is_not_asked_for(server: Server) -> None:
    """The client is told before it sends a byte."""
    with Connection(server.port) as connection:
        connection.send(
            "POST /v0/api_keys HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {server.token()}",
            "Content-Type: application/json",
            "Content-Length: 65537",
            "Expect: 100-continue",
        )
        answer = connection.answer()
        assert (answer.status, json.loads(answer.body)["error_code"]) == (413, "PayloadTooLarge")
        assert answer.headers["connection"] == "close"
        assert connection.is_closed()


BROKEN = {
    "CR at the end": "{header}: {key}\r",
    "LF at the end": "{header}: {key}\n",
    "CR inside": "{header}: {key}\rX-Request-ID: a",
    "LF inside": "{header}: {key}\nX-Request-ID: a",
    "NUL": "{header}: {key}\0",
    "no colon": "{key}",
    "folded": "X-Note: a\r\n {key}",
    "folded with a tab": "{header}:\r\n\t{key}",
    "a space before the colon": "{header} : {key}",
    "no name": ": {key}",
    "the length is a key": "Content-Length: {key}",
    "the coding is a key": "Transfer-Encoding: {key}",
    "a length of 5,000 digits": "Content-Length: " + "9" * 5000,
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
def test_a_broken_header_is_refused_and_repeated_nowhere(server: Server, key: str, line: str, header: str) -> None:
    credential = key if header == "X-API-Key" else f"Bearer {key}"
    with Connection(server.port) as connection:
        connection.send("GET /v0/auth HTTP/1.1", "Host: x", line.format(header=header, key=credential))
        answer = connection.answer()
        assert answer.status == (501 if "coding" in line else 400)
        assert connection.is_closed()
    assert key[-50:] not in answer.body.decode() + str(answer.headers)
    assert json.loads(answer.body).keys() == ERROR_MEMBERS
    [written] = [line for line in server.log.read_text().splitlines() if answer.headers["x-request-id"] in line]
    assert f" {answer.status} ip=127.0.0.1 " in written
    assert key[-50:] not in server.log.read_text()


@pytest.mark.parametrize(
    "line",
    [
        "get{key} /v0/auth HTTP/1.1",
        "{key} /v0/auth HTTP/1.1",
        "GET /v0/auth {key} HTTP/1.1",
        "GET http://[{key} HTTP/1.1",
        "GET /{key}\x00 HTTP/1.1 x",
        "GET /v0/auth\r HTTP/{key}",
        " GET /{key} HTTP/1.1 ",
    ],
)
def test_a_broken_request_line_is_repeated_nowhere(server: Server, key: str, line: str) -> None:
    with Connection(server.port) as connection:
        connection.send(line.format(key=key), "Host: x")
        answer = connection.answer()
    assert 400 <= answer.status < 500
    assert key[-50:] not in answer.body.decode() + str(answer.headers) + server.log.read_text()


@pytest.mark.parametrize(
    "head",
    [
        ["GET /{key} HTTP/9.9 {key}", "Host: x"],
        ["GET /{key} HTTP/{key}", "Host: x"],
        ["{key} a b c d", "Host: x"],
        ["GET /v0/auth HTTP/1.1", "Host: x", "X-API-Key: {key}\r", "X-Request-ID: lost"],
        ["GET /v0/auth HTTP/1.1", "Host: x", "Authorization: Bearer {key}\r", "X-Request-ID: lost"],
        ["GET /v0/auth HTTP/1.1", "Host: x", "{key}"],
    ],
)
def test_flask_run_repeats_nothing_of_what_it_cannot_read(serve: Callable[..., Server], head: list[str]) -> None:
    server = serve(FLASK_RUN)
    key = server.mint("k")
    with Connection(server.port) as connection:
        connection.send(*(line.format(key=key) for line in head))
        answer = connection.answer()
    assert answer.status in (400, 505)
    assert json.loads(answer.body).keys() == ERROR_MEMBERS
    assert key[-50:] not in answer.body.decode() + str(answer.headers) + server.log.read_text()
    assert (
        f"refused a request: {answer.status} ip=127.0.0.1 id={answer.headers['x-request-id']}" in server.log.read_text()
    )


AMBIGUOUS = [
    ["Host: x", "Content-Length: 43", "Transfer-Encoding: chunked"],
    ["Host: x", "Transfer-Encoding: chunked", "Content-Length: 43"],
    ["Host: x", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    ["Host: x", "Transfer-Encoding: chunked, chunked"],
    ["Host: x", "Transfer-Encoding: identity, chunked"],
    ["Host: x", "Transfer-Encoding: chunked\r\n , chunked"],
    ["Host: x", "Transfer-Encoding:"],
    ["Host: x", "Transfer-Encoding : chunked"],
    ["Host: x", "Content-Length: 3", "Content-Length: 0"],
    ["Host: x", "Content-Length: +0"],
    ["Host: x", "Host: x", "Content-Length: 0"],
    ["Content-Length: 0"],
]


@pytest.mark.parametrize("lines", AMBIGUOUS)
def test_what_could_be_read_in_two_ways_ends_the_connection(server: Server, lines: list[str]) -> None:
    """RFC 9112 sections 3.2 and 6.1: text that a proxy took for a body is no second request."""
    with Connection(server.port) as connection:
        connection.send("POST /v0/auth HTTP/1.1", *lines, body=b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.answer().status in (400, 501)
        assert connection.is_closed()


def test_an_older_version_has_no_chunks_and_needs_no_host(server: Server) -> None:
    with Connection(server.port) as connection:
        connection.send("GET /healthz HTTP/1.0")
        assert connection.answer().status == 200
    with Connection(server.port) as connection:
        connection.send("POST /v0/auth HTTP/1.0", "Connection: keep-alive", "Transfer-Encoding: chunked")
        assert connection.answer().status == 400
        assert connection.is_closed()


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("known", [False, True], ids=["anybody", "a person"])
def test_a_large_body_is_refused_before_it_is_stored(server: Server, chunked: bool, known: bool) -> None:
    who = [f"Authorization: Bearer {server.token()}"] if known else []
    how = "Transfer-Encoding: chunked" if chunked else "Content-Length: 100000000"
    before = server.resident()
    with Connection(server.port) as connection:
        connection.send("POST /v0/api_keys HTTP/1.1", "Host: x", "Content-Type: application/json", how, *who)
        part = b"F4240\r\n" + MEGABYTE + b"\r\n" if chunked else MEGABYTE
        with ExitStack() as until_closed:
            until_closed.push(lambda kind, error, trace: isinstance(error, OSError))  # the server may have closed
            for _ in range(20):
                connection.socket.sendall(part)
        assert deleted_files(server) == []
        assert server.resident() - before < 4
        answer = connection.answer()
    assert answer.status == (413 if known else 401)
    assert json.loads(answer.body).keys() == ERROR_MEMBERS
    assert answer.headers["connection"] == "close"
    assert server.call("GET", "/healthz").status_code == 200


def test_a_header_that_never_ends(server: Server) -> None:
    before = server.resident()
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(server.port)) for _ in range(100)]
        for connection in connections:
            with ExitStack() as until_closed:
                until_closed.push(lambda kind, error, trace: isinstance(error, OSError))
                connection.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Note: " + b"b" * 250_000)
        answer = connections[0].answer()
        assert (answer.status, json.loads(answer.body).keys()) == (431, ERROR_MEMBERS)
        assert server.resident() - before < 8
    with Connection(server.port) as connection:
        connection.send("GET /healthz HTTP/1.1", "Host: x", "X-Note: " + "b" * (MAX_HEAD - 100))
        assert connection.answer().status == 200


def test_a_chunk_line_that_never_ends(server: Server) -> None:
    for part in (b"5;" + b"x" * 2000, b"0\r\nX-Trailer: " + b"x" * 2000):
        with Connection(server.port) as connection:
            connection.send("POST /v0/auth HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", body=part)
            assert connection.answer().status == 400
            assert connection.is_closed()


def test_many_small_chunks_are_one_body(server: Server) -> None:
    body = b'{"name": "crumbs", "description": "' + b"x" * 490 + b'"}'
    with Connection(server.port) as connection:
        connection.send(
            "POST /v0/api_keys HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {server.token()}",
            "Content-Type: application/json",
            "Transfer-Encoding: chunked",
            body=b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n",
        )
        assert connection.answer().status == 201


def test_pipelined_requests_are_answered_in_order(server: Server, key: str) -> None:
    with Connection(server.port) as connection:
        for turn in range(50):
            connection.send("GET /v0/auth HTTP/1.1", "Host: x", f"X-Request-ID: turn-{turn}", f"X-API-Key: {key}")
        found = [connection.answer() for _ in range(50)]
    assert [(answer.status, answer.headers["x-request-id"]) for answer in found] == [
        (200, f"turn-{turn}") for turn in range(50)
    ]


def test_who_reads_no_answer_stops_no_check(server: Server, key: str) -> None:
    """Each client asks for far more than the server keeps in memory."""
    before = server.resident()
    with ExitStack() as stack:
        for _ in range(16):
            deaf = stack.enter_context(Connection(server.port))
            deaf.socket.sendall(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        for _ in range(20):
            assert server.call("GET", "/v0/auth", by=key).status_code == 200
        assert server.resident() - before < 16 * 8


@pytest.mark.parametrize("known", [False, True], ids=["anybody", "a person"])
def test_slow_bodies_stop_no_check(server: Server, key: str, known: bool) -> None:
    who = [f"Authorization: Bearer {server.token()}"] if known else []
    with ExitStack() as stack:
        for _ in range(40):
            slow = stack.enter_context(Connection(server.port))
            slow.send(
                "POST /v0/api_keys HTTP/1.1",
                "Host: x",
                "Content-Type: application/json",
                "Content-Length: 999",
                *who,
                body=b"{",
            )
        for _ in range(20):
            assert server.call("GET", "/v0/auth", by=key).status_code == 200


@contextmanager
def many_files(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        missing(f"room for {count} open files", f"raise the hard limit: ulimit -Hn {count}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.faults
@pytest.mark.parametrize(
    "begun", [b"", b"GET /v0/au", b"POST /v0/api_keys HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"]
)
def test_more_half_open_connections_than_there_is_room_for(serve: Callable[..., Server], begun: bytes) -> None:
    """The connection that has waited longest makes room, so an honest client is answered."""
    with many_files(4096), ExitStack() as silence:
        server = serve(SERVE)
        key = server.mint("laptop")
        for _ in range(2300):
            connection = silence.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            connection.sendall(begun)
        for _ in range(20):
            assert server.call("GET", "/v0/auth", by=key).status_code == 200


@pytest.mark.faults
def test_a_request_that_comes_a_byte_at_a_time_has_an_end(server: Server) -> None:
    with Connection(server.port) as connection:
        connection.socket.settimeout(0.5)
        started = time.monotonic()
        closed = False
        while not closed and time.monotonic() < started + 60:
            with ExitStack() as until_closed:
                until_closed.push(lambda kind, error, trace: isinstance(error, (BrokenPipeError, ConnectionResetError)))
                connection.socket.sendall(b"G")
            try:
                closed = connection.is_closed()
            except TimeoutError:
                continue
        assert closed
        assert time.monotonic() - started > HEAD_TIMEOUT - 1  # so an honest one had that long


def test_an_address_that_is_taken_is_one_line(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(SERVE)
    command = [word.format(port=server.port) for word in SERVE]
    done = run(command, KEYHOOK_DATA_DIR=tmp_path / "other")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr.splitlines()[-1] == f"Error: cannot listen on 127.0.0.1 port {server.port}: Address already in use"
    )
