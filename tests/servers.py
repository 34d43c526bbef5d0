"""Real servers of the service, each a process on its own port, with what a test asks of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import requests

import bench.server
from bench.server import FLASK_RUN as FLASK_RUN
from bench.server import SERVE as SERVE
from bench.server import free_port as free_port
from identity.tokens import make_token


@dataclass
class Server(bench.server.Server):
    data_dir: Path = Path()
    environment: dict[str, str] = field(default_factory=dict)

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


def start_server(
    data_dir: Path, log: Path, command: list[str] | None = None, *, port: int = 0, **environment: Any
) -> Server:
    """Starts `flask run`, or another command, and returns when it answers."""
    given = {name: str(value) for name, value in environment.items()}
    settings = {"KEYHOOK_DATA_DIR": str(data_dir), **given}
    started = bench.server.start(command or FLASK_RUN, log, settings, path="/healthz", port=port)
    return Server(**vars(started), data_dir=data_dir, environment=given)


@contextmanager
def running(data_dir: Path, log: Path, command: list[str] | None = None, **environment: Any) -> Iterator[Server]:
    server = start_server(data_dir, log, command, **environment)
    try:
        yield server
    finally:
        server.stop()
