"""The service under the servers that could run it, side by side: `make bench ARGS=--servers`."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench.load import Load, Measured, request
from bench.server import FLASK_RUN, WAITRESS, Server, answers, running

APP = "app:create_app"
SERVERS = {
    "`flask run`": FLASK_RUN,
    "waitress, with these options": [*WAITRESS, APP],
    "… without `--send-bytes`": [*(word for word in WAITRESS if "send-bytes" not in word), APP],
    "… without `--connection-limit`": [*(word for word in WAITRESS if "connection-limit" not in word), APP],
    "gunicorn, gthread": ["-m", "gunicorn", "--bind=127.0.0.1:{port}", "--threads=8", f"{APP}()"],
    "granian": ["-m", "granian", "--port={port}", "--interface=wsgi", "--blocking-threads=8", "--factory", APP],
}
CONNECTIONS, SILENT = 16, 500


def compare(directory: Path, data_dir: Path, key: str, rounds: int, cores: list[int]) -> Iterator[tuple[object, ...]]:
    """A row for each server: requests a second and p99 on one core and on all, MB, and p99 beside silent connections.

    By turns, each server on a core of its own and then on all of them, the load always on the last core.
    """
    places = {"one": cores[:1], "all": cores}
    rates: dict[tuple[str, str], list[Measured]] = {}
    resident: dict[str, float] = {}
    beside: dict[str, str] = {}
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
                            beside[label] = beside_silence(server, load, check)
    finally:
        load.close()
    for label in SERVERS:
        figures = []
        for place in places:
            measured = rates[label, place]
            figures += [f"{median(one.rate for one in measured):,.0f}", f"{median(one.p99 for one in measured):.0f}"]
        yield label, *figures, f"{resident[label]:.0f}", beside[label]


def beside_silence(server: Server, load: Load, check: bytes) -> str:
    """The p99 while so many clients are connected and say nothing."""
    with ExitStack() as silence:
        for _ in range(SILENT):
            silence.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        if not answers(f"http://127.0.0.1:{server.port}/healthz"):
            return "answers nothing"
        return f"{load.run(server.port, check, 200, CONNECTIONS, 2).p99:.0f}"
