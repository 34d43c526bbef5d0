"""The database remembers a fingerprint of the secret that signs tokens, so a start with another one is told."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runtime.secret_fingerprint import FACT, fingerprint
from tests.commands import LONG, TOKEN, run
from tests.rows import sql
from tests.servers import SERVE, Server, running
from tests.write_lock import write_lock

pytestmark = pytest.mark.processes

OTHER = "another-secret-of-32-bytes-for-tests"
SAID_AT_THE_START = "the secret that signs tokens is another than before"
SAID_WITH_A_TOKEN = "the service last started with another secret"

Started = Callable[..., str]


def remembered(data: Path) -> list[tuple[str, str]]:
    return [(name, value) for name, value in sql(data, "SELECT name, value FROM service_facts")]


@pytest.fixture
def started(tmp_path: Path, data_dir: Path, database_of: Callable[[Path], dict[str, str]]) -> Started:
    """started(secret): the output of a server from its start to its end."""

    def start(secret: str, name: str = "log") -> str:
        log = tmp_path / name
        log.unlink(missing_ok=True)
        with running(data_dir, log, SERVE, **{**database_of(data_dir), "KEYHOOK_SECRET_KEY": secret}):
            pass
        return log.read_text()

    return start


def test_a_token_under_another_secret_comes_with_a_warning(
    serve: Callable[..., Server], data_dir: Path, database_of: Callable[[Path], dict[str, str]]
) -> None:
    server = serve(SERVE, KEYHOOK_SECRET_KEY=LONG)
    for secret, said, status in ((LONG, "", 200), (OTHER, SAID_WITH_A_TOKEN, 401), (LONG, "", 200)):
        given: dict[str, Any] = {"KEYHOOK_DATA_DIR": data_dir, **database_of(data_dir), "KEYHOOK_SECRET_KEY": secret}
        done = run(TOKEN, **given)
        assert (done.returncode, len(done.stderr.splitlines())) == (0, 1 if said else 0)
        assert done.stderr.startswith(said)
        assert server.call("GET", "/v0/auth", by=done.stdout.strip()).status_code == status
        assert remembered(data_dir) == [(FACT, fingerprint(LONG.encode()))]


def test_a_start_with_another_secret_says_so_once(started: Started, data_dir: Path) -> None:
    for secret, lines in ((LONG, 0), (LONG, 0), (OTHER, 1), (OTHER, 0), (LONG, 1)):
        assert started(secret).count(SAID_AT_THE_START) == lines
        assert remembered(data_dir) == [(FACT, fingerprint(secret.encode()))]


def test_another_secret_while_nothing_can_be_written(started: Started, data_dir: Path) -> None:
    started(LONG)
    with write_lock(data_dir / "keyhook.db"):
        said = started(OTHER)
    assert SAID_AT_THE_START in said
    assert remembered(data_dir) == [(FACT, fingerprint(LONG.encode()))]


def test_of_many_starts_with_another_secret_one_says_so(started: Started) -> None:
    started(LONG)
    with ThreadPoolExecutor(3) as starts:
        said = list(starts.map(lambda number: started(OTHER, f"log-{number}"), range(3)))
    assert sum(text.count(SAID_AT_THE_START) for text in said) == 1


def test_the_fingerprint_is_not_the_secrets_own() -> None:
    prints = {fingerprint(f"{LONG}{number}".encode()) for number in range(200)}
    assert len(prints) == 200
    assert all(re.fullmatch("[0-9a-f]{8}", one) for one in prints)
