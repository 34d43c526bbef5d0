"""What a request asks of PostgreSQL, as the server's own log has it."""

import re
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

from app import create_app
from identity.tokens import make_token
from tests.commands import LONG
from tests.postgresql import Cluster, cluster

CHECKS = 3


def test_a_check_is_one_statement() -> None:
    """No BEGIN, no ROLLBACK, no question whether the connection is still there, nothing under a name."""
    with cluster(log_statement="all", log_line_prefix="%p|") as server:
        app = create_app({"KEYHOOK_DATABASE_URL": server.url(), "KEYHOOK_SECRET_KEY": LONG})
        client = app.test_client()
        admin = make_token(LONG.encode(), "alice", "admin", "default", timedelta(hours=1))
        minted = client.post("/v0/api_keys", json={"name": "laptop"}, headers={"Authorization": f"Bearer {admin}"})
        key = {"Authorization": f"Bearer {minted.get_json()['api_key']}"}
        assert client.get("/v0/auth", headers=key).status_code == 200  # opens the connection
        before = len(_log(server))
        for _ in range(CHECKS):
            assert client.get("/v0/auth", headers=key).status_code == 200
        asked = _statements(_log(server)[before:])
        app.extensions["keyhook"].close()
    [of_checks] = [each for each in asked.values() if any("secret_hash" in one for one in each)]
    assert [one.split()[:3] for one in of_checks] == [["execute", "<unnamed>:", "SELECT"]] * CHECKS


def _log(server: Cluster) -> str:
    return Path(server.directory / "log").read_text()


def _statements(log: str) -> dict[str, list[str]]:
    """By the process of the connection, since the last use is written on another one."""
    by_process: dict[str, list[str]] = defaultdict(list)
    for process, statement in re.findall(r"^(\d+)\|LOG:  ((?:statement|parse|bind|execute)\b.*)", log, re.MULTILINE):
        by_process[process].append(statement)
    return by_process
