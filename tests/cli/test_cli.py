"""The command line as a script runs it: results alone on stdout, and an exit status."""

import json
import os
import pty
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from flask import Flask
from sqlalchemy import insert, select

from cli import keys, options, table
from formats.times import timestamp
from models import api_keys
from schemas import MAX_PAGE
from tests.bad_keys import other_secret
from tests.machine import ROOT
from tests.rows import ago, move, sql


@pytest.fixture
def flask(runner: Any) -> Callable[..., Any]:
    """flask("keys", "list"): the result; the status is checked."""

    def run(*words: str, status: int = 0, stdin: str | bytes | None = None) -> Any:
        result = runner.invoke(args=list(words), input=stdin)
        assert result.exit_code == status, result.output
        if status:
            assert result.stdout == ""
            assert result.stderr.strip()
        return result

    return run


@pytest.fixture
def make(flask: Callable[..., Any]) -> Callable[..., str]:
    return lambda *words: flask("keys", "create", *words).stdout.strip()


def listed(flask: Callable[..., Any], *words: str) -> list[dict[str, Any]]:
    return list(json.loads(flask("keys", "list", "--json", *words).stdout))


def test_create_prints_the_key_and_nothing_else(flask: Callable[..., Any], call: Callable[..., Any]) -> None:
    result = flask("keys", "create", "laptop")
    assert result.stderr == ""
    assert result.stdout == result.stdout.strip() + "\n"
    who = call("GET", "/v0/auth", by=result.stdout.strip()).json
    assert (who["key_name"], who["owner"], who["role"], who["tenant"]) == (
        "laptop",
        options.login_name(),
        "write",
        "default",
    )


def test_create_takes_every_option(flask: Callable[..., Any], make: Callable[..., str]) -> None:
    make("k", "--role", "read", "--scope", "a", "--scope", "b:c", "--expires-in", "90d", "--owner", "bob",
         "--description", "for x", "--tenant", "team")  # fmt: skip
    assert listed(flask) == []
    (key,) = listed(flask, "--tenant", "team")
    assert (key["role"], key["scopes"], key["owner"], key["description"]) == ("read", ["a", "b:c"], "bob", "for x")
    span = datetime.fromisoformat(key["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89.9) < span <= timedelta(days=90)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["keys", "create"], 2),
        (["keys", "create", "a", "b"], 2),
        (["keys", "create", "a", "--nope"], 2),
        (["keys", "nope"], 2),
        (["token", "--role", "root"], 2),
        (["token", "--expires-in", "1y"], 2),
        (["token", "--expires-in", "h"], 2),
        (["token", "--expires-in", "-1h"], 2),
        (["keys", "create", "a", "--expires-in", "90"], 2),
        (["keys", "rotate", "a", "--grace", "1.5h"], 2),
        (["backup"], 2),
        (["keys", "create", "a/b"], 1),
        (["keys", "create", " a"], 1),
        (["keys", "create", ""], 1),
        (["keys", "create", "taken"], 1),
        (["keys", "create", "a", "--role", "admin"], 1),
        (["keys", "create", "a", "--role", "nobody"], 1),
        (["keys", "create", "a", "--scope", "a b"], 1),
        (["keys", "create", "a", "--description", "x" * 501], 1),
        (["keys", "create", "a", "--owner", ""], 1),
        (["keys", "create", "a", "--tenant", ""], 1),
        (["keys", "create", "a", "--expires-in", "0d"], 1),
        (["keys", "create", "a", "--expires-in", "999999999w"], 1),
        (["keys", "create", "a", "--expires-in", "9" * 5000 + "s"], 1),
        (["keys", "rotate", "taken", "--grace", "9999999999s"], 1),
        (["keys", "rotate", "taken", "--grace", "31d"], 1),
        (["keys", "rotate", "none"], 1),
        (["keys", "disable", "none"], 1),
        (["keys", "enable", "none"], 1),
        (["keys", "delete", "none", "--yes"], 1),
        (["keys", "delete", "taken"], 1),
        (["keys", "delete", "--yes"], 2),
        (["keys", "delete", "--cascade", "--yes"], 2),
        (["keys", "delete", "taken", "--id", "0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11", "--yes"], 2),
        (["keys", "delete", "--id", "0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11", "--yes"], 1),
        (["keys", "delete", "--id", "0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11", "--cascade"], 1),
        (["keys", "delete", "--id", "taken", "--cascade", "--yes"], 1),
        (["keys", "delete", "--id", "", "--yes"], 1),
        (["token", "--owner", ""], 1),
        (["token", "--tenant", ""], 1),
        (["token", "--expires-in", "0s"], 1),
        (["token", "--expires-in", "999999999w"], 1),
    ],
)
def test_what_is_refused_fails_in_one_line_and_changes_nothing(
    flask: Callable[..., Any], make: Callable[..., str], words: list[str], status: int
) -> None:
    make("taken")
    result = flask(*words, status=status)
    assert "Traceback" not in result.stderr
    if status == 1:
        assert len(result.stderr.splitlines()) == 1
    assert [key["name"] for key in listed(flask)] == ["taken"]


