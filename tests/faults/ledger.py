"""Clients that change keys and write down the answers, and a comparison of the answers with the database."""

import random
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import requests

from tests.answers import UNAVAILABLE
from tests.servers import Server

OPERATIONS = {"create": 4, "compete": 1, "rotate": 3, "delete": 2, "cascade": 2}
CHECKS = {"check": 4, "check_ended": 1}


class Ledger:
    """One client, with its acknowledged changes and those whose outcome it was not told."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.good: dict[str, str] = {}  # name: secret
        self.bad: list[str] = []  # secrets that ended
        self.touched: set[str] = set()  # names, in this round
        self.entries: Counter[tuple[str, str]] = Counter()  # (action, name), acknowledged
        self.doubtful: Counter[tuple[str, str]] = Counter()  # (action, name), not answered, or by a 503
        self.families: list[set[str]] = []  # names whose cascade is in doubt
        self.surprises: list[str] = []
        self.answers: Counter[int] = Counter()  # status: how often
        self.slowest = 0.0  # seconds
        self._made = 0
        self._random = random.Random(number)

    def work(self, servers: Sequence[Server], until: threading.Event, operations: dict[str, int] = OPERATIONS) -> None:
        """Sends each request to any of the servers. Raises RequestException when one of them is gone."""
        self._servers, self._until, self._token, self.touched = servers, until, servers[0].token(), set()
        while not until.is_set():
            [operation] = self._random.choices(list(operations), list(operations.values()))
            getattr(self, f"_{operation}")()

    def _send(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        response = self._random.choice(self._servers).call(method, path, **kwargs)
        self.answers[response.status_code] += 1
        self.slowest = max(self.slowest, response.elapsed.total_seconds())
        if response.status_code == 503:
            if (response.json(), response.headers.get("Retry-After")) != (UNAVAILABLE, "5"):
                self.surprises.append(f"{method} {path}: {response.headers} {response.text}")
            self._until.wait(0.1)
        return response

    def _change(self, action: str, names: set[str], method: str, path: str, by: str = "", **kwargs: Any) -> Any:
        """Sends a change; until it is answered by anything but a 503, its names are in doubt."""
        started = Counter({(action, name): 1 for name in names})
        known = {name: self.good.pop(name) for name in names if name in self.good}
        self.doubtful += started
        response = self._send(method, path, by=by or self._token, **kwargs)
        if response.status_code == 503:
            return response
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

    def _mint(self, name: str, by: str = "") -> bool:
        response = self._change("key.created", {name}, "POST", "/v0/api_keys", by, json={"name": name})
        if response.ok:
            self.good[name] = response.json()["api_key"]
        return bool(response.ok)

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
        if not self._mint(family[0]):
            return
        for parent, child in zip((0, 0, 1), family[1:], strict=True):
            if not self._mint(child, by=self.good[family[parent]]):
                return
        self.families.append(set(family))
        response = self._change("key.deleted", set(family), "DELETE", f"/v0/api_keys/{family[0]}?cascade=true")
        if response.status_code != 503:
            self.families.pop()

    def _check(self) -> None:
        if self.good:
            name = self._random.choice(list(self.good))
            response = self._send("GET", "/v0/auth", by=self.good[name])
            if response.status_code != 503 and response.json().get("key_name") != name:
                self.surprises.append(f"{name} is good, but: {response.status_code} {response.text}")

    def _check_ended(self) -> None:
        if self.bad:
            response = self._send("GET", "/v0/auth", by=self._random.choice(self.bad[-5:]))
            if response.status_code not in (401, 503):
                self.surprises.append(f"a key that ended: {response.status_code} {response.text}")


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


def compare(keys: Iterable[tuple[str, str]], audit: Iterable[tuple[str, str, str]], ledgers: Sequence[Ledger]) -> None:
    """The rows (id, name) and (action, id, name) against the ledgers: all that was acknowledged, and no half change."""
    keys, audit = list(keys), list(audit)
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
