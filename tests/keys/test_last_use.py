"""The last use of a key: right to a minute, at most one write a minute, and never a reason to fail."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.rows import ago, last_use, move
from tests.servers import FLASK_RUN, SERVE, Server
from tests.write_lock import write_lock

Call = Callable[..., Any]


def move_back(data_dir: Path, seconds: float, name: str = "laptop") -> str:
    """Moves the last use of a key back by that many seconds."""
    moment = ago(seconds=seconds)
    move(data_dir, name, last_used_at=moment)
    return moment


def until(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come")


# When


def test_a_key_that_was_never_used_says_so(call: Call, mint: Call) -> None:
    mint()
    shown = call("GET", "/v0/api_keys/laptop").json
    assert (shown["last_used_at"], shown["last_used_ip"]) == (None, None)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v0/auth"), ("GET", "/v0/auth?scope=x"), ("GET", "/v0/api_keys"), ("GET", "/v0/audit")],
)
def test_a_use_is_shown_at_once_also_one_that_was_refused_for_its_rights(
    call: Call, mint: Call, method: str, path: str
) -> None:
    key, before = mint(), datetime.now(UTC)
    call(method, path, by=key)
    shown = call("GET", "/v0/api_keys/laptop").json
    assert before <= datetime.fromisoformat(shown["last_used_at"]) <= datetime.now(UTC)
    assert shown["last_used_at"].endswith("Z")
    assert shown["last_used_ip"] == "127.0.0.1"


def test_only_a_good_key_was_used(call: Call, mint: Call, data_dir: Path) -> None:
    key = mint()
    call("PATCH", "/v0/api_keys/laptop", json={"disabled": True})
    for credential in (key, key[:-1] + "0", key[:-1]):
        assert call("GET", "/v0/auth", by=credential).status_code == 401
    assert last_use(data_dir) == (None, None)


def test_there_is_one_write_a_minute(app: Flask, call: Call, mint: Call, data_dir: Path) -> None:
    key, client = mint(), app.test_client()
    call("GET", "/v0/auth", by=key)
    first = last_use(data_dir)
    for number in range(50):
        headers = {"X-API-Key": key}
        client.get("/v0/auth", headers=headers, environ_base={"REMOTE_ADDR": f"192.0.2.{number}"})
    assert last_use(data_dir) == first


@pytest.mark.parametrize(("age", "written"), [(59, False), (61, True), (3600, True), (86400 * 400, True)])
def test_the_next_write_comes_when_the_minute_is_over(
    call: Call, mint: Call, data_dir: Path, age: float, written: bool
) -> None:
    key = mint()
    call("GET", "/v0/auth", by=key)
    moved = move_back(data_dir, age)
    call("GET", "/v0/auth", by=key)
    moment = last_use(data_dir)[0] or ""
    passed = datetime.fromisoformat(moment) - datetime.fromisoformat(moved)
    assert passed >= timedelta(seconds=60) or not (written or passed)  # the last second may pass in the test itself
    call("GET", "/v0/auth", by=key)
    if written:
        assert last_use(data_dir)[0] == moment


@pytest.mark.parametrize(("ahead", "written"), [(3600, True), (86400 * 400, True), (120, True), (50, False)])
def test_a_use_in_the_future_as_when_the_clock_stepped_back_is_renewed(
    call: Call, mint: Call, data_dir: Path, ahead: float, written: bool
) -> None:
    key = mint()
    moved = move_back(data_dir, -ahead)
    call("GET", "/v0/auth", by=key)
    moment = last_use(data_dir)[0] or ""
    assert (moment != moved) is written
    assert datetime.fromisoformat(moment) <= datetime.now(UTC) + timedelta(seconds=60)
    call("GET", "/v0/auth", by=key)
    assert last_use(data_dir)[0] == moment


def test_two_clocks_that_differ_cost_no_write_a_use(call: Call, mint: Call, data_dir: Path) -> None:
    """Another process, an hour ahead, writes its time again after each of ours."""
    key = mint()
    move_back(data_dir, -3600)
    call("GET", "/v0/auth", by=key)
    for _ in range(3):
        theirs = move_back(data_dir, -3600)
        call("GET", "/v0/auth", by=key)
        assert last_use(data_dir)[0] == theirs


@pytest.mark.parametrize(("tenant", "used"), [("default", True), ("other", False)])
def test_an_introspection_is_a_use_in_the_tenant_of_the_key_alone(
    call: Call, mint: Call, token: Call, data_dir: Path, tenant: str, used: bool
) -> None:
    answer = call("POST", "/v0/introspect", data={"token": mint()}, by=token(tenant=tenant))
    assert answer.json["active"] is used
    assert last_use(data_dir)[1] == ("127.0.0.1" if used else None)


def test_two_processes_write_once_between_them(serve: Callable[..., Server], data_dir: Path) -> None:
    one, two = serve(), serve()
    key = one.mint("laptop")
    assert one.call("GET", "/v0/auth", by=key).status_code == 200
    first = last_use(data_dir)
    for server in (two, one, two):
        assert server.call("GET", "/v0/auth", by=key).status_code == 200
    assert last_use(data_dir) == first


def test_each_key_has_its_own_minute(call: Call, mint: Call, data_dir: Path) -> None:
    keys = {name: mint(name) for name in ("one", "two", "three")}
    for name, key in keys.items():
        assert last_use(data_dir, name) == (None, None)
        call("GET", "/v0/auth", by=key)
        assert last_use(data_dir, name)[1] == "127.0.0.1"


def test_a_use_is_no_change_for_the_audit(call: Call, mint: Call) -> None:
    call("GET", "/v0/auth", by=mint())
    assert [entry["action"] for entry in call("GET", "/v0/audit").json] == ["key.created"]


# From where: the peer of every test is 10.0.0.1

FORWARDED: list[tuple[int, list[str], str]] = [
    (0, [], "10.0.0.1"),
    (0, ["192.0.2.7"], "10.0.0.1"),
    (1, [], "10.0.0.1"),
    (1, [""], "10.0.0.1"),
    (1, ["192.0.2.7"], "192.0.2.7"),
    (1, ["203.0.113.66, 192.0.2.7"], "192.0.2.7"),
    (1, ["203.0.113.66,192.0.2.7"], "192.0.2.7"),
    (1, ["203.0.113.66", "192.0.2.7"], "192.0.2.7"),
    (1, ["evil, , 203.0.113.66,\t192.0.2.7 "], "192.0.2.7"),
    (1, ["192.0.2.7, unknown"], "10.0.0.1"),
    (1, ["192.0.2.7,"], "10.0.0.1"),
    (1, ["fe80::1%anything"], "10.0.0.1"),
    (1, ["::ffff:192.0.2.7"], "192.0.2.7"),
    (1, ["192.0.2.7, 999.1.1.1"], "10.0.0.1"),
    (1, ["192.0.2.7, 010.0.0.1"], "10.0.0.1"),
    (1, ["192.0.2.7, localhost"], "10.0.0.1"),
    (1, ["3221225991"], "10.0.0.1"),
    (1, ["192.0.2.7:4711"], "192.0.2.7"),
    (1, ["[2001:db8::7]:443"], "2001:db8::7"),
    (1, ["[2001:db8::7]"], "2001:db8::7"),
    (1, ['"[2001:db8::7]:443"'], "2001:db8::7"),
    (1, ["[fe80::1%eth0]:443"], "10.0.0.1"),
    (1, ["192.0.2.7:https"], "10.0.0.1"),
    (1, ["192.0.2.0/24"], "10.0.0.1"),
    (1, ["2001:DB8:0:0::7"], "2001:db8::7"),
    (1, ["\xff"], "10.0.0.1"),
    (2, ["192.0.2.7"], "10.0.0.1"),
    (2, ["192.0.2.7, 10.0.0.2"], "192.0.2.7"),
    (2, ["203.0.113.66, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
    (2, ["203.0.113.66, 192.0.2.7", "10.0.0.2"], "192.0.2.7"),
    (2, ["203.0.113.66", "192.0.2.7", "10.0.0.2"], "192.0.2.7"),
    (2, ["192.0.2.7, nonsense, 10.0.0.2"], "10.0.0.1"),
    (3, ["192.0.2.7, 10.0.0.2"], "10.0.0.1"),
    (3, ["203.0.113.66, 192.0.2.7, 10.0.0.3, 10.0.0.2"], "192.0.2.7"),
]


@pytest.mark.parametrize(("proxies", "lines", "expected"), FORWARDED)
def test_the_client_is_counted_from_the_right(
    make_app: Callable[..., Flask], data_dir: Path, proxies: int, lines: list[str], expected: str
) -> None:
    app = make_app(data_dir, KEYHOOK_TRUSTED_PROXIES=proxies)
    created = app.test_cli_runner().invoke(args=["keys", "create", "laptop"])
    headers = [("X-API-Key", created.stdout.strip()), *(("X-Forwarded-For", line) for line in lines)]
    answer = app.test_client().get("/v0/auth", headers=headers, environ_base={"REMOTE_ADDR": "10.0.0.1"})
    assert answer.status_code == 200
    assert last_use(data_dir)[1] == expected


@pytest.mark.parametrize("header", ["X-Real-IP", "Forwarded", "X-Client-IP", "CF-Connecting-IP", "True-Client-IP"])
def test_no_other_header_names_the_client(make_app: Callable[..., Flask], data_dir: Path, header: str) -> None:
    app = make_app(data_dir, KEYHOOK_TRUSTED_PROXIES=1)
    key = app.test_cli_runner().invoke(args=["keys", "create", "laptop"]).stdout.strip()
    app.test_client().get("/v0/auth", headers={"X-API-Key": key, header: "203.0.113.66"})
    assert last_use(data_dir)[1] == "127.0.0.1"


@pytest.mark.parametrize("command", [FLASK_RUN, SERVE], ids=["flask run", "flask serve"])
def test_a_real_server_hands_on_every_line_of_the_header(
    serve: Callable[..., Server], data_dir: Path, command: list[str]
) -> None:
    server = serve(command, KEYHOOK_TRUSTED_PROXIES=2)
    key = server.mint("laptop")
    headers = {"X-Forwarded-For": "203.0.113.66, 192.0.2.7, 10.0.0.2"}
    assert server.call("GET", "/v0/auth", by=key, headers=headers).status_code == 200
    assert last_use(data_dir)[1] == "192.0.2.7"
    move_back(data_dir, 61)
    assert server.call("GET", "/v0/auth", by=key, headers={"X-Forwarded-For": "192.0.2.8"}).status_code == 200
    assert last_use(data_dir)[1] == "127.0.0.1"


# When it cannot be written


def test_a_check_waits_for_no_lock_and_the_use_is_written_later(serve: Callable[..., Server], data_dir: Path) -> None:
    server = serve(SERVE)
    key = server.mint("laptop")
    with write_lock(data_dir / "keyhook.db"):
        for _ in range(5):
            started = time.monotonic()
            assert server.call("GET", "/v0/auth", by=key).status_code == 200
            assert time.monotonic() - started < 1
        assert last_use(data_dir) == (None, None)
        used = datetime.now(UTC)

    def written() -> bool:
        assert server.call("GET", "/v0/auth", by=key).status_code == 200
        return last_use(data_dir)[0] is not None

    until(written)
    assert abs(datetime.fromisoformat(last_use(data_dir)[0] or "") - used) < timedelta(seconds=60)
    assert last_use(data_dir)[1] == "127.0.0.1"


@pytest.mark.parametrize(("path", "by"), [("/v0/auth", "a key"), ("/v0/api_keys", "a person"), ("/healthz", "nobody")])
def test_a_use_during_a_lock_is_written_by_whichever_request_comes_next(
    call: Call, mint: Call, data_dir: Path, path: str, by: str
) -> None:
    waiting, credential = mint("waiting"), {"a key": mint("other"), "a person": "", "nobody": None}[by]
    with write_lock(data_dir / "keyhook.db"):
        assert call("GET", "/v0/auth", by=waiting).status_code == 200
    assert last_use(data_dir, "waiting") == (None, None)

    def written() -> bool:
        assert call("GET", path, by=credential).status_code == 200
        return last_use(data_dir, "waiting")[0] is not None

    until(written)


def test_a_use_that_waited_replaces_none_that_another_process_has_written_since(
    call: Call, mint: Call, data_dir: Path
) -> None:
    keys = [mint("laptop"), mint("other")]
    with write_lock(data_dir / "keyhook.db"):
        for key in keys:
            assert call("GET", "/v0/auth", by=key).status_code == 200
    newer = move_back(data_dir, 0)

    def written() -> bool:
        assert call("GET", "/healthz", by=None).status_code == 200
        return last_use(data_dir, "other")[0] is not None

    until(written)
    assert last_use(data_dir) == (newer, None)


def test_nor_one_that_another_process_has_written_long_after(call: Call, mint: Call, app: Flask) -> None:
    """A use counts as in the future when it is written, not when it was made, since it may have waited."""
    key, uses = mint("laptop"), app.extensions["keyhook"].keys.last_use
    data_dir = app.extensions["keyhook"].settings.data_dir
    with write_lock(data_dir / "keyhook.db"):
        assert call("GET", "/v0/auth", by=key).status_code == 200
    [waiting] = uses._pending.values()
    waiting.update(dict.fromkeys(waiting.keys() - {"key_id", "ip"}, "2020-01-01T00:00:00.000000Z"))
    newer = move_back(data_dir, 0)

    def written() -> bool:
        assert call("GET", "/healthz", by=None).status_code == 200
        return not uses._pending

    until(written)
    assert last_use(data_dir) == (newer, None)


def test_a_use_that_waits_for_a_key_that_is_gone_harms_nothing(call: Call, mint: Call, data_dir: Path) -> None:
    gone, other = mint("gone"), mint("other")
    with write_lock(data_dir / "keyhook.db"):
        assert call("GET", "/v0/auth", by=gone).status_code == 200
    assert call("DELETE", "/v0/api_keys/gone").status_code == 204

    def written() -> bool:
        assert call("GET", "/v0/auth", by=other).status_code == 200
        return last_use(data_dir, "other")[0] is not None

    until(written)


@pytest.mark.parametrize("path", ["/v0/auth", "/v0/api_keys"])
def test_a_lock_never_shows_in_an_answer(call: Call, mint: Call, data_dir: Path, path: str) -> None:
    key = mint("laptop", scopes=["a"])
    before = call("GET", path, by=key)
    move_back(data_dir, 3600)
    with write_lock(data_dir / "keyhook.db"):
        during = call("GET", path, by=key)
    assert during.status_code == before.status_code == 200
    assert set(during.headers.keys()) == set(before.headers.keys())
