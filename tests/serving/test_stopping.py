"""The end of the service: its signals, the last answers, and the database file afterwards."""

import contextlib
import http.client
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.commands import run
from tests.machine import ROOT, missing
from tests.raw_http import Connection
from tests.rows import last_use, sql, url_of
from tests.servers import FLASK_RUN, SERVE, Server, free_port
from tests.write_lock import write_lock

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("afresh")]

LIMIT = 5  # seconds, as promised
BOTH = pytest.mark.parametrize("command", [FLASK_RUN, SERVE], ids=["flask run", "flask serve"])
SIGNALS = pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])


def ended(server: Server) -> int:
    """The exit status. Raises TimeoutExpired if the process still runs after LIMIT."""
    return server.process.wait(LIMIT)


def copied_keys(data_dir: Path, copy: Path) -> set[str]:
    """The names in a copy of the database file alone, read by a service; on PostgreSQL those in the database."""
    if url_of(data_dir):
        return {name for (name,) in sql(data_dir, "SELECT name FROM api_keys")}
    copy.mkdir()
    for name in ("keyhook.db", "secret_key"):
        shutil.copy(data_dir / name, copy)
    done = run([*FLASK_RUN[:-2], "keys", "list", "--json"], KEYHOOK_DATA_DIR=copy)
    assert done.returncode == 0, done.stderr
    return {name for (name,) in sql(copy, "SELECT name FROM api_keys")}


def wal(data_dir: Path) -> int:
    """The size of the write-ahead log, in bytes."""
    path = data_dir / "keyhook.db-wal"
    return path.stat().st_size if path.exists() else 0


@pytest.mark.sqlite
@BOTH
@SIGNALS
def test_the_file_is_whole_by_itself(
    serve: Callable[..., Server], data_dir: Path, tmp_path: Path, command: list[str], how: signal.Signals
) -> None:
    server = serve(command)
    secrets = {name: server.mint(name) for name in ("a", "b", "c")}
    for secret in secrets.values():
        assert server.call("GET", "/v0/auth", by=secret).status_code == 200
    assert wal(data_dir) > 0
    server.process.send_signal(how)
    assert ended(server) == 0
    assert wal(data_dir) == 0
    assert copied_keys(data_dir, tmp_path / "copy") == set(secrets)
    again = serve(command, data_dir=tmp_path / "copy")
    for name, secret in secrets.items():
        answer = again.call("GET", "/v0/auth", by=secret)
        assert (answer.status_code, answer.json()["key_name"]) == (200, name)


@BOTH
def test_uses_that_are_pending_are_written(serve: Callable[..., Server], data_dir: Path, command: list[str]) -> None:
    server = serve(command)
    key = server.mint("laptop")
    with write_lock(data_dir / "keyhook.db"):
        assert server.call("GET", "/v0/auth", by=key).status_code == 200
    server.process.send_signal(signal.SIGTERM)
    assert ended(server) == 0
    used, address = last_use(data_dir)
    assert used is not None
    assert address == "127.0.0.1"


@BOTH
@SIGNALS
def test_clients_that_say_nothing_or_little_keep_nobody(
    serve: Callable[..., Server], data_dir: Path, command: list[str], how: signal.Signals
) -> None:
    server = serve(command)
    server.mint("laptop")
    with ExitStack() as stack:
        silent, slow_head, slow_body, kept = (stack.enter_context(Connection(server.port)) for _ in range(4))
        slow_head.socket.sendall(b"GET /v0/au")
        who = f"Authorization: Bearer {server.token()}"
        slow_body.send(
            *("POST /v0/api_keys HTTP/1.1", "Host: x", "Content-Type: application/json", "Content-Length: 99", who),
            body=b"{",
        )
        kept.send("GET /healthz HTTP/1.1", "Host: x")
        assert kept.answer().status == 200
        server.process.send_signal(how)
        assert ended(server) == 0
        assert silent.is_closed()
    assert wal(data_dir) == 0


@BOTH
def test_two_signals_end_it_once(serve: Callable[..., Server], data_dir: Path, command: list[str]) -> None:
    server = serve(command)
    server.mint("laptop")
    with contextlib.suppress(ProcessLookupError):
        for how in (signal.SIGTERM, signal.SIGINT) * 10:
            server.process.send_signal(how)
    assert ended(server) == 0
    assert wal(data_dir) == 0
    assert "Traceback" not in server.log.read_text()


