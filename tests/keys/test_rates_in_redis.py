"""Several processes count together in a real Redis."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.machine import missing
from tests.servers import free_port

pytestmark = pytest.mark.processes
Call = Callable[..., Any]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    program = shutil.which("redis-server")
    if program is None:
        missing("Redis", "apt-get install redis-server")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen([str(program), *options], stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    try:
        wait_for(url)
        yield url, server
    finally:
        server.kill()
        server.wait()


def wait_for(url: str) -> None:
    from redis import Redis
    from redis.exceptions import ConnectionError

    for _ in range(200):
        try:
            Redis.from_url(url).ping()
            return
        except ConnectionError:
            time.sleep(0.05)
    raise AssertionError("Redis does not answer")


def ask(app: Flask, key: str) -> Any:
    return app.test_client().get("/v0/auth", headers={"X-API-Key": key})


def test_two_processes_share_an_allowance_and_go_on_alone(
    redis: tuple[str, subprocess.Popen[bytes]],
    app: Flask,
    make_app: Callable[..., Flask],
    data_dir: Path,
    mint: Callable[..., str],
) -> None:
    url, server = redis
    key = mint("laptop", rate_limit={"requests": 4, "seconds": 3600})
    nodes = [make_app(data_dir, KEYHOOK_LIMITS_URL=url) for _ in range(2)]
    answers = [ask(node, key) for node in nodes * 3]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429, 429]
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == [
        "r=3",
        "r=2",
        "r=1",
        "r=0",
        "r=0",
        "r=0",
    ]
    assert 3500 < int(answers[-1].headers["Retry-After"]) <= 3600
    server.kill()
    server.wait()
    alone = [ask(nodes[0], key).status_code for _ in range(5)]
    assert alone == [200, 200, 200, 200, 429]
