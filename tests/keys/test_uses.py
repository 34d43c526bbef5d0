"""Uses by day: exact, also under load and at an orderly end; never a reason to fail; gone with the key."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from keys import uses
from keys.catalog import Catalog
from keys.uses import QUEUED, Tally, Uses, _read, _row, today
from tests.rows import ago, move, sql
from tests.servers import SERVE, Server
from tests.statements import Statements
from tests.write_lock import write_lock

Call = Callable[..., Any]


def check(app: Flask, key: str, times: int) -> None:
    client = app.test_client()
    for _ in range(times):
        assert client.get("/v0/auth", headers={"X-API-Key": key}).status_code == 200


def settle(*apps: Flask) -> None:
    for app in apps:
        app.extensions["keyhook"].keys.last_use.settle()


def ids(call: Call) -> dict[str, str]:
    return {key["name"]: key["id"] for key in call("GET", "/v0/api_keys").json}


def today_of(app: Flask, key_id: str, tenant: str = "default") -> int:
    return Catalog(app.extensions["keyhook"].storage, tenant).uses([key_id])[key_id][-1]


def test_every_use_counts_also_from_many_threads(app: Flask, mint: Call, call: Call) -> None:
    keys = {name: mint(name) for name in ("one", "two", "never")}
    with ThreadPoolExecutor(8) as threads:
        for _ in range(8):
            threads.submit(check, app, keys["one"], 200)
            threads.submit(check, app, keys["two"], 10)
    settle(app)
    assert {name: today_of(app, key_id) for name, key_id in ids(call).items()} == {"one": 1600, "two": 80, "never": 0}


def test_two_processes_add_up(
    app: Flask, make_app: Callable[..., Flask], data_dir: Path, mint: Call, call: Call
) -> None:
    key, other = mint("laptop"), make_app(data_dir)
    for times in (3, 4):
        check(app, key, times)
        check(other, key, 10 * times)
        settle(app, other)
    assert today_of(app, ids(call)["laptop"]) == 77


def test_another_tenant_sees_nothing(app: Flask, mint: Call, call: Call) -> None:
    check(app, mint("laptop"), 2)
    settle(app)
    assert today_of(app, ids(call)["laptop"], "other") == 0
    assert today_of(app, "no id") == 0


def test_a_row_goes_with_its_key(app: Flask, mint: Call, call: Call) -> None:
    parent = mint("parent")
    for key in (parent, mint("child", by=parent), mint("lone"), mint("old"), mint("kept")):
        check(app, key, 1)
    settle(app)
    assert sql(app, "SELECT count(*) FROM uses") == [(5,)]
    call("DELETE", "/v0/api_keys/parent?cascade=true")
    call("DELETE", "/v0/api_keys/lone")
    move(app, "old", expires_at=ago(days=40))
    assert app.test_cli_runner().invoke(args=["keys", "prune", "--expired", "30d"]).exit_code == 0
    assert sql(app, "SELECT key_id FROM uses") == [(ids(call)["kept"],)]


def test_uses_of_a_key_that_is_gone_leave_no_row(app: Flask, mint: Call, call: Call) -> None:
    check(app, mint("laptop"), 3)
    call("DELETE", "/v0/api_keys/laptop")
    settle(app)
    assert sql(app, "SELECT count(*) FROM uses") == [(0,)]


def test_while_nothing_can_be_written_checks_go_on_and_nothing_is_lost(
    app: Flask, mint: Call, call: Call, data_dir: Path
) -> None:
    key = mint("laptop")
    check(app, key, 1)
    with write_lock(data_dir / "keyhook.db"):
        check(app, key, QUEUED + 5)
        settle(app)
    settle(app)
    assert today_of(app, ids(call)["laptop"]) == QUEUED + 6


def test_numbers_are_written_once_a_minute(
    app: Flask, mint: Call, call: Call, statements: Statements, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = mint("laptop")
    check(app, key, 2)  # the first one writes the last use
    statements()
    check(app, key, 50)
    assert not [text for text in statements() if "uses" in text]
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    check(app, key, 1)
    monkeypatch.undo()
    assert today_of(app, ids(call)["laptop"]) == 53 - 1  # the one that wrote them comes with the next ones


def test_the_queue_stays_short_under_load() -> None:
    tally = Tally()
    assert [tally.note("key") for _ in range(QUEUED)][-1]
    assert tally.is_waiting()
    tally.count()
    assert not tally.is_waiting()
    tally.hurry()
    [batch] = tally.batches()
    assert batch == {"key": (Counter({today().isoformat(): QUEUED}), Counter())}
    assert not tally


def test_more_keys_than_there_is_room_for_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uses, "COUNTED", 3)
    monkeypatch.setattr(uses, "BATCH", 2)
    tally = Tally()
    for key in "abcdea":
        tally.note(key)
    tally.count()
    assert [{key: uses.checks.total() for key, uses in batch.items()} for batch in tally.batches()] == [
        {"a": 2, "b": 1},
        {"c": 1},
    ]


def day(ago: int) -> str:
    return (today() - timedelta(days=ago)).isoformat()


@pytest.mark.parametrize(
    ("known", "new", "through", "counts"),
    [
        ({}, {0: 5}, 0, "5"),
        ({0: 5}, {0: 2}, 0, "7"),
        ({1: 5}, {0: 2}, 0, "5 2"),
        ({3: 5}, {0: 2}, 0, "5 0 0 2"),
        ({0: 5}, {2: 2}, 0, "2 0 5"),  # another process is behind
        ({-1: 5}, {0: 2}, -1, "2 5"),  # a clock is a little ahead
        ({-400: 5}, {0: 2}, 0, "2"),  # or was a year ahead
        ({100: 5}, {0: 2}, 0, "2"),  # too long ago
        ({89: 5}, {0: 2}, 0, " ".join(["5", *["0"] * 88, "2"])),
    ],
)
def test_days_are_added_and_shifted(known: dict[int, int], new: dict[int, int], through: int, counts: str) -> None:
    days = Counter({day(ago): number for ago, number in known.items()}) + Counter(
        {day(ago): n for ago, n in new.items()}
    )
    row = _row("k", Uses(days, Counter()))
    assert row == {"new_key_id": "k", "new_through": day(through), "new_counts": counts, "new_refused": "0"}
    assert +_read(row["new_through"], row["new_counts"]) == {d: n for d, n in days.items() if day(89) <= d <= day(-1)}


def test_what_was_used_earlier_stands_at_its_day(app: Flask, mint: Call, call: Call) -> None:
    key = mint("laptop")
    check(app, key, 4)
    settle(app)
    sql(app, "UPDATE uses SET through = :day", day=day(2))
    check(app, key, 1)
    settle(app)
    key_id = ids(call)["laptop"]
    shown = app.extensions["keyhook"].catalog(_principal()).uses([key_id])[key_id]
    assert (len(shown), shown[-4:]) == (30, [0, 4, 0, 1])


def _principal() -> Any:
    from identity.principal import Principal

    return Principal("console", "default", "alice", "read")


@pytest.mark.parametrize(("number", "lost"), [(signal.SIGTERM, False), (signal.SIGKILL, True)])
def test_an_orderly_end_loses_none_and_a_kill_a_minute_at_most(
    serve: Callable[..., Server], app: Flask, call: Call, number: signal.Signals, lost: bool
) -> None:
    server = serve(SERVE)
    key = server.mint("laptop")
    for _ in range(20):
        assert server.call("GET", "/v0/auth", by=key).status_code == 200
    server.stop(number)
    assert today_of(app, ids(call)["laptop"]) == (0 if lost else 20)
