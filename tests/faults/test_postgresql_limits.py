"""PostgreSQL with locks that stay, without a connection to give, or behind pgbouncer: two nodes under load."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from storage.postgresql.database import _lock_of
from tests.faults.ledger import CHECKS, OPERATIONS
from tests.faults.postgresql_nodes import (
    MADE,
    assert_kept,
    at_work,
    clients,
    nodes_on,
    until,
    until_all_serve,
    until_more,
)
from tests.postgresql import Cluster, bouncing, cluster

pytestmark = [pytest.mark.faults, pytest.mark.processes]

LOCKED = float(os.environ.get("LOCKED", "0"))  # seconds at least
LOCKS = ["LOCK TABLE api_keys IN EXCLUSIVE MODE", f"SELECT pg_advisory_xact_lock({_lock_of('default')})"]


def test_while_a_lock_is_held_checks_go_on(url: str, tmp_path: Path) -> None:
    """That of a table stops a change that has the lock of its tenant; the second is the lock of the tenant itself.

    More clients change keys than a node lets wait.
    """
    everybody = clients(16)
    changing, checking = everybody[4:], everybody[:4]
    with nodes_on(url, tmp_path, "one", "other") as nodes:
        with at_work(everybody, nodes):
            until_more(everybody, *MADE, count=10)
        with at_work(checking, nodes, CHECKS), at_work(changing, nodes, OPERATIONS):
            for number, lock in enumerate(LOCKS):
                with psycopg.connect(url) as connection:
                    connection.execute(lock)
                    held_until = time.monotonic() + LOCKED
                    until_more(changing, 503, count=2)
                    time.sleep(max(0, held_until - time.monotonic()))
                until_all_serve(nodes, f"afterwards-{number}")
                until_more(changing, *MADE, count=2)
        assert_kept(nodes, everybody, url)
    assert sum(ledger.answers[503] for ledger in checking) == 0


def test_without_a_connection_to_be_had(tmp_path: Path) -> None:
    ledgers = clients(4)
    with cluster(max_connections="20") as server, nodes_on(server.url(), tmp_path, "one", "other") as nodes:
        with at_work(ledgers, nodes):
            until_more(ledgers, *MADE, count=20)
            with all_connections(server):
                until_more(ledgers, 503, count=2)
            until_all_serve(nodes, "afterwards")
            until_more(ledgers, *MADE, count=20)
        assert_kept(nodes, ledgers, server.url())


@contextmanager
def all_connections(server: Cluster) -> Iterator[None]:
    """Takes every connection, those of the nodes as well."""
    ending = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'keyhook'"
    with ExitStack() as taken:

        def none_is_left() -> bool:
            with suppress(psycopg.OperationalError):
                while True:
                    taken.enter_context(psycopg.connect(server.url()))
            return server.sql(ending) == "0"

        until(none_is_left)
        yield


def test_behind_pgbouncer_under_load(server_of_postgresql: Cluster, url: str, tmp_path: Path) -> None:
    """Two connections for all, so that each is lent to both nodes all the time."""
    ledgers = clients(8)
    with bouncing(server_of_postgresql) as port:
        behind = url.replace(f":{server_of_postgresql.port}/", f":{port}/")
        with nodes_on(behind, tmp_path, "one", "other") as nodes:
            with at_work(ledgers, nodes):
                until_more(ledgers, *MADE, count=40)
            assert_kept(nodes, ledgers, url)
    assert sum(ledger.answers[503] for ledger in ledgers) == 0
