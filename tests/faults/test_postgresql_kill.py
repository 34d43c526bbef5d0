"""SIGKILL of one node of several, at random moments under load: what it acknowledged is kept, and no change is half."""

import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.faults.ledger import Ledger, check, compare
from tests.faults.postgresql_nodes import ALL, assert_kept, clients, nodes_on, rows, until
from tests.servers import Server

pytestmark = [pytest.mark.faults, pytest.mark.processes]

ROUNDS = 50
TOGETHER = 5  # nodes that start together, to be killed one after another


def test_what_was_acknowledged_survives_the_kill_of_a_node(url: str, tmp_path: Path) -> None:
    ledgers, luck = clients(4), random.Random(0)
    with nodes_on(url, tmp_path, "survivor") as [survivor]:
        for group in range(ROUNDS // TOGETHER):
            with nodes_on(url, tmp_path, *(f"{group}-{number}" for number in range(TOGETHER))) as victims:
                for number, victim in enumerate(victims):
                    kill_under_load(victim, survivor, ledgers, luck.randint(5, 25))
                    survivor.mint(f"after-{group}-{number}")  # nothing that the dead one held is in its way
                    assert sum(check(survivor, ledger, sample=3) for ledger in ledgers) > 0
                    compare(*rows(url), ledgers)
        assert_kept([survivor], ledgers, url)
    doubtful = sum(ledger.doubtful.total() for ledger in ledgers)
    print(f"{changes_of(ledgers)} acknowledged changes, {doubtful} in doubt")
    assert sum(ledger.answers[503] for ledger in ledgers) == 0


def changes_of(ledgers: list[Ledger]) -> int:
    return sum(ledger.entries.total() for ledger in ledgers)


def kill_under_load(victim: Server, survivor: Server, ledgers: list[Ledger], changes: int) -> None:
    """Once so many more changes are acknowledged. Two of three requests go to the victim."""
    done, before = threading.Event(), changes_of(ledgers)
    with ThreadPoolExecutor(len(ledgers)) as pool:
        working = [pool.submit(ledger.work, [victim, victim, survivor], done, ALL) for ledger in ledgers]
        try:
            until(lambda: changes_of(ledgers) >= before + changes)
            victim.stop(signal.SIGKILL)
        finally:
            done.set()
    for future in working:
        with suppress(requests.RequestException):
            future.result()
