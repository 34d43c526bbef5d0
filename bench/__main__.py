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
from contextlib import ExitStack, closing
from cProfile import Profile
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from pstats import Stats
from statistics import median
from tempfile import TemporaryDirectory

from bench import long_run, pages, postgresql, servers
from bench.bare import CONSTANT, HASH_INSERT, INSERT, ROW, SqliteItems, create_app
from bench.load import Load, request
from bench.over_http import ask_in_turn, print_answers
from bench.server import FLASK_RUN, SERVE, running
from bench.service import CHECK, MINT, REAL_KEYS, caller, fill, limited, quiet_app, token, uncounted
from bench.sizes import by_size
from bench.tables import Series, at_least, at_most, compared, header, in_turn, row

UNCOUNTED = "the same, not counted for /metrics"
LIMITED = "the same, of a key with a rate limit"
VIEW = "the same by Flask's plain view"
BARE = [sys.executable, "-m", "bench.bare", "{port}"]


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
    parser.add_argument("--postgresql", action="store_true", help="the service on a PostgreSQL of its own")
    parser.add_argument("--pages", action="store_true", help="the console, and the checks beside it")
    parser.add_argument("--oidc", action="store_true", help="the tokens of an OpenID provider, and its absence")
    parser.add_argument("--long", action="store_true", help="ten minutes of everything at once: memory, files, the log")
    options = parser.parse_args()
    if options.profile:
        profiles(2000)
        return
    rounds = 2 if options.quick else options.rounds
    cores = sorted(os.sched_getaffinity(0))
    machine = f"{datetime.now(UTC):%Y-%m-%d}, {len(cores)} x {processor()}, Python {platform.python_version()}"
    how = f"median of at least {rounds} interleaved rounds\n"
    with TemporaryDirectory(prefix="keyhook-bench-") as directory:
        if options.postgresql:
            with postgresql.own_server() as server:
                print(f"{machine}, {postgresql.described(server)}, {how}")
                extent = postgresql.Extent(2, 0.4, 10, 100_000) if options.quick else postgresql.Extent(rounds)
                postgresql.measure(server, Path(directory), extent, cores)
            return
        print(f"{machine}, SQLite {sqlite3.sqlite_version}, {how}")
        if options.servers:
            by_server(Path(directory), rounds, cores)
            return
        if options.oidc:
            from bench import oidc  # which needs the packages of requirements-oidc.txt

            oidc.measure(Path(directory), rounds, 10 if options.quick else 100, cores)
            return
        if options.long:
            long_run.mixed_load(Path(directory), 20 if options.quick else 600)
            return
        if options.pages:
            pages.beside_a_reload(Path(directory), 2 * rounds, 0.4 if options.quick else 2.0, cores[0], cores[-1])
            pages.by_keys(Path(directory), rounds, (1000, 100_000 if options.quick else 1_000_000))
            return
        over_http(Path(directory), 2 * rounds, 0.4 if options.quick else 1.0, cores[0], cores[-1])
        os.sched_setaffinity(0, {cores[0]})
        in_process(Path(directory), 2 * rounds, 10 if options.quick else 100)
        sizes(Path(directory), rounds, 100_000 if options.quick else 1_000_000)
        starting(Path(directory), rounds, cores[0])


