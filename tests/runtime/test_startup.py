"""The start of the service: its settings, its files, its refusals."""

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from flask import Flask
from sqlalchemy import make_url

import models
from app import create_app
from errors import StartupError
from identity.tokens import make_token
from storage.sqlite.connection import connect
from tests.commands import CREATE, LONG, TOKEN, assert_refused, made, run
from tests.data_dirs import another_program, directory_in_its_place, files, newer_schema, read_only, sqlite_file
from tests.machine import ROOT, missing
from tests.rows import sql
from tests.servers import FLASK_RUN, SERVE, Server

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("afresh")]

BAD_SETTINGS = [
    *[(name, value) for name in ("DATA_DIR", "DATABASE_URL", "SECRET_KEY", "KEY_PREFIX") for value in ("", "  ", "\t")],
    *[("DATABASE_URL", url) for url in ("nonsense", "sqlite", "://", "/srv/keyhook.db", "keyhook.db")],
    *[("DATABASE_URL", url) for url in ("sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file::memory:")],
    *[("DATABASE_URL", url) for url in ("sqlite:///{data}/a.db?mode=ro", "sqlite:///{data}/a.db?uri=true")],
    *[("DATABASE_URL", url) for url in ("sqlite:///file:{data}/a.db?mode=memory", "sqlite://host/a.db")],
    *[("DATABASE_URL", url) for url in ("sqlite://:5432/{data}/a.db", "sqlite://user:secret@/{data}/a.db")],
    *[
        ("DATABASE_URL", url)
        for url in ("postgresql://user@host", "postgresql+asyncpg://host/keyhook", "postgres://host/keyhook")
    ],
    *[
        ("DATABASE_URL", url)
        for url in ("postgresql://host/keyhook?x=1", "mysql://host/keyhook", "sqlite+aiosqlite:///a")
    ],
    *[("SECRET_KEY", secret) for secret in ("short", "s" * 31, "1", "0", "null", "12345678901234567890123456789.0")],
    ("SECRET_KEY", "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----"),
    ("SECRET_KEY", '{{"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}'),
    *[
        ("KEY_PREFIX", prefix)
        for prefix in ("k", "k2345678901", "Kh", "KH", "k_h", "kh_", "2kh", "k-h", "ké", "kh ", "kh\n")
    ],
    *[
        ("BCRYPT_ROUNDS", rounds)
        for rounds in ("", " ", "3", "32", "0", "-4", "abc", " 4", "4 ", "4.0", "1e1", "0x4", "٤")
    ],
    *[("TRUSTED_PROXIES", proxies) for proxies in ("", " ", "-1", "abc", "1.0", "1,2", "true", "None", "99999", "١")],
]


@pytest.mark.parametrize(("name", "value"), BAD_SETTINGS)
def test_a_bad_setting_stops_the_start(monkeypatch: pytest.MonkeyPatch, data_dir: Path, name: str, value: str) -> None:
    monkeypatch.setenv("KEYHOOK_DATA_DIR", str(data_dir))
    monkeypatch.setenv(f"KEYHOOK_{name}", value.format(data=data_dir))
    with pytest.raises(StartupError) as refusal:
        create_app()
    line = refusal.value.code
    assert isinstance(line, str)
    assert line.startswith(f"KEYHOOK_{name} ")
    assert line.isprintable()
    assert not data_dir.exists()


ONE_BAD_VALUE_EACH = [
    ("DATA_DIR", ""),
    ("DATABASE_URL", "sqlite://"),
    ("SECRET_KEY", "short"),
    ("KEY_PREFIX", "K_"),
    ("BCRYPT_ROUNDS", "abc"),
    ("TRUSTED_PROXIES", "-1"),
]


@pytest.mark.parametrize(("name", "value"), ONE_BAD_VALUE_EACH)
def test_a_bad_setting_is_one_line_on_the_terminal(data_dir: Path, name: str, value: str) -> None:
    environment: dict[str, Any] = {"KEYHOOK_DATA_DIR": data_dir, f"KEYHOOK_{name}": value}
    assert_refused(f"KEYHOOK_{name} ", **environment)
    assert not data_dir.exists()


