"""A PostgreSQL of the tests' own, and what stands beside it: a standby, a pgbouncer."""

import os
import pwd
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path

import psycopg

import bench.cluster
from bench.cluster import PASSWORD as PASSWORD
from bench.cluster import Cluster as Cluster
from bench.cluster import as_server, directory_of_server, find_programs
from tests.machine import missing
from tests.servers import free_port

DATABASES: dict[Path, str] = {}  # the URL of the database that stands for the file of a data directory
# A test that cuts the power sets fsync itself; the rest need no disk.
FAST = {
    **{"fsync": "off", "full_page_writes": "off", "max_connections": "60", "shared_buffers": "32MB"},
    **{"max_wal_size": "64MB", "min_wal_size": "32MB"},
}
MEMORY = Path("/dev/shm")  # noqa: S108
ROOM = 2 << 30  # bytes: more than the servers of all workers take


@cache
def programs() -> Path:
    """The directory with the programs of a PostgreSQL."""
    return find_programs() or missing("PostgreSQL", "apt-get install postgresql")


def in_memory() -> Path | None:
    """A place for servers, where a new database, which is hundreds of files, costs half of what it does on a disk."""
    with suppress(OSError):
        if shutil.disk_usage(MEMORY).free > ROOM:
            return MEMORY
    return None


def cluster(**settings: str) -> AbstractContextManager[Cluster]:
    return bench.cluster.cluster(programs(), in_memory(), **{**FAST, **settings})


@contextmanager
def new_database(server: Cluster, template: str = "keyhook") -> Iterator[str]:
    """The name of a new database, gone at the end: like that of the first start, or another template."""
    name = f"test_{uuid.uuid4().hex}"
    copied = f"OWNER keyhook TEMPLATE {template} STRATEGY file_copy"  # half of what it costs to log each page
    _administer(server, f"CREATE DATABASE {name} {copied}")
    yield name
    _administer(server, f"DROP DATABASE IF EXISTS {name} (FORCE)")


def _administer(server: Cluster, statement: str) -> None:
    """As the superuser, without a start of psql."""
    place = f"host={server.directory} port={server.port} user=postgres dbname=postgres"
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute(statement)


@contextmanager
def standby_of(primary: Cluster) -> Iterator[Cluster]:
    """A synchronous standby: what the primary has acknowledged is on its disk as well."""
    with directory_of_server(in_memory()) as directory:
        standby = Cluster(directory, free_port(), primary.programs)
        copy = [str(primary.programs / "pg_basebackup"), "-D", str(directory / "data"), "-R", "--no-sync", "-c", "fast"]
        source = f"host={primary.directory} port={primary.port} user=postgres application_name=standby"
        as_server([*copy, "-d", source], directory)
        with (directory / "data" / "postgresql.conf").open("a") as file:
            file.write(f"port = {standby.port}\nunix_socket_directories = '{directory}'\n")
            file.write("wal_retrieve_retry_interval = '100ms'\n")  # a promotion waits for it
        standby.start()
        try:
            primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()")
            until(lambda: primary.sql("SELECT sync_state FROM pg_stat_replication") == "sync")
            yield standby
        finally:
            standby.stop("immediate")


@contextmanager
def bouncing(server: Cluster) -> Iterator[int]:
    """A pgbouncer in transaction mode with two connections for a database; yields its port."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        missing("pgbouncer", "apt-get install pgbouncer")
    with directory_of_server() as directory:
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
                until(lambda: _listens(port))
                yield port
            finally:
                process.terminate()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
