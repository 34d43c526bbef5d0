"""`flask copy-database`: all that is answered from the copy is what the source answers; and what is refused."""

import os
import pty
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import insert, select

from models import SCHEMA, api_keys, audit_entries, db, lineage
from tests.cli.conftest import COPY, Target
from tests.commands import LONG, run
from tests.machine import ROOT
from tests.postgresql import PASSWORD
from tests.rows import ago, move, sql, transaction
from tests.servers import free_port

pytestmark = pytest.mark.processes

Copy = Callable[..., subprocess.CompletedProcess[str]]
HOSTILE = [
    "\\N", "\\.", "a\tb\nc\r\nd", "\\\\x41 %s %(name)s {0} $1", "'; DROP TABLE api_keys; --", "\u202eright to left",
    "\U0001f511" * 250, "e\u0301 \ufffe \x01\x7f\u2028", '"', "",
]  # fmt: skip
HOSTILE_NAMES = ["\\N", "\\.", "a, b", "\\x41 %s {0}", "'; --", "Größe", "\U0001f511", "שלום", '"', "z"]


def rows(place: Flask | Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that is stored, by table."""
    with transaction(place) as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
            for table in db.metadata.sorted_tables
        }


def secret(app: Flask) -> str:
    key: bytes = app.extensions["keyhook"].settings.secret_key
    return key.decode()


@pytest.fixture
def keys(app: Flask, call: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str]) -> dict[str, str]:
    """A database with a row of every kind; returns the secrets by the names of their keys."""
    made = {name: mint(name, description=text) for name, text in zip(HOSTILE_NAMES, HOSTILE, strict=True)}
    made["grandparent"] = mint("grandparent", scopes=["photos:read"])
    made["parent"] = mint("parent", by=made["grandparent"], role="write")
    made["child"] = mint("child", by=made["parent"])
    assert call("DELETE", "/v0/api_keys/parent").status_code == 204
    for name in ("disabled", "expired", "rotated", "in grace", "of an early version", "read only"):
        made[name] = mint(name, role="read" if name == "read only" else "write")
    assert call("PATCH", "/v0/api_keys/disabled", json={"disabled": True}).status_code == 200
    move(app, "expired", expires_at=ago(days=1))
    made["rotated anew"] = call("POST", "/v0/api_keys/rotated/rotate", json={}).json["api_key"]
    made["in grace anew"] = call("POST", "/v0/api_keys/in grace/rotate", json={"grace_seconds": 3600}).json["api_key"]
    move(app, "of an early version", prefix=None, hint=None)
    for tenant in ("other", "ünïcode \u05d0", "Zebra"):
        made[f"of {tenant}"] = mint("laptop", by=token(tenant=tenant, owner="bob 'o\\\"n"))
    made["last of all"] = mint("last of all")
    assert call("DELETE", "/v0/api_keys/last of all").status_code == 204
    assert call("GET", "/v0/auth", by=made["child"]).status_code == 200  # leaves a last use
    app.extensions["keyhook"].keys.last_use.settle()
    return made


def pages(client: FlaskClient, path: str, by: str) -> Iterator[tuple[str, Any]]:
    """The pages of a list, each with its path."""
    while path:
        answer = client.get(path, headers={"Authorization": f"Bearer {by}"})
        assert answer.status_code == 200, answer.text
        yield path, answer.json
        found = re.match(r"<([^>]*)>", answer.headers.get("Link", ""))
        path = found[1] if found else ""


def everything(app: Flask, keys: dict[str, str], tokens: list[str]) -> list[Any]:
    """What the service answers about all keys. The checks come last, since they leave uses."""
    client = app.test_client()
    told: list[Any] = []
    for by in tokens:
        told += [*pages(client, "/v0/api_keys?limit=3", by), *pages(client, "/v0/audit?limit=4", by)]
        told += [client.get(f"/v0/api_keys/{name}", headers={"Authorization": f"Bearer {by}"}).json for name in keys]
    for key in keys.values():
        for question in ("/v0/auth", "/v0/auth?scope=photos:read"):
            answer = client.get(question, headers={"X-API-Key": key})
            told.append((answer.status_code, answer.json, {**answer.headers, "X-Request-ID": ""}))
        reader = {"Authorization": f"Bearer {tokens[0]}"}
        told.append(client.post("/v0/introspect", data={"token": key}, headers=reader).json)
    return told


def test_every_row_is_there_and_every_answer_is_the_same(
    app: Flask,
    keys: dict[str, str],
    token: Callable[..., str],
    copy: Copy,
    target: Target,
    serve_target: Callable[..., Flask],
) -> None:
    before = rows(app)
    done = copy()
    assert (done.returncode, done.stdout) == (0, "")
    counted = f"copied {len(before['api_keys'])} keys and {len(before['audit_entries'])} audit entries\n"
    assert done.stderr.startswith(counted)
    assert not any(hidden in done.stderr for hidden in (PASSWORD, "a%25pass", secret(app)))
    assert rows(target.place) == before == rows(app)
    tokens = [token(tenant=tenant) for tenant in ("default", "other", "ünïcode \u05d0", "Zebra")]
    there = serve_target(secret(app))
    told = everything(there, keys, tokens)
    assert told == everything(app, keys, tokens)
    assert len([answer for answer in told if isinstance(answer, tuple) and answer[0] == 200]) > 20
    assert rows(target.place)["service_facts"] == before["service_facts"]


def test_life_goes_on_in_the_copy(
    app: Flask,
    keys: dict[str, str],
    token: Callable[..., str],
    copy: Copy,
    target: Target,
    serve_target: Callable[..., Flask],
) -> None:
    """Cursors given out before lead on, a cascade reaches over a key that was gone, and no number comes again."""
    sql(app, "DELETE FROM audit_entries WHERE id = (SELECT max(id) FROM audit_entries)")
    by = token()
    numbers = [(row[0], row[1]) for row in rows(app)["api_keys"]]
    pages_here = list(pages(app.test_client(), "/v0/api_keys?limit=3", by))
    assert copy().returncode == 0
    client = serve_target(secret(app)).test_client()
    assert list(pages(client, pages_here[2][0], by)) == pages_here[2:]
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {by}"
    assert client.post("/v0/api_keys", json={"name": "new"}).status_code == 201
    assert client.post("/v0/api_keys", json={"name": "new"}).status_code == 409
    last = rows(target.place)
    assert last["api_keys"][-1][0] == numbers[-1][0] + 2  # the one between was deleted
    assert last["audit_entries"][-1][0] == last["audit_entries"][-2][0] + 2
    doomed = uuid.UUID(keys["grandparent"].split("_")[1])
    assert client.delete(f"/v0/api_keys?id={doomed}&cascade=true").status_code == 204
    for name in ("grandparent", "child"):
        assert client.get("/v0/auth", headers={"X-API-Key": keys[name]}).status_code == 401
        assert app.test_client().get("/v0/auth", headers={"X-API-Key": keys[name]}).status_code == 200


def test_it_says_what_is_next(app: Flask, copy: Copy, here: dict[str, Any], target: Target) -> None:
    kept = f"the content of {here['KEYHOOK_DATA_DIR']}/secret_key"
    given = "what it is here" if "KEYHOOK_SECRET_KEY" in here else kept
    assert copy().stderr == (
        "copied 0 keys and 0 audit entries\n"
        "next: stop the service here, whose later changes the copy lacks; there, set KEYHOOK_DATABASE_URL to that URL\n"
        f"and KEYHOOK_SECRET_KEY to {given}: with another secret, tokens that were made here are refused\n"
    )


def test_a_terminal_shows_the_progress(app: Flask, keys: dict[str, str], here: dict[str, Any], target: Target) -> None:
    main, side = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", **{name: str(value) for name, value in here.items()}}
    with subprocess.Popen([*COPY, target.url], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=side):
        os.close(side)
        shown = b""
        try:
            while piece := os.read(main, 4096):
                shown += piece
        except OSError:  # the end of a terminal
            pass
    os.close(main)
    assert re.search(rb"copying .*100%.*copied \d+ keys", shown, re.DOTALL)


def test_the_tables_of_a_start_are_filled_under_a_node_that_serves_them(
    app: Flask, mint: Callable[..., str], token: Callable[..., str], copy: Copy, serve_target: Callable[..., Flask]
) -> None:
    key, by = mint("laptop"), token()
    client = serve_target(secret(app)).test_client()
    assert client.get("/v0/auth", headers={"X-API-Key": key}).status_code == 401
    assert copy().returncode == 0
    for credential in (key, by):
        assert client.get("/v0/auth", headers={"Authorization": f"Bearer {credential}"}).status_code == 200


def key_there(target: Target) -> None:
    done = run([sys.executable, "-m", "flask", "keys", "create", "there"],
               KEYHOOK_DATABASE_URL=target.url, KEYHOOK_SECRET_KEY=LONG)  # fmt: skip
    assert done.returncode == 0


def only_audit_there(target: Target) -> None:
    key_there(target)
    target.sql("DELETE FROM lineage", "DELETE FROM api_keys")


def only_lineage_there(target: Target) -> None:
    key_there(target)
    target.sql("DELETE FROM audit_entries", "DELETE FROM api_keys", "INSERT INTO lineage VALUES ('a', 'b')")


def older_schema(target: Target) -> None:
    key_there(target)
    target.sql("DELETE FROM audit_entries", "DELETE FROM api_keys", "UPDATE alembic_version SET version_num = '0001'")


def newer_schema(target: Target) -> None:
    older_schema(target)
    target.sql("UPDATE alembic_version SET version_num = '9999'")


def another_programs_table(target: Target) -> None:
    target.sql("CREATE TABLE audit_entries (mine text)")


def another_programs_view(target: Target) -> None:
    target.sql("CREATE VIEW lineage AS SELECT 1")


def another_encoding(target: Target) -> None:
    target.server.sql(
        f"DROP DATABASE {target.name}",
        f"CREATE DATABASE {target.name} OWNER keyhook TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'",
    )


def no_rights(target: Target) -> None:
    target.server.sql(f"ALTER DATABASE {target.name} OWNER TO postgres")


def gone(target: Target) -> None:
    target.server.sql(f"DROP DATABASE {target.name}")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (key_there, "that is not empty: its table api_keys has rows"),
        (only_audit_there, "that is not empty: its table audit_entries has rows"),
        (only_lineage_there, "that is not empty: its table lineage has rows"),
        (older_schema, f"whose schema is '0001', where a copy needs '{SCHEMA}' or none"),
        (newer_schema, f"whose schema is '9999', where a copy needs '{SCHEMA}' or none"),
        (another_programs_table, "that has a table audit_entries, but no version of its schema"),
        (another_programs_view, 'that cannot be used: relation "lineage" already exists'),
        (another_encoding, "in LATIN1; names of keys need UTF8"),
        (no_rights, "that cannot be used: permission denied for schema public"),
        (gone, "that cannot be used: .*does not exist"),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_a_target_that_is_no_empty_database_is_refused(
    app: Flask, mint: Callable[..., str], copy: Copy, target: Target, spoil: Callable[[Target], None], why: str
) -> None:
    mint("laptop")
    spoil(target)
    before = target.tables() if spoil is not gone else ""
    done = copy()
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(f"Error: URL names a database {why}\n", done.stderr), done.stderr
    assert PASSWORD not in done.stderr
    assert (target.tables() if spoil is not gone else "") == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda url: "sqlite:///keyhook.db", "must be postgresql://"),
        (lambda url: url.replace("postgresql:", "postgres:"), "must be postgresql://"),
        (lambda url: "host=127.0.0.1 dbname=keyhook password=a%pass@word", "must be postgresql://"),
        (lambda url: url.rpartition("/")[0], "must be postgresql://"),
        (lambda url: url.replace("a%25pass%40word", "a%pass@word"), "must be postgresql://"),
        (lambda url: f"{url}?nonsense=a%25pass%40word", "must be postgresql://"),
        (lambda url: "", "must be postgresql://"),
        (lambda url: f"{url}\n", "must be printable"),
        (lambda url: re.sub(":[0-9]+/", f":{free_port()}/", url), "names a database that cannot be used: "),
        (lambda url: url.replace("pass", "p4ss"), "names a database that cannot be used: "),
    ],
)  # fmt: skip
def test_a_url_that_leads_nowhere_is_refused(
    app: Flask, copy: Copy, target: Target, change: Callable[[str], str], why: str
) -> None:
    done = copy(change(target.url))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(f"Error: URL {re.escape(why)}.*\n", done.stderr), done.stderr
    assert not any(part in done.stderr for part in ("a%25", "a%p", "p4ss", "@word", "40word"))


@pytest.mark.parametrize("words", [[], ["postgresql://keyhook:my", "pass@127.0.0.1/keyhook"]])
def test_anything_but_one_url_is_a_wrong_command_line(app: Flask, here: dict[str, Any], words: list[str]) -> None:
    """click would show the second word, which may be a part of a password."""
    done = run([*COPY, *words], **here)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("\nError: give one URL, in quotes\n")
    assert "pass" not in done.stderr


@pytest.mark.sqlite
def test_without_the_driver_one_line_says_what_to_install(app: Flask, here: dict[str, Any], target: Target) -> None:
    script = "import sys; sys.modules['psycopg'] = None; from flask.cli import main; main()"
    done = run([sys.executable, "-c", script, "copy-database", target.url], **here)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: URL names PostgreSQL, which needs `pip install -r requirements-postgresql.txt`\n"


@pytest.mark.sqlite
def test_no_database_is_made_in_order_to_be_copied(data_dir: Path, copy: Copy, target: Target) -> None:
    done = copy()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: there is no database at {data_dir}/keyhook.db\n"
    assert not data_dir.exists()
    assert target.tables() == ""


def test_a_database_is_not_copied_into_itself(target: Target, serve_target: Callable[..., Flask]) -> None:
    """Whatever the host is called."""
    serve_target()
    given: dict[str, Any] = {"KEYHOOK_DATABASE_URL": target.url, "KEYHOOK_SECRET_KEY": LONG}
    for url in (target.url, target.url.replace("127.0.0.1", "localhost")):
        done = run([*COPY, url], **given)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "Error: URL names the database that is to be copied\n"


SECRET_TEXT = "hunter2"  # must not be shown
BAD_VALUES: list[tuple[str, str, str]] = [
    ("api_keys", f"description = 'a' || char(0) || '{SECRET_TEXT}'", "its description holds U+0000"),
    ("api_keys", f"last_used_ip = '{SECRET_TEXT * 7}'", "its last_used_ip has more than 45 characters"),
    ("api_keys", f"secret_hash = '{SECRET_TEXT * 9}'", "its secret_hash has more than 60 characters"),
    ("api_keys", f"secret_hash = CAST('{SECRET_TEXT}' AS BLOB)", "its secret_hash is no text in UTF-8"),
    ("api_keys", f"owner = CAST('{SECRET_TEXT}' || x'ff' AS TEXT)", "its owner is no text in UTF-8"),
    ("api_keys", "disabled = 7", "its disabled is neither 0 nor 1"),
    ("audit_entries", f"details = '{SECRET_TEXT}' || char(0)", "its details holds U+0000"),
    ("lineage", f"parent_id = '{SECRET_TEXT * 6}'", "its parent_id has more than 36 characters"),
]


@pytest.mark.sqlite
@pytest.mark.parametrize(("table", "change", "why"), BAD_VALUES, ids=[f"{row[0]}, {row[2]}" for row in BAD_VALUES])
def test_a_value_that_postgresql_cannot_hold_is_named_but_not_shown(
    app: Flask, mint: Callable[..., str], copy: Copy, target: Target, table: str, change: str, why: str
) -> None:
    parent = mint("first")
    mint("second", by=parent)
    [(number,)] = sql(app, f"SELECT max(rowid) FROM {table}")  # noqa: S608
    sql(app, f"UPDATE {table} SET {change} WHERE rowid = {number}")  # noqa: S608
    [(key,)] = sql(app, "SELECT id FROM api_keys WHERE name = 'second'")
    row = f"id '{key}'" if table == "api_keys" else f"rowid {number}"
    done = copy()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: PostgreSQL cannot hold the row of {table} with {row}: {why}\n"
    assert SECRET_TEXT not in done.stderr
    assert target.tables() == ""


@pytest.mark.sqlite
def test_what_only_the_server_can_refuse_is_named_but_not_shown(
    app: Flask, mint: Callable[..., str], copy: Copy, target: Target
) -> None:
    """An index of PostgreSQL takes no value of thousands of random characters."""
    mint("first")
    mint("second")
    tenant = "".join(str(uuid.uuid4()) for _ in range(200))
    sql(app, "UPDATE api_keys SET tenant = :tenant WHERE name = 'second'", tenant=tenant)
    done = copy()
    assert (done.returncode, done.stdout) == (1, "")
    start = "Error: PostgreSQL cannot hold row 2 of api_keys, in the order of the primary key: index row size"
    assert re.fullmatch(f"{start} .*\n", done.stderr), done.stderr
    assert tenant[:8] not in done.stderr
    assert target.tables() == ""


@pytest.mark.alone
def test_a_hundred_thousand_keys_take_less_than_a_minute(
    app: Flask, keys: dict[str, str], copy: Copy, target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    many = 100_000
    with transaction(app) as connection:
        key = dict(connection.execute(select(api_keys).limit(1)).mappings().one())
        entry = dict(connection.execute(select(audit_entries).limit(1)).mappings().one())
        ids = [str(uuid.uuid4()) for _ in range(many)]
        del key["seq"], entry["id"]
        connection.execute(insert(api_keys), [{**key, "id": one, "name": one} for one in ids])
        connection.execute(insert(audit_entries), [{**entry, "key_id": one} for one in ids])
        connection.execute(insert(lineage), [{"key_id": one, "parent_id": ids[0]} for one in ids])
    begun = os.times().elapsed
    done = copy()
    seconds = os.times().elapsed - begun
    with capsys.disabled():
        print(f"\n{many} keys, with as many audit entries, are copied in {seconds:.1f} s")
    assert done.returncode == 0, done.stderr
    assert target.counts()["api_keys"] > many
    assert seconds < 60
