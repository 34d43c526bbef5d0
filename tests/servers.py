"""Real servers of the service, each a process on its own port, with what a test asks of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import requests

import bench.server
from bench.server import FLASK_RUN as FLASK_RUN
from bench.server import SERVE as SERVE
from bench.server import free_port as free_port
from identity.tokens import make_token
from tests import preforked

AFRESH: list[str] = []  # the module, if any, whose servers are to start as Python does


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
    """Starts `flask run`, or another command, and returns when it answers.

    One of `flask` is forked from a process that has imported the service, but for the modules that ask for `afresh`.
    """
    given = {name: str(value) for name, value in environment.items()}
    settings = {"KEYHOOK_DATA_DIR": str(data_dir), **given}
    started = bench.server.start(command or FLASK_RUN, log, settings, path="/healthz", port=port, spawn=spawn)
    return Server(**vars(started), data_dir=data_dir, environment=given)


def spawn(words: list[str], environment: dict[str, str], output: BinaryIO) -> bench.server.Process:
    if words[:3] == preforked.FLASK and not AFRESH:
        return preforked.start(words[3:], environment, output.fileno(), output.fileno())
    return bench.server.spawn(words, environment, output)


@contextmanager
def running(data_dir: Path, log: Path, command: list[str] | None = None, **environment: Any) -> Iterator[Server]:
    server = start_server(data_dir, log, command, **environment)
    try:
        yield server
    finally:
        server.stop()
