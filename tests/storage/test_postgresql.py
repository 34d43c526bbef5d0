"""PostgreSQL, on a server of these tests: it starts, it is locked, frozen, stopped and left, and no promise breaks."""

import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import create_engine, select, update

from app import create_app
from errors import DatabaseUnavailable, StartupError
from identity.tokens import make_token
from models import api_keys
from runtime.state import AppState
from storage.postgresql.address import read_address
from storage.postgresql.connection import PatientConnection
from storage.postgresql.database import PostgresStorage, reader_options
from storage.postgresql.writer_slots import WRITERS
from tests.commands import LONG, TOKEN, assert_refused, run
from tests.postgresql import PASSWORD, Cluster, bouncing, cluster, new_database, standby_of, until
from tests.servers import free_port

WITHIN = 5.5  # seconds: 5 as promised, and half a one for a busy machine


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@pytest.fixture
def url(server: Cluster) -> Iterator[str]:
    """That of an empty database."""
    with new_database(server, "template1") as name:
        yield server.url(name)


@dataclass
class Node:
    """One of the processes that serve a database, as far as a test can tell."""

    app: Flask

    @property
    def state(self) -> AppState:
        state: AppState = self.app.extensions["keyhook"]
        return state

    @property
    def storage(self) -> PostgresStorage:
        assert isinstance(self.state.storage, PostgresStorage)
        return self.state.storage

    def call(self, method: str, path: str, by: str = "", **kwargs: Any) -> Any:
        by = by or make_token(LONG.encode(), "alice", "admin", "default", timedelta(hours=1))
        return self.app.test_client().open(path, method=method, headers={"Authorization": f"Bearer {by}"}, **kwargs)

    def mint(self, name: str, by: str = "", **members: Any) -> str:
        response = self.call("POST", "/v0/api_keys", by, json={"name": name, **members})
        assert response.status_code == 201, response.text
        return str(response.json["api_key"])


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[[str], Node]]:
    with ExitStack() as stack:

        def start(url: str) -> Node:
            given = {"KEYHOOK_DATABASE_URL": url, "KEYHOOK_SECRET_KEY": LONG, "KEYHOOK_DATA_DIR": tmp_path / "data"}
            started = Node(create_app(given))
            stack.callback(started.state.close)
            return started

        yield start


@contextmanager
def session(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url) as connection:
        yield connection


def test_it_needs_no_directory(node: Callable[[str], Node], url: str, tmp_path: Path) -> None:
    key = node(url).mint("laptop")
    assert node(url).call("GET", "/v0/auth", key).json["key_name"] == "laptop"
    assert not (tmp_path / "data").exists()


def test_what_stops_a_start(server: Cluster, url: str, data_dir: Path) -> None:
    """One line each, and never the password."""
    quoted = "a%25pass%40word"
    given: dict[str, Any] = {"KEYHOOK_DATA_DIR": data_dir, "KEYHOOK_SECRET_KEY": LONG}
    assert_refused("KEYHOOK_SECRET_KEY must be set", KEYHOOK_DATABASE_URL=url, KEYHOOK_DATA_DIR=data_dir)
    for bad in (
        server.url("nowhere"),
        server.url(port=free_port()),
        url.replace("keyhook:", "nobody:"),
        url.replace(quoted, "another"),
        url.replace(quoted, "with@sign"),
        f"postgresql://keyhook:{quoted}@127.0.0.1:port/keyhook",
        f"postgresql://keyhook:{quoted}@127.0.0.1",
        f"{url}?nonsense={quoted}",
    ):
        assert_refused("KEYHOOK_DATABASE_URL ", KEYHOOK_DATABASE_URL=bad, **given)
        said = run(TOKEN, KEYHOOK_DATABASE_URL=bad, **given).stderr
        assert not any(secret in said for secret in (quoted, PASSWORD, "another", "with", "sign"))
    assert_refused("KEYHOOK_REQUIRE_DATABASE ", KEYHOOK_DATABASE_URL=url, KEYHOOK_REQUIRE_DATABASE=1, **given)
    with session(url) as connection:
        connection.execute("CREATE TABLE api_keys (mine text)")
    assert_refused("KEYHOOK_DATABASE_URL ", KEYHOOK_DATABASE_URL=url, **given)


def test_a_newer_schema_stops_the_start(node: Callable[[str], Node], url: str) -> None:
    node(url)
    with session(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StartupError, match=r"KEYHOOK_DATABASE_URL .*9999"):
        node(url)


