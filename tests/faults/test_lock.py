"""Another process holds the write lock: checks go on, a change waits or is a 503."""

import http.client
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.answers import UNAVAILABLE
from tests.servers import FLASK_RUN, SERVE, Server
from tests.write_lock import write_lock

pytestmark = [pytest.mark.faults, pytest.mark.alone]

BUSY_TIMEOUT = 5  # seconds, as promised
SLACK = 0.010  # seconds that two noisy medians may differ by, whatever their ratio


def check_times(server: Server, secret: str, go_on: Callable[[int], bool]) -> list[float]:
    """The seconds of each check; all must be a 200."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    times: list[float] = []
    while go_on(len(times)):
        started = time.perf_counter()
        connection.request("GET", "/v0/auth", headers={"X-API-Key": secret})
        response = connection.getresponse()
        response.read()
        times.append(time.perf_counter() - started)
        assert response.status == 200
        time.sleep(0.002)
    connection.close()
    return times


def until(moment: float) -> Callable[[int], bool]:
    return lambda _: time.monotonic() < moment


def assert_unhurt(during: list[float], before: list[float]) -> None:
    low, high = statistics.median(before), statistics.median(during)
    print(f"check: median {low * 1000:.1f} ms before, {high * 1000:.1f} ms during, {max(during) * 1000:.0f} ms at most")
    assert high <= 3 * low + SLACK


class Answer(NamedTuple):
    """The outcome of a creation. The response itself would keep its connection open."""

    status: int
    body: dict[str, Any]
    retry_after: str | None
    took: float  # seconds


def create(server: Server, name: str, token: str) -> Answer:
    started = time.monotonic()
    response = server.call("POST", "/v0/api_keys", by=token, json={"name": name})
    took = time.monotonic() - started
    return Answer(response.status_code, response.json(), response.headers.get("Retry-After"), took)


@pytest.mark.parametrize("command", [FLASK_RUN, SERVE], ids=["flask run", "flask serve"])
def test_a_creation_waits_for_a_short_lock(serve: Callable[..., Server], data_dir: Path, command: list[str]) -> None:
    server = serve(command)
    warm, unused, token = server.mint("warm"), server.mint("unused"), server.token()
    before = check_times(server, warm, lambda count: count < 200)
    with ThreadPoolExecutor(1) as other:
        with write_lock(data_dir / "keyhook.db"):
            waiting: Future[Answer] = other.submit(create, server, "patient", token)
            during = check_times(server, warm, until(time.monotonic() + 1.5))
            assert server.call("GET", "/v0/auth", by=unused).status_code == 200  # whose use cannot be noted
            during += check_times(server, warm, until(time.monotonic() + 0.5))
            assert not waiting.done()
        answer = waiting.result()
    assert answer.status == 201
    assert server.call("GET", "/v0/auth", by=answer.body["api_key"]).status_code == 200
    assert_unhurt(during, before)


@pytest.mark.parametrize("command", [FLASK_RUN, SERVE], ids=["flask run", "flask serve"])
def test_a_creation_gives_up_on_a_long_lock(serve: Callable[..., Server], data_dir: Path, command: list[str]) -> None:
    """More creations come at once than the server has threads, and checks still find a thread."""
    server = serve(command)
    warm, token = server.mint("warm"), server.token()
    before = check_times(server, warm, lambda count: count < 200)
    seconds = 30 if command is SERVE else 7
    released = threading.Event()

    def insist(number: int) -> list[Answer]:
        answers: list[Answer] = []
        while not released.wait(0.2):
            answers.append(create(server, f"creation-{number}-{len(answers)}", token))
        return answers

    with ThreadPoolExecutor(20) as others:
        with write_lock(data_dir / "keyhook.db"):
            insisting = [others.submit(insist, number) for number in range(20)]
            during = check_times(server, warm, until(time.monotonic() + seconds))
            released.set()
            time.sleep(0.5)
        answers = [answer for future in insisting for answer in future.result()]
    made = [answer for answer in answers if answer.status == 201]  # those that were waiting when the lock was let go
    refused = [answer for answer in answers if answer.status != 201]
    print(f"{len(made)} made, {len(refused)} refused")
    for answer in refused:
        assert_refused(answer)
    assert len(refused) >= 20 - 8
    assert max(answer.took for answer in refused) > BUSY_TIMEOUT - 1
    assert_unhurt(during, before)
    assert sorted(during)[len(during) * 98 // 100] < 1
    assert max(during) < 3
    shown = {key["name"] for key in server.call("GET", "/v0/api_keys").json()}
    assert shown == {"warm"} | {answer.body["name"] for answer in made}
    assert create(server, "afterwards", token).status == 201


def assert_refused(answer: Answer) -> None:
    assert (answer.status, answer.body) == (503, UNAVAILABLE)
    assert int(answer.retry_after or 0) > 0
    assert answer.took < BUSY_TIMEOUT + 2
