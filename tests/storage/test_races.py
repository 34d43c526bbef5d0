"""Races in one process and in two: one request wins, the others are told, and each answer stays true."""

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from errors import DatabaseUnavailable
from formats.times import now
from identity.tokens import make_token
from models import api_keys
from serving import server
from storage.postgresql import writer_slots
from storage.sqlite.write_queue import SLOW_DISK, STALLED, WAITING, WriteQueue
from storage.statements import insert
from tests.answers import DUPLICATE
from tests.outage import bring_back, take_away
from tests.rows import names, url_of
from tests.servers import SERVE, Server

THREADS = 32

Call = Callable[..., tuple[int, Any]]


@pytest.fixture(params=["one process", "two servers"])
def callers(request: pytest.FixtureRequest) -> list[Call]:
    """Ways to send a request to one database: call(method, path, by=..., json=...)."""
    if request.param == "one process":
        app: Flask = request.getfixturevalue("app")
        admin = request.getfixturevalue("token")()

        def call(method: str, path: str, by: str = admin, **kwargs: Any) -> tuple[int, Any]:
            headers = {"Authorization": f"Bearer {by}"}
            response = app.test_client().open(path, method=method, headers=headers, **kwargs)
            return response.status_code, response.get_json(silent=True)

        return [call]
    serve: Callable[..., Server] = request.getfixturevalue("serve")

    def caller(server: Server) -> Call:
        def call(method: str, path: str, by: str = "", **kwargs: Any) -> tuple[int, Any]:
            response = server.call(method, path, by=by, **kwargs)
            return response.status_code, response.json() if response.content else None

        return call

    return [caller(serve()), caller(serve(SERVE))]


def at_once(callers: list[Call], requests: Iterable[tuple[Any, ...]]) -> list[tuple[int, Any]]:
    """Sends all at the same moment, each (method, path, body, by...) on its own thread.

    A machine that stands still looks like a lock, and whoever is sent away then comes again. In a queue that moves
    nobody is.
    """
    sent = list(requests)
    began: list[float] = []
    barrier = threading.Barrier(len(sent), lambda: began.append(time.monotonic()))

    def send(call: Call, request: tuple[Any, ...]) -> tuple[int, Any]:
        method, path, body, *by = request
        barrier.wait(30)
        answer = call(method, path, *by, json=body)
        if answer[0] == 503 and time.monotonic() - began[0] > STALLED:
            time.sleep(1)
            answer = call(method, path, *by, json=body)
        return answer

    with ThreadPoolExecutor(len(sent)) as threads:
        return list(threads.map(send, itertools.cycle(callers), sent))


def mint(call: Call, name: str, *by: str) -> str:
    status, body = call("POST", "/v0/api_keys", *by, json={"name": name})
    assert status == 201, body
    return str(body["api_key"])


def statuses(answers: Iterable[tuple[int, Any]]) -> Counter[int]:
    return Counter(status for status, _ in answers)


def works(call: Call, key: str) -> bool:
    status, body = call("GET", "/v0/auth", key)
    assert status in (200, 401), body
    return status == 200


def test_one_name_goes_to_one_creation(callers: list[Call]) -> None:
    for number in range(5):
        answers = at_once(callers, [("POST", "/v0/api_keys", {"name": f"name-{number}"})] * THREADS)
        assert statuses(answers) == {201: 1, 409: THREADS - 1}
        [minted] = [body for status, body in answers if status == 201]
        assert all(body == DUPLICATE for status, body in answers if status == 409)
        assert callers[0]("GET", f"/v0/api_keys/name-{number}")[1]["id"] == minted["id"]
        assert all(works(call, minted["api_key"]) for call in callers)
    assert len(callers[0]("GET", "/v0/api_keys")[1]) == 5
    assert len(callers[0]("GET", "/v0/audit")[1]) == 5


def test_one_name_goes_to_one_renaming(callers: list[Call]) -> None:
    keys = {f"old-{number}": mint(callers[0], f"old-{number}") for number in range(THREADS)}
    answers = at_once(callers, [("PATCH", f"/v0/api_keys/{name}", {"name": "new"}) for name in keys])
    assert statuses(answers) == {200: 1, 409: THREADS - 1}
    names = [key["name"] for key in callers[0]("GET", "/v0/api_keys")[1]]
    assert len(names) == len(set(names)) == THREADS
    assert names.count("new") == 1
    for key in keys.values():
        assert callers[-1]("GET", "/v0/auth", key)[1]["key_name"] in names


