"""A PostgreSQL of the tests' own: a cluster in a temporary directory, on a free port, gone at the end."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.machine import missing
from tests.servers import free_port

DATABASES: dict[Path, str] = {}  # the URL of the database that stands for the file of a data directory
PASSWORD = "a%pass@word"
# A test that cuts the power sets fsync itself; the rest need no disk.
FAST = {"fsync": "off", "full_page_writes": "off", "max_connections": "60", "shared_buffers": "32MB"}


@dataclass(frozen=True)
class Cluster:
    directory: Path
    port: int
    programs: Path

    def url(self, database: str = "keyhook", user: str = "keyhook", port: int | None = None) -> str:
        return f"postgresql://{user}:a%25pass%40word@127.0.0.1:{port or self.port}/{database}"

    def sql(self, *statements: str, database: str = "postgres") -> str:
        """Runs statements as the superuser and returns what they print."""
        words = [
            str(self.programs / "psql"),
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            str(self.directory),
        ]
        words += ["-p", str(self.port), "-U", "postgres", "-d", database]
        for statement in statements:
            words += ["-c", statement]
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def start(self) -> None:
        self._control("start", "-w", "-l", str(self.directory / "log"))

    def stop(self, how: str = "fast") -> None:
        """Ends the server, if it still runs."""
        if not (self.directory / "data" / "postmaster.pid").exists():
            return
        self._control("stop", "-w", "-m", how)

    def promote(self) -> None:
        self._control("promote", "-w")

    def _control(self, *words: str) -> None:
        as_server([str(self.programs / "pg_ctl"), "-D", str(self.directory / "data"), *words], self.directory)


@cache
def programs() -> Path:
    """The directory with the programs of a PostgreSQL, the newest that is here."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and not on_path:
        missing("PostgreSQL", "apt-get install postgresql")
    return Path(found[-1] if found else on_path or "").resolve().parent


def as_server(words: Sequence[str], directory: Path) -> None:
    """Runs a program of the server, which refuses to be root."""
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    subprocess.run(
        words,
        check=True,
        cwd=directory,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        user=user and user.pw_uid,
        group=user and user.pw_gid,
        extra_groups=[] if user else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=120,
    )


@contextmanager
def cluster(**settings: str) -> Iterator[Cluster]:
    """A server with the role and the database `keyhook`."""
    with _directory() as directory:
        made = Cluster(directory, free_port(), programs())
        words = ["-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "-E", "UTF8", "--no-sync"]
        as_server([str(made.programs / "initdb"), "-D", str(directory / "data"), *words], directory)
        chosen = {**FAST, **settings, "port": str(made.port), "unix_socket_directories": str(directory)}
        with (directory / "data" / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in chosen.items())
        made.start()
        try:
            made.sql(f"CREATE ROLE keyhook LOGIN PASSWORD '{PASSWORD}'", "CREATE DATABASE keyhook OWNER keyhook")
            yield made
        finally:
            made.stop("immediate")


@contextmanager
def standby_of(primary: Cluster) -> Iterator[Cluster]:
    """A synchronous standby: what the primary has acknowledged is on its disk as well."""
    with _directory() as directory:
        standby = Cluster(directory, free_port(), primary.programs)
        copy = [str(primary.programs / "pg_basebackup"), "-D", str(directory / "data"), "-R", "--no-sync", "-c", "fast"]
        source = f"host={primary.directory} port={primary.port} user=postgres application_name=standby"
        as_server([*copy, "-d", source], directory)
        with (directory / "data" / "postgresql.conf").open("a") as file:
            file.write(f"port = {standby.port}\nunix_socket_directories = '{directory}'\n")
        standby.start()
        try:
            primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()")
            _until(lambda: primary.sql("SELECT sync_state FROM pg_stat_replication") == "sync")
            yield standby
        finally:
            standby.stop("immediate")


@contextmanager
def bouncing(server: Cluster) -> Iterator[int]:
    """A pgbouncer in transaction mode with two connections for a database; yields its port."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        missing("pgbouncer", "apt-get install pgbouncer")
    with _directory() as directory:
        port = free_port()
        (directory / "users").write_text(f'"keyhook" "{PASSWORD}"\n')
        (directory / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {directory}/users\n"
            "pool_mode = transaction\ndefault_pool_size = 2\n"
        )
        user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        with subprocess.Popen(
            [program, str(directory / "pgbouncer.ini")],
            user=user and user.pw_uid,
            group=user and user.pw_gid,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                _until(lambda: _listens(port))
                yield port
            finally:
                process.terminate()


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="keyhook-pg-", ignore_cleanup_errors=True) as place:
        if os.geteuid() == 0:
            shutil.chown(place, "nobody")
        yield Path(place)


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