def test_a_bad_setting_stops_the_command_line_too(data_dir: Path) -> None:
    done = run(TOKEN, KEYHOOK_DATA_DIR=data_dir, KEYHOOK_BCRYPT_ROUNDS="abc")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch("KEYHOOK_BCRYPT_ROUNDS .*\n", done.stderr)


def no_version(data: Path) -> None:
    sqlite_file(data / "keyhook.db", "DELETE FROM alembic_version")


def no_keys_table(data: Path) -> None:
    sqlite_file(data / "keyhook.db", "DROP TABLE api_keys")


def secret_alone(data: Path) -> None:
    (data / "keyhook.db").unlink()


def wal_alone(data: Path) -> None:
    for name in ("keyhook.db", "secret_key"):
        (data / name).unlink()
    (data / "keyhook.db-wal").write_bytes(b"what was acknowledged")


def journal_alone(data: Path) -> None:
    wal_alone(data)
    (data / "keyhook.db-wal").rename(data / "keyhook.db-journal")


def dangling_link(data: Path) -> None:
    (data / "keyhook.db").unlink()
    (data / "keyhook.db").symlink_to(data / "not mounted" / "keyhook.db")


def secret_is_a_directory(data: Path) -> None:
    (data / "secret_key").unlink()
    (data / "secret_key").mkdir()


def truncated(data: Path) -> None:
    with (data / "keyhook.db").open("r+b") as file:
        file.truncate(4096)


