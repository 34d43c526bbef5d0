"""Measures the service beside a bare application and prints Markdown tables. Read the ratios within one run.

Both are measured in turn, round by round, so that other work on the machine slows both. A figure is the median of its
rounds, a ratio the median of the rounds' ratios.
"""

import argparse
import os
import platform
import re
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from cProfile import Profile
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from pstats import Stats
from statistics import median
from tempfile import TemporaryDirectory

from bench import bare, servers
from bench.load import Load, Measured, request
from bench.server import FLASK_RUN, SERVE, running
from bench.service import REAL_KEYS, caller, fill, quiet_app, token
from keys.hashing import SecretHasher

CONNECTIONS = (1, 16)
CHECK, MINT = "GET /v0/auth, warm key", "POST /v0/api_keys"
VIEW = "the same by Flask's plain view"
CONSTANT, ROW = "bare: constant JSON", "bare: one row by primary key"
INSERT, HASH_INSERT = "bare: insert and commit", "bare: bcrypt, insert and commit"

Series = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=5, help="five for figures to quote; the short ones are twice as many"
    )
    parser.add_argument(
        "--quick", action="store_true", help="two short rounds and a tenth of the keys, to see that it works"
    )
    parser.add_argument("--profile", action="store_true", help="where the time goes, instead of how much it is")
    parser.add_argument("--servers", action="store_true", help="the servers that could run the service, side by side")
    options = parser.parse_args()
    if options.profile:
        profiles(2000)
        return
    rounds = 2 if options.quick else options.rounds
    cores = sorted(os.sched_getaffinity(0))
    with TemporaryDirectory(prefix="keyhook-bench-") as directory:
        print(
            f"{datetime.now(UTC):%Y-%m-%d}, {len(cores)} x {processor()}, Python {platform.python_version()},", end=" "
        )
        print(f"SQLite {sqlite3.sqlite_version}, median of at least {rounds} interleaved rounds\n")
        if options.servers:
            by_server(Path(directory), rounds, cores)
            return
        over_http(Path(directory), 2 * rounds, 0.4 if options.quick else 1.0, cores[0], cores[-1])
        os.sched_setaffinity(0, {cores[0]})
        in_process(Path(directory), 2 * rounds, 10 if options.quick else 100)
        by_size(Path(directory), rounds, 100_000 if options.quick else 1_000_000)
        starting(Path(directory), rounds, cores[0])


def over_http(directory: Path, rounds: int, seconds: float, core: int, load_core: int) -> None:
    data_dir, results = directory / "http", defaultdict[tuple[str, int], list[Measured]](list)
    with quiet_app(data_dir):  # so that the server finds a database, as on every start but the first
        key = fill(data_dir, REAL_KEYS)[0]
    with ExitStack() as stack:
        load = Load(load_core)
        stack.callback(load.close)
        log, database = directory / "log", str(directory / "http-bare.db")
        plain = stack.enter_context(
            running([sys.executable, "-m", "bench.bare", "{port}"], "/constant", log, core, BENCH_DATABASE=database)
        )
        ours = stack.enter_context(running(SERVE, "/healthz", log, core, KEYHOOK_DATA_DIR=str(data_dir)))
        jobs = {
            CONSTANT: (plain.port, request("GET", "/constant"), 200),
            ROW: (plain.port, request("GET", "/row"), 200),
            CHECK: (ours.port, request("GET", "/v0/auth", key), 200),
            INSERT: (plain.port, request("POST", "/insert", name=True), 201),
            HASH_INSERT: (plain.port, request("POST", "/hash-and-insert", name=True), 201),
            MINT: (ours.port, request("POST", "/v0/api_keys", token(data_dir), name=True), 201),
        }
        for number in range(rounds + 1):
            for connections in CONNECTIONS:
                for label, job in jobs.items():
                    measured = load.run(*job, connections, seconds)
                    if number:  # the first round warms up
                        results[label, connections].append(measured)
        resident, resident_bare = ours.resident(), plain.resident()
    columns = ("connections", "requests/s", "p50 ms", "p99 ms", "ratio", "target")
    header("Over HTTP, `flask serve` on one core, the load on another", *columns)
    for connections in CONNECTIONS:
        rates = {label: [one.rate for one in results[label, connections]] for label in jobs}
        for label in jobs:
            p50, p99 = (median(getattr(one, name) for one in results[label, connections]) for name in ("p50", "p99"))
            ratio = compared(rates, label, {CHECK: (CONSTANT, at_least, 1.10), MINT: (HASH_INSERT, at_least, 0.75)})
            row(label, connections, f"{median(rates[label]):,.0f}", f"{p50:.2f}", f"{p99:.2f}", *ratio)
    busy = max(median(one.busy for one in series) for series in results.values())
    print(f"\nThe load generator was at work for at most {busy:.0%} of the time.")
    header("Resident after that load", "MB", "target")
    row("the service", f"{resident:.0f}", at_most(resident, 70))
    row("the bare application", f"{resident_bare:.0f}", "")
    if find_spec("cryptography"):
        print("\nPyJWT loads `cryptography` when it finds it: here, since the development requirements bring it along.")