@BOTH
def test_a_hangup_ends_nothing(serve: Callable[..., Server], command: list[str]) -> None:
    server = serve(command)
    for _ in range(5):
        server.process.send_signal(signal.SIGHUP)
        assert server.call("GET", "/healthz", by=None).status_code == 200
    assert server.process.poll() is None


@BOTH
def test_a_change_under_way_is_answered(
    serve: Callable[..., Server], data_dir: Path, tmp_path: Path, command: list[str]
) -> None:
    """It waits for the lock of another process when the signal comes."""
    server = serve(command)
    token = server.token()
    with ThreadPoolExecutor(1) as others:
        with write_lock(data_dir / "keyhook.db"), requests.Session() as session:
            headers = {"Authorization": f"Bearer {token}"}
            sent = others.submit(
                session.post, f"{server.url}/v0/api_keys", json={"name": "late"}, headers=headers, timeout=30
            )
            until_queued(server)
            server.process.send_signal(signal.SIGTERM)
            assert not sent.done()
        answer = sent.result()
    assert answer.status_code == 201
    assert ended(server) == 0
    assert copied_keys(data_dir, tmp_path / "copy") == {"late"}


@BOTH
def test_a_lock_that_is_never_let_go_keeps_nobody(
    serve: Callable[..., Server], data_dir: Path, command: list[str]
) -> None:
    server = serve(command)
    key = server.mint("laptop")
    with write_lock(data_dir / "keyhook.db"), ExitStack() as stack:
        assert server.call("GET", "/v0/auth", by=key).status_code == 200  # its use is pending
        body = b'{"name": "never"}'
        connections = [stack.enter_context(Connection(server.port)) for _ in range(3)]
        for waiting in connections:
            waiting.send(
                "POST /v0/api_keys HTTP/1.1",
                "Host: x",
                f"Authorization: Bearer {key}",
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
                body=body,
            )
        until_queued(server)
        server.process.send_signal(signal.SIGTERM)
        assert [waiting.answer().status for waiting in connections] == [503] * 3
        assert ended(server) == 0
    again = serve(command)
    assert again.call("GET", "/v0/auth", by=key).status_code == 200
    assert [shown["name"] for shown in again.call("GET", "/v0/api_keys").json()] == ["laptop"]


def until_queued(server: Server) -> None:
    """Returns when the server has read all bytes that were sent."""
    inode = f":{server.port:04X} "
    while True:
        waiting = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines() if inode in line]
        here = [line for line in waiting if line[1].endswith(inode.strip()) and line[3] == "01"]
        if here and all(line[4].endswith(":00000000") for line in here):
            return


@BOTH
def test_load_under_a_signal_loses_no_answer(serve: Callable[..., Server], data_dir: Path, command: list[str]) -> None:
    """Each request on a new connection is answered whole, or not accepted once the service ends."""
    server = serve(command)
    key = server.mint("laptop")
    found: Counter[str] = Counter()
    going = threading.Event()

    def ask() -> None:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            try:
                connection.connect()
            except ConnectionError:
                found["refused"] += 1
                return
            try:
                connection.request("GET", "/v0/auth", headers={"X-API-Key": key, "Connection": "close"})
                answer = connection.getresponse()
                found[str(answer.status)] += bool(answer.read())
            except (ConnectionError, http.client.HTTPException) as error:
                found[f"lost: {error!r}"] += 1
            finally:
                connection.close()
            if sum(found.values()) > 50:
                going.set()

    with ThreadPoolExecutor(8) as clients:
        asking = [clients.submit(ask) for _ in range(8)]
        assert going.wait(30)
        server.process.send_signal(signal.SIGTERM)
        assert ended(server) == 0
        for one in asking:
            one.result()
    print(dict(found))
    assert found["200"] > 50
    assert found["refused"] == 8
    lost = sum(found.values()) - found["200"] - 8
    assert lost <= (0 if command is SERVE else 8)  # the development server leaves those that it has not accepted
    assert wal(data_dir) == 0


def test_a_kept_connection_is_told_that_its_answer_is_the_last(serve: Callable[..., Server]) -> None:
    server = serve(SERVE)
    key = server.mint("laptop")
    answered, told = 0, False
    with Connection(server.port) as connection:
        server.process.send_signal(signal.SIGTERM)
        while not told:
            connection.send("GET /v0/auth HTTP/1.1", "Host: x", f"X-API-Key: {key}")
            answer = connection.answer()
            assert answer.status == 200
            answered, told = answered + 1, answer.headers.get("connection") == "close"
        assert connection.is_closed()
    assert ended(server) == 0


