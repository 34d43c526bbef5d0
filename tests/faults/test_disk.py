"""The disk is full or read-only, or the database is moved, replaced or overwritten while the server runs."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.answers import UNAVAILABLE
from tests.machine import ROOT, missing
from tests.servers import FLASK_RUN, SERVE, Server, running, start_server

pytestmark = pytest.mark.faults

GARBAGE = b"this is no database\n" * 4096


def statuses(server: Server, method: str, path: str, by: str, count: int = 10) -> set[int]:
    """The answers to some requests; each creation gets a new name."""
    found = set()
    for _ in range(count):
        body = {"name": os.urandom(8).hex()} if method == "POST" else None
        response = server.call(method, path, by=by, json=body)
        found.add(response.status_code)
        if response.status_code == 503:
            assert response.json() == UNAVAILABLE
            assert int(response.headers["Retry-After"]) > 0
    return found


def assert_reads_only(server: Server, warm: str, unused: str) -> None:
    """Creations are a 503, for a person and for a key. Reading goes on, even if the use of a key cannot be noted."""
    assert statuses(server, "POST", "/v0/api_keys", server.token()) == {503}
    assert statuses(server, "POST", "/v0/api_keys", warm) == {503}
    assert statuses(server, "GET", "/v0/auth", warm) == {200}
    assert statuses(server, "GET", "/v0/auth", unused) == {200}
    assert statuses(server, "GET", "/v0/api_keys", warm) == {200}
    assert statuses(server, "GET", "/healthz", warm) == {200}


def assert_recovered(server: Server, *keys: str) -> None:
    assert statuses(server, "POST", "/v0/api_keys", server.token()) == {201}
    for key in keys:
        assert statuses(server, "GET", "/v0/auth", key) == {200}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True).returncode:
        missing("root", "run as root to mount a small tmpfs")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk: Path) -> Path:
    """Writes a file until the disk is full to the last byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


@pytest.mark.parametrize("command", [FLASK_RUN, SERVE], ids=["flask run", "flask serve"])
def test_full_disk(small_disk: Path, tmp_path: Path, command: list[str]) -> None:
    with running(small_disk / "data", tmp_path / "server.log", command) as server:
        warm, unused = server.mint("warm"), server.mint("unused")
        assert statuses(server, "GET", "/v0/auth", warm) == {200}
        filler = fill(small_disk)
        assert_reads_only(server, warm, unused)
        filler.unlink()
        assert_recovered(server, warm, unused)


def test_a_first_start_on_a_full_disk_leaves_nothing_that_stops_the_next(small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "data").mkdir()
    filler = fill(small_disk)
    with pytest.raises(AssertionError, match=r"did not start:\nKEYHOOK_DATABASE_URL cannot be made.*\n$"):
        start_server(small_disk / "data", tmp_path / "server.log")
    assert not (small_disk / "data" / "keyhook.db").exists()
    filler.unlink()
    with running(small_disk / "data", tmp_path / "server.log") as server:
        assert_recovered(server, server.mint("first"))


@pytest.mark.parametrize("command", [FLASK_RUN, SERVE], ids=["flask run", "flask serve"])
def test_read_only_data_directory(serve: Callable[..., Server], data_dir: Path, command: list[str]) -> None:
    if os.geteuid() == 0:  # who could write all the same
        if shutil.which("setpriv") is None:
            missing("setpriv", "apt install util-linux, or run as another user than root")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    server = serve(command)
    warm, unused = server.mint("warm"), server.mint("unused")
    assert statuses(server, "GET", "/v0/auth", warm) == {200}
    modes = {path: path.stat().st_mode for path in [*data_dir.iterdir(), data_dir]}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        assert_reads_only(server, warm, unused)
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert_recovered(server, warm, unused)


def replace_by_garbage(database: Path) -> None:
    garbage = database.with_name("garbage")
    garbage.write_bytes(GARBAGE)
    garbage.replace(database)


def replace_by_another(database: Path) -> None:
    another = database.with_name("another")
    with closing(sqlite3.connect(another)) as connection:
        connection.execute("CREATE TABLE api_keys (id TEXT)")
    another.replace(database)


def move_the_files(database: Path) -> None:
    elsewhere = database.with_name("elsewhere")
    elsewhere.mkdir()
    for file in database.parent.glob("keyhook.db*"):
        file.rename(elsewhere / file.name)


def move_the_files_back(database: Path) -> None:
    for file in database.with_name("elsewhere").iterdir():
        file.rename(database.with_name(file.name))


def move_the_directory(database: Path) -> None:
    database.parent.rename(database.parent.with_name("moved"))


def move_the_directory_back(database: Path) -> None:
    database.parent.with_name("moved").rename(database.parent)


def put_back(database: Path) -> None:
    """Puts the same files back, which the test kept under second names."""
    for file in database.with_name("kept").iterdir():
        file.replace(database.with_name(file.name))


BREAKAGES = [
    pytest.param(replace_by_garbage, put_back, GARBAGE, id="replaced by garbage"),
    pytest.param(replace_by_another, put_back, None, id="replaced by another database"),
    pytest.param(Path.unlink, put_back, b"", id="removed"),
    pytest.param(lambda database: database.with_name("keyhook.db-wal").unlink(), put_back, None, id="WAL removed"),
    pytest.param(lambda database: database.with_name("keyhook.db-shm").unlink(), put_back, None, id="SHM removed"),
    pytest.param(move_the_files, move_the_files_back, b"", id="files moved"),
    pytest.param(move_the_directory, move_the_directory_back, b"", id="directory moved"),
]


