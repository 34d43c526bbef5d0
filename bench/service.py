"""The service under test: a database with a given number of keys, and WSGI calls into it without a server."""

import itertools
import json
import os
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import bcrypt
from flask import Flask

from app import create_app
from formats import api_key
from formats.times import timestamp
from identity.tokens import make_token
from storage.sqlite.connection import connect

REAL_KEYS = 1000  # with a known secret, spread evenly among the others
COLUMNS = ("id", "tenant", "name", "role", "scopes", "owner", "created_at", "last_used_at", "secret_hash")
WORDS = [
    "backup",
    "camera",
    "deploy",
    "grafana",
    "laptop",
    "mirror",
    "nas",
    "photos",
    "phone",
    "runner",
    "sensor",
    "wiki",
]

_numbers = itertools.count()  # so that each name is new
_null_device = open(os.devnull, "w")  # noqa: SIM115  (the logger keeps it to the end)


@contextmanager
def quiet_app(data_dir: Path) -> Iterator[Flask]:
    """The application in this process, with its log on the null device: one write a line, as to a file."""
    with redirect_stderr(_null_device):
        app = create_app({"KEYHOOK_DATA_DIR": data_dir})
    try:
        yield app
    finally:
        app.extensions["keyhook"].close()


def token(data_dir: Path) -> str:
    secret = (data_dir / "secret_key").read_bytes().strip()
    return make_token(secret, "alice", "admin", "default", timedelta(days=1))


def fill(data_dir: Path, count: int) -> list[str]:
    """Fills an existing database, and returns the REAL_KEYS in it."""
    chance = random.Random(count)  # noqa: S311  (the same names on every run; no secret)
    made: list[str] = []

    def rows() -> Iterator[tuple[Any, ...]]:
        step = count // REAL_KEYS
        stem = bcrypt.hashpw(b"nobody", bcrypt.gensalt(4)).decode()
        start = datetime.now(UTC) - timedelta(seconds=count)
        for number in range(count):
            key_id, hashed = str(uuid.uuid4()), stem[:29] + f"{number:031d}"
            if number % step == 0 and len(made) < REAL_KEYS:
                secret = api_key.new_secret()
                hashed = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(4)).decode()
                made.append(api_key.write_key("kh", key_id, secret))
            moment = timestamp(start + timedelta(seconds=number))
            name, owner = f"{chance.choice(WORDS)}-{number:x}", f"{chance.choice(WORDS)}@example.org"
            yield key_id, "default", name, "read", "photos:read photos:write", owner, moment, moment, hashed

    connection = connect(data_dir / "keyhook.db")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -500000")
    connection.execute("BEGIN")
    marks = ", ".join("?" * len(COLUMNS))
    connection.executemany(f"INSERT INTO api_keys ({', '.join(COLUMNS)}) VALUES ({marks})", rows())  # noqa: S608
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    chance.shuffle(made)
    return made


def caller(
    app: Any, method: str, path: str, bearers: Iterable[str] = (), named: bool = False
) -> Callable[[int], float]:
    """Returns a function that makes that many WSGI calls, bearer by bearer, and returns the microseconds a call."""
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    each_bearer = [{**environ, "HTTP_AUTHORIZATION": f"Bearer {bearer}"} for bearer in bearers] or [environ]
    given = itertools.cycle(each_bearer)
    expected = "201" if method == "POST" else "200"

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        assert status.startswith(expected), status

    def prepared(count: int) -> Iterator[dict[str, Any]]:
        for turn in itertools.islice(_numbers, count):
            body = json.dumps({"name": f"inside-{turn}"}).encode() if named else b""
            kind = {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body))} if named else {}
            yield {**next(given), **kind, "wsgi.input": BytesIO(body)}

    def call(count: int) -> float:
        environs = list(prepared(count))
        started = time.perf_counter()
        while environs:
            answer = app(environs.pop(), start_response)  # a server keeps nothing of a request either
            b"".join(answer)
            if hasattr(answer, "close"):
                answer.close()
        return (time.perf_counter() - started) / count * 1_000_000

    return call
