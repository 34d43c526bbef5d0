"""The service under several WSGI servers, side by side: `make bench ARGS=--servers`."""

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median

from bench.load import Load, Measured, request
from bench.server import FLASK_RUN, SERVE, Server, answers, running

APP = "app:create_app"
PYTHON = [sys.executable, "-m"]
GRANIAN = [*PYTHON, "granian", "--port={port}", "--interface=wsgi", "--blocking-threads=8", "--factory", APP]
WAITRESS = [*PYTHON, "waitress", "--listen=127.0.0.1:{port}", "--threads=8", "--asyncore-use-poll", "--call", APP]
SERVERS = {
    "`flask serve`": SERVE,
    "`flask run`": FLASK_RUN,
    "waitress as it comes": WAITRESS,
    "waitress, `--send-bytes=18000`": [*WAITRESS[:-2], "--send-bytes=18000", *WAITRESS[-2:]],
    "gunicorn, gthread": [*PYTHON, "gunicorn", "--bind=127.0.0.1:{port}", "--threads=8", f"{APP}()"],
    "granian": GRANIAN,
    "granian, 2 workers": [*GRANIAN[:-2], "--workers=2", *GRANIAN[-2:]],
}
CONNECTIONS, SILENT = 16, 500


def compare(directory: Path, data_dir: Path, key: str, rounds: int, cores: list[int]) -> Iterator[tuple[object, ...]]:
    """A row for each server: requests a second and p99 on one core and on all, MB, p99 beside silent connections, and
    whether it answers a request with `Expect: 100-continue` and no body.

    The servers take turns, on one core and then on all; the load is always on the last core.
    """
    places = {"one": cores[:1], "all": cores}
    rates: dict[tuple[str, str], list[Measured]] = {}
    resident: dict[str, float] = {}
    beside: dict[str, str] = {}
    expecting: dict[str, str] = {}
    load, check = Load(cores[-1]), request("GET", "/v0/auth", key)
    try:
        for number in range(rounds):
            for label, command in SERVERS.items():
                for place, where in places.items():
                    log = directory / "log"
                    with running(command, "/healthz", log, *where, KEYHOOK_DATA_DIR=str(data_dir)) as server:
                        load.run(server.port, check, 200, CONNECTIONS, 0.5)  # warms up
                        rates.setdefault((label, place), []).append(load.run(server.port, check, 200, CONNECTIONS, 2))
                        if number == 0 and place == "one":
                            resident[label] = server.resident()
                            expecting[label] = expectation(server, check)
                            beside[label] = beside_silence(server, load, check)
    finally:
        load.close()
    for label in SERVERS:
        figures = []
        for place in places:
            measured = rates[label, place]
            figures += [f"{median(one.rate for one in measured):,.0f}", f"{median(one.p99 for one in measured):.0f}"]
        yield label, *figures, f"{resident[label]:.0f}", beside[label], expecting[label]


def beside_silence(server: Server, load: Load, check: bytes) -> str:
    """The p99 while SILENT clients are connected and send nothing."""
    with ExitStack() as silence:
        for _ in range(SILENT):
            silence.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        if not answers(f"{server.url}/healthz"):
            return "answers nothing"
        return f"{load.run(server.port, check, 200, CONNECTIONS, 2).p99:.0f}"


def expectation(server: Server, check: bytes) -> str:
    """Whether the server answers a request with `Expect: 100-continue` and no body, as a proxy may send it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=2) as connection:
        connection.sendall(check[:-2] + b"Expect: 100-continue\r\n\r\n")
        answer = b""
        with suppress(TimeoutError):
            while b" 200 " not in answer and (more := connection.recv(65536)):
                answer += more
        return "answered" if b" 200 " in answer else "no answer"