@pytest.mark.parametrize("grace", [0, 3600])
def test_rotations_of_one_key(callers: list[Call], grace: int) -> None:
    """The last secret remains, and with a grace also the one before it; the order of the audit says which."""
    first = mint(callers[0], "laptop")
    answers = at_once(callers, [("POST", "/v0/api_keys/laptop/rotate", {"grace_seconds": grace})] * 16)
    assert statuses(answers) == {201: 16}
    secrets = [body["api_key"] for _, body in answers]
    assert len({*secrets, first}) == 17
    for call in callers:
        good = [secret for secret in secrets if works(call, secret)]
        assert len(good) == (2 if grace else 1)
        assert not works(call, first)
    last = callers[0]("POST", "/v0/api_keys/laptop/rotate", json={"grace_seconds": grace})[1]["api_key"]
    assert works(callers[-1], last)
    still = [secret for secret in good if works(callers[-1], secret)]
    assert len(still) == (1 if grace else 0)
    assert [entry["action"] for entry in callers[0]("GET", "/v0/audit")[1]] == ["key.rotated"] * 17 + ["key.created"]


def test_one_deletion_of_many_succeeds(callers: list[Call]) -> None:
    key = mint(callers[0], "laptop")
    assert statuses(at_once(callers, [("DELETE", "/v0/api_keys/laptop", None)] * 16)) == {204: 1, 404: 15}
    assert not works(callers[-1], key)
    assert [entry["action"] for entry in callers[0]("GET", "/v0/audit")[1]] == ["key.deleted", "key.created"]


def test_what_is_minted_with_a_key_that_is_being_deleted_dies_with_it(callers: list[Call]) -> None:
    for number in range(4):
        parent = mint(callers[0], f"parent-{number}")
        child = mint(callers[0], f"child-{number}", parent)
        requests: list[tuple[Any, ...]] = [
            ("POST", "/v0/api_keys", {"name": f"offspring-{number}-{n}"}, child if n % 2 else parent) for n in range(24)
        ]
        requests.insert(12, ("DELETE", f"/v0/api_keys/parent-{number}?cascade=true", None))
        answers = at_once(callers, requests)
        assert answers.pop(12)[0] == 204
        assert statuses(answers).keys() <= {201, 401}
        offspring = [body["api_key"] for status, body in answers if status == 201]
        for call, key in itertools.product(callers, [parent, child, *offspring]):
            assert not works(call, key)
            assert call("POST", "/v0/api_keys", key, json={"name": "undead"})[0] == 401
    assert callers[0]("GET", "/v0/api_keys")[1] == []
    actions = Counter(entry["action"] for entry in callers[0]("GET", "/v0/audit?limit=1000")[1])
    assert actions["key.created"] == actions["key.deleted"]


def test_what_is_minted_while_the_family_of_a_key_that_is_gone_is_deleted_dies_with_it(callers: list[Call]) -> None:
    for number in range(4):
        body = callers[0]("POST", "/v0/api_keys", json={"name": f"gone-{number}"})[1]
        parent, key_id = body["api_key"], body["id"]
        children = [mint(callers[0], f"child-{number}-{n}", parent) for n in range(2)]
        assert callers[0]("DELETE", f"/v0/api_keys/gone-{number}", parent)[0] == 204
        requests: list[tuple[Any, ...]] = [
            ("POST", "/v0/api_keys", {"name": f"offspring-{number}-{n}"}, children[n % 2]) for n in range(24)
        ]
        requests[12:12] = [("DELETE", f"/v0/api_keys?id={key_id}&cascade=true", None)] * 2
        answers = at_once(callers, requests)
        assert statuses([answers.pop(12), answers.pop(12)]) == {204: 1, 404: 1}
        assert statuses(answers).keys() <= {201, 401}
        offspring = [body["api_key"] for status, body in answers if status == 201]
        for call, key in itertools.product(callers, [*children, *offspring]):
            assert not works(call, key)
    assert callers[0]("GET", "/v0/api_keys")[1] == []
    actions = Counter(entry["action"] for entry in callers[0]("GET", "/v0/audit?limit=1000")[1])
    assert actions["key.created"] == actions["key.deleted"]