def in_process(directory: Path, rounds: int, size: int) -> None:
    series: Series = defaultdict(list)
    plain = bare.create_app(directory / "bare.db")
    with quiet_app(directory / "inside") as app, quiet_app(directory / "hooked") as hooked:
        keys = fill(directory / "inside", REAL_KEYS)
        hooked.teardown_request(lambda error: None)  # so that the view answers
        calls = {
            CONSTANT: (20 * size, caller(plain, "GET", "/constant")),
            ROW: (20 * size, caller(plain, "GET", "/row")),
            CHECK: (20 * size, caller(app, "GET", "/v0/auth", keys[:1])),
            VIEW: (20 * size, caller(hooked, "GET", "/v0/auth", fill(directory / "hooked", REAL_KEYS)[:1])),
            INSERT: (2 * size, caller(plain, "POST", "/insert", named=True)),
            HASH_INSERT: (2 * size, caller(plain, "POST", "/hash-and-insert", named=True)),
            MINT: (2 * size, caller(app, "POST", "/v0/api_keys", [token(directory / "inside")], named=True)),
        }
        in_turn(calls, series, rounds)
    header("Inside the process, without a server", "µs", "ratio", "target")
    for label in calls:
        ratio = compared(series, label, {CHECK: (CONSTANT, at_most, 0.75), MINT: (HASH_INSERT, at_most, 1 / 0.75)})
        row(label, f"{median(series[label]):,.0f}", *ratio)


def profiles(count: int) -> None:
    """Prints profiles. The profiler makes Python calls look too dear: read the order, not the figures."""
    with TemporaryDirectory(prefix="keyhook-bench-") as directory, quiet_app(Path(directory)) as app:
        keys = fill(Path(directory), REAL_KEYS)
        calls = {
            CHECK: caller(app, "GET", "/v0/auth", keys[:1]),
            MINT: caller(app, "POST", "/v0/api_keys", [token(Path(directory))], named=True),
        }
        for label, call in calls.items():
            call(count)
            with Profile() as profile:
                call(count)
            print(f"{label}, {count:,} times, inside the process")
            Stats(profile).strip_dirs().sort_stats("tottime").print_stats(20)