@pytest.mark.parametrize(("break_it", "mend_it", "left"), BREAKAGES)
def test_another_file_or_none_in_its_place(
    serve: Callable[..., Server],
    data_dir: Path,
    break_it: Callable[[Path], None],
    mend_it: Callable[[Path], None],
    left: bytes | None,
) -> None:
    server = serve()
    database, token = data_dir / "keyhook.db", server.token()
    warm, unused = server.mint("warm"), server.mint("unused")
    assert statuses(server, "GET", "/v0/auth", warm) == {200}
    (data_dir / "kept").mkdir()
    for file in data_dir.glob("keyhook.db*"):
        (data_dir / "kept" / file.name).hardlink_to(file)
    break_it(database)
    assert_nothing_answers(server, token, warm, unused)
    if left is not None:
        assert (database.read_bytes() if database.exists() else b"") == left
        assert database.exists() == bool(left)
    mend_it(database)
    assert_recovered(server, warm, unused)


@pytest.mark.parametrize("age", [0, 60], ids=["just changed", "unchanged for a minute"])
@pytest.mark.parametrize("file", ["keyhook.db-wal", "keyhook.db-shm"])
def test_a_file_that_goes_within_one_step_of_the_clock(
    call: Callable[..., Any], mint: Callable[..., Any], data_dir: Path, file: str, age: int
) -> None:
    """A directory that has only just changed may change again without another time of change."""
    key = mint()
    changed = time.time_ns() - age * 10**9
    os.utime(data_dir, ns=(changed, changed))
    assert call("GET", "/v0/auth", by=key).status_code == 200
    (data_dir / file).rename(data_dir / "aside")
    if not age:
        os.utime(data_dir, ns=(changed, changed))
    assert call("GET", "/v0/auth", by=key).status_code == 503
    assert call("GET", "/v0/auth", by=key).status_code == 503
    (data_dir / "aside").rename(data_dir / file)
    assert call("GET", "/v0/auth", by=key).status_code == 200


def garbage(place: Path) -> bytes:
    return GARBAGE


def nothing(place: Path) -> bytes:
    return b""


def little(place: Path) -> bytes:
    return GARBAGE[:100]


def database_of_another_service(place: Path) -> bytes:
    flask(place / "other", "keys", "create", "other")
    return (place / "other" / "keyhook.db").read_bytes()


def own_backup(place: Path) -> bytes:
    flask(place / "data", "backup", str(place / "backup.db"))
    return (place / "backup.db").read_bytes()


def flask(data_dir: Path, *words: str) -> None:
    environment = {**os.environ, "KEYHOOK_DATA_DIR": str(data_dir)}
    subprocess.run([sys.executable, "-m", "flask", *words], cwd=ROOT, env=environment, check=True)


@pytest.mark.parametrize("content", [garbage, nothing, little, database_of_another_service, own_backup])
def test_overwritten_in_place(
    serve: Callable[..., Server], data_dir: Path, tmp_path: Path, content: Callable[[Path], bytes]
) -> None:
    server = serve(SERVE)
    database, token = data_dir / "keyhook.db", server.token()
    warm, unused = server.mint("warm"), server.mint("unused")
    assert statuses(server, "GET", "/v0/auth", warm) == {200}
    written = content(tmp_path)
    assert statuses(server, "GET", "/v0/auth", warm) == {200}
    database.write_bytes(written)
    assert_nothing_answers(server, token, warm, unused)
    assert database.read_bytes() == written


def test_a_link_that_leads_elsewhere_from_now_on(serve: Callable[..., Server], data_dir: Path, tmp_path: Path) -> None:
    """A database behind a symbolic link serves like any other, until the link leads to another file."""
    serve().stop()
    database, there, elsewhere = data_dir / "keyhook.db", tmp_path / "there.db", tmp_path / "elsewhere.db"
    shutil.copy(database, elsewhere)
    database.rename(there)
    database.symlink_to(there)
    server = serve()
    warm, token = server.mint("warm"), server.token()
    assert statuses(server, "GET", "/v0/auth", warm) == {200}
    database.unlink()
    database.symlink_to(elsewhere)
    assert_nothing_answers(server, token, warm)
    database.unlink()
    database.symlink_to(there)
    assert_recovered(server, warm)


def assert_nothing_answers(server: Server, token: str, *keys: str) -> None:
    """Every request that needs the database is a 503, with a line in the log."""
    logged = server.log.read_text().count("database unavailable")
    for key in keys:
        assert statuses(server, "GET", "/v0/auth", key, 5) == {503}
        assert statuses(server, "POST", "/v0/api_keys", key, 5) == {503}
    assert statuses(server, "POST", "/v0/api_keys", token, 5) == {503}
    assert statuses(server, "GET", "/v0/api_keys", token, 5) == {503}
    assert statuses(server, "GET", "/v0/audit", token, 5) == {503}
    assert statuses(server, "GET", "/healthz", token, 5) == {503}
    answer = server.call("POST", "/v0/introspect", by=token, data={"token": keys[0]})
    assert (answer.status_code, answer.json()) == (503, UNAVAILABLE)
    assert server.log.read_text().count("database unavailable") >= logged + 20 + 10 * len(keys)


def test_what_was_refused_is_not_there_afterwards(app: Flask, call: Callable[..., Any], data_dir: Path) -> None:
    """A person's creation looks nothing up first, so only the check before its transaction can keep it out."""
    database, aside = data_dir / "keyhook.db", data_dir / "aside.db"
    database.rename(aside)
    refused = call("POST", "/v0/api_keys", json={"name": "ghost"})
    assert (refused.status_code, refused.json) == (503, UNAVAILABLE)
    aside.rename(database)
    assert call("GET", "/v0/api_keys").json == []
    assert call("POST", "/v0/api_keys", json={"name": "ghost"}).status_code == 201
