"""Two real servers on one PostgreSQL, behind a real Caddy with deploy/Caddyfile.nodes."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.commands import LONG
from tests.postgresql import Cluster, until
from tests.proxies.installed import DEPLOY, as_shipped, copy, proxy_process, tool
from tests.servers import SERVE, Server, free_port, start_server


@dataclass
class Nodes:
    """The servers by name. Each tells PostgreSQL its own."""

    place: Path
    port: int  # of Caddy
    database: Cluster
    url: str  # of the database
    by_name: dict[str, Server]

    def call(self, method: str, path: str, by: str = "", **kwargs: Any) -> requests.Response:
        """Through Caddy; by an admin, if by nobody else."""
        headers = {"Authorization": f"Bearer {by or self.any.token()}", **kwargs.pop("headers", {})}
        return requests.request(method, f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=30, **kwargs)

    @property
    def any(self) -> Server:
        return next(iter(self.by_name.values()))

    def start(self, name: str, port: int = 0) -> None:
        self.by_name[name] = start_server(
            self.place / "data",
            self.place / f"{name}.log",
            SERVE,
            port=port,
            KEYHOOK_DATABASE_URL=f"{self.url}?application_name={name}",
            KEYHOOK_SECRET_KEY=LONG,
            KEYHOOK_TRUSTED_PROXIES=2,
        )

    def log(self, name: str) -> str:
        return (self.place / f"{name}.log").read_text()

    def said_by_caddy(self) -> str:
        return (self.place / "nodes.log").read_text()

    def at_work(self) -> list[str]:
        """The nodes that wait for a lock in the database, but not for the question of Caddy whether they are well."""
        return self.database.sql(
            "SELECT application_name FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'keyhook' "
            "AND query NOT LIKE 'SELECT 1 FROM api_keys LIMIT 1%'"
        ).split()


@contextmanager
def balanced(database: Cluster, url: str, place: Path) -> Iterator[Nodes]:
    with ExitStack() as stack:
        nodes = Nodes(place, free_port(), database, url, {})
        for name in ("one", "two"):
            nodes.start(name)
            stack.callback(lambda name: nodes.by_name[name].stop(signal.SIGKILL), name)
        conf = place / "Caddyfile.nodes"
        copy(DEPLOY / "Caddyfile.nodes", conf, {"\n{\n": "\n{\n\tadmin off\n"}, as_shipped)
        settings = [f"PORT={nodes.port}", f"XDG_CONFIG_HOME={place}", f"XDG_DATA_HOME={place}"]
        settings.append("NODES=" + " ".join(f"127.0.0.1:{node.port}" for node in nodes.by_name.values()))
        command = ["env", *settings, tool("caddy"), "run", "--adapter", "caddyfile", "--config", str(conf)]
        stack.enter_context(proxy_process(command, place, place / "nodes.log"))
        until(lambda: _answers(nodes))
        yield nodes


def _answers(nodes: Nodes) -> bool:
    try:
        return nodes.call("GET", "/healthz").status_code == 200
    except requests.ConnectionError:
        return False
