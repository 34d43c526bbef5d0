"""Rate limits: a moving window a key, shared by all that a limited key minted."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from errors import RateLimited
from identity.rates import RateLimit
from keys.moving_windows import IDLE, MovingWindows
from keys.rate_limits import RateLimits

Call = Callable[..., Any]
Mint = Callable[..., str]
TWO = {"requests": 2, "seconds": 60}
TEN = {"requests": 10, "seconds": 60}


def statuses(call: Call, key: str, times: int, query: str = "") -> list[int]:
    return [call("GET", f"/v0/auth{query}", by=key).status_code for _ in range(times)]


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Lets that much time pass."""
    moment = time.monotonic() + seconds
    monkeypatch.setattr(time, "monotonic", lambda: moment)


def test_beyond_the_limit_the_gate_refuses(call: Call, mint: Mint) -> None:
    key = mint("laptop", rate_limit=TWO)
    assert statuses(call, key, 3) == [200, 200, 429]
    refused = call("GET", "/v0/auth", by=key)
    assert (refused.status_code, refused.json["error_code"]) == (429, "RateLimited")
    assert refused.json["details"] == {**TWO, "retry_after": 60}
    assert refused.headers["Retry-After"] == "60"
    assert "WWW-Authenticate" not in refused.headers


def test_the_headers_tell_what_is_left(call: Call, mint: Mint) -> None:
    key = mint("laptop", rate_limit=TWO)
    for left in (1, 0, 0):
        answer = call("GET", "/v0/auth", by=key)
        assert answer.headers["RateLimit-Policy"] == '"key";q=2;w=60'
        assert answer.headers["RateLimit"] == f'"key";r={left};t=60'
    other = call("GET", "/v0/auth", by=mint("other"))
    assert not {"RateLimit", "RateLimit-Policy"} & set(other.headers.keys())


def test_the_window_moves(call: Call, mint: Mint, monkeypatch: pytest.MonkeyPatch) -> None:
    key = mint("laptop", rate_limit=TWO)
    start = time.monotonic()
    for moment, status in [(0, 200), (40, 200), (50, 429), (59.5, 429), (61, 200), (62, 429), (101, 200), (102, 429)]:
        monkeypatch.setattr(time, "monotonic", lambda moment=moment: start + moment)
        assert statuses(call, key, 1) == [status], moment


def test_retry_after_is_when_there_is_room(call: Call, mint: Mint, monkeypatch: pytest.MonkeyPatch) -> None:
    key = mint("laptop", rate_limit=TWO)
    statuses(call, key, 2)
    later(monkeypatch, 45)
    wait = int(call("GET", "/v0/auth", by=key).headers["Retry-After"])
    assert 14 <= wait <= 16
    later(monkeypatch, wait)
    assert statuses(call, key, 1) == [200]


