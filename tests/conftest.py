"""Fixtures: `app, client, runner, mint` in this process, `serve` for a real server in its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner

import bench.server
from app import create_app
from identity.tokens import make_token

ROOT = Path(__file__).resolve().parent.parent
MISSING_FAILS = os.environ.get("CI") == "true"

# Before any module is collected, some of which make an application: what the caller's shell exports is not under test.
for exported in [name for name in os.environ if name.startswith("KEYHOOK_") or name == "COLUMNS"]:
    del os.environ[exported]


def missing(what: str, install: str) -> NoReturn:
    """Skips a test that needs something this machine lacks; under CI that is a failure."""
    text = f"{what} is not here: {install}"
    if MISSING_FAILS:
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def make_app() -> Iterator[Callable[..., Flask]]:
    """Makes applications and closes their databases at the end."""
    with ExitStack() as stack:

        def make(data_dir: Path, **config: Any) -> Flask:
            app = create_app({"KEYHOOK_DATA_DIR": data_dir, **config})
            stack.callback(app.extensions["keyhook"].close)
            return app

        yield make


@pytest.fixture
def app(make_app: Callable[..., Flask], data_dir: Path) -> Flask:
    return make_app(data_dir)


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


@pytest.fixture
def token(app: Flask) -> Callable[..., str]:
    """Makes a JWT: token(role="admin", tenant="default", owner="alice")."""

    def make(role: str = "admin", tenant: str = "default", owner: str = "alice", lifetime: float = 3600) -> str:
        secret = app.extensions["keyhook"].settings.secret_key
        return make_token(secret, owner, role, tenant, timedelta(seconds=lifetime))

    return make


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def call(client: FlaskClient, token: Callable[..., str]) -> Callable[..., Any]:
    """call("POST", "/v0/api_keys", json=..., by=<credential>): a request, by an admin of `default` unless told."""

    def send(method: str, path: str, by: str | None = "", headers: dict[str, str] | None = None, **kwargs: Any) -> Any:
        sent = dict(headers or {})
        if by is not None:
            sent["Authorization"] = f"Bearer {by or token()}"
        return client.open(path, method=method, headers=sent, **kwargs)

    return send


@pytest.fixture
def mint(call: Callable[..., Any]) -> Callable[..., str]:
    """mint("name", by=<credential>, scopes=[...]): the secret of a new key."""

    def make(name: str = "laptop", by: str = "", **members: Any) -> str:
        response = call("POST", "/v0/api_keys", json={"name": name, **members}, by=by)
        assert response.status_code == 201, response.text
        return str(response.json["api_key"])

    return make


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Server:
    """A real server process on a free port."""

    data_dir: Path
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(self, role: str = "admin", tenant: str = "default", owner: str = "alice") -> str:
        secret = (self.data_dir / "secret_key").read_bytes().strip()
        return make_token(secret, owner, role, tenant, timedelta(hours=1))

    def call(self, method: str, path: str, by: str | None = "", **kwargs: Any) -> requests.Response:
        headers = dict(kwargs.pop("headers", {}))
        if by is not None:
            headers["Authorization"] = f"Bearer {by or self.token()}"
        return requests.request(method, self.url + path, headers=headers, timeout=kwargs.pop("timeout", 30), **kwargs)

    def mint(self, name: str, by: str = "", **members: Any) -> str:
        response = self.call("POST", "/v0/api_keys", json={"name": name, **members}, by=by)
        assert response.status_code == 201, response.text
        return str(response.json()["api_key"])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Signals the whole process group and waits for it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)
        self.process.wait(20)


FLASK_RUN = [sys.executable, *bench.server.FLASK_RUN]
SERVE = [sys.executable, *bench.server.SERVE]  # what docs/operation.md recommends


def start_server(data_dir: Path, log: Path, command: list[str] | None = None, **environment: Any) -> Server:
    """Starts `flask run`, or another command, and returns once it answers."""
    port = free_port()
    given = {name: str(value) for name, value in environment.items()}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [word.format(port=port) for word in command or FLASK_RUN],
            cwd=ROOT,
            env={**os.environ, "KEYHOOK_DATA_DIR": str(data_dir), **given},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    server = Server(data_dir, port, process, log, given)
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            requests.get(f"{server.url}/healthz", timeout=5)
            return server
        except requests.ConnectionError:
            time.sleep(0.05)
    server.stop(signal.SIGKILL)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


@contextmanager
def running(data_dir: Path, log: Path, command: list[str] | None = None, **environment: Any) -> Iterator[Server]:
    server = start_server(data_dir, log, command, **environment)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def serve(tmp_path: Path, data_dir: Path) -> Iterator[Callable[..., Server]]:
    """serve(): a real `flask run` on the test's data directory; serve(SERVE) another server. Stopped at the end."""
    with ExitStack() as stack:

        def start(command: list[str] | None = None, **environment: Any) -> Server:
            server = start_server(
                environment.pop("data_dir", data_dir), tmp_path / "server.log", command, **environment
            )
            stack.callback(server.stop)
            return server

        yield start
