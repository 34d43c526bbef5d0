"""`flask restore`, and starts after files that belong together were exchanged while the service was down."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app import DEFAULTS
from runtime.settings import load
from runtime.startup import alone, prepared
from storage.sqlite.restore import put_in_place
from tests.commands import BACKUP, CREATE, assert_refused, run
from tests.data_dirs import another_program, directory_in_its_place, files, newer_schema, read_only, sqlite_file
from tests.machine import ROOT
from tests.rows import sql
from tests.servers import FLASK_RUN, SERVE, running, start_server

pytestmark = [pytest.mark.processes, pytest.mark.sqlite]

RESTORE = [sys.executable, "-m", "flask", "restore"]
LIST = [sys.executable, "-m", "flask", "keys", "list"]


def grow(data: Path, log: Path, *names: str, how: signal.Signals = signal.SIGKILL) -> None:
    """Mints these keys on a server, and ends it with the signal."""
    server = start_server(data, log, SERVE)
    for name in names:
        server.mint(name)
    server.stop(how)


def names(data: Path) -> set[str]:
    return {name for (name,) in sql(data, "SELECT name FROM api_keys")}


def put(source: Path, target: Path) -> None:
    """Overwrites a file as `cp` does: the inode stays the same."""
    target.write_bytes(source.read_bytes())


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data directories of one service over time, each killed at work, and copies made in between.

    `early` and `late`: with their WALs. Before each: `cold` (the file alone, after an orderly end) and `backup.db`.
    """
    place = tmp_path_factory.mktemp("history")
    data, log = place / "data", place / "server.log"
    grow(data, log, *(f"first-{number}" for number in range(20)))
    assert run([*BACKUP, str(place / "backup.db")], KEYHOOK_DATA_DIR=data).returncode == 0  # and takes the WAL in
    shutil.copy(data / "keyhook.db", place / "cold.db")
    grow(data, log, "early")
    shutil.copytree(data, place / "early")
    grow(data, log, *(f"second-{number}" for number in range(50)))
    run(LIST, KEYHOOK_DATA_DIR=data)
    shutil.copy(data / "keyhook.db", place / "newest.db")
    grow(data, log, "late")  # so little that no page is added: what SQLite itself notes in page 1 would not be there
    shutil.copytree(data, place / "late")
    return place


def backup_put_over_it(history: Path, data: Path) -> None:
    put(history / "backup.db", data / "keyhook.db")


def backup_put_in_its_place(history: Path, data: Path) -> None:
    (data / "keyhook.db").unlink()
    shutil.copy(history / "backup.db", data / "keyhook.db")


def backup_put_over_it_and_no_index(history: Path, data: Path) -> None:
    backup_put_over_it(history, data)
    (data / "keyhook.db-shm").unlink()


def older_copy(history: Path, data: Path) -> None:
    put(history / "cold.db", data / "keyhook.db")


def older_copy_with_its_changes_taken_in(history: Path, data: Path) -> None:
    place = data.with_name("taken in")
    shutil.copytree(history / "early", place)
    names(place)
    put(place / "keyhook.db", data / "keyhook.db")


def wal_of_an_earlier_time(history: Path, data: Path) -> None:
    names(data)
    (data / "keyhook.db-shm").unlink(missing_ok=True)
    put(history / "early" / "keyhook.db-wal", data / "keyhook.db-wal")


def wal_of_another_service(history: Path, data: Path) -> None:
    other = data.with_name("other")
    grow(other, data.with_name("other.log"), "other")
    names(data)
    put(other / "keyhook.db-wal", data / "keyhook.db-wal")


def written_out_by_other_means(history: Path, data: Path) -> None:
    place = data.with_name("written")
    shutil.copytree(history / "late", place)
    sqlite_file(place / "keyhook.db", f"VACUUM INTO '{place}/out.db'")
    put(place / "out.db", data / "keyhook.db")


def garbage(history: Path, data: Path) -> None:
    (data / "keyhook.db").write_bytes(b"garbage" * 9999)


def wal_removed(history: Path, data: Path) -> None:
    (data / "keyhook.db-wal").unlink()


EXCHANGES = [
    backup_put_over_it,
    backup_put_in_its_place,
    backup_put_over_it_and_no_index,
    older_copy,
    older_copy_with_its_changes_taken_in,
    wal_of_an_earlier_time,
    wal_of_another_service,
    written_out_by_other_means,
    garbage,
    wal_removed,
]