REMAINS: list[Any] = [
    pytest.param(lambda data: (data / "keyhook.db").write_bytes(b"garbage" * 999), "DATABASE_URL", id="garbage"),
    pytest.param(lambda data: (data / "keyhook.db").write_bytes(b""), "DATABASE_URL", id="empty database"),
    pytest.param(truncated, "DATABASE_URL", id="truncated database"),
    pytest.param(another_program, "DATABASE_URL", id="database of another program"),
    pytest.param(newer_schema, "DATABASE_URL", id="newer schema"),
    pytest.param(no_version, "DATABASE_URL", id="no version"),
    pytest.param(no_keys_table, "DATABASE_URL", id="no table of keys"),
    pytest.param(secret_alone, "DATABASE_URL", id="secret without its database"),
    pytest.param(wal_alone, "DATABASE_URL", id="WAL without its database"),
    pytest.param(journal_alone, "DATABASE_URL", id="journal without its database"),
    pytest.param(directory_in_its_place, "DATABASE_URL", id="directory for a database"),
    pytest.param(dangling_link, "DATABASE_URL", id="dangling link for a database"),
    pytest.param(lambda data: (data / "secret_key").write_bytes(b""), "SECRET_KEY", id="empty secret"),
    pytest.param(lambda data: (data / "secret_key").write_bytes(b"\n" * 64), "SECRET_KEY", id="blank secret"),
    pytest.param(lambda data: (data / "secret_key").write_bytes(b"short\n"), "SECRET_KEY", id="short secret"),
    pytest.param(secret_is_a_directory, "SECRET_KEY", id="directory for a secret"),
]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with one key and no server."""
    data = tmp_path_factory.mktemp("pristine") / "data"
    assert run([*CREATE, "first"], KEYHOOK_DATA_DIR=data).returncode == 0
    return data


@pytest.mark.parametrize(("spoil", "variable"), REMAINS)
def test_nothing_is_made_anew(pristine: Path, data_dir: Path, spoil: Callable[[Path], Any], variable: str) -> None:
    shutil.copytree(pristine, data_dir)
    spoil(data_dir)
    before = files(data_dir)
    assert_refused(f"KEYHOOK_{variable} ", KEYHOOK_DATA_DIR=data_dir)
    assert files(data_dir) == before


def test_opening_a_database_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        connect(tmp_path / "keyhook.db")
    assert files(tmp_path) == {}


# What is in a data directory once a request was answered.
SERVED = {"keyhook.db", "keyhook.db-wal", "keyhook.db-shm", "secret_key", "metrics"}


def test_a_start_that_was_killed_midway_is_made_again(make_app: Callable[..., Flask], data_dir: Path) -> None:
    data_dir.mkdir(0o700)
    for name in ("keyhook.db.new", "keyhook.db.new-journal", "secret_key.new"):
        (data_dir / name).write_bytes(b"half of it")
    assert make_app(data_dir).test_client().get("/healthz").status_code == 200
    assert {path.name for path in data_dir.iterdir()} == SERVED


def test_a_database_without_its_wal_mode_gets_it_back(
    pristine: Path, make_app: Callable[..., Flask], data_dir: Path
) -> None:
    data_dir.mkdir(0o700)
    sqlite_file(pristine / "keyhook.db", f"VACUUM INTO '{data_dir}/keyhook.db'")
    assert journal_mode(data_dir) == "delete"
    make_app(data_dir)
    assert journal_mode(data_dir) == "wal"


def journal_mode(data: Path) -> Any:
    with closing(sqlite3.connect(data / "keyhook.db")) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


def test_a_file_for_a_data_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert_refused("KEYHOOK_DATA_DIR ", KEYHOOK_DATA_DIR=tmp_path / "file")
    assert_refused("KEYHOOK_DATA_DIR ", KEYHOOK_DATA_DIR=tmp_path / "file" / "data")


@pytest.mark.parametrize("used", [False, True], ids=["empty", "used"])
def test_an_unwritable_data_directory(pristine: Path, data_dir: Path, used: bool) -> None:
    if used:
        shutil.copytree(pristine, data_dir)
    else:
        data_dir.mkdir()
    before = files(data_dir)
    with read_only(data_dir) as prefix:
        assert_refused("KEYHOOK_DATA", prefix, KEYHOOK_DATA_DIR=data_dir)
        assert_refused("KEYHOOK_DATA_DIR ", prefix, KEYHOOK_DATA_DIR=data_dir / "data")
    assert files(data_dir) == before


GOOD_SETTINGS: list[dict[str, str]] = [
    {"KEYHOOK_KEY_PREFIX": "a0"},
    {"KEYHOOK_KEY_PREFIX": "acme567890"},
    {"KEYHOOK_BCRYPT_ROUNDS": "5"},
    {"KEYHOOK_TRUSTED_PROXIES": "3"},
    {"KEYHOOK_SECRET_KEY": LONG},
    {"KEYHOOK_DATABASE_URL": "sqlite:///{tmp}/elsewhere/keys.sqlite"},
    {"KEYHOOK_DATABASE_URL": "sqlite+pysqlite:///{tmp}/elsewhere/keys.sqlite"},
    {"KEYHOOK_DATABASE_URL": "sqlite:///{tmp}/a b/100% of #them & 'more' %20 ü.db"},
    {"KEYHOOK_DATA_DIR": "{tmp}/a b/100% of #them & 'more' %20 ü?"},
]


@pytest.mark.parametrize("settings", GOOD_SETTINGS, ids=str)
def test_other_values_work(tmp_path: Path, data_dir: Path, settings: dict[str, str]) -> None:
    given = {name: value.format(tmp=tmp_path) for name, value in settings.items()}
    environment: dict[str, Any] = {"KEYHOOK_DATA_DIR": data_dir, **given}
    done = run([*CREATE, "first"], **environment)
    assert done.returncode == 0
    prefix = given.get("KEYHOOK_KEY_PREFIX", "kh")
    assert re.fullmatch(rf"{prefix}_[0-9a-f]{{32}}_[0-9A-Za-z]{{43}}[0-9a-f]{{8}}\n", done.stdout)
    default = Path(environment["KEYHOOK_DATA_DIR"]) / "keyhook.db"
    database = Path(make_url(given.get("KEYHOOK_DATABASE_URL", "sqlite://")).database or default)
    secret = "" if "KEYHOOK_SECRET_KEY" in given else f" and a new secret at {default.with_name('secret_key')}"
    assert done.stderr == f"made a new database at {database}{secret}\n"
    assert default.exists() == (database == default)
    with closing(sqlite3.connect(database)) as connection:
        [(name, secret_hash)] = connection.execute("SELECT name, secret_hash FROM api_keys").fetchall()
    assert name == "first"
    assert secret_hash.startswith(f"$2b$0{given.get('KEYHOOK_BCRYPT_ROUNDS', 4)}$")
    assert (default.with_name("secret_key")).exists() == ("KEYHOOK_SECRET_KEY" not in given)


def test_a_relative_data_directory_is_seen_from_the_working_directory(tmp_path: Path) -> None:
    done = run([*CREATE[:3], "--app", str(ROOT / "app.py"), *CREATE[3:], "first"], tmp_path, KEYHOOK_DATA_DIR="data")
    assert (done.returncode, done.stderr) == (0, made(tmp_path / "data"))
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["keyhook.db", "secret_key"]


def test_without_a_setting_the_data_lies_beside_the_program(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".*", "__pycache__", "instance", "tests", "bench"))
    command = [*CREATE[:3], "--app", str(checkout / "app.py"), *CREATE[3:], "first"]
    done = run(command, tmp_path, PYTHONPATH=checkout)
    assert (done.returncode, done.stderr) == (0, made(checkout / "instance"))
    assert modes(checkout / "instance") == {"instance": "0o700", "secret_key": "0o600", "keyhook.db": "0o600"}
    assert [path.name for path in tmp_path.iterdir()] == ["checkout"]


def modes(directory: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o777) for path in [directory, *directory.iterdir()]}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nobody_else_can_read_the_files(data_dir: Path, umask: int) -> None:
    done = run(["sh", "-c", f'umask {umask:o}; exec "$@"', "sh", *CREATE, "first"], KEYHOOK_DATA_DIR=data_dir)
    assert done.returncode == 0
    assert modes(data_dir) == {"data": "0o700", "secret_key": "0o600", "keyhook.db": "0o600"}


def test_nobody_else_can_read_the_files_of_a_running_server(serve: Callable[..., Server], data_dir: Path) -> None:
    old = os.umask(0)
    try:
        serve()
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o077 for path in [data_dir, *data_dir.rglob("*")]} == {0}


def test_the_secret_survives_a_restart(serve: Callable[..., Server], data_dir: Path) -> None:
    first = serve()
    token, secret, key = first.token(), (data_dir / "secret_key").read_bytes(), first.mint("laptop")
    first.stop()
    second = serve()
    assert (data_dir / "secret_key").read_bytes() == secret
    assert second.call("GET", "/v0/auth", by=token).status_code == 200
    assert second.call("GET", "/v0/auth", by=key).status_code == 200


@pytest.mark.parametrize("number", [2, 8])
def test_many_first_starts_at_once(tmp_path: Path, make_app: Callable[..., Flask], number: int) -> None:
    """Some make a key, some a token; all find one schema and one secret."""
    for attempt in range(5):
        data = tmp_path / f"data-{attempt}"
        commands = [[*CREATE, f"key-{n}"] if n % 2 else TOKEN for n in range(number)]
        with ThreadPoolExecutor(number) as starts:
            done = list(starts.map(lambda command, data=data: run(command, KEYHOOK_DATA_DIR=data), commands))
        assert [one.returncode for one in done] == [0] * number
        assert sorted(one.stderr for one in done) == [""] * (number - 1) + [made(data)]  # by the one that made it
        client = make_app(data).test_client()
        for one in done:
            bearer = {"Authorization": f"Bearer {one.stdout.strip()}"}
            assert client.get("/v0/auth", headers=bearer).status_code == 200
        assert sql(data, "SELECT version_num FROM alembic_version") == [(models.SCHEMA,)]
        assert {path.name for path in data.iterdir()} <= SERVED


def test_the_terminal_says_how_to_make_the_first_key_until_there_is_one(serve: Callable[..., Server]) -> None:
    first = serve()
    said = first.log.read_text()
    assert "There are no keys yet" in said
    assert f"http://127.0.0.1:{first.port}/v0/api_keys" in said
    [code] = re.findall(rf"^  http://127.0.0.1:{first.port}/console/sign-in#(khc_\w+)$", said, re.MULTILINE)
    signed_in = first.call(
        "POST", "/console/sign-in", data={"token": code}, by=None, allow_redirects=False, headers={"Origin": first.url}
    )
    assert (signed_in.status_code, signed_in.headers["Location"]) == (303, "/console/keys")
    first.stop()
    serve().mint("laptop")
    said = first.log.read_text()
    serve()
    assert "There are no keys yet" not in first.log.read_text().removeprefix(said)


@pytest.mark.parametrize("server", ["flask run", "flask serve"])
def test_what_the_terminal_says_makes_the_first_key_when_it_is_pasted(
    serve: Callable[..., Server], tmp_path: Path, server: str
) -> None:
    if shutil.which("curl") is None:
        missing("curl", "apt install curl")
    awkward = tmp_path / "my #data 'here' & \"there\" ü"
    command = {"flask run": FLASK_RUN, "flask serve": SERVE}[server]
    running = serve(command, data_dir=awkward, KEYHOOK_KEY_PREFIX="acme", KEYHOOK_SECRET_KEY=LONG)
    said = running.log.read_text().partition("in another terminal (with the same KEYHOOK_SECRET_KEY):\n")[2]
    offline = re.search(r"^ *(.* keys create) laptop$", said, re.MULTILINE)
    assert offline
    for pasted in (said.partition("or without")[0], f"{offline[1]} other"):
        done = subprocess.run(
            ["sh", "-c", pasted],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "KEYHOOK_SECRET_KEY": LONG, "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
        )
        assert "acme_" in done.stdout, (pasted, done)
    admin = make_token(LONG.encode(), "alice", "admin", "default", timedelta(hours=1))
    names = {key["name"] for key in running.call("GET", "/v0/api_keys", by=admin).json()}
    assert names == {"laptop", "other"}


@pytest.mark.parametrize("file", ["docs/operation.md", "Makefile"])
def test_the_recommended_server_is_the_one_that_is_tested(file: str) -> None:
    [written] = re.findall(r"^\s*[@$]? ?\S*/flask (serve .*)", (ROOT / file).read_text(), re.MULTILINE)
    assert SERVE[1:] == ["-m", "flask", "--app", "app", "serve", "--port={port}"]
    assert {word for word in written.split()[1:] if word.startswith("-")} <= {"--host", "--port"}


@pytest.mark.parametrize(
    "secret",
    [
        "1" * 32,
        "0" * 40,
        "1e" + "1" * 30,
        "true" * 8,
        "3141592653589793238462643383279502",
        "[true, false, null, 1, 2, 3, 4, 5]",
    ],
)
def test_a_secret_that_looks_like_something_else_is_taken_as_it_is(data_dir: Path, secret: str) -> None:
    done = run(TOKEN, KEYHOOK_DATA_DIR=data_dir, KEYHOOK_SECRET_KEY=secret)
    claims = jwt.decode(done.stdout.strip(), secret.encode(), algorithms=["HS256"], audience="keyhook")
    assert claims["iss"] == "keyhook"


def test_every_column_of_a_key_has_its_type() -> None:
    assert list(models.KeyRow._fields) == models.api_keys.c.keys()
    assert models.CheckedKey.__annotations__.items() <= models.KeyRow.__annotations__.items()