def by_size(directory: Path, rounds: int, large: int) -> None:
    series: Series = defaultdict(list)
    calls = {}
    with ExitStack() as stack:
        for size in (REAL_KEYS, large):
            data_dir = directory / f"{size}-keys"
            app = stack.enter_context(quiet_app(data_dir))
            keys = fill(data_dir, size)
            calls[f"check, cold, {size:,}"] = (len(keys), forgetting(app, caller(app, "GET", "/v0/auth", keys)))
            calls[f"check, warm, {size:,}"] = (len(keys), caller(app, "GET", "/v0/auth", keys))
            calls[f"creation, {size:,}"] = (200, caller(app, "POST", "/v0/api_keys", [token(data_dir)], named=True))
        in_turn(calls, series, rounds)
    header(
        f"By the number of keys (the same, over {REAL_KEYS:,} of them)",
        f"{REAL_KEYS:,}: µs",
        f"{large:,}: µs",
        "ratio",
        "target",
    )
    for label in ("check, warm", "check, cold", "creation"):
        few, many = f"{label}, {REAL_KEYS:,}", f"{label}, {large:,}"
        ratio = compared(series, many, {many: (few, at_most, 1.1)})
        row(label, f"{median(series[few]):,.0f}", f"{median(series[many]):,.0f}", *ratio)


def by_server(directory: Path, rounds: int, cores: list[int]) -> None:
    data_dir = directory / "servers"
    with quiet_app(data_dir):
        key = fill(data_dir, REAL_KEYS)[0]
    columns = (
        "one core: requests/s",
        "p99 ms",
        "all cores: requests/s",
        "p99 ms",
        "MB",
        "beside silence: p99 ms",
        "`Expect`",
    )
    header(f"{CHECK}, {servers.CONNECTIONS} connections", *columns)
    for figures in servers.compare(directory, data_dir, key, rounds, cores):
        row(*figures)


def starting(directory: Path, rounds: int, core: int) -> None:
    first, later, imports, resident = [], [], [], []
    for number in range(rounds):
        for times in (first, later):  # the first makes the database
            data_dir = str(directory / f"start-{number}")
            with running(FLASK_RUN, "/healthz", directory / "log", core, KEYHOOK_DATA_DIR=data_dir) as server:
                times.append(server.seconds)
                resident.append(server.resident())
        code = "import time; t = time.perf_counter(); import app; print(time.perf_counter() - t)"
        imports.append(float(subprocess.check_output([sys.executable, "-c", code])))
    header("From `flask run` to the first 200", "s", "target")
    row("first start, which makes the database", f"{median(first):.2f}", at_most(median(first), 1.0))
    row("every later one", f"{median(later):.2f}", at_most(median(later), 1.0))
    row("of which `import app`", f"{median(imports):.2f}", "")
    print(f"\nResident then: {resident[0]:.0f} MB on a first start, {resident[1]:.0f} MB on a later one.")


def in_turn(calls: dict[str, tuple[int, Callable[[int], float]]], series: Series, rounds: int) -> None:
    for number in range(rounds + 1):
        for label, (count, call) in calls.items():
            microseconds = call(count)
            if number:  # the first round warms up
                series[label].append(microseconds)


def forgetting(app, call: Callable[[int], float]) -> Callable[[int], float]:
    """The calls of a process that has not seen these keys before."""

    def cold(count: int) -> float:
        app.extensions["keyhook"].keys.hasher = SecretHasher()
        return call(count)

    return cold


def compared(
    series: Series, label: str, pairs: dict[str, tuple[str, Callable[[float, float], str], float]]
) -> tuple[str, str]:
    """The ratio of a label to its base, and whether it meets the target."""
    if label not in pairs:
        return "", ""
    base, judge, limit = pairs[label]
    ratio = median(ours / theirs for ours, theirs in zip(series[label], series[base], strict=True))
    return f"{ratio:.2f} of “{base}”", judge(ratio, limit)


def at_least(value: float, limit: float) -> str:
    return f"≥ {limit:.2f}: {'met' if value >= limit else 'not met'}"


def at_most(value: float, limit: float) -> str:
    return f"≤ {limit:.4g}: {'met' if value <= limit else 'not met'}"


def header(*cells: object) -> None:
    print()
    row(*cells)
    row("---", *["---:"] * (len(cells) - 1))


def row(*cells: object) -> None:
    print("|", " | ".join(str(cell) for cell in cells), "|", flush=True)


def processor() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


if __name__ == "__main__":
    main()