def test_a_key_that_was_disabled_mints_nothing_more(callers: list[Call]) -> None:
    parent = mint(callers[0], "parent")
    requests: list[tuple[Any, ...]] = [("POST", "/v0/api_keys", {"name": f"n-{n}"}, parent) for n in range(16)]
    requests.insert(8, ("PATCH", "/v0/api_keys/parent", {"disabled": True}))
    answers = at_once(callers, requests)
    assert answers.pop(8)[0] == 200
    assert statuses(answers).keys() <= {201, 401}
    entries = callers[0]("GET", "/v0/audit")[1]
    [when] = [place for place, entry in enumerate(entries) if entry["action"] == "key.updated"]
    assert when == 0  # newest first: nothing was created after it


def pages(app: Flask, token: str, limit: int) -> Iterator[list[str]]:
    """The names on each page, by the Link headers."""
    path, client = f"/v0/api_keys?limit={limit}", app.test_client()
    while path:
        response = client.get(path, headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 200
        yield [key["name"] for key in response.get_json()]
        path = response.headers.get("Link", "").partition(">")[0].removeprefix("<")


@pytest.mark.parametrize("limit", [1, 7, 50])
def test_pages_show_every_key_once_whatever_happens_meanwhile(
    app: Flask, token: Callable[..., str], mint: Callable[..., str], limit: int
) -> None:
    for number in range(60):
        mint(f"{'stays' if number % 2 else 'goes'}-{number}")
    stays = {f"stays-{number}" for number in range(1, 60, 2)}
    done = threading.Event()
    admin = token()

    def churn(worker: int) -> int:
        client, headers = app.test_client(), {"Authorization": f"Bearer {admin}"}
        names = [f"goes-{number}" for number in range(0, 60, 2) if number % 6 == 2 * worker]
        for number in itertools.count():
            if done.is_set():
                return number
            made = f"new-{worker}-{number}"
            assert client.post("/v0/api_keys", json={"name": made}, headers=headers).status_code == 201
            names.append(made)
            assert client.delete(f"/v0/api_keys/{names.pop(0)}", headers=headers).status_code == 204
        raise AssertionError

    with ThreadPoolExecutor(3) as threads:
        churning = [threads.submit(churn, worker) for worker in range(3)]
        try:
            for _ in range(5):
                seen = Counter(name for page in itertools.islice(pages(app, admin, limit), 1000) for name in page)
                assert set(seen.values()) == {1}
                assert stays <= seen.keys()
        finally:
            done.set()
        assert all(future.result() > 0 for future in churning)


def test_a_cursor_passes_over_no_key_that_is_committed_late(
    app: Flask, mint: Callable[..., str], call: Callable[..., Any]
) -> None:
    """A key that came after it, and was shown before it, would lead past it for ever."""
    early = {"id": "early", "name": "early", "tenant": "default", "role": "write", "owner": "alice"}
    with ThreadPoolExecutor(1) as threads:
        with app.extensions["keyhook"].storage.write("default") as transaction:
            insert(transaction, api_keys, [{**early, "created_at": now(), "secret_hash": ""}])
            late = threads.submit(mint, "late")
            wait([late], timeout=0.5)  # a hundred times what it takes if nothing holds it up
            seen = names(call)
        late.result(30)
    assert (seen, names(call)) == ("", "early late")


def test_dear_hashes_hold_up_nobody(make_app: Callable[..., Flask], data_dir: Path) -> None:
    app = make_app(data_dir, KEYHOOK_BCRYPT_ROUNDS=13)  # half a second each
    with app.app_context():
        admin = make_token(app.extensions["keyhook"].settings.secret_key, "a", "admin", "default", timedelta(hours=1))

    def call(method: str, path: str, body: dict[str, Any]) -> tuple[int, float]:
        started = time.monotonic()
        status = (
            app.test_client()
            .open(path, method=method, headers={"Authorization": f"Bearer {admin}"}, json=body)
            .status_code
        )
        return status, time.monotonic() - started

    assert call("POST", "/v0/api_keys", {"name": "leaked"})[0] == 201
    with ThreadPoolExecutor(8) as threads:
        making = [threads.submit(call, "POST", "/v0/api_keys", {"name": f"k-{number}"}) for number in range(8)]
        time.sleep(0.2)
        assert not any(future.done() for future in making)
        assert call("PATCH", "/v0/api_keys/leaked", {"disabled": True})[0] == 200
        assert not all(future.done() for future in making)  # it did not wait for them
        assert [future.result()[0] for future in making] == [201] * 8


def test_one_turn_at_a_time_whatever_happens_in_it() -> None:
    queue, inside, most, outcomes = WriteQueue(), 0, 0, Counter[str]()

    def work(worker: int) -> None:
        nonlocal inside, most
        chance = random.Random(worker)
        for _ in range(100):
            try:
                with queue.turn():
                    inside += 1
                    most = max(most, inside)
                    time.sleep(chance.choice([0, 0, 0.0005]))
                    inside -= 1
                    if chance.random() < 0.3:
                        raise chance.choice([ValueError, KeyboardInterrupt])
            except (ValueError, KeyboardInterrupt) as error:
                outcomes[type(error).__name__] += 1
            else:
                outcomes["good"] += 1

    with ThreadPoolExecutor(16) as threads:
        for future in [threads.submit(work, worker) for worker in range(16)]:
            future.result()
    assert (most, inside, outcomes.total()) == (1, 0, 1600)
    assert len(outcomes) == 3
    with queue.turn():  # it is free again
        pass


def test_turns_come_in_order_and_a_line_that_stands_still_is_kept_short() -> None:
    queue, order = WriteQueue(), list[int]()

    def wait(number: int) -> str:
        try:
            with queue.turn():
                order.append(number)
        except DatabaseUnavailable as error:
            return str(error.reason)
        return "done"

    with ThreadPoolExecutor(6) as threads:
        with queue.turn():
            waiting = []
            for number in range(6):
                waiting.append(threads.submit(wait, number))
                time.sleep(0.03)
            time.sleep(STALLED + 0.2)
            assert sum(future.done() for future in waiting) == 6 - (WAITING - 1)
        results = [future.result() for future in waiting]
    assert order == list(range(WAITING - 1))
    assert results == ["done"] * (WAITING - 1) + ["too many writers are waiting for the lock"] * (7 - WAITING)


def test_a_turn_that_failed_long_ago_shortens_no_line() -> None:
    queue = WriteQueue()
    with pytest.raises(DatabaseUnavailable), queue.turn():
        raise DatabaseUnavailable("locked")
    done: list[int] = []

    def wait(number: int) -> None:
        with queue.turn():
            done.append(number)

    with ThreadPoolExecutor(2 * WAITING) as threads:
        with queue.turn():
            waiting = [threads.submit(wait, number) for number in range(2 * WAITING)]
            time.sleep(STALLED / 2)
        for future in waiting:
            future.result()
    assert len(done) == 2 * WAITING


def test_a_slow_disk_shortens_no_line(app: Flask, mint: Callable[..., str]) -> None:
    """Another process that holds the lock does; see the faults. What the database writes takes as long as it takes."""
    stalled, slow = (writer_slots.STALLED, writer_slots.SLOW) if url_of(app) else (STALLED, SLOW_DISK)
    storage = app.extensions["keyhook"].storage
    with ThreadPoolExecutor(2 * WAITING) as threads:
        with storage.write("default"):
            waiting = [threads.submit(mint, f"key-{number}") for number in range(2 * WAITING)]
            time.sleep((stalled + slow) / 2)
            assert not any(future.done() for future in waiting)
        assert len({future.result() for future in waiting}) == 2 * WAITING


class InterruptedQueue(WriteQueue):
    """A queue in which a waiting thread is interrupted just when its turn has come."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    def _check_deadline(self, mine: Any, deadline: float) -> None:
        self.asked.set()
        while mine in self._waiters:
            time.sleep(0.001)
        raise KeyboardInterrupt


def test_a_turn_that_comes_to_nobody_is_passed_on() -> None:
    queue = InterruptedQueue()

    def wait() -> None:
        with pytest.raises(KeyboardInterrupt), queue.turn():
            pass

    with ThreadPoolExecutor(1) as threads:
        with queue.turn():
            waiting = threads.submit(wait)
            assert queue.asked.wait(30)
        waiting.result()
    assert not queue._busy


def test_what_waits_leaves_room_for_checks() -> None:
    assert server.THREADS / 2 >= WAITING


def test_a_database_that_is_lost_during_a_change_is_no_success(app: Flask, call: Callable[..., Any]) -> None:
    storage = app.extensions["keyhook"].storage
    with pytest.raises(DatabaseUnavailable), storage.write("default"):
        take_away(app)
    assert call("POST", "/v0/api_keys", json={"name": "meanwhile"}).status_code == 503
    bring_back(app)
    assert call("POST", "/v0/api_keys", json={"name": "afterwards"}).status_code == 201
