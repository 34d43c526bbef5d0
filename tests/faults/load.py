"""A load of many connections, and good checks beside it: what others notice of it is their time."""

import http.client
import itertools
import re
import selectors
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import closing

from tests.servers import Server

SLACK = 0.010  # seconds that two noisy times may differ by, whatever their ratio


def send_all(port: int, shares: Sequence[Sequence[bytes]], seconds: float | None = None) -> Counter[int]:
    """The count of each status, with one connection a share; with `seconds`, each share repeats until then.

    One thread does as little as it can: the load must keep the server busy, not the client.
    """
    end = time.monotonic() + seconds if seconds else None
    found: Counter[int] = Counter()
    with selectors.DefaultSelector() as selector:
        for share in shares:
            connection = socket.create_connection(("127.0.0.1", port), timeout=60)
            todo = iter(share) if end is None else itertools.cycle(share)
            connection.sendall(next(todo))
            selector.register(connection, selectors.EVENT_READ, (todo, bytearray()))
        while selector.get_map():
            ready = selector.select(60)
            assert ready, "the server answers nothing"
            for key, _ in ready:
                connection, (todo, answer) = key.fileobj, key.data  # type: ignore[assignment]
                answer += connection.recv(65536)
                if status := _status(answer):
                    found[status] += 1
                    answer.clear()
                    request = next(todo, None) if end is None or time.monotonic() < end else None
                    if request is None:
                        selector.unregister(connection)
                        connection.close()
                    else:
                        connection.sendall(request.replace(b"NAME", uuid.uuid4().hex.encode()))
    return found


def _status(answer: bytes) -> int | None:
    """The status of an answer that has arrived to its last byte."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\nContent-Length: (\d+)", head, re.IGNORECASE)
    assert answer, "the server closed the connection"
    return int(head[9:12]) if separator and length and len(body) == int(length[1]) else None


def http_request(method: str, path: str, secret: str, body: str = "") -> bytes:
    """The bytes of a request. `NAME` in them becomes a new name each time."""
    content = f"Content-Type: application/json\r\nContent-Length: {len(body) + 28}\r\n" if body else ""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\r\n{content}\r\n{body}".encode()
    )


def check(secret: str) -> bytes:
    return http_request("GET", "/v0/auth", secret)


def check_times(server: Server, secrets: Iterable[str], go_on: Callable[[], bool]) -> list[float]:
    """The seconds of each good check, of each secret in turn; one starts every 10 ms, or after the last answer."""
    times: list[float] = []
    given = itertools.cycle(secrets)
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        while go_on():
            started = time.perf_counter()
            connection.request("GET", "/v0/auth", headers={"X-API-Key": next(given)})
            response = connection.getresponse()
            response.read()
            times.append(time.perf_counter() - started)
            assert response.status == 200
            time.sleep(max(0.0, 0.01 - times[-1]))
    return times


def until(load: "Future[Counter[int]]") -> Callable[[], bool]:
    return lambda: not load.done()
