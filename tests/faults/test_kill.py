"""A server that is killed at work: acknowledged changes hold, each other one was done whole or not at all."""

import random
import shutil
import signal
import sqlite3
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.servers import FLASK_RUN, SERVE, Server, start_server

pytestmark = pytest.mark.faults

ROUNDS = 50
CLIENTS = 4
OPERATIONS = {"create": 4, "compete": 1, "rotate": 3, "delete": 2, "cascade": 2}


class Ledger:
    """One client, with its acknowledged changes and those in doubt when the server died."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.good: dict[str, str] = {}  # name: secret
        self.bad: list[str] = []  # secrets that ended
        self.touched: set[str] = set()  # names, in this round
        self.entries: Counter[tuple[str, str]] = Counter()  # (action, name), acknowledged
        self.doubtful: Counter[tuple[str, str]] = Counter()  # (action, name), not answered
        self.families: list[set[str]] = []  # names whose cascade was not answered
        self.surprises: list[str] = []
        self._made = 0
        self._random = random.Random(number)

    def work(self, server: Server, until: threading.Event) -> None:
        """Changes keys until the server is gone."""
        self._server, self._token, self.touched = server, server.token(), set()
        try:
            while not until.is_set():
                [operation] = self._random.choices(list(OPERATIONS), list(OPERATIONS.values()))
                getattr(self, f"_{operation}")()
        except requests.RequestException:
            pass

    def _change(self, action: str, names: set[str], method: str, path: str, by: str = "", **kwargs: Any) -> Any:
        """Sends a change; until it is answered, its names are in doubt."""
        started = Counter({(action, name): 1 for name in names})
        known = {name: self.good.pop(name) for name in names if name in self.good}
        self.doubtful += started
        response = self._server.call(method, path, by=by or self._token, **kwargs)
        self.doubtful -= started
        if response.ok:
            self.entries += started
            self.touched |= names
            if action != "key.created":
                self.bad += known.values()
        else:
            self.good.update(known)
            if response.status_code != 409:
                self.surprises.append(f"{method} {path}: {response.status_code} {response.text}")
        return response

    def _mint(self, name: str, by: str = "") -> None:
        response = self._change("key.created", {name}, "POST", "/v0/api_keys", by, json={"name": name})
        if response.ok:
            self.good[name] = response.json()["api_key"]

    def _name(self) -> str:
        self._made += 1
        return f"client-{self.number}-{self._made}"

    def _create(self) -> None:
        self._mint(self._name())

    def _compete(self) -> None:
        self._made += 1
        self._mint(f"shared-{self._made}")

    def _rotate(self) -> None:
        if self.good:
            name = self._random.choice(list(self.good))
            response = self._change("key.rotated", {name}, "POST", f"/v0/api_keys/{name}/rotate", json={})
            if response.ok:
                self.good[name] = response.json()["api_key"]

    def _delete(self) -> None:
        if self.good:
            name = self._random.choice(list(self.good))
            self._change("key.deleted", {name}, "DELETE", f"/v0/api_keys/{name}")

    def _cascade(self) -> None:
        family = [self._name() for _ in range(4)]
        self._mint(family[0])
        for parent, child in zip((0, 0, 1), family[1:], strict=True):
            self._mint(child, by=self.good[family[parent]])
        self.families.append(set(family))
        self._change("key.deleted", set(family), "DELETE", f"/v0/api_keys/{family[0]}?cascade=true")
        self.families.pop()


def test_what_was_acknowledged_survives_a_kill(data_dir: Path, tmp_path: Path) -> None:
    ledgers = [Ledger(number) for number in range(CLIENTS)]
    luck = random.Random(0)
    for number in range(ROUNDS):
        server = start_server(data_dir, tmp_path / "server.log", [FLASK_RUN, SERVE][number % 2])
        try:
            checked = [check(server, ledger, sample=10) for ledger in ledgers] if number else []
            done = threading.Event()
            with ThreadPoolExecutor(CLIENTS) as clients:
                working = [clients.submit(ledger.work, server, done) for ledger in ledgers]
                time.sleep(luck.uniform(0.05, 0.4))
                server.stop(signal.SIGKILL)
                done.set()
            for future in working:
                future.result()
        finally:
            server.stop(signal.SIGKILL)
        assert sum(checked) > 0 or number == 0
        assert [surprise for ledger in ledgers for surprise in ledger.surprises] == []
        examine(data_dir, tmp_path / f"copy-{number}", ledgers)
    last = start_server(data_dir, tmp_path / "server.log", SERVE)
    try:
        changes = sum(sum(ledger.entries.values()) for ledger in ledgers)
        print(f"{changes} acknowledged changes, {sum(check(last, ledger) for ledger in ledgers)} secrets checked")
        assert last.call("POST", "/v0/api_keys", json={"name": "after all"}).status_code == 201
    finally:
        last.stop()
    assert changes > 10 * ROUNDS


def check(server: Server, ledger: Ledger, sample: int | None = None) -> int:
    """Compares each secret with the ledger; with `sample`, those of the last round and some older ones."""
    good, bad = ledger.good, ledger.bad
    if sample is not None:
        older = random.Random(len(bad)).sample(sorted(good), min(sample, len(good)))
        good = {name: secret for name, secret in good.items() if name in ledger.touched or name in older}
        bad = bad[-30:]
    with requests.Session() as session:
        for name, secret in good.items():
            answer = session.get(f"{server.url}/v0/auth", headers={"X-API-Key": secret}, timeout=30)
            assert (answer.status_code, answer.json().get("key_name")) == (200, name)
        for secret in bad:
            assert session.get(f"{server.url}/v0/auth", headers={"X-API-Key": secret}, timeout=30).status_code == 401
    return len(good) + len(bad)


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
    names = {name for _, name in keys}
    assert len(names) == len(keys)
    created = Counter(key_id for action, key_id, _ in audit if action == "key.created")
    deleted = Counter(key_id for action, key_id, _ in audit if action == "key.deleted")
    assert {*created.values(), *deleted.values()} <= {1}
    assert created.keys() - deleted.keys() == {key_id for key_id, _ in keys}
    assert deleted.keys() <= created.keys()
    written = Counter((action, name) for action, _, name in audit)
    for ledger in ledgers:
        assert ledger.good.keys() <= names
        for family in ledger.families:
            assert family <= names or not family & names
    acknowledged = sum((ledger.entries for ledger in ledgers), Counter())
    possible = acknowledged + sum((ledger.doubtful for ledger in ledgers), Counter())
    assert acknowledged <= written <= possible
