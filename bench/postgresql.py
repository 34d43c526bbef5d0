"""The service on PostgreSQL beside a bare application on it: `make bench ARGS=--postgresql`.

The server of the database is the bench's own, and writes each commit to the disk as the service needs it.
"""

import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg

from bench.bare import HASH_INSERT, ROW, create_app
from bench.bare_postgresql import PostgresItems
from bench.cluster import Cluster, cluster, find_programs
from bench.load import Load, request
from bench.over_http import ask_in_turn, print_answers
from bench.server import SERVE, Server, running
from bench.service import CHECK, COLUMNS, MINT, REAL_KEYS, Population, caller, quiet_app, token
from bench.sizes import by_size
from bench.tables import Series, at_least, at_most, compared, header, in_turn, row

BARE = [sys.executable, "-m", "bench.bare_postgresql", "{port}"]
SAFE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
LONG = "of the benchmark alone, and long enough"
ONE, TWO = "one node", "two nodes"
CONNECTIONS = 16  # to each node


@dataclass(frozen=True)
class Extent:
    rounds: int
    seconds: float = 1.0  # of a round over HTTP
    size: int = 100  # creations in a round within the process; ten times as many checks
    many: int = 1_000_000  # keys


@contextmanager
def own_server() -> Iterator[Cluster]:
    """Ends the program, with one line, where there is no PostgreSQL."""
    programs = find_programs()
    if programs is None:
        sys.exit("PostgreSQL is not here: apt-get install postgresql")
    with cluster(programs, **SAFE) as server:
        yield server


def described(server: Cluster) -> str:
    version, fsync = server.sql("SHOW server_version"), server.sql("SHOW fsync")
    return f"PostgreSQL {version.split()[0]} with fsync {fsync}"


def measure(server: Cluster, directory: Path, extent: Extent, cores: list[int]) -> None:
    """Prints the tables. Except with two nodes, the service has the first core, and PostgreSQL the last."""
    rounds = 2 * extent.rounds
    _place(server, cores[-1:])
    keys = over_http(server, directory, rounds, extent.seconds, cores)
    with _on(cores[:1]):
        in_process(server, keys, rounds, extent.size)
    _place(server, cores)
    by_nodes(server, directory, keys[0], rounds, extent.seconds, cores)
    _place(server, cores[-1:])
    with _on(cores[:1]):
        sizes(server, extent.rounds, extent.many)


def over_http(server: Cluster, directory: Path, rounds: int, seconds: float, cores: list[int]) -> list[str]:
    """Returns the keys that it has put in the database."""
    with quiet_app(**_settings(server.url())) as app:
        keys, admin = fill(server, "keyhook", REAL_KEYS), token(app)
    with ExitStack() as stack:
        load, log = stack.enter_context(closing(Load(cores[-1]))), directory / "log"
        plain = stack.enter_context(running(BARE, "/constant", log, cores[0], BENCH_DATABASE=server.url()))
        ours = stack.enter_context(running(SERVE, "/healthz", log, cores[0], **_settings(server.url())))
        jobs = {
            ROW: (plain.port, request("GET", "/row"), 200),
            CHECK: (ours.port, request("GET", "/v0/auth", keys[0]), 200),
            HASH_INSERT: (plain.port, request("POST", "/hash-and-insert", name=True), 201),
            MINT: (ours.port, request("POST", "/v0/api_keys", admin, name=True), 201),
        }
        answers = ask_in_turn(load, jobs, rounds, seconds)
        resident, resident_bare = ours.resident(), plain.resident()
    targets = {CHECK: (ROW, at_least, 1.0), MINT: (HASH_INSERT, at_least, 0.75)}
    print_answers("Over HTTP, `flask serve` on one core, PostgreSQL and the load on another", answers, targets)
    header("Resident after that load, a process", "MB")
    row("the service", f"{resident:.0f}")
    row("the bare application", f"{resident_bare:.0f}")
    return keys


