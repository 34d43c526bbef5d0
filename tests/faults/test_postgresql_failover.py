"""A server of PostgreSQL that restarts, freezes or dies under load: nothing acknowledged is lost, all serve again."""

import os
import signal
import time
from pathlib import Path

import pytest

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
from tests.postgresql import Cluster, cluster, standby_of

pytestmark = [pytest.mark.faults, pytest.mark.processes]

FAILOVERS = int(os.environ.get("FAILOVERS", "1"))  # in a row


def test_restarts_under_load(server_of_postgresql: Cluster, url: str, tmp_path: Path) -> None:
    ledgers = clients(4)
    with nodes_on(url, tmp_path, "one", "other") as nodes:
        with at_work(ledgers, nodes):
            for how in ("fast", "immediate"):
                until_more(ledgers, *MADE, count=40)
                server_of_postgresql.restart(how)
                print(f"{how}: {until_all_serve(nodes, how):.2f} s until both serve again")
            until_more(ledgers, *MADE, count=40)
        assert_kept(nodes, ledgers, url)


def test_a_server_that_freezes_under_load(server_of_postgresql: Cluster, url: str, tmp_path: Path) -> None:
    ledgers = clients(4)
    with nodes_on(url, tmp_path, "one", "other") as nodes:
        with at_work(ledgers, nodes):
            until_more(ledgers, *MADE, count=40)
            server_of_postgresql.signal(signal.SIGSTOP)
            try:
                until_more(ledgers, 503, count=1)
            finally:
                server_of_postgresql.signal(signal.SIGCONT)
            print(f"{until_all_serve(nodes, 'thawed'):.2f} s until both serve again")
            until_more(ledgers, *MADE, count=40)
        assert_kept(nodes, ledgers, url)


@pytest.mark.parametrize("run", range(FAILOVERS))
def test_a_standby_takes_over_under_load(run: int, tmp_path: Path) -> None:
    """Where the first server is killed, a change is on its disk that the second has not got."""
    ledgers = clients(4)
    with cluster(dynamic_shared_memory_type="mmap") as first, standby_of(first) as second:
        both = first.url().replace(f":{first.port}/", f":{first.port},127.0.0.1:{second.port}/")
        with nodes_on(f"{both}?target_session_attrs=read-write", tmp_path, "one", "other") as nodes:
            with at_work(ledgers, nodes):
                until_more(ledgers, *MADE, count=40)
                if run % 2:
                    first.stop("immediate")
                else:
                    stop_sending(first)
                    first.kill()
                died = time.monotonic()
                until_more(ledgers, 503, count=1)
                second.promote()
                print(f"{until_all_serve(nodes, 'after', died):.2f} s from the death until both serve again")
                until_more(ledgers, *MADE, count=40)
            assert_kept(nodes, ledgers, second.url())


def stop_sending(server: Cluster) -> None:
    """Freezes what sends changes to the standby, and waits until one waits for that."""
    os.kill(int(server.sql("SELECT pid FROM pg_stat_replication")), signal.SIGSTOP)
    until(lambda: server.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") != "0")
