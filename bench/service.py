"""The service under test: a database with a given number of keys, and WSGI calls into it without a server."""

import atexit
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

from api.gate import Gate
from app import create_app
from formats import api_key
from formats.times import timestamp
from identity.tokens import make_token
from observability.metrics import Figures
from observability.request_info import RequestInfo
from storage.sqlite.connection import connect
from web.middleware import Middleware

CHECK, MINT = "GET /v0/auth, warm key", "POST /v0/api_keys"
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
atexit.register(_null_device.close)


@contextmanager
def quiet_app(**settings: object) -> Iterator[Flask]:
    """The application in this process, with its log on the null device: one write a line, as to a file."""
    with redirect_stderr(_null_device):
        app = create_app(settings)
    try:
        yield app
    finally:
        app.extensions["keyhook"].close()


def token(app: Flask, owner: str = "alice") -> str:
    return make_token(app.extensions["keyhook"].settings.secret_key, owner, "admin", "default", timedelta(days=1))


class Population:
    """So many keys, REAL_KEYS of them real ones."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._chance = random.Random(size)  # noqa: S311  (the same names on every run; no secret)
        self._made: list[str] = []

    def rows(self) -> Iterator[tuple[str, ...]]:
        """The values of COLUMNS, key by key."""
        step = self._size // REAL_KEYS
        stem = bcrypt.hashpw(b"nobody", bcrypt.gensalt(4)).decode()
        start = datetime.now(UTC) - timedelta(seconds=self._size)
        for number in range(self._size):
            key_id, hashed = str(uuid.uuid4()), stem[:29] + f"{number:031d}"
            if number % step == 0 and len(self._made) < REAL_KEYS:
                secret = api_key.new_secret()
                hashed = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(4)).decode()
                self._made.append(api_key.write_key("kh", key_id, secret))
            moment = timestamp(start + timedelta(seconds=number))
            name, owner = f"{self._chance.choice(WORDS)}-{number:x}", f"{self._chance.choice(WORDS)}@example.org"
            yield key_id, "default", name, "read", "photos:read photos:write", owner, moment, moment, hashed

    def real_keys(self) -> list[str]:
        """Those of the rows that were asked for, in no order."""
        self._chance.shuffle(self._made)
        return self._made


def fill(data_dir: Path, size: int) -> list[str]:
    """Fills an existing SQLite database, and returns the REAL_KEYS in it."""
    population = Population(size)
    connection = connect(data_dir / "keyhook.db")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -500000")
    connection.execute("BEGIN")
    marks = ", ".join("?" * len(COLUMNS))
    statement = f"INSERT INTO api_keys ({', '.join(COLUMNS)}) VALUES ({marks})"  # noqa: S608
    connection.executemany(statement, population.rows())
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return population.real_keys()


class Uncounted(Figures):
    def note(self, info: RequestInfo, status: str, seconds: float) -> None:
        """Notes nothing."""


def uncounted(app: Flask) -> Middleware:
    """The same service, whose requests count for nothing."""
    return Middleware(Gate(app), 0, Uncounted(Path()))


def limited(data_dir: Path, key: str) -> list[str]:
    """The key, with a rate limit from now on that nobody reaches."""
    connection = connect(data_dir / "keyhook.db")
    name = key.split("_")[1]
    connection.execute(
        "UPDATE api_keys SET rate_limit = '1000000/60', allowance = id WHERE replace(id, '-', '') = ?", (name,)
    )
    connection.close()
    return [key]


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