@pytest.mark.parametrize(
    "words",
    [
        ["keys", "create", "a", "--owner"],
        ["keys", "create", "a", "--description"],
        ["keys", "create", "a", "--tenant"],
        ["keys", "list", "--tenant"],
        ["token", "--owner"],
        ["token", "--tenant"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("text", ["a\0b", "\0", "a\udcff"])
def test_what_no_database_can_hold_is_refused_in_one_line(
    flask: Callable[..., Any], words: list[str], text: str
) -> None:
    """A terminal cannot send U+0000, but a program that calls the commands can."""
    result = flask(*words, text, status=1)
    assert (result.stdout, len(result.stderr.splitlines())) == ("", 1)


def test_rotate_prints_the_new_key_and_keeps_the_old_for_its_grace(
    flask: Callable[..., Any], make: Callable[..., str], call: Callable[..., Any]
) -> None:
    old = make("k")
    new = flask("keys", "rotate", "k", "--grace", "1h").stdout.strip()
    assert [call("GET", "/v0/auth", by=key).status_code for key in (old, new)] == [200, 200]
    newest = flask("keys", "rotate", "k").stdout.strip()
    assert [call("GET", "/v0/auth", by=key).status_code for key in (old, new, newest)] == [401, 401, 200]


def test_disable_enable_and_delete_say_nothing(
    flask: Callable[..., Any], make: Callable[..., str], call: Callable[..., Any]
) -> None:
    key = make("k")
    for words, status in ((["disable", "k"], 401), (["enable", "k"], 200), (["delete", "k", "--yes"], 401)):
        result = flask("keys", *words)
        assert (result.stdout, result.stderr) == ("", "")
        assert call("GET", "/v0/auth", by=key).status_code == status


@pytest.mark.parametrize(("words", "left"), [([], ["child"]), (["--cascade"], [])], ids=["alone", "cascade"])
def test_delete_takes_the_offspring_along_only_when_told(
    flask: Callable[..., Any], make: Callable[..., str], mint: Callable[..., str], words: list[str], left: list[str]
) -> None:
    mint("child", by=make("parent"))
    flask("keys", "delete", "parent", "--yes", *words)
    assert [key["name"] for key in listed(flask)] == left


def test_a_command_changes_the_key_of_its_own_tenant_alone(
    flask: Callable[..., Any], make: Callable[..., str], call: Callable[..., Any]
) -> None:
    other, key = make("k"), make("k", "--tenant", "team")
    for command, status in (("disable", 401), ("enable", 200), ("rotate", 401)):
        flask("keys", command, "k", "--tenant", "team")
        assert [call("GET", "/v0/auth", by=bearer).status_code for bearer in (key, other)] == [status, 200]
    flask("keys", "delete", "k", "--tenant", "team", "--yes")
    assert (listed(flask, "--tenant", "team"), len(listed(flask))) == ([], 1)


def test_a_name_is_found_in_whatever_form_it_is_typed(flask: Callable[..., Any], make: Callable[..., str]) -> None:
    make("gr\u00f6\u00dfe")
    assert "no terminal" in flask("keys", "delete", "gro\u0308\u00dfe", status=1).stderr
    for words in (["rotate"], ["disable"], ["enable"], ["delete", "--yes"]):
        flask("keys", *words, "gro\u0308\u00dfe")
    assert listed(flask) == []


@pytest.mark.parametrize("words", [["rotate"], ["disable"], ["enable"], ["delete"], ["delete", "--yes"], ["create"]])
@pytest.mark.parametrize("credential", ["key", "token"])
def test_a_credential_in_place_of_a_name_is_not_repeated(
    flask: Callable[..., Any], make: Callable[..., str], token: Callable[..., str], words: list[str], credential: str
) -> None:
    given = make("k") if credential == "key" else token()
    said = flask("keys", *words, given, status=1).stderr
    assert given.rpartition("_" if credential == "key" else ".")[2] not in said


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(None, 3600), ("90s", 90), ("2m", 120), ("3h", 10_800), ("4d", 345_600), ("5w", 3_024_000)],
)
def test_a_token_is_an_admins_and_lasts_an_hour_or_what_is_told(
    flask: Callable[..., Any], app: Flask, given: str | None, seconds: int
) -> None:
    words = ["--expires-in", given] if given else []
    secret = app.extensions["keyhook"].settings.secret_key
    claims = jwt.decode(flask("token", *words).stdout.strip(), secret, ["HS256"], audience="keyhook")
    assert claims["exp"] - claims["iat"] == seconds
    assert (claims["role"], claims["sub"], claims["tenant"]) == ("admin", options.login_name(), "default")


@pytest.fixture
def same_database(data_dir: Path, database_of: Callable[[Path], dict[str, str]]) -> dict[str, str]:
    """The environment of a command that works on the database of the application."""
    return {"KEYHOOK_DATA_DIR": str(data_dir), **database_of(data_dir)}


def in_terminal(environment: dict[str, str], answer: bytes, *words: str) -> tuple[int, str]:
    """Runs a command on its own terminal and types the answer."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=side,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    os.close(side)
    os.write(main, answer)
    output, _ = process.communicate(timeout=30)
    os.close(main)
    return process.returncode, output.decode()


@pytest.mark.processes
@pytest.mark.parametrize(("answer", "status", "left"), [(b"y\n", 0, 0), (b"n\n", 1, 1), (b"\n", 1, 1)])
def test_delete_asks_on_a_terminal(
    flask: Callable[..., Any],
    make: Callable[..., str],
    same_database: dict[str, str],
    answer: bytes,
    status: int,
    left: int,
) -> None:
    make("k")
    code, output = in_terminal(same_database, answer, "keys", "delete", "k")
    assert (code, len(listed(flask))) == (status, left), output
    assert "Delete 'k'?" in output


def test_delete_by_id_reaches_the_offspring_of_a_key_that_is_gone(
    flask: Callable[..., Any], make: Callable[..., str], mint: Callable[..., str]
) -> None:
    parent = make("parent")
    mint("grandchild", by=mint("child", by=parent))
    key_id = listed(flask)[0]["id"]
    flask("keys", "delete", "parent", "--yes")
    assert "has this id" in flask("keys", "delete", "--id", key_id, "--yes", status=1).stderr
    flask("keys", "delete", "--id", key_id, "--cascade", "--yes", "--tenant", "other", status=1)
    assert [key["name"] for key in listed(flask)] == ["child", "grandchild"]
    result = flask("keys", "delete", "--id", key_id, "--cascade", "--yes")
    assert (result.stdout, result.stderr, listed(flask)) == ("", "", [])


@pytest.mark.processes
@pytest.mark.parametrize(
    ("words", "question"),
    [
        (["parent"], "Delete 'parent'?"),
        (["parent", "--cascade"], "Delete 'parent' and all that was minted with it, 3 keys in all?"),
        (["grandchild", "--cascade"], "Delete 'grandchild' and all that was minted with it, 1 key in all?"),
        (["--id", "child"], "Delete 'child'?"),
        (["--id", "child", "--cascade"], "Delete 'child' and all that was minted with it, 2 keys in all?"),
        (["--id", "gone", "--cascade"], "Delete all that was minted with {gone}, 1 key in all?"),
    ],
    ids=" ".join,
)
def test_delete_asks_about_all_that_would_go(
    flask: Callable[..., Any],
    make: Callable[..., str],
    mint: Callable[..., str],
    same_database: dict[str, str],
    words: list[str],
    question: str,
) -> None:
    mint("grandchild", by=mint("child", by=make("parent")))
    mint("left", by=make("gone"))
    ids = {key["name"]: key["id"] for key in listed(flask)}
    flask("keys", "delete", "gone", "--yes")
    if words[0] == "--id":
        words = ["--id", ids[words[1]], *words[2:]]
    code, output = in_terminal(same_database, b"n\n", "keys", "delete", *words)
    assert (code, len(listed(flask))) == (1, 4)
    assert question.format(**ids) in output


@pytest.mark.parametrize("state", ["active", "disabled", "expired"])
def test_inspect_says_which_key_it_is_and_its_status(
    flask: Callable[..., Any], make: Callable[..., str], app: Flask, state: str
) -> None:
    key = make("laptop")
    if state == "disabled":
        flask("keys", "disable", "laptop")
    if state == "expired":
        move(app, "laptop", expires_at=ago(hours=2))
    result = flask("keys", "inspect", stdin=f"{key}\n")
    assert result.stdout.startswith(f"laptop: {state}, ")
    assert key not in result.output
    assert key.split("_")[2] not in result.output


def test_inspect_of_an_earlier_secret_says_until_when(flask: Callable[..., Any], make: Callable[..., str]) -> None:
    old = make("k")
    flask("keys", "rotate", "k", "--grace", "1h")
    result = flask("keys", "inspect", stdin=old)
    assert result.stdout.startswith("k: active")
    assert "earlier secret" in result.stderr


@pytest.mark.parametrize("bad", ["", "x", "kh_", "other tenant", "other secret", "a.b.c"])
def test_inspect_of_what_is_no_key(flask: Callable[..., Any], make: Callable[..., str], bad: str) -> None:
    key = make("k")
    if bad == "other secret":
        bad = other_secret(key)
    if bad == "other tenant":
        flask("keys", "inspect", "--tenant", "other", stdin=key, status=1)
    else:
        result = flask("keys", "inspect", stdin=f"{bad}\n", status=1)
        assert not bad or len(bad) < 20 or bad not in result.output


@pytest.mark.parametrize("width", [22, 30, 40, 50, 61, 80, 100, 200])
def test_the_table_fits_every_terminal(
    make: Callable[..., str], app: Flask, call: Callable[..., Any], width: int
) -> None:
    make("short", "--expires-in", "3d")
    call(
        "GET", "/v0/auth", by=make("a-name-that-is-very-long-" * 4, "--owner", "somebody.with.a.long.name@example.org")
    )
    make("日本語の鍵" * 10, "--expires-in", "1400w")
    with app.app_context():
        lines = list(table.key_table(list(keys.every_row(options.operator_keys("default"))), width))
    assert max(table.cells(line) for line in lines) <= width
    assert [title in lines[0] for title in ("NAME", "STATUS")] == [True, True]
    assert ("OWNER" in lines[0]) == (width >= 61)
    assert ("EXPIRES" in lines[0]) == (width >= 40)
    assert "active" in lines[1]
    assert width < 200 or "somebody.with.a.long.name@example.org" in lines[2]


@pytest.mark.parametrize("columns", [None, 80, 100])
def test_the_list_is_as_wide_as_the_terminal_and_80_columns_without_one(
    monkeypatch: pytest.MonkeyPatch,
    flask: Callable[..., Any],
    make: Callable[..., str],
    call: Callable[..., Any],
    columns: int | None,
) -> None:
    if columns:
        monkeypatch.setenv("COLUMNS", str(columns))
    make("short", "--expires-in", "3d")
    key = make("a-name-that-is-very-long-" * 4, "--owner", "somebody.with.a.long.name@example.org")
    make("日本語の鍵" * 10)
    make("e\u0301" * 30)
    call("GET", "/v0/auth", by=key)
    lines = flask("keys", "list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "ROLE", "STATUS", "EXPIRES", "LAST", "USED", "OWNER"]
    assert len(lines) == 5
    assert max(table.cells(line) for line in lines) == (columns or 80)
    assert "in 3 days" in lines[1]
    assert "never" in lines[1]
    assert "ago" in lines[2] or "now" in lines[2]
    assert "…" in lines[2]


def test_an_owner_moves_no_cursor(
    flask: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str]
) -> None:
    key = mint("k", by=token(owner="\x1b[31mred\r\n\x07"))
    for shown in (flask("keys", "list"), flask("keys", "inspect", stdin=key)):
        assert all(line.isprintable() for line in shown.stdout.split("\n"))
        assert "\ufffd[31mred\ufffd\ufffd\ufffd" in shown.stdout


def test_the_table_without_keys_is_its_head(flask: Callable[..., Any]) -> None:
    assert len(flask("keys", "list").stdout.splitlines()) == 1


def test_the_list_goes_past_the_first_page(flask: Callable[..., Any], make: Callable[..., str], app: Flask) -> None:
    make("k0")
    with app.extensions["keyhook"].storage.write() as tx:
        row = dict(tx.execute(select(api_keys)).one()._mapping)
        del row["seq"]
        more = [{**row, "id": str(number), "name": f"k{number}"} for number in range(1, MAX_PAGE + 1)]
        tx.execute(insert(api_keys), more)
    assert [key["name"] for key in listed(flask)] == [f"k{number}" for number in range(MAX_PAGE + 1)]


@pytest.mark.parametrize(
    ("span", "words"),
    [
        ({"days": 3}, "in 3 days"),
        ({"hours": -2}, "2 hours ago"),
        ({"days": 1}, "in 1 day"),
        ({"minutes": -1}, "1 minute ago"),
        ({"days": 400}, "in 1 year"),
        ({"days": 45}, "in 1 month"),
        ({"seconds": -30}, "30 seconds ago"),
        ({"seconds": 0}, "now"),
    ],
)
def test_times_in_peoples_words(span: dict[str, float], words: str) -> None:
    assert table.in_words(timestamp(datetime.now(UTC) + timedelta(**span))) == words


def redirected(environment: dict[str, str], redirection: str, *words: str) -> tuple[int, str]:
    """The exit status and stderr of a command whose streams a shell has closed or redirected."""
    line = f'exec "$@" {redirection}'
    done = subprocess.run(
        ["sh", "-c", line, "sh", sys.executable, "-m", "flask", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    return done.returncode, done.stderr


@pytest.mark.processes
@pytest.mark.parametrize(
    ("redirection", "words", "said"),
    [
        (">&-", ["keys", "create", "new"], "stdout is closed"),
        (">&-", ["keys", "rotate", "k"], "stdout is closed"),
        (">/dev/full", ["keys", "create", "new"], "cannot be printed"),
        (">/dev/full", ["keys", "list"], "cannot be written"),
        ("<&-", ["keys", "delete", "k"], "no terminal"),
        ("<&-", ["keys", "inspect"], "malformed key|bad token"),
    ],
)
def test_streams_that_lead_nowhere_are_one_line(
    flask: Callable[..., Any],
    make: Callable[..., str],
    call: Callable[..., Any],
    same_database: dict[str, str],
    redirection: str,
    words: list[str],
    said: str,
) -> None:
    key = make("k")
    status, stderr = redirected(same_database, redirection, *words)
    assert status == 1
    assert re.fullmatch(f"Error: .*({said}).*\n", stderr)
    assert call("GET", "/v0/auth", by=key).status_code == 200
    assert ("new" in {row["name"] for row in listed(flask)}) == (redirection == ">/dev/full" and "new" in words)


def test_bytes_that_are_no_text_are_no_key(flask: Callable[..., Any]) -> None:
    flask("keys", "inspect", stdin=b"\xff\xfe\n", status=1)


def test_the_audit_names_the_login(
    flask: Callable[..., Any], make: Callable[..., str], call: Callable[..., Any]
) -> None:
    make("k", "--owner", "bob")
    (entry,) = call("GET", "/v0/audit").json
    assert entry["actor"] == {"kind": "cli", "owner": options.login_name(), "key_id": None, "key_name": None}
    assert (entry["ip"], entry["request_id"]) == (None, None)


@pytest.mark.sqlite
def test_a_backup_under_load_serves_every_key(
    app: Flask,
    make_app: Callable[..., Flask],
    flask: Callable[..., Any],
    mint: Callable[..., str],
    tmp_path: Path,
) -> None:
    """The lines of docs/operation.md: the copy becomes instance/keyhook.db, and its keys are good."""
    keys = [mint(f"k{number}") for number in range(20)]
    stop = threading.Event()
    token_of = app.test_cli_runner().invoke(args=["token"]).stdout.strip()

    def write() -> None:
        client, number = app.test_client(), 0
        while not stop.is_set():
            number += 1
            body = {"name": f"more{number}"}
            client.post("/v0/api_keys", json=body, headers={"Authorization": f"Bearer {token_of}"})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        copies = [tmp_path / f"copy{number}.db" for number in range(5)]
        for copy in copies:
            assert flask("backup", str(copy)).output == ""
    finally:
        stop.set()
        writer.join()
    for copy in copies:
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        connection = sqlite3.connect(copy)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        created = connection.execute("SELECT count(*) FROM audit_entries").fetchone()
        assert connection.execute("SELECT count(*) FROM api_keys").fetchone() == created
        connection.close()
    restored = tmp_path / "restored"
    restored.mkdir(0o700)
    copies[0].rename(restored / "keyhook.db")
    client = make_app(restored).test_client()
    for key in keys:
        assert client.get("/v0/auth", headers={"Authorization": f"Bearer {key}"}).status_code == 200


@pytest.mark.sqlite
def test_a_backup_replaces_nothing(flask: Callable[..., Any], data_dir: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("precious")
    assert "exists already" in flask("backup", str(there), status=1).stderr
    assert there.read_text() == "precious"
    flask("backup", str(data_dir / "keyhook.db"), status=1)
    flask("backup", str(tmp_path / "no" / "such" / "place"), status=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "there"]


@pytest.mark.processes
def test_no_server_is_needed(data_dir: Path, database_of: Callable[[Path], dict[str, str]]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flask", "keys", "create", "first"],
        cwd=ROOT,
        env={**os.environ, "KEYHOOK_DATA_DIR": str(data_dir), **database_of(data_dir)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("kh_")
    assert sql(data_dir, "SELECT name FROM api_keys") == [("first",)]
