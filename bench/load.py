"""A load generator in a process of its own: keep-alive connections, one request outstanding on each.

It reads jobs (a line of JSON each) on stdin and writes its measurements on stdout. One thread over epoll sends requests
that were built beforehand, so a request costs it less time than any server here.
"""

import itertools
import json
import os
import select
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from statistics import quantiles
from typing import Any

ROOM_FOR_NAME = b"@" * 12  # in a request that must be new each time; a number replaces it


@dataclass
class Measured:
    rate: float  # requests a second
    p50: float  # milliseconds
    p99: float  # milliseconds
    busy: float  # share of the time that the generator itself was at work


class Load:
    """The benchmark's end of the generator."""

    def __init__(self, core: int) -> None:
        command = [sys.executable, "-m", "bench.load"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        os.sched_setaffinity(self._process.pid, {core})

    def run(self, port: int, request: bytes, status: int, connections: int, seconds: float) -> Measured:
        assert self._process.stdin
        assert self._process.stdout
        job = {"port": port, "request": request.decode(), "status": status, "connections": connections}
        self._process.stdin.write(json.dumps({**job, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the load generator ended: its error is above"
        return Measured(**json.loads(answer))

    def close(self) -> None:
        self._process.communicate()


def request(method: str, path: str, bearer: str = "", name: bool = False) -> bytes:
    """The bytes of a request; with `name`, its JSON body gets a new name each time."""
    body = b'{"name": "bench-%s"}' % ROOM_FOR_NAME if name else b""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"Authorization: Bearer {bearer}"] if bearer else []
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def measure(job: dict[str, Any], numbers: "itertools.count[int]") -> Measured:
    template, expected = job["request"].encode(), b"HTTP/1.1 %d " % job["status"]
    poll = select.epoll()
    by_number: dict[int, socket.socket] = {}
    sent: dict[int, float] = {}
    took: list[float] = []

    def connect() -> int:
        connection = socket.create_connection(("127.0.0.1", job["port"]))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(connection, select.EPOLLIN)
        by_number[connection.fileno()] = connection
        return connection.fileno()

    def send(number: int) -> None:
        sent[number] = time.perf_counter()
        by_number[number].send(template.replace(ROOM_FOR_NAME, b"%012d" % next(numbers)))

    started, worked = time.perf_counter(), time.process_time()
    for _ in range(job["connections"]):
        send(connect())
    until = started + job["seconds"]
    while sent:
        for number, _ in poll.poll():
            stays = read_answer(by_number[number], expected)
            moment = time.perf_counter()
            took.append(moment - sent.pop(number))
            if not stays:
                by_number.pop(number).close()
            if moment < until or len(took) < 2:  # a percentile needs two
                send(number if stays else connect())
    elapsed, busy = time.perf_counter() - started, time.process_time() - worked
    for connection in by_number.values():
        connection.close()
    cuts = quantiles(took, n=100)
    return Measured(len(took) / elapsed, cuts[49] * 1000, cuts[98] * 1000, busy / elapsed)


def read_answer(connection: socket.socket, expected: bytes) -> bool:
    """Reads one answer to its end, and returns whether the connection stays open."""
    answer = connection.recv(65536)
    while (end := answer.find(b"\r\n\r\n")) < 0 and answer:
        answer += connection.recv(65536)
    assert answer.startswith(expected), answer
    head = answer[:end].lower() + b"\r"
    start = head.index(b"\ncontent-length: ") + 17
    missing = end + 4 + int(head[start : head.index(b"\r", start)]) - len(answer)
    while missing > 0:
        more = connection.recv(65536)
        assert more, answer
        missing -= len(more)
    return b"\nconnection: close\r" not in head


if __name__ == "__main__":
    names = itertools.count()
    for line in sys.stdin:
        print(json.dumps(asdict(measure(json.loads(line), names))), flush=True)
