"""Real servers, each a process on its own port."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import requests

import bench.server
from bench.server import free_port as free_port
from identity.tokens import make_token
from tests.machine import ROOT

FLASK_RUN = [sys.executable, *bench.server.FLASK_RUN]
SERVE = [sys.executable, *bench.server.SERVE]  # what docs/operation.md recommends


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
        given = self.environment.get("KEYHOOK_SECRET_KEY")
        secret = given.encode() if given else (self.data_dir / "secret_key").read_bytes().strip()
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


def start_server(data_dir: Path, log: Path, command: list[str] | None = None, **environment: Any) -> Server:
    """Starts `flask run`, or another command, and returns when it answers."""
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


def resident(server: Server) -> float:
    """Resident memory of the process, in megabytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{server.process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024