def over_http(directory: Path, rounds: int, seconds: float, core: int, load_core: int) -> None:
    data_dir = directory / "http"
    with quiet_app(KEYHOOK_DATA_DIR=data_dir) as app:  # so that the server finds a database, as on all later starts
        key, admin = fill(data_dir, REAL_KEYS)[0], token(app)
    with ExitStack() as stack:
        load = stack.enter_context(closing(Load(load_core)))
        log, database = directory / "log", str(directory / "http-bare.db")
        plain = stack.enter_context(running(BARE, "/constant", log, core, BENCH_DATABASE=database))
        ours = stack.enter_context(running(SERVE, "/healthz", log, core, KEYHOOK_DATA_DIR=str(data_dir)))
        jobs = {
            CONSTANT: (plain.port, request("GET", "/constant"), 200),
            ROW: (plain.port, request("GET", "/row"), 200),
            CHECK: (ours.port, request("GET", "/v0/auth", key), 200),
            INSERT: (plain.port, request("POST", "/insert", name=True), 201),
            HASH_INSERT: (plain.port, request("POST", "/hash-and-insert", name=True), 201),
            MINT: (ours.port, request("POST", "/v0/api_keys", admin, name=True), 201),
        }
        answers = ask_in_turn(load, jobs, rounds, seconds)
        resident, resident_bare = ours.resident(), plain.resident()
    targets = {CHECK: (CONSTANT, at_least, 1.10), MINT: (HASH_INSERT, at_least, 0.75)}
    print_answers("Over HTTP, `flask serve` on one core, the load on another", answers, targets)
    header("Resident after that load", "MB", "target")
    row("the service", f"{resident:.0f}", at_most(resident, 70))
    row("the bare application", f"{resident_bare:.0f}", "")
    if find_spec("cryptography"):
        print("\nPyJWT loads `cryptography` when it finds it: here, since the development requirements bring it along.")


def in_process(directory: Path, rounds: int, size: int) -> None:
    series: Series = defaultdict(list)
    plain = create_app(SqliteItems(directory / "bare.db"))
    places = directory / "inside", directory / "hooked"
    with quiet_app(KEYHOOK_DATA_DIR=places[0]) as app, quiet_app(KEYHOOK_DATA_DIR=places[1]) as hooked:
        keys = fill(places[0], REAL_KEYS)
        hooked.teardown_request(lambda error: None)  # so that the view answers
        calls = {
            CONSTANT: (20 * size, caller(plain, "GET", "/constant")),
            ROW: (20 * size, caller(plain, "GET", "/row")),
            CHECK: (20 * size, caller(app, "GET", "/v0/auth", keys[:1])),
            UNCOUNTED: (20 * size, caller(uncounted(app), "GET", "/v0/auth", keys[:1])),
            LIMITED: (20 * size, caller(app, "GET", "/v0/auth", limited(places[0], keys[1]))),
            VIEW: (20 * size, caller(hooked, "GET", "/v0/auth", fill(places[1], REAL_KEYS)[:1])),
            INSERT: (2 * size, caller(plain, "POST", "/insert", named=True)),
            HASH_INSERT: (2 * size, caller(plain, "POST", "/hash-and-insert", named=True)),
            MINT: (2 * size, caller(app, "POST", "/v0/api_keys", [token(app)], named=True)),
        }
        in_turn(calls, series, rounds)
    header("Inside the process, without a server", "µs", "ratio", "target")
    for label in calls:
        ratio = compared(series, label, {CHECK: (CONSTANT, at_most, 0.75), MINT: (HASH_INSERT, at_most, 1 / 0.75)})
        row(label, f"{median(series[label]):,.0f}", *ratio)


def profiles(count: int) -> None:
    """Prints profiles. The profiler makes Python calls look too dear: read the order, not the figures."""
    with TemporaryDirectory(prefix="keyhook-bench-") as directory, quiet_app(KEYHOOK_DATA_DIR=directory) as app:
        keys = fill(Path(directory), REAL_KEYS)
        calls = {
            CHECK: caller(app, "GET", "/v0/auth", keys[:1]),
            MINT: caller(app, "POST", "/v0/api_keys", [token(app)], named=True),
        }
        for label, call in calls.items():
            call(count)
            with Profile() as profile:
                call(count)
            print(f"{label}, {count:,} times, inside the process")
            Stats(profile).strip_dirs().sort_stats("tottime").print_stats(20)


def sizes(directory: Path, rounds: int, large: int) -> None:
    filled = {}
    with ExitStack() as stack:
        for size in (REAL_KEYS, large):
            data_dir = directory / f"{size}-keys"
            app = stack.enter_context(quiet_app(KEYHOOK_DATA_DIR=data_dir))
            filled[size] = app, fill(data_dir, size)
        by_size(filled, rounds)


def by_server(directory: Path, rounds: int, cores: list[int]) -> None:
    data_dir = directory / "servers"
    with quiet_app(KEYHOOK_DATA_DIR=data_dir):
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


def processor() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


if __name__ == "__main__":
    main()