@pytest.mark.parametrize(("command", "program"), [("backup", "pg_dump"), ("restore", "pg_restore")])
def test_a_command_for_a_file_names_the_program_to_use(url: str, tmp_path: Path, command: str, program: str) -> None:
    copy = tmp_path / "copy.db"
    flask = [sys.executable, "-m", "flask", command, str(copy)]
    done = run(flask, KEYHOOK_DATABASE_URL=url, KEYHOOK_SECRET_KEY=LONG)
    assert (done.returncode, done.stdout, copy.exists()) == (1, "", False)
    assert done.stderr.splitlines()[-1] == f"Error: the database is one of PostgreSQL: use {program}"


def test_without_the_driver_one_line_says_what_to_install(url: str) -> None:
    script = "import sys; sys.modules['psycopg'] = None; from app import create_app; create_app()"
    done = run([sys.executable, "-c", script], KEYHOOK_DATABASE_URL=url, KEYHOOK_SECRET_KEY=LONG)
    assert done.returncode == 1
    assert re.fullmatch("KEYHOOK_DATABASE_URL .*pip install -r requirements-postgresql.txt`\n", done.stderr)


def test_sqlite_imports_nothing_of_it(data_dir: Path) -> None:
    script = "import sys; from app import create_app; create_app(); print(*sys.modules)"
    imported = run([sys.executable, "-c", script], KEYHOOK_DATA_DIR=data_dir).stdout.split()
    assert "storage.sqlite.database" in imported
    assert not any(module == "psycopg" or module.startswith("storage.postgresql") for module in imported)


def test_first_starts_at_once_make_one_schema(url: str, data_dir: Path) -> None:
    given: dict[str, Any] = {"KEYHOOK_DATABASE_URL": url, "KEYHOOK_SECRET_KEY": LONG, "KEYHOOK_DATA_DIR": data_dir}
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: run(TOKEN, **given), range(6)))
    assert [each.returncode for each in done] == [0] * 6, done
    assert sorted(each.stderr for each in done)[-2:] == ["", "made the tables of a new database in PostgreSQL\n"]


def test_the_password_is_in_no_log_and_in_no_hint(
    node: Callable[[str], Node],
    server: Cluster,
    url: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEYHOOK_DATABASE_URL", url)
    started = node(url)
    server.stop()
    try:
        assert started.call("GET", "/healthz").status_code == 503
    finally:
        server.start()
    said = capfd.readouterr()
    assert "KEYHOOK_DATABASE_URL" in said.err
    assert "database unavailable" in caplog.text
    everything = said.out + said.err + caplog.text + repr(started.state.settings)
    assert not any(secret in everything for secret in (PASSWORD, "a%25pass", "pass@", "pass%40"))


def test_a_server_that_is_away_is_a_503_and_afterwards_all_is_well(
    node: Callable[[str], Node], server: Cluster, url: str
) -> None:
    here = node(url)
    key = here.mint("laptop")
    questions = [("GET", "/v0/auth", {}), ("GET", "/healthz", {}), ("POST", "/v0/api_keys", {"json": {"name": "new"}})]
    for how in ("immediate", "fast"):
        server.stop(how)
        try:
            for method, path, more in questions:
                answer = here.call(method, path, key, **more)
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        finally:
            server.start()
        assert here.call("GET", "/v0/auth", key).status_code == 200
        assert here.call("POST", "/v0/api_keys", key, json={"name": f"after {how}"}).status_code == 201


def test_a_restart_between_two_requests_is_not_noticed(node: Callable[[str], Node], server: Cluster, url: str) -> None:
    here = node(url)
    key = here.mint("laptop")
    server.stop()
    server.start()
    assert here.call("GET", "/v0/auth", key).status_code == 200
    assert here.call("POST", "/v0/api_keys", key, json={"name": "new"}).status_code == 201


def breaking(number: int, broken_off: list[PatientConnection]) -> Callable[..., Any]:
    """Waits as the driver does, but the socket is gone when the command of this number is on its way."""
    wait, turns = psycopg.Connection.wait, count(1)

    def broken(connection: PatientConnection, command: Any, *args: Any, **more: Any) -> Any:
        if next(turns) != number:
            return wait(connection, command, *args, **more)
        next(command)
        broken_off.append(connection)
        raise psycopg.OperationalError("connection socket closed")

    return broken


@pytest.mark.parametrize(
    ("change", "number", "status"),
    # The check; then of a change its check, its beginning, which may both be tried again, and what follows.
    [(False, 1, 200), (True, 1, 200), (True, 2, 200), (True, 3, 503), (True, 4, 503)],
)
def test_a_socket_that_is_gone_under_a_command_takes_its_connection_along(
    node: Callable[[str], Node],
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: bool,
    number: int,
    status: int,
) -> None:
    """The driver says so in words alone; the library under it takes the connection for a good one."""
    here = node(url)
    key = here.mint("laptop")

    def ask() -> int:
        if change:
            return int(here.call("PATCH", "/v0/api_keys/laptop", key, json={"description": "x"}).status_code)
        return int(here.call("GET", "/v0/auth", key).status_code)

    assert ask() == 200
    broken_off: list[PatientConnection] = []
    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Connection, "wait", breaking(number, broken_off))
        assert ask() == status
    assert [each.closed for each in broken_off] == [True]
    assert ask() == 200
    assert "Exception during reset" not in caplog.text
    assert "Traceback" not in caplog.text


