"""`flask copy-database` half way: who waits meanwhile, and what an interruption leaves.

A trigger in the target, which waits for a lock of the test, holds the copy in the middle of its rows.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import insert, select, update

from models import api_keys, audit_entries
from tests.cli.conftest import COPY, Target
from tests.commands import LONG, run
from tests.machine import ROOT
from tests.postgresql import Cluster, cluster, until
from tests.rows import transaction

pytestmark = pytest.mark.processes

LOCK = 20261126
# The trigger is there as soon as its table is: the copy itself may make that.
TRAP = [
    f"""
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$
    BEGIN PERFORM pg_advisory_xact_lock_shared({LOCK}); RETURN NEW; END $$
    """,
    """
    CREATE FUNCTION set_trap() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF to_regclass('audit_entries') IS NOT NULL
           AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'trap') THEN
            CREATE TRIGGER trap BEFORE INSERT ON audit_entries FOR EACH ROW WHEN (NEW.id > 100)
            EXECUTE FUNCTION wait();
        END IF;
    END $$
    """,
    "CREATE EVENT TRIGGER trap ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION set_trap()",
]


def sessions(target: Target, waiting_for: str = "") -> int:
    """The sessions of the service in the target; those that wait for a lock of this kind."""
    which = f"AND wait_event_type = 'Lock' AND wait_event = '{waiting_for}'" if waiting_for else ""
    whose = f"usename = 'keyhook' AND datname = '{target.name}'"
    return int(target.server.sql(f"SELECT count(*) FROM pg_stat_activity WHERE {whose} {which}"))  # noqa: S608


def superuser(target: Target) -> psycopg.Connection[Any]:
    place = f"host={target.server.directory} port={target.server.port} user=postgres dbname={target.name}"
    return psycopg.connect(place, autocommit=True)


@pytest.fixture
def trap(target: Target) -> Iterator[Callable[[], None]]:
    """Calling it opens the trap."""
    target.sql(*TRAP)
    with superuser(target) as session:
        session.execute(f"SELECT pg_advisory_lock({LOCK})")
        yield session.close


@pytest.fixture
def large(app: Flask, mint: Callable[..., str]) -> str:
    """A source with more rows than the sockets on the way hold; returns a secret."""
    key = mint("laptop")
    with transaction(app) as connection:
        entry = dict(connection.execute(select(audit_entries)).mappings().one())
        del entry["id"]
        entry["details"] = json.dumps({"text": "x" * 10_000})
        connection.execute(insert(audit_entries), [entry] * 2000)
    return key


def until_trapped(target: Target, sessions_that_wait: int = 1) -> None:
    until(lambda: sessions(target, "advisory") == sessions_that_wait)


def end_of(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_the_source_answers_and_waits_with_changes(
    app: Flask,
    large: str,
    call: Callable[..., Any],
    mint: Callable[..., str],
    begin: Callable[[], subprocess.Popen[str]],
    target: Target,
    trap: Callable[[], None],
) -> None:
    process = begin()
    until_trapped(target)
    assert call("GET", "/v0/auth", by=large).status_code == 200
    assert [key["name"] for key in call("GET", "/v0/api_keys").json] == ["laptop"]
    refused = call("POST", "/v0/api_keys", json={"name": "too early"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    trap()
    assert end_of(process)[0] == 0
    mint("late")
    assert target.counts() == {"api_keys": 1, "audit_entries": 2001, "lineage": 0, "uses": 0}


def test_a_node_that_starts_on_the_target_waits_for_all_of_it(
    large: str, begin: Callable[[], subprocess.Popen[str]], target: Target, trap: Callable[[], None]
) -> None:
    process = begin()
    until_trapped(target)
    with ThreadPoolExecutor(1) as pool:
        listed = pool.submit(
            run, [*COPY[:-1], "keys", "list"], KEYHOOK_DATABASE_URL=target.url, KEYHOOK_SECRET_KEY=LONG
        )
        until_trapped(target, 2)
        trap()
        assert end_of(process)[0] == 0
        assert listed.result(60).stdout.count("laptop") == 1
        assert listed.result().stderr == ""


def test_a_node_that_serves_the_target_never_says_no_to_a_good_key(
    large: str,
    begin: Callable[[], subprocess.Popen[str]],
    target: Target,
    trap: Callable[[], None],
    serve_target: Callable[..., Flask],
) -> None:
    there = serve_target().test_client()
    process = begin()
    until_trapped(target)
    assert there.get("/v0/auth", headers={"X-API-Key": large}).status_code == 503
    trap()
    assert end_of(process)[0] == 0
    assert there.get("/v0/auth", headers={"X-API-Key": large}).status_code == 200


def break_connection(process: subprocess.Popen[str], target: Target) -> None:
    target.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'advisory'")


INTERRUPTIONS: list[Any] = [
    pytest.param(
        lambda process, _: process.send_signal(signal.SIGINT),
        (1, "", "Error: interrupted: nothing was copied\n"),
        id="INT",
    ),
    pytest.param(lambda process, _: process.send_signal(signal.SIGTERM), (-signal.SIGTERM, "", ""), id="TERM"),
    pytest.param(lambda process, _: process.send_signal(signal.SIGKILL), (-signal.SIGKILL, "", ""), id="KILL"),
    pytest.param(
        break_connection,
        (1, "", "Error: URL names a database that cannot be used: .*connection.*\n"),
        id="connection lost",
    ),
]


@pytest.mark.parametrize("started", [False, True], ids=["no tables", "tables of a start"])
@pytest.mark.parametrize(("interrupt", "end"), INTERRUPTIONS)
def test_an_interruption_leaves_the_target_empty_and_the_source_whole(
    large: str,
    mint: Callable[..., str],
    begin: Callable[[], subprocess.Popen[str]],
    copy: Callable[..., subprocess.CompletedProcess[str]],
    target: Target,
    trap: Callable[[], None],
    serve_target: Callable[..., Flask],
    started: bool,
    interrupt: Callable[[subprocess.Popen[str], Target], None],
    end: tuple[int, str, str],
) -> None:
    if started:
        serve_target().extensions["keyhook"].storage.close()
    process = begin()
    until_trapped(target)
    interrupt(process, target)
    status, out, err = end_of(process)
    assert (status, out) == end[:2], err
    assert re.fullmatch(end[2], err), err
    mint("afterwards")
    trap()
    until(lambda: sessions(target) == 0)
    if started:
        assert target.counts() == {"api_keys": 0, "audit_entries": 0, "lineage": 0, "uses": 0}
        assert target.sql("SELECT last_value, is_called FROM api_keys_seq_seq") == "1|f"
    else:
        assert target.tables() == ""
    assert copy().returncode == 0
    assert target.counts() == {"api_keys": 2, "audit_entries": 2002, "lineage": 0, "uses": 0}


@pytest.mark.parametrize(
    ("lock", "kind"),
    [
        ("SELECT pg_advisory_lock(hashtextextended('keyhook schema', 0))", "advisory"),
        ("BEGIN; LOCK TABLE lineage IN ROW EXCLUSIVE MODE", "relation"),
    ],
    ids=["schema", "table"],
)
def test_it_can_be_interrupted_while_it_waits_for_a_node_of_the_target(
    mint: Callable[..., str],
    begin: Callable[[], subprocess.Popen[str]],
    target: Target,
    serve_target: Callable[..., Flask],
    lock: str,
    kind: str,
) -> None:
    """Until then nobody waits for it at the source."""
    serve_target().extensions["keyhook"].storage.close()
    with superuser(target) as session:
        session.execute(lock)
        process = begin()
        until(lambda: sessions(target, kind) == 1)
        mint("meanwhile")
        process.send_signal(signal.SIGINT)
        assert end_of(process) == (1, "", "Error: interrupted: nothing was copied\n")
    assert target.counts() == {"api_keys": 0, "audit_entries": 0, "lineage": 0, "uses": 0}


def test_a_writer_that_does_not_end_is_not_waited_for(
    app: Flask, mint: Callable[..., str], copy: Callable[..., subprocess.CompletedProcess[str]], target: Target
) -> None:
    mint("laptop")
    with transaction(app) as connection:
        connection.execute(update(api_keys).values(description="not yet"))
        done = copy()
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch("Error: the database here cannot be copied: .*lock.*\n", done.stderr), done.stderr
    assert target.tables() == ""


@pytest.fixture
def alone() -> Iterator[Cluster]:
    """A server that waits for a standby which is not there."""
    with cluster() as made:
        made.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
        until(lambda: made.sql("SHOW synchronous_standby_names") == "nobody")
        yield made


@pytest.mark.parametrize("how", ["by an operator of the server", "by Ctrl-C"])
def test_a_commit_that_no_standby_confirms_is_said_to_be_in_doubt(
    large: str, here: dict[str, Any], alone: Cluster, how: str
) -> None:
    waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = 'keyhook'"
    with subprocess.Popen(
        [*COPY, alone.url()],
        env={**os.environ, **{name: str(value) for name, value in here.items()}},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until(lambda: alone.sql(f"SELECT count(*) {waiting}") == "1")
        if how == "by Ctrl-C":
            process.send_signal(signal.SIGINT)
        else:
            alone.sql(f"SELECT pg_cancel_backend(pid) {waiting}")
        status, out, err = end_of(process)
    assert (status, out) == (1, "")
    assert re.fullmatch("Error: the copy is there whole or not at all, but was not confirmed: .*\n", err)
