"""Servers of the service on one database of PostgreSQL, each a process, and clients at work on them."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
from psycopg import IsolationLevel

from tests.commands import LONG
from tests.faults.ledger import CHECKS, OPERATIONS, Ledger, check, compare
from tests.postgresql import PASSWORD
from tests.servers import SERVE, Server, start_server

WITHIN = 5.5  # seconds: 5 as promised, and half a one for a busy machine
AGAIN = 10  # seconds until all nodes serve again, as promised
ALL = {**OPERATIONS, **CHECKS}
MADE = 200, 201, 204


def start(url: str, directory: Path, name: str) -> Server:
    log = directory / f"{name}.log"
    return start_server(directory / "data", log, SERVE, KEYHOOK_DATABASE_URL=url, KEYHOOK_SECRET_KEY=LONG)


def assert_log_is_clean(node: Server) -> None:
    """It shows no fault of the service, and no password."""
    said = node.log.read_text()
    assert "Traceback" not in said
    assert not any(secret in said for secret in (PASSWORD, "a%25pass", "pass@", "pass%40"))


@contextmanager
def nodes_on(url: str, directory: Path, *names: str) -> Iterator[list[Server]]:
    with ExitStack() as stack:

        def begin(name: str) -> Server:
            node = start(url, directory, name)
            stack.callback(node.stop)
            return node

        with ThreadPoolExecutor(2) as starting:
            nodes = list(starting.map(begin, names))
        yield nodes
    for node in nodes:
        assert_log_is_clean(node)


@contextmanager
def at_work(ledgers: Sequence[Ledger], nodes: Sequence[Server], operations: dict[str, int] = ALL) -> Iterator[None]:
    """The clients send requests to all nodes until the block ends. None of the nodes may end before."""
    done = threading.Event()
    with ThreadPoolExecutor(len(ledgers)) as pool:
        working = [pool.submit(ledger.work, nodes, done, operations) for ledger in ledgers]
        try:
            yield
        finally:
            done.set()
    for future in working:
        future.result()


def clients(count: int) -> list[Ledger]:
    return [Ledger(number) for number in range(count)]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def until_more(ledgers: Sequence[Ledger], *statuses: int, count: int) -> None:
    """Waits until each client has had so many more answers with one of these statuses."""

    def had() -> list[int]:
        return [sum(ledger.answers[status] for status in statuses) for ledger in ledgers]

    before = had()
    until(lambda: all(now >= then + count for then, now in zip(before, had(), strict=True)))


def until_all_serve(nodes: Sequence[Server], name: str, since: float | None = None) -> float:
    """The seconds from then, or from now, until each node has made a key."""
    since = time.monotonic() if since is None else since
    for number, node in enumerate(nodes):
        while node.call("POST", "/v0/api_keys", json={"name": f"{name}-{number}"}).status_code != 201:
            assert time.monotonic() - since < AGAIN
    took = time.monotonic() - since
    assert took < AGAIN
    return took


def assert_kept(nodes: Sequence[Server], ledgers: Sequence[Ledger], url: str) -> None:
    """Every answer was right and in time, and what was acknowledged is in the database and holds at every node."""
    assert [surprise for ledger in ledgers for surprise in ledger.surprises] == []
    assert max(ledger.slowest for ledger in ledgers) < WITHIN
    for node in nodes:
        assert sum(check(node, ledger) for ledger in ledgers) > 0
    compare(*rows(url), ledgers)


def rows(url: str) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """The keys and the audit entries of the clients, of one moment."""
    theirs = "client-%", "shared-%"
    with psycopg.connect(url) as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        keys = connection.execute("SELECT id, name FROM api_keys WHERE name LIKE %s OR name LIKE %s", theirs)
        audit = connection.execute(
            "SELECT action, key_id, key_name FROM audit_entries WHERE key_name LIKE %s OR key_name LIKE %s", theirs
        )
        return keys.fetchall(), audit.fetchall()
