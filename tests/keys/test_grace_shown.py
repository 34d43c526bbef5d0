"""A rotated key shows how long its old secret is good, and when that was last used."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.rows import ago, move, sql
from tests.statements import Statements
from tests.write_lock import write_lock

Call = Callable[..., Any]


def rotate(call: Call, grace: int = 3600) -> str:
    return str(call("POST", "/v0/api_keys/laptop/rotate", json={"grace_seconds": grace}).json["api_key"])


def shown(call: Call) -> tuple[str | None, str | None]:
    key = call("GET", "/v0/api_keys/laptop").json
    return key["grace_until"], key["previous_last_used_at"]


def check(call: Call, key: str, times: int = 1) -> None:
    for _ in range(times):
        assert call("GET", "/v0/auth", by=key).status_code == 200


def test_a_key_with_one_secret_shows_neither(call: Call, mint: Call) -> None:
    mint("laptop")
    assert shown(call) == (None, None)
    rotate(call, grace=0)
    assert shown(call) == (None, None)


def test_the_old_secret_shows_its_end_and_its_last_use(call: Call, mint: Call) -> None:
    old = mint("laptop")
    check(call, old)
    new = rotate(call)
    check(call, new)
    until, used = shown(call)
    assert until is not None
    assert timedelta(minutes=59) < datetime.fromisoformat(until) - datetime.now(UTC) <= timedelta(hours=1)
    assert used is None  # it was used before the rotation, and since then only the new one
    check(call, old)
    used = shown(call)[1]
    assert used is not None
    assert abs(datetime.fromisoformat(used) - datetime.now(UTC)) < timedelta(seconds=30)


def test_both_go_with_the_grace(call: Call, mint: Call, app: Flask) -> None:
    old = mint("laptop")
    rotate(call)
    check(call, old)
    move(app, "laptop", previous_until=ago(seconds=1))
    assert shown(call) == (None, None)


def test_a_second_rotation_begins_anew(call: Call, mint: Call) -> None:
    old = mint("laptop")
    newer = rotate(call)
    check(call, old)
    rotate(call)
    assert shown(call)[1] is None
    check(call, newer)
    assert shown(call)[1] is not None


def test_it_is_written_once_a_minute(
    statements: Statements, app: Flask, call: Call, mint: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = mint("laptop")
    rotate(call)
    statements()
    check(call, old, 20)
    assert len([text for text in statements() if "SET previous_last_used_at" in text]) == 1
    first = sql(app, "UPDATE api_keys SET previous_last_used_at = '2020-01-01T00:00:00.000000Z' RETURNING id")
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    check(call, old)
    assert len(first) == 1
    assert (shown(call)[1] or "") > "2021"


@pytest.mark.sqlite
def test_a_write_that_fails_fails_no_check(call: Call, mint: Call, data_dir: Path) -> None:
    old = mint("laptop")
    rotate(call)
    with write_lock(data_dir / "keyhook.db"):
        check(call, old)
    assert shown(call)[1] is None
    time.sleep(0.6)  # the time after which it is tried again
    call("GET", "/healthz", by=None)
    assert shown(call)[1] is not None