@pytest.mark.parametrize("step", [-86_400, 86_400])
def test_the_wall_clock_may_be_set(call: Call, mint: Mint, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    key = mint("laptop", rate_limit=TWO)
    assert statuses(call, key, 1) == [200]
    moment = time.time() + step
    monkeypatch.setattr(time, "time", lambda: moment)
    assert statuses(call, key, 2) == [200, 429]
    later(monkeypatch, 61)
    assert statuses(call, key, 1) == [200]


def test_what_is_refused_otherwise_is_not_counted(call: Call, mint: Mint) -> None:
    key = mint("laptop", rate_limit=TWO)
    assert statuses(call, key, 5, "?scope=a") == [403] * 5
    assert statuses(call, key, 3) == [200, 200, 429]


def test_elsewhere_than_at_the_gate_there_is_no_limit(call: Call, mint: Mint) -> None:
    key = mint("laptop", rate_limit=TWO)
    assert [call("GET", "/v0/api_keys", by=key).status_code for _ in range(5)] == [200] * 5
    assert [call("POST", "/v0/introspect", data={"token": key}).json["active"] for _ in range(5)] == [True] * 5


def test_for_nginx_it_is_a_403_with_the_same_body(call: Call, mint: Mint) -> None:
    key = mint("laptop", rate_limit=TWO)
    assert statuses(call, key, 3, "?limited=403") == [200, 200, 403]
    as_403, as_429 = call("GET", "/v0/auth?limited=403", by=key), call("GET", "/v0/auth", by=key)
    assert (as_403.status_code, as_429.status_code) == (403, 429)
    assert as_403.json == as_429.json
    assert as_403.headers["Retry-After"] == as_429.headers["Retry-After"]


def test_the_refusals_are_counted_for_the_key(call: Call, mint: Mint) -> None:
    key = mint("laptop", rate_limit=TWO)
    statuses(call, key, 5)
    [day] = call("GET", "/v0/api_keys/laptop/usage?days=1").json
    assert (day["checks"], day["refused"]) == (2, 3)


@pytest.mark.parametrize(
    "rate",
    [
        *[{}, {"requests": 1}, {"seconds": 1}, {"requests": 0, "seconds": 1}, {"requests": 1, "seconds": 0}],
        *[{"requests": 1_000_001, "seconds": 1}, {"requests": 1, "seconds": 86_401}, {**TWO, "burst": 1}],
        *[{"requests": "1", "seconds": 1}, {"requests": 1.5, "seconds": 1}, "2/60", 5, []],
    ],
)
def test_what_is_no_rate_is_refused(call: Call, rate: Any) -> None:
    response = call("POST", "/v0/api_keys", json={"name": "x", "rate_limit": rate})
    assert response.json["error_code"] == "ValidationError", response.text
    assert list(response.json["details"]) == ["rate_limit"]


def test_the_bounds_are_good(call: Call, mint: Mint) -> None:
    for name, rate in {"a": {"requests": 1_000_000, "seconds": 86_400}, "b": {"requests": 1, "seconds": 1}}.items():
        mint(name, rate_limit=rate)
        assert call("GET", f"/v0/api_keys/{name}").json["rate_limit"] == rate


def test_sixteen_at_once_get_no_more_than_the_allowance(app: Flask, mint: Mint) -> None:
    key = mint("laptop", rate_limit={"requests": 50, "seconds": 3600})
    good: list[int] = []

    def ask() -> None:
        client = app.test_client()
        for _ in range(20):
            good.append(client.get("/v0/auth", headers={"X-API-Key": key}).status_code)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (good.count(200), good.count(429)) == (50, 270)


# What is minted with a limited key draws from the same allowance.


def test_three_generations_share_it_also_after_the_middle_one_is_gone(call: Call, mint: Mint) -> None:
    root = mint("root", rate_limit=TEN)
    child = mint("child", by=root)
    grandchild = mint("grandchild", by=child)
    assert call("GET", "/v0/api_keys/grandchild").json["rate_limit"] == TEN
    assert statuses(call, root, 3) + statuses(call, child, 3) + statuses(call, grandchild, 3) == [200] * 9
    call("DELETE", "/v0/api_keys/child")
    assert statuses(call, grandchild, 2) == [200, 429]
    assert statuses(call, root, 1) == [429]
    call("DELETE", "/v0/api_keys/root")
    assert statuses(call, grandchild, 1) == [429]


@pytest.mark.parametrize("rate", [TWO, TEN, {"requests": 100, "seconds": 1}, None])
def test_a_limited_key_gives_no_rate_whatever_it_is(call: Call, mint: Mint, rate: Any) -> None:
    root = mint("root", rate_limit=TEN)
    mint("child", by=root)
    for method, path, body in [
        ("POST", "/v0/api_keys", {"name": "x", "rate_limit": rate}),
        ("PATCH", "/v0/api_keys/child", {"rate_limit": rate}),
        ("PATCH", "/v0/api_keys/root", {"rate_limit": rate}),
    ]:
        refused = call(method, path, by=root, json=body)
        assert (refused.status_code, refused.json["error_code"]) == (403, "RateExceedsCreator")
        assert refused.json["details"] == {"requested": rate, "creator": TEN}


def test_a_limited_key_touches_nothing_beyond_its_allowance(call: Call, mint: Mint) -> None:
    root = mint("root", rate_limit=TEN)
    mint("inside", by=root)
    mint("free")
    mint("another", rate_limit=TWO)
    for name in ("free", "another"):
        for method, path, body in [("POST", "/rotate", {}), ("PATCH", "", {"description": "x"})]:
            refused = call(method, f"/v0/api_keys/{name}{path}", by=root, json=body)
            assert (refused.status_code, refused.json["error_code"]) == (403, "RateExceedsCreator")
    assert call("POST", "/v0/api_keys/inside/rotate", by=root, json={}).status_code == 201
    assert call("PATCH", "/v0/api_keys/inside", by=root, json={"description": "x"}).status_code == 200
    assert call("PATCH", "/v0/api_keys/free", by=root, json={"disabled": True}).status_code == 200


def test_an_unlimited_key_may_give_any_rate(call: Call, mint: Mint) -> None:
    parent = mint("parent")
    mint("child", by=parent, rate_limit=TWO)
    assert call("PATCH", "/v0/api_keys/child", by=parent, json={"rate_limit": TEN}).json["rate_limit"] == TEN
    assert call("PATCH", "/v0/api_keys/child", by=parent, json={"rate_limit": None}).json["rate_limit"] is None


def test_a_rotation_leaves_the_allowance_what_it_is(call: Call, mint: Mint) -> None:
    old = mint("laptop", rate_limit=TWO)
    assert statuses(call, old, 1) == [200]
    new = call("POST", "/v0/api_keys/laptop/rotate", json={"grace_seconds": 60}).json["api_key"]
    assert statuses(call, new, 1) + statuses(call, old, 1) == [200, 429]


def test_a_change_of_the_first_key_is_one_of_all_that_draw_from_it(call: Call, mint: Mint) -> None:
    root = mint("root", rate_limit=TWO)
    child = mint("child", by=root)
    own = mint("own", by=root)
    call("PATCH", "/v0/api_keys/own", json={"rate_limit": TEN})  # by a person: an allowance of its own
    assert statuses(call, child, 3) == [200, 200, 429]
    assert call("PATCH", "/v0/api_keys/root", json={"rate_limit": TEN}).status_code == 200
    assert call("GET", "/v0/api_keys/child").json["rate_limit"] == TEN
    assert statuses(call, child, 5) + statuses(call, root, 6) == [200] * 10 + [429]
    assert statuses(call, own, 1) == [200]
    changes = [(entry["key_name"], entry["details"]) for entry in call("GET", "/v0/audit?action=key.updated").json]
    assert changes[:2] == [
        ("child", {"rate_limit": {"from": TWO, "to": TEN}}),
        ("root", {"rate_limit": {"from": TWO, "to": TEN}}),
    ]
    call("PATCH", "/v0/api_keys/root", json={"rate_limit": None})
    assert statuses(call, child, 20) == [200] * 20
    call("PATCH", "/v0/api_keys/root", json={"rate_limit": {"requests": 2, "seconds": 50}})
    assert statuses(call, child, 2) + statuses(call, root, 1) == [200, 200, 429]


# The store in memory


def test_idle_allowances_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = MovingWindows()
    for number in range(IDLE):
        windows.acquire_entry(str(number), 1, 60)
    later(monkeypatch, 61)
    windows.acquire_entry("one", 1, 60)
    assert len(windows._uses) == 1


# The shared store


class Recorder(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_without_an_answer_the_process_counts_alone_and_says_so_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Recorder()
    logging.getLogger("keyhook").addHandler(seen)
    try:
        rates, rate = RateLimits("redis://:geheim@127.0.0.1:1/0"), RateLimit(2, 3600)
        for _ in range(2):
            rates.take("a", rate)
        with pytest.raises(RateLimited):
            rates.take("a", rate)
        later(monkeypatch, 30)
        with pytest.raises(RateLimited):
            rates.take("a", rate)
        assert len(seen.lines) == 1
        later(monkeypatch, 61)
        with pytest.raises(RateLimited):
            rates.take("a", rate)
        assert len(seen.lines) == 2
        assert "geheim" not in "".join(seen.lines)
    finally:
        logging.getLogger("keyhook").removeHandler(seen)
