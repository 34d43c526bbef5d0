"""docs/postgresql.md: each of its commands is typed as it stands there, with the addresses of this machine."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from bench.cluster import as_server
from storage.postgresql.database import READERS
from storage.postgresql.writer_slots import WRITERS
from tests.commands import LONG, TOKEN, run
from tests.machine import ROOT
from tests.postgresql import PASSWORD, Cluster, cluster, until
from tests.proxies.installed import DEPLOY, as_shipped, copy, tool
from tests.servers import SERVE, free_port, running
from tests.terminal import Terminal, blocks, terminal

pytestmark = pytest.mark.ecosystem

PAGE = "docs/postgresql.md"
QUOTED = "a%25pass%40word"
ANSWER = f"{PASSWORD}\n{PASSWORD}\n"  # to createuser, which asks twice


@pytest.fixture
def database() -> Iterator[Cluster]:
    """A server as its packages leave it: without a role or a database of ours."""
    with cluster() as made:
        made.sql("DROP DATABASE keyhook", "DROP ROLE keyhook")
        yield made


def typing(stack: ExitStack, database: Cluster, place: Path, **more: str) -> Terminal:
    """A terminal of the superuser of the database, who has the checkout as well."""
    changes = {"PASSWORD": QUOTED, "db.example.com": f"127.0.0.1:{database.port}", **more}
    environment = {
        "PGHOST": str(database.directory),
        "PGPORT": str(database.port),
        "PGUSER": "postgres",
        "PATH": f"{database.programs}:{os.environ['PATH']}",
        "HOME": str(place),
        "PIP_DRY_RUN": "1",  # the environment is the one that runs these tests
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    return stack.enter_context(terminal(place / "keyhook", changes, **environment))


def status(port: int, key: str) -> int:
    """The answer of a gate; 0: nobody listens there."""
    try:
        return requests.get(f"http://127.0.0.1:{port}/v0/auth", headers={"X-API-Key": key}, timeout=30).status_code
    except requests.ConnectionError:
        return 0


def test_a_service_moves_to_postgresql_and_back(database: Cluster, tmp_path: Path) -> None:
    """And meanwhile is two nodes, and is restored from a dump."""
    ports = [free_port() for _ in range(5)]
    one, two, _, restored, afterwards = ports
    before, make, copying, start, check = blocks(PAGE, "Move to PostgreSQL")
    [back] = blocks(PAGE, "Go back")
    addresses = {
        "10.0.0.1:5000": f"127.0.0.1:{one}",
        "10.0.0.2:5000": f"127.0.0.1:{two}",
        "--host 10.0.0.1 --port 5000": f"--port {one}",
        "--host 127.0.0.1 --port 5000": f"--port {afterwards}",
    }
    with ExitStack() as stack:
        shell = typing(stack, database, tmp_path, **addresses)
        checkout = tmp_path / "keyhook"
        with running(checkout / "instance", tmp_path / "sqlite.log", SERVE) as old:
            laptop, build, lost = (old.mint(name) for name in ("laptop", "build", "lost"))
            assert old.call("DELETE", "/v0/api_keys/lost").status_code == 204
            admin = old.token()
            shell.type(before)
        shell.type(make, ANSWER)
        shell.type(copying)
        shell.type(start)
        assert (checkout / "keyhook.env").stat().st_mode & 0o777 == 0o600
        until(lambda: status(one, laptop) == 200)
        shell.run(f"KEY={laptop}")
        shell.type(check)
        assert [status(one, key) for key in (build, lost, admin)] == [200, 401, 200]
        balance(shell, checkout, ports, laptop)
        restore(shell, database, ports, laptop)
        until(lambda: status(restored, build) == 200)
        assert [status(restored, key) for key in (laptop, admin)] == [401, 200]
        shell.type(back)
        until(lambda: status(afterwards, laptop) == 200)
        assert [status(afterwards, key) for key in (build, lost, admin)] == [200, 401, 200]


def balance(shell: Terminal, checkout: Path, ports: list[int], key: str) -> None:
    """Starts the second node, and Caddy."""
    _, two, balancer, *_ = ports
    [start] = blocks(PAGE, "Two nodes behind Caddy")
    tool("caddy")
    without_admin = {"\n{\n": "\n{\n\tadmin off\n"}
    copy(DEPLOY / "Caddyfile.nodes", checkout / "deploy" / "Caddyfile.nodes", without_admin, as_shipped)
    shell.run(f".venv/bin/flask serve --port {two}")
    until(lambda: status(two, key) == 200)
    shell.run(f"export PORT={balancer}")
    shell.type(start)
    until(lambda: status(balancer, key) == 200)


def restore(shell: Terminal, database: Cluster, ports: list[int], revoked: str) -> None:
    """Revokes the key between the dump and its restoration, and starts a node on what was restored."""
    one, two, balancer, restored, _ = ports
    dump, restoration, ended = blocks(PAGE, "Backups")
    shell.type(dump)
    shell.changes["2026-11-26T03:00"] = shell.run("date -u +%FT%T")
    shell.run(".venv/bin/flask keys disable laptop")
    assert {status(port, revoked) for port in (one, two, balancer)} == {401}
    shell.type(restoration)
    assert database.sql("SELECT disabled FROM api_keys WHERE name = 'laptop'", database="keyhook_restored") == "f"
    shell.type(ended)
    shell.run(f".venv/bin/flask serve --port {restored}")


def test_a_node_needs_no_more_than_the_grants(database: Cluster, tmp_path: Path) -> None:
    [grants] = blocks(PAGE, "Connections, roles and TLS")
    with ExitStack() as stack:
        shell = typing(stack, database, tmp_path)
        shell.type(blocks(PAGE, "Move to PostgreSQL")[1], ANSWER)
        assert run(TOKEN, KEYHOOK_DATABASE_URL=database.url(), KEYHOOK_SECRET_KEY=LONG).returncode == 0
        shell.type(grants, ANSWER)
    given = {"KEYHOOK_DATABASE_URL": database.url(user="keyhook_node"), "KEYHOOK_SECRET_KEY": LONG}
    with running(tmp_path / "data", tmp_path / "log", SERVE, **given) as node:
        key = node.mint("parent", scopes=["a"])
        node.mint("child", by=key)
        assert node.call("GET", "/v0/auth", by=key).status_code == 200
        assert node.call("POST", "/v0/api_keys/parent/rotate", json={}).status_code == 201
        assert node.call("DELETE", "/v0/api_keys/parent?cascade=true").status_code == 204
        assert len(node.call("GET", "/v0/audit").json()) == 5
    assert "unavailable" not in (tmp_path / "log").read_text()


def test_a_recovery_from_the_archive_keeps_what_is_revoked_revoked(tmp_path: Path) -> None:
    """A base backup and the WAL after it, as under “Backups”; the first server is gone."""
    with cluster(archive_mode="on") as server, ExitStack() as stack:
        archive, again = (
            server.directory / "archive",
            replace(server, directory=server.directory / "again", port=free_port()),
        )
        for directory in (archive, again.directory):
            directory.mkdir()
            shutil.chown(directory, server.directory.owner())
        server.sql(f"ALTER SYSTEM SET archive_command = 'cp %p {archive}/%f'", "SELECT pg_reload_conf()")
        given = {"KEYHOOK_DATABASE_URL": server.url(), "KEYHOOK_SECRET_KEY": LONG}
        with running(tmp_path / "data", tmp_path / "log", SERVE, **given) as node:
            good, revoked = node.mint("good"), node.mint("revoked")
            source = f"host={server.directory} port={server.port} user=postgres"
            program = str(server.programs / "pg_basebackup")
            as_server([program, "-c", "fast", "-D", f"{again.directory}/data", "-d", source], server.directory)
            assert node.call("PATCH", "/v0/api_keys/revoked", json={"disabled": True}).status_code == 200
            late = node.mint("late")
        last = server.sql("SELECT pg_walfile_name(pg_switch_wal())")
        until(lambda: server.sql("SELECT last_archived_wal FROM pg_stat_archiver") >= last)
        server.stop("immediate")
        with (again.directory / "data" / "postgresql.conf").open("a") as file:
            file.write(f"port = {again.port}\nunix_socket_directories = '{again.directory}'\n")
            file.write(f"restore_command = 'cp {archive}/%f %p'\n")
        (again.directory / "data" / "recovery.signal").touch()
        stack.callback(again.stop, "immediate")
        again.start()
        until(lambda: again.sql("SELECT pg_is_in_recovery()") == "f")
        given["KEYHOOK_DATABASE_URL"] = again.url()
        with running(tmp_path / "data", tmp_path / "log", SERVE, **given) as node:
            assert [status(node.port, key) for key in (good, late, revoked)] == [200, 200, 401]


def certificate(place: Path, name: str) -> Path:
    """A certificate for this machine that vouches for itself; its key is beside it."""
    file = place / f"{name}.pem"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(file.with_suffix(".key")), "-out", str(file)]
    subprocess.run([tool("openssl"), *words], check=True, capture_output=True)
    return file


def test_the_server_has_to_be_the_one_that_the_certificate_names(tmp_path: Path) -> None:
    ours, another = certificate(tmp_path, "ours"), certificate(tmp_path, "another")
    [shown] = re.findall(r"^(postgresql://\S+sslmode\S+)$", (ROOT / PAGE).read_text(), re.MULTILINE)
    with cluster() as server:
        for file in (ours, ours.with_suffix(".key")):
            there = server.directory / file.name
            there.write_bytes(file.read_bytes())
            there.chmod(0o600)
            shutil.chown(there, server.directory.owner())
        files = f"ssl_cert_file = '{server.directory}/ours.pem'", f"ssl_key_file = '{server.directory}/ours.key'"
        server.sql(*(f"ALTER SYSTEM SET {setting}" for setting in (*files, "ssl = on")), "SELECT pg_reload_conf()")
        url = shown.replace("PASSWORD", QUOTED).replace("db.example.com", f"127.0.0.1:{server.port}")
        for file, refused in ((ours, False), (another, True)):
            given = url.replace("/etc/keyhook/ca.pem", str(file))
            done = run(TOKEN, KEYHOOK_DATABASE_URL=given, KEYHOOK_SECRET_KEY=LONG)
            assert ("certificate verify failed" in done.stderr, done.returncode) == (refused, int(refused)), done.stderr
        wrong_name = url.replace("/etc/keyhook/ca.pem", str(ours)).replace("127.0.0.1", "localhost")
        done = run(TOKEN, KEYHOOK_DATABASE_URL=wrong_name, KEYHOOK_SECRET_KEY=LONG)
        assert "does not match host name" in done.stderr


def test_no_block_is_left_out() -> None:
    """Those that the tests above type, heading by heading, are all."""
    typed = ["Move to PostgreSQL", "Go back", "Two nodes behind Caddy", "Backups", "Connections, roles and TLS"]
    assert sum(len(blocks(PAGE, heading)) for heading in typed) == (ROOT / PAGE).read_text().count("```console\n")


def test_the_number_of_connections_is_the_one_in_the_code() -> None:
    [shown] = re.findall(r"up to (\d+) connections: (\d+) to read, (\d+) to change", (ROOT / PAGE).read_text())
    assert tuple(map(int, shown)) == (READERS + WRITERS + 1, READERS, WRITERS)