@pytest.mark.faults
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_wal_that_is_not_the_databases_own_stops_the_start(
    history: Path, data_dir: Path, exchange: Callable[[Path, Path], None]
) -> None:
    shutil.copytree(history / "late", data_dir)
    exchange(history, data_dir)
    before = files(data_dir)
    assert_refused(f"KEYHOOK_DATABASE_URL names {data_dir}/keyhook.db, but {data_dir}/keyhook.db-wal ",
                   KEYHOOK_DATA_DIR=data_dir)  # fmt: skip
    done = run(LIST, KEYHOOK_DATA_DIR=data_dir)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert files(data_dir) == before
    assert run([*RESTORE, str(history / "backup.db")], KEYHOOK_DATA_DIR=data_dir).returncode == 0
    assert run(LIST, KEYHOOK_DATA_DIR=data_dir).returncode == 0
    assert names(data_dir) == {f"first-{number}" for number in range(20)}


def test_what_a_killed_service_leaves_is_taken_in(history: Path, data_dir: Path) -> None:
    for state in ("early", "late"):
        shutil.rmtree(data_dir, ignore_errors=True)
        shutil.copytree(history / state, data_dir)
        done = run(LIST, KEYHOOK_DATA_DIR=data_dir)
        assert (done.returncode, done.stderr) == (0, "")
        assert state in names(data_dir)


def test_an_older_copy_that_its_wal_makes_whole_is_no_other(history: Path, data_dir: Path) -> None:
    """A file that was copied just before a WAL began belongs to that WAL."""
    shutil.copytree(history / "late", data_dir)
    put(history / "newest.db", data_dir / "keyhook.db")
    assert run(LIST, KEYHOOK_DATA_DIR=data_dir).returncode == 0
    assert {"late", "second-49"} <= names(data_dir)