def in_process(server: Cluster, keys: list[str], rounds: int, size: int) -> None:
    series: Series = defaultdict(list)
    with closing(PostgresItems(server.url())) as items, quiet_app(**_settings(server.url())) as app:
        plain = create_app(items)
        calls = {
            ROW: (10 * size, caller(plain, "GET", "/row")),
            CHECK: (10 * size, caller(app, "GET", "/v0/auth", keys[:1])),
            HASH_INSERT: (size, caller(plain, "POST", "/hash-and-insert", named=True)),
            MINT: (size, caller(app, "POST", "/v0/api_keys", [token(app)], named=True)),
        }
        in_turn(calls, series, rounds)
    header("Inside the process, one thread, without a server", "µs", "ratio", "target")
    for label in calls:
        ratio = compared(series, label, {CHECK: (ROW, at_most, 1.0), MINT: (HASH_INSERT, at_most, 1 / 0.75)})
        row(label, f"{median(series[label]):,.0f}", *ratio)


def by_nodes(server: Cluster, directory: Path, key: str, rounds: int, seconds: float, cores: list[int]) -> None:
    """Two servers on one database against one of them alone. All of them may use all cores."""
    series: Series = defaultdict(list)
    with ExitStack() as stack:
        settings = _settings(server.url())
        nodes = [
            stack.enter_context(running(SERVE, "/healthz", directory / "log", *cores, **settings)) for _ in range(2)
        ]
        loads = [stack.enter_context(closing(Load(core))) for core in (cores[0], cores[-1])]
        for number in range(rounds + 1):
            for label, asked in {ONE: nodes[:1], TWO: nodes}.items():
                rate = _rate_together(asked, loads, request("GET", "/v0/auth", key), seconds)
                if number:  # the first round warms up
                    series[label].append(rate)
    header(f"{CHECK}, {CONNECTIONS} connections to each node, all on {len(cores)} cores", "requests/s", "ratio")
    for label in (ONE, TWO):
        ratio, _ = compared(series, label, {TWO: (ONE, at_least, 1.0)})
        row(label, f"{median(series[label]):,.0f}", ratio)


def sizes(server: Cluster, rounds: int, many: int) -> None:
    filled = {}
    with ExitStack() as stack:
        for size in (REAL_KEYS, many):
            database = f"keys_{size}"
            server.sql(f"CREATE DATABASE {database} OWNER keyhook")
            app = stack.enter_context(quiet_app(**_settings(server.url(database))))
            filled[size] = app, fill(server, database, size)
        by_size(filled, rounds)


def fill(server: Cluster, database: str, size: int) -> list[str]:
    """Fills an existing database, and returns the REAL_KEYS in it."""
    population = Population(size)
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        with connection.cursor().copy(f"COPY api_keys ({', '.join(COLUMNS)}) FROM STDIN") as copy:
            for values in population.rows():
                copy.write_row(values)
        connection.execute("VACUUM ANALYZE api_keys")
    server.sql("CHECKPOINT")
    return population.real_keys()


def _settings(url: str) -> Mapping[str, str]:
    return {"KEYHOOK_DATABASE_URL": url, "KEYHOOK_SECRET_KEY": LONG}


def _rate_together(nodes: list[Server], loads: list[Load], check: bytes, seconds: float) -> float:
    with ThreadPoolExecutor(len(nodes)) as pool:
        asked = [
            pool.submit(load.run, node.port, check, 200, CONNECTIONS, seconds)
            for node, load in zip(nodes, loads, strict=False)
        ]
        return sum(one.result().rate for one in asked)


def _place(server: Cluster, cores: list[int]) -> None:
    """Moves a PostgreSQL to these cores. Its later processes, one for each connection, inherit them."""
    for pid in server.processes():
        with suppress(ProcessLookupError):  # one that has done its work
            os.sched_setaffinity(pid, cores)


@contextmanager
def _on(cores: list[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
