"""A server that is killed at work: acknowledged changes hold, each other one was done whole or not at all."""

import random
import shutil
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
import requests

from tests.faults.ledger import Ledger, check, compare
from tests.servers import FLASK_RUN, SERVE, start_server

pytestmark = pytest.mark.faults

ROUNDS = 50
CLIENTS = 4


def test_what_was_acknowledged_survives_a_kill(data_dir: Path, tmp_path: Path) -> None:
    ledgers = [Ledger(number) for number in range(CLIENTS)]
    luck = random.Random(0)
    for number in range(ROUNDS):
        server = start_server(data_dir, tmp_path / "server.log", [FLASK_RUN, SERVE][number % 2])
        try:
            checked = [check(server, ledger, sample=10) for ledger in ledgers] if number else []
            done = threading.Event()
            with ThreadPoolExecutor(CLIENTS) as clients:
                working = [clients.submit(ledger.work, [server], done) for ledger in ledgers]
                time.sleep(luck.uniform(0.05, 0.4))
                server.stop(signal.SIGKILL)
                done.set()
            for future in working:
                with suppress(requests.RequestException):
                    future.result()
        finally:
            server.stop(signal.SIGKILL)
        assert sum(checked) > 0 or number == 0
        assert [surprise for ledger in ledgers for surprise in ledger.surprises] == []
        assert sum(ledger.answers[503] for ledger in ledgers) == 0
        examine(data_dir, tmp_path / f"copy-{number}", ledgers)
    last = start_server(data_dir, tmp_path / "server.log", SERVE)
    try:
        changes = sum(sum(ledger.entries.values()) for ledger in ledgers)
        print(f"{changes} acknowledged changes, {sum(check(last, ledger) for ledger in ledgers)} secrets checked")
        assert last.call("POST", "/v0/api_keys", json={"name": "after all"}).status_code == 201
    finally:
        last.stop()
    assert changes > 10 * ROUNDS


def examine(data_dir: Path, copy: Path, ledgers: list[Ledger]) -> None:
    """Reads a copy of the files as the dead server left them, so that the next one recovers the originals itself."""
    copy.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(data_dir / f"keyhook.db{suffix}", copy)
    with closing(sqlite3.connect(copy / "keyhook.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        keys = database.execute("SELECT id, name FROM api_keys").fetchall()
        audit = database.execute("SELECT action, key_id, key_name FROM audit_entries").fetchall()
    shutil.rmtree(copy)
    compare(keys, audit, ledgers)
