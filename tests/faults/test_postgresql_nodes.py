"""Two servers of the service on one database of PostgreSQL: what one has answered, the other knows at once."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from formats.times import timestamp
from tests.answers import DUPLICATE
from tests.faults.postgresql_nodes import nodes_on, until
from tests.postgresql import Cluster, new_database
from tests.servers import Server

pytestmark = [pytest.mark.faults, pytest.mark.processes]

CLIENTS = 25
REVOCATIONS = 200
RACERS = 64


@pytest.fixture(scope="module")
def nodes(server_of_postgresql: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    place = tmp_path_factory.mktemp("two-nodes")
    with (
        new_database(server_of_postgresql) as name,
        nodes_on(server_of_postgresql.url(name), place, "one", "other") as started,
    ):
        yield started


def disable(node: Server, name: str) -> int:
    return node.call("PATCH", f"/v0/api_keys/{name}", json={"disabled": True}).status_code


def delete(node: Server, name: str) -> int:
    return node.call("DELETE", f"/v0/api_keys/{name}").status_code


def rotate(node: Server, name: str) -> int:
    return node.call("POST", f"/v0/api_keys/{name}/rotate", json={}).status_code


def expire(node: Server, name: str) -> int:
    """Ends a key in two seconds, and waits for that."""
    end = datetime.now(UTC) + timedelta(seconds=2)
    status = node.call("PATCH", f"/v0/api_keys/{name}", json={"expires_at": timestamp(end)}).status_code
    time.sleep(max(0, (end - datetime.now(UTC)).total_seconds()))
    return status


def test_a_revocation_at_one_node_holds_at_the_other_at_once(nodes: list[Server]) -> None:
    """Although the other has just found the key good."""
    ways: list[Callable[[Server, str], int]] = [disable, delete, rotate, expire]

    def revoke(number: int) -> tuple[int, int, int]:
        here, there = nodes if number % 2 else nodes[::-1]
        way, name = ways[number // 2 % len(ways)], f"revoked-{number}"
        key = here.mint(name)
        before = there.call("GET", "/v0/auth", by=key).status_code
        changed = way(here, name)
        return before, changed, there.call("GET", "/v0/auth", by=key).status_code

    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = Counter(clients.map(revoke, range(REVOCATIONS)))
    assert answers == {(200, 200, 401): 100, (200, 204, 401): 50, (200, 201, 401): 50}


def test_one_name_that_many_ask_both_nodes_for_goes_to_one(nodes: list[Server]) -> None:
    barrier = threading.Barrier(RACERS)

    def create(number: int) -> tuple[int, Any]:
        barrier.wait(30)
        response = nodes[number % 2].call("POST", "/v0/api_keys", json={"name": f"race-{race}"})
        return response.status_code, response.json()

    with ThreadPoolExecutor(RACERS) as racers:
        for race in range(3):
            answers = list(racers.map(create, range(RACERS)))
            [minted] = [body for status, body in answers if status == 201]
            assert [answer for answer in answers if answer[0] != 201] == [(409, DUPLICATE)] * (RACERS - 1)
            for node in nodes:
                assert node.call("GET", "/v0/auth", by=minted["api_key"]).json()["key_name"] == f"race-{race}"


def test_a_key_that_one_node_disables_mints_nothing_more_at_the_other(nodes: list[Server]) -> None:
    here, there = nodes
    key, disabled = here.mint("parent"), threading.Event()

    def mint(worker: int) -> list[tuple[bool, int]]:
        """Whether a creation began after the key was disabled, and its status: until two of them did."""
        answers: list[tuple[bool, int]] = []
        while answers[-2:] != [(True, 401)] * 2:
            late, name = disabled.is_set(), f"child-{worker}-{len(answers)}"
            answers.append((late, there.call("POST", "/v0/api_keys", by=key, json={"name": name}).status_code))
            assert answers[-1] != (True, 201)
        return answers

    with ThreadPoolExecutor(8) as minting:
        workers = [minting.submit(mint, worker) for worker in range(8)]
        until(lambda: there.call("GET", "/v0/api_keys/child-0-2").status_code == 200)
        assert disable(here, "parent") == 200
        disabled.set()
        answers = Counter(answer for worker in workers for answer in worker.result())
    assert answers.keys() <= {(False, 201), (False, 401), (True, 401)}
    assert answers[True, 401] == 16
    newest = there.call("GET", "/v0/audit?limit=1").json()
    assert [(entry["action"], entry["key_name"]) for entry in newest] == [("key.updated", "parent")]
