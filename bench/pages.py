"""What the console costs: a page of the list by the number of keys, and the checks beside somebody who reloads it."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from statistics import median

from flask import Flask

from bench.load import Load, request
from bench.server import SERVE, running
from bench.service import CHECK, REAL_KEYS, fill, quiet_app
from bench.tables import Series, at_most, compared, header, in_turn, row

CONNECTIONS = 16
BESIDE = "the same, beside a client that reloads the list of 50 keys"
# The address, and the longest it may take, in milliseconds, with 1,000 keys and with a million.
PAGES = {
    "the list": ("/console/keys", (15, 150)),
    "the list by name": ("/console/keys?sort=name", (15, 150)),
    "the list by last use": ("/console/keys?sort=-used", (15, None)),
    "a search that few keys match": ("/console/keys?q=0f0f0", (15, 1500)),
    "a search that most keys match": ("/console/keys?q=photos", (15, 1500)),
    "the audit": ("/console/audit", (15, 150)),
}


def cookie(app: Flask) -> str:
    """That of a new session."""
    sessions = app.extensions["keyhook"].sessions
    return str(sessions.redeem(sessions.invite("alice", "admin", "default", timedelta(hours=1))).cookie)


def by_keys(directory: Path, rounds: int, sizes: tuple[int, int]) -> None:
    series: Series = defaultdict(list)
    with ExitStack() as stack:
        calls: dict[str, tuple[int, Callable[[int], float]]] = {}
        for size in sizes:
            place = directory / f"{size}-keys"
            app = stack.enter_context(quiet_app(KEYHOOK_DATA_DIR=place))
            fill(place, size)
            for name, (path, _) in PAGES.items():
                calls[f"{name}, {size:,} keys"] = (1, visitor(app, path))
        in_turn(calls, series, rounds)
    header("A page of 50 keys, inside the process", *(f"{size:,} keys: ms" for size in sizes), "target")
    for name, (_, most) in PAGES.items():
        found = [median(series[f"{name}, {size:,} keys"]) / 1000 for size in sizes]
        told = [at_most(took, limit) if limit else "" for took, limit in zip(found, most, strict=True)]
        row(name, *(f"{took:,.1f}" for took in found), "; ".join(text for text in told if text))


def visitor(app: Flask, path: str) -> Callable[[int], float]:
    """A call that gets a page so often, and returns the microseconds of one."""
    client = app.test_client()
    client.set_cookie("keyhook_session", cookie(app))

    def call(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            assert client.get(path).status_code == 200
        return (time.perf_counter() - started) / count * 1_000_000

    return call


def beside_a_reload(directory: Path, rounds: int, seconds: float, core: int, load_core: int) -> None:
    data_dir = directory / "beside"
    with quiet_app(KEYHOOK_DATA_DIR=data_dir) as app:
        key, text = fill(data_dir, REAL_KEYS)[0], cookie(app)
    series: Series = defaultdict(list)
    page = request("GET", "/console/keys").replace(b"\r\n\r\n", f"\r\nCookie: keyhook_session={text}\r\n\r\n".encode())
    rates: dict[str, list[float]] = {CHECK: [], BESIDE: []}
    with ExitStack() as stack:
        checks, reader = (stack.enter_context(closing(Load(load_core))) for _ in range(2))
        server = stack.enter_context(
            running(SERVE, "/healthz", directory / "log", core, KEYHOOK_DATA_DIR=str(data_dir))
        )
        before = server.resident()
        for _ in range(rounds):
            for label in (CHECK, BESIDE):
                reading = threading.Thread(target=reader.run, args=(server.port, page, 200, 1, seconds + 0.2))
                if label == BESIDE:
                    reading.start()
                measured = checks.run(server.port, request("GET", "/v0/auth", key), 200, CONNECTIONS, seconds)
                if label == BESIDE:
                    reading.join()
                series[label].append(measured.p99)
                rates[label].append(measured.rate)
        resident = server.resident()
    header(f"Checks over HTTP, {CONNECTIONS} connections", "requests/s", "p99 ms", "ratio of the p99", "target")
    for label in (CHECK, BESIDE):
        row(
            label,
            f"{median(rates[label]):,.0f}",
            f"{median(series[label]):.1f}",
            *compared(series, label, {BESIDE: (CHECK, at_most, 2.5)}),
        )
    header("Resident", "MB")
    row("before the load", f"{before:.0f}")
    row("after the load and the pages", f"{resident:.0f}")