@BOTH
@SIGNALS
def test_process_1_of_a_container(
    serve: Callable[..., Server], data_dir: Path, tmp_path: Path, command: list[str], how: signal.Signals
) -> None:
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        missing("the right to make a PID namespace", "run as root, with util-linux")
    server = serve([*unshare, *command])
    server.mint("laptop")
    [inside] = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    os.kill(int(inside), how)
    assert ended(server) == 0
    assert wal(data_dir) == 0
    assert copied_keys(data_dir, tmp_path / "copy") == {"laptop"}


@BOTH
def test_a_signal_during_the_start_ends_it(
    data_dir: Path, database_of: Callable[[Path], dict[str, str]], command: list[str]
) -> None:
    """A signal ends it at any time: by itself before there is a handler, in order afterwards."""
    for turn in range(4):
        process = subprocess.Popen(
            [word.format(port=free_port()) for word in command],
            cwd=ROOT,
            env={**os.environ, "KEYHOOK_DATA_DIR": str(data_dir), **database_of(data_dir)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        time.sleep(0.2 * turn + 0.1)  # whatever it is doing then
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=LIMIT)
        assert process.returncode in (0, -signal.SIGTERM), said


@pytest.mark.sqlite
@BOTH
def test_a_database_that_was_replaced_is_left_alone(
    serve: Callable[..., Server], data_dir: Path, tmp_path: Path, command: list[str]
) -> None:
    """Pages of the old database are not written over the new one."""
    server = serve(command)
    server.mint("old")
    assert run([*FLASK_RUN[:-2], "keys", "create", "new"], KEYHOOK_DATA_DIR=tmp_path / "other").returncode == 0
    other = (tmp_path / "other" / "keyhook.db").read_bytes()
    with (data_dir / "keyhook.db").open("r+b") as file:  # written over in place
        file.write(other)
        file.truncate()
    assert server.call("GET", "/healthz", by=None).status_code == 503
    server.process.send_signal(signal.SIGTERM)
    assert ended(server) == 0
    assert (data_dir / "keyhook.db").read_bytes() == other


@pytest.mark.parametrize("serving", [True, False], ids=["a thread", "no server"])
def test_a_program_around_keeps_its_signals(
    data_dir: Path, database_of: Callable[[Path], dict[str, str]], serving: bool
) -> None:
    code = (
        "import signal, sys; before = [signal.getsignal(n) for n in (1, 2, 15)]\n"
        "from app import create_app; app = create_app()\n"
        "token = app.test_cli_runner().invoke(args=['keys', 'create', 'a'])\n"
        "assert token.exit_code == 0\n"
        "assert [signal.getsignal(n) for n in (1, 2, 15)] == before\n"
    )
    if serving:
        code = f"import threading\ndef work():\n    exec({code!r}, dict())\n    done.append(1)\ndone = []\n" + (
            "thread = threading.Thread(target=work); thread.start(); thread.join(); assert done\n"
        )
    given: dict[str, Any] = {"KEYHOOK_DATA_DIR": data_dir, **database_of(data_dir)}
    done = run([FLASK_RUN[0], "-c", code], **given)
    assert done.returncode == 0, done.stderr
    assert wal(data_dir) == 0


@pytest.mark.sqlite
def test_a_program_around_may_close_the_service_itself(data_dir: Path) -> None:
    """The end of the process then looks at no file, though another connection keeps WAL and index in place."""
    code = (
        "import os, sqlite3, sys; from app import create_app; app = create_app()\n"
        "database = os.environ['KEYHOOK_DATA_DIR'] + '/keyhook.db'; other = sqlite3.connect(database)\n"
        "other.execute('SELECT count(*) FROM api_keys').fetchall()\n"
        "app.extensions['keyhook'].close(); os.utime(database); sys.stderr.write('closed\\n')\n"
    )
    done = run([FLASK_RUN[0], "-c", code], KEYHOOK_DATA_DIR=data_dir)
    assert done.returncode == 0
    assert done.stderr.endswith("closed\n")


@pytest.mark.sqlite
def test_the_file_catches_up_while_the_service_runs(make_app: Callable[..., object], data_dir: Path) -> None:
    app = make_app(data_dir)
    service = app.extensions["keyhook"]  # type: ignore[attr-defined]
    made = app.test_cli_runner().invoke(args=["keys", "create", "laptop"])  # type: ignore[attr-defined]
    assert made.exit_code == 0
    service.tidy()
    copy = data_dir.with_name("copy.db")
    shutil.copy(data_dir / "keyhook.db", copy)
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("SELECT name FROM api_keys").fetchall() == [("laptop",)]