def test_a_server_that_freezes_is_a_503_in_time(node: Callable[[str], Node], server: Cluster, url: str) -> None:
    here = node(url)
    key = here.mint("laptop")
    frozen = [int(pid) for pid in server.sql("SELECT pid FROM pg_stat_activity WHERE usename = 'keyhook'").split()]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        for method, path, more in (("GET", "/v0/auth", {}), ("POST", "/v0/api_keys", {"json": {"name": "new"}})):
            begun = time.monotonic()
            assert here.call(method, path, key, **more).status_code == 503
            assert time.monotonic() - begun < WITHIN
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    assert here.call("GET", "/v0/auth", key).status_code == 200


def test_hosts_that_say_nothing_are_a_503_in_time(node: Callable[[str], Node], server: Cluster, url: str) -> None:
    """However many there are; and where the last one is good, it is found."""
    with ExitStack() as stack:
        ports = [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(3)]
        dark, good = ",".join(f"127.0.0.1:{port}" for port in ports), f"127.0.0.1:{server.port}"
        here = node(url.replace(good, f"{good},{dark}"))
        server.stop("immediate")
        try:
            begun = time.monotonic()
            assert here.call("GET", "/healthz").status_code == 503
            assert time.monotonic() - begun < WITHIN
        finally:
            server.start()
        last = read_address(url.replace(good, f"{dark},{good}"))
        with closing(PostgresStorage(create_engine("postgresql+psycopg://", **reader_options(last)), last)) as found:
            found.ping()