def test_a_killed_service_of_a_version_that_counts_no_changes(history: Path, data_dir: Path) -> None:
    shutil.copytree(history / "late", data_dir)
    sqlite_file(data_dir / "keyhook.db", "PRAGMA application_id = 0")
    script = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for number in range(2000):
    connection.execute("UPDATE api_keys SET description = ?", (f"change {number}",))
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script, data_dir / "keyhook.db"], check=True)
    assert (data_dir / "keyhook.db-wal").stat().st_size > 0
    done = run(LIST, KEYHOOK_DATA_DIR=data_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert sql(data_dir, "SELECT DISTINCT description FROM api_keys") == [("change 1999",)]


def test_a_wal_that_ends_in_half_a_change_is_taken_in_up_to_there(history: Path, data_dir: Path) -> None:
    """The WAL is cut anywhere, also with remains of an earlier change after its end."""
    wal = (history / "late" / "keyhook.db-wal").read_bytes()
    remains = (history / "early" / "keyhook.db-wal").read_bytes()
    for length in [20, 32, 40, 56, 2000, 4152, 4200, len(wal) // 2, len(wal) - 1]:
        shutil.rmtree(data_dir, ignore_errors=True)
        shutil.copytree(history / "late", data_dir)
        (data_dir / "keyhook.db-shm").unlink()
        (data_dir / "keyhook.db-wal").write_bytes(wal[:length] + remains[length:])
        put(history / "newest.db", data_dir / "keyhook.db")
        with prepared(settings_of(data_dir)):
            assert "second-49" in names(data_dir), length


def test_commands_beside_a_running_server_and_two_starts_at_once(data_dir: Path, tmp_path: Path) -> None:
    with running(data_dir, tmp_path / "a.log", SERVE) as server:
        for number in range(5):
            server.mint(f"k{number}")
            for command in (LIST, [*BACKUP, str(tmp_path / f"b{number}.db")], [*CREATE, f"c{number}"]):
                done = run(command, KEYHOOK_DATA_DIR=data_dir)
                assert (done.returncode, done.stderr) == (0, "")
        with running(data_dir, tmp_path / "b.log", FLASK_RUN) as second:
            assert second.mint("by the second")
        assert server.mint("by the first")


def settings_of(data: Path) -> Any:
    return load({**DEFAULTS, "KEYHOOK_DATA_DIR": data})


@pytest.fixture
def late(history: Path, data_dir: Path) -> Path:
    """The data directory of a killed service, with one key in the WAL alone."""
    shutil.copytree(history / "late", data_dir)
    return data_dir


def kept(data: Path) -> list[Path]:
    return sorted(data.glob("keyhook.db.before-restore-*"))


def test_restore_puts_the_copy_in_place_and_keeps_what_was_there(history: Path, late: Path) -> None:
    file = history / "backup.db"
    before = (file.read_bytes(), file.stat().st_mtime_ns, sorted(os.listdir(history)))
    done = run([*RESTORE, str(file)], KEYHOOK_DATA_DIR=late)
    [old] = kept(late)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"restored {file} to {late}/keyhook.db; the database of before is {old}\n"
    assert before == (file.read_bytes(), file.stat().st_mtime_ns, sorted(os.listdir(history)))
    assert sorted(os.listdir(late)) == sorted(["keyhook.db", "metrics", "secret_key", old.name])
    assert {path.stat().st_mode & 0o777 for path in late.rglob("*") if path.is_file()} == {0o600}
    assert names(late) == {f"first-{number}" for number in range(20)}
    old.rename(late / "keyhook.db")
    assert {"late", "second-49"} <= names(late)


def test_restore_where_there_is_no_database_yet(history: Path, data_dir: Path) -> None:
    done = run([*RESTORE, str(history / "backup.db")], KEYHOOK_DATA_DIR=data_dir, KEYHOOK_REQUIRE_DATABASE=1)
    assert (done.returncode, done.stderr) == (0, f"restored {history}/backup.db to {data_dir}/keyhook.db\n")
    assert os.listdir(data_dir) == ["keyhook.db"]
    assert run(LIST, KEYHOOK_DATA_DIR=data_dir, KEYHOOK_REQUIRE_DATABASE=1).returncode == 0


def test_restore_of_what_a_crash_left_with_its_wal(history: Path, data_dir: Path) -> None:
    done = run([*RESTORE, str(history / "late" / "keyhook.db")], KEYHOOK_DATA_DIR=data_dir)
    assert done.returncode == 0
    assert "late" in names(data_dir)


def test_restore_through_a_link(history: Path, late: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for suffix in ("", "-wal", "-shm"):
        (late / f"keyhook.db{suffix}").rename(tmp_path / "real" / f"r.db{suffix}")
    (late / "keyhook.db").symlink_to(tmp_path / "real" / "r.db")
    assert run([*RESTORE, str(history / "backup.db")], KEYHOOK_DATA_DIR=late).returncode == 0
    assert (late / "keyhook.db").is_symlink()
    assert names(late) == {f"first-{number}" for number in range(20)}


def test_a_restored_copy_is_a_database_of_its_own(history: Path, late: Path, tmp_path: Path) -> None:
    """The same FILE, restored twice and then overwritten by hand: the WAL belongs to an earlier copy of it."""
    run([*RESTORE, str(history / "backup.db")], KEYHOOK_DATA_DIR=late)
    grow(late, tmp_path / "log", "x")
    put(history / "backup.db", late / "keyhook.db")
    assert_refused("KEYHOOK_DATABASE_URL ", KEYHOOK_DATA_DIR=late)


def damaged(data: Path) -> None:
    """A database with an index that lacks its entries."""
    sqlite_file(
        data / "keyhook.db",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, '(tenant, seq)', '(tenant, name)') WHERE sql LIKE '%seq)%'",
    )


def broken_page(data: Path) -> None:
    with (data / "keyhook.db").open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 4096 * 3)


def trigger(data: Path) -> None:
    sqlite_file(
        data / "keyhook.db",
        "CREATE TRIGGER t AFTER INSERT ON api_keys BEGIN UPDATE api_keys SET scopes = 'admin:all'; END",
    )


def view(data: Path) -> None:
    sqlite_file(data / "keyhook.db", 'CREATE VIEW "a\nb" AS SELECT 1')


def pipe(data: Path) -> None:
    (data / "keyhook.db").unlink()
    os.mkfifo(data / "keyhook.db")


BAD_COPIES: list[Any] = [
    pytest.param(lambda data: (data / "keyhook.db").write_bytes(b"garbage" * 999), id="garbage"),
    pytest.param(lambda data: (data / "keyhook.db").write_bytes(b""), id="empty"),
    pytest.param(lambda data: (data / "keyhook.db").unlink(), id="missing"),
    pytest.param(directory_in_its_place, id="directory"),
    pytest.param(pipe, id="pipe"),
    pytest.param(broken_page, id="broken page"),
    pytest.param(damaged, id="damaged index"),
    pytest.param(another_program, id="another program"),
    pytest.param(newer_schema, id="newer schema"),
    pytest.param(trigger, id="trigger"),
    pytest.param(view, id="view"),
]


@pytest.mark.parametrize("spoil", BAD_COPIES)
def test_a_bad_copy_is_refused_and_nothing_changes(
    history: Path, late: Path, tmp_path: Path, spoil: Callable[[Path], Any]
) -> None:
    (tmp_path / "copy").mkdir()
    shutil.copy(history / "backup.db", tmp_path / "copy" / "keyhook.db")
    spoil(tmp_path / "copy")
    before = files(late)
    done = run([*RESTORE, str(tmp_path / "copy" / "keyhook.db")], KEYHOOK_DATA_DIR=late)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch("Error: .*\n", done.stderr), done.stderr
    assert files(late) == before


@pytest.mark.parametrize("spoil", [trigger, view])
def test_a_trigger_or_a_view_stops_the_start(late: Path, spoil: Callable[[Path], None]) -> None:
    spoil(late)
    assert_refused(
        f"KEYHOOK_DATABASE_URL names {late}/keyhook.db, which has a {spoil.__name__} ", KEYHOOK_DATA_DIR=late
    )


@pytest.mark.parametrize("command", [FLASK_RUN, SERVE], ids=["flask run", "flask serve"])
def test_restore_is_refused_beside_a_running_service(
    history: Path, late: Path, tmp_path: Path, command: list[str]
) -> None:
    with running(late, tmp_path / "log", command) as server:
        done = run([*RESTORE, str(history / "backup.db")], KEYHOOK_DATA_DIR=late)
        assert (done.returncode, done.stderr) == (1, f"Error: {late}/keyhook.db is in use: stop the service first\n")
        assert server.mint("still")
        assert kept(late) == []
        (late / "keyhook.db").rename(late / "moved.db")  # which the service then answers with a 503
        assert run([*RESTORE, str(history / "backup.db")], KEYHOOK_DATA_DIR=late).returncode == 1
        (late / "moved.db").rename(late / "keyhook.db")
        assert server.mint("again")


@pytest.fixture
def holder(late: Path) -> Iterator[None]:
    """Another process that has the database open."""
    script = "import time; from app import create_app; app = create_app(); print('open', flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "KEYHOOK_DATA_DIR": str(late)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout
    assert process.stdout.readline() == b"open\n"
    yield
    process.communicate(b"\n", 20)


@pytest.mark.usefixtures("holder")
def test_restore_is_refused_beside_another_process_that_has_the_database_open(history: Path, late: Path) -> None:
    for file in (history / "backup.db", late / "keyhook.db"):
        done = run([*RESTORE, str(file)], KEYHOOK_DATA_DIR=late)
        assert (done.returncode, done.stderr) == (1, f"Error: {late}/keyhook.db is in use: stop the service first\n")


def test_restore_refuses_the_database_itself(late: Path) -> None:
    done = run([*RESTORE, str(late / "keyhook.db")], KEYHOOK_DATA_DIR=late)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "the database itself" in done.stderr


def test_restore_where_nothing_can_be_written(history: Path, late: Path) -> None:
    before = files(late)
    with read_only(late) as prefix:
        done = run([*prefix, *RESTORE, str(history / "backup.db")], KEYHOOK_DATA_DIR=late)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert files(late) == before


def restore_until(stop: int, file: Path, data: Path) -> bool:
    """Restores in a separate process, which kills itself just before its n-th change of a file."""
    child = os.fork()
    if child == 0:
        left = stop

        def count(event: str, given: tuple[Any, ...]) -> None:
            nonlocal left
            if event in ("open", "os.link", "os.remove", "os.rename", "sqlite3.connect", "fcntl.lockf"):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        settings = settings_of(data)
        sys.addaudithook(count)
        with alone(settings):
            put_in_place(file, settings.database)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("state", ["early", "cold", "none"])
def test_a_crash_at_any_point_leaves_the_old_database_or_the_new_one(history: Path, data_dir: Path, state: str) -> None:
    old, new = {f"first-{number}" for number in range(20)}, {"copy"}
    run([*CREATE, "copy"], KEYHOOK_DATA_DIR=data_dir.with_name("copied"))
    file = data_dir.with_name("copied") / "keyhook.db"
    seen, stop, done = [], 0, False
    while not done:
        stop += 1
        shutil.rmtree(data_dir, ignore_errors=True)
        if state == "early":
            shutil.copytree(history / "early", data_dir)
        else:
            data_dir.mkdir()
            if state == "cold":
                shutil.copy(history / "cold.db", data_dir / "keyhook.db")
        done = restore_until(stop, file, data_dir)
        if state != "none" or (data_dir / "keyhook.db").exists():
            with prepared(replace(settings_of(data_dir), secret_key=b"any")):
                seen.append(names(data_dir))
    before = {"early": [old | {"early"}], "cold": [old], "none": []}[state]
    assert all(one in [new, *before] for one in seen)
    assert seen[-1] == new
    assert stop > 10
    assert state == "none" or seen[0] == before[0]