def test_a_request_waits_no_longer_if_it_asks_twice(node: Callable[[str], Node], server: Cluster, url: str) -> None:
    """A creation by a key reads the key, and then waits for a lock on it."""
    here = node(url)
    key = here.mint("parent")
    with ThreadPoolExecutor(1) as pool, session(url) as connection:
        connection.execute("SELECT 1 FROM api_keys FOR UPDATE")
        with connection.transaction(force_rollback=True):  # which ends the second lock alone
            connection.execute("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
            begun = time.monotonic()
            minted: Future[Any] = pool.submit(here.call, "POST", "/v0/api_keys", key, json={"name": "child"})
            until(lambda: waits(server) == 1)
            time.sleep(3)
        assert minted.result(30).status_code == 503
        assert time.monotonic() - begun < WITHIN
    here.mint("child", key)


def test_a_statement_that_the_server_breaks_off_is_a_503(
    node: Callable[[str], Node], server: Cluster, url: str
) -> None:
    here = node(url)
    server.sql(f"ALTER DATABASE {url.rpartition('/')[2]} SET statement_timeout = '200ms'")
    here.storage.close()
    with session(url) as connection:
        connection.execute("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        assert here.call("GET", "/v0/api_keys").status_code == 503
    assert here.call("GET", "/v0/api_keys").status_code == 200


def test_too_many_connections_are_a_503(node: Callable[[str], Node], server: Cluster, url: str) -> None:
    here = node(url)
    key = here.mint("laptop")
    here.storage.close()
    name = url.rpartition("/")[2]
    server.sql(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    assert here.call("GET", "/v0/auth", key).status_code == 503
    server.sql(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
    assert here.call("GET", "/v0/auth", key).status_code == 200


def waits(server: Cluster) -> int:
    """How many sessions of the service wait for a lock."""
    return int(
        server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'keyhook' AND wait_event_type = 'Lock'")
    )


def test_changes_of_a_tenant_come_one_after_another(node: Callable[[str], Node], server: Cluster, url: str) -> None:
    """And so a page never passes over a key whose creation is committed late. Other tenants do not wait."""
    here, there = node(url), node(url)
    with ThreadPoolExecutor(1) as pool:
        with here.storage.write("default"):
            late: Future[str] = pool.submit(there.mint, "late")
            until(lambda: waits(server) == 1)
            other = make_token(LONG.encode(), "bob", "admin", "other", timedelta(hours=1))
            there.mint("elsewhere", other)
            assert there.call("GET", "/v0/api_keys").json == []
        late.result(30)
    assert [key["name"] for key in there.call("GET", "/v0/api_keys").json] == ["late"]


@pytest.mark.parametrize("end", [{"disabled": True}, {"role": "read"}, {"expires_at": "2020-01-01T00:00:00.000000Z"}])
def test_a_key_that_ends_meanwhile_mints_nothing(
    node: Callable[[str], Node], server: Cluster, url: str, end: dict[str, Any]
) -> None:
    """Whoever ended it: the lock on its row is enough, as where an operator changes it by hand."""
    here = node(url)
    key = here.mint("parent")
    with ThreadPoolExecutor(1) as pool:
        with session(url) as connection:
            [[column, value]] = end.items()
            connection.execute(f"UPDATE api_keys SET {column} = %s", [value])  # noqa: S608
            minted: Future[Any] = pool.submit(here.call, "POST", "/v0/api_keys", key, json={"name": "child"})
            until(lambda: waits(server) == 1)
        assert minted.result(30).status_code in (401, 403)
    assert [row.name for row in here.storage.all(select(api_keys.c.name))] == ["parent"]


def test_a_name_is_given_once_whoever_asks(node: Callable[[str], Node], url: str) -> None:
    nodes = [node(url) for _ in range(2)]
    barrier = threading.Barrier(8)

    def create(number: int) -> Any:
        barrier.wait()
        return nodes[number % 2].call("POST", "/v0/api_keys", json={"name": "one"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(8)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] + [409] * 7
    assert {answer.json["error_code"] for answer in answers if answer.status_code == 409} == {"DuplicateName"}


def test_writers_that_wait_leave_room_for_checks(node: Callable[[str], Node], server: Cluster, url: str) -> None:
    here, there = node(url), node(url)
    key = here.mint("laptop")
    with ThreadPoolExecutor(8) as pool:
        with there.storage.write("default"):
            writes = [
                pool.submit(here.call, "POST", "/v0/api_keys", json={"name": f"n{number}"}) for number in range(8)
            ]
            until(lambda: sum(write.done() for write in writes) == 8 - WRITERS)
            assert waits(server) == WRITERS
            assert {write.result().status_code for write in writes if write.done()} == {503}
            assert here.call("POST", "/v0/api_keys", json={"name": "one more"}).status_code == 503
            assert here.call("GET", "/v0/auth", key).status_code == 200
            assert waits(server) == WRITERS
        assert sorted(write.result(30).status_code for write in writes) == [201] * WRITERS + [503] * (8 - WRITERS)
    here.mint("afterwards")


def test_a_lock_that_does_not_come_is_a_503_and_the_connection_stays(
    node: Callable[[str], Node], server: Cluster, url: str
) -> None:
    here, there = node(url), node(url)
    here.mint("first")
    sessions = "SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE usename = 'keyhook'"
    with there.storage.write("default"):
        before, begun = server.sql(sessions), time.monotonic()
        assert here.call("POST", "/v0/api_keys", json={"name": "second"}).status_code == 503
        assert time.monotonic() - begun < WITHIN
    assert server.sql(sessions) == before
    here.mint("second")


def test_a_service_that_ends_waits_for_no_lock(node: Callable[[str], Node], server: Cluster, url: str) -> None:
    here, there = node(url), node(url)
    with ThreadPoolExecutor(1) as pool, there.storage.write("default"):
        write: Future[Any] = pool.submit(here.call, "POST", "/v0/api_keys", json={"name": "n"})
        until(lambda: waits(server) == 1)
        here.storage.hurry(0)
        assert write.result(2).status_code == 503


def test_the_last_use_waits_for_nobody(node: Callable[[str], Node], server: Cluster, url: str) -> None:
    here = node(url)
    key = here.mint("laptop")
    with session(url) as connection:
        connection.execute("SELECT 1 FROM api_keys FOR UPDATE")
        assert here.call("GET", "/v0/auth", key).status_code == 200
        assert waits(server) == 0
    here.state.keys.last_use.settle()
    [shown] = here.call("GET", "/v0/api_keys").json
    assert shown["last_used_ip"] == "127.0.0.1"


def test_what_is_ours_is_no_503(node: Callable[[str], Node], url: str) -> None:
    """A value that the table cannot hold is a fault of the service, and coming back in five seconds mends nothing."""
    here = node(url)
    here.mint("laptop")
    with pytest.raises(Exception, match="too long") as fault, here.storage.write("default") as tx:
        tx.execute(update(api_keys).values(last_used_ip="x" * 46))
    assert not isinstance(fault.value, DatabaseUnavailable)
    assert here.call("GET", "/v0/api_keys").status_code == 200


def test_a_commit_that_no_standby_confirms_is_no_201(node: Callable[[str], Node]) -> None:
    """Neither where the wait takes too long nor where an operator ends it, after which the server says: committed."""
    with cluster() as alone:
        here = node(alone.url())
        here.mint("first")
        alone.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
        until(lambda: alone.sql("SHOW synchronous_standby_names") == "nobody")
        begun = time.monotonic()
        assert here.call("POST", "/v0/api_keys", json={"name": "second"}).status_code == 503
        assert time.monotonic() - begun < WITHIN
        waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = 'keyhook'"
        alone.sql(f"SELECT pg_terminate_backend(pid) {waiting}")
        until(lambda: alone.sql(f"SELECT count(*) {waiting}") == "0")
        with ThreadPoolExecutor(1) as pool:
            write: Future[Any] = pool.submit(here.call, "POST", "/v0/api_keys", json={"name": "third"})
            until(lambda: alone.sql(f"SELECT count(*) {waiting}") == "1")
            alone.sql(f"SELECT pg_cancel_backend(pid) {waiting}")
            assert write.result(10).status_code == 503
        alone.sql("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        until(lambda: alone.sql("SHOW synchronous_standby_names") == "")
        here.mint("fourth")


@pytest.fixture
def bouncer(server: Cluster) -> Iterator[int]:
    """The port of a pgbouncer that lends a connection for one transaction at a time."""
    with bouncing(server) as port:
        yield port


def test_behind_pgbouncer(node: Callable[[str], Node], server: Cluster, url: str, bouncer: int) -> None:
    """Two connections for all: whatever a session held would be the next client's."""
    behind = url.replace(f":{server.port}/", f":{bouncer}/")
    nodes = [node(behind), node(behind)]

    def live(number: int) -> None:
        here = nodes[number % 2]
        key = here.mint(f"parent {number}", scopes=["a"])
        child = here.mint(f"child {number}", key)
        for _ in range(5):
            assert here.call("GET", "/v0/auth?scope=a", key).status_code == 200
            assert here.call("GET", "/v0/auth", child).status_code == 200
        assert here.call("DELETE", f"/v0/api_keys/parent {number}?cascade=true").status_code == 204
        assert here.call("GET", "/v0/auth", child).status_code == 401

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(live, range(8)))
    assert nodes[0].call("GET", "/v0/api_keys").json == []
    assert len(nodes[1].call("GET", "/v0/audit").json) == 32


def test_after_a_failover_the_standby_is_found(node: Callable[[str], Node]) -> None:
    """The first server dies, the second is promoted: a start knows both, and no key and no change is lost."""
    with cluster() as first, standby_of(first) as second:
        both = first.url().replace(f"127.0.0.1:{first.port}", f"127.0.0.1:{first.port},127.0.0.1:{second.port}")
        here = node(both)
        good, revoked = here.mint("good"), here.mint("revoked")
        assert here.call("PATCH", "/v0/api_keys/revoked", json={"disabled": True}).status_code == 200
        first.stop("immediate")
        assert here.call("GET", "/v0/auth", good).status_code == 503
        second.promote()
        until(lambda: here.call("GET", "/v0/auth", good).status_code == 200)
        assert here.call("GET", "/v0/auth", revoked).status_code == 401
        here.mint("new")
