"""Fixtures of the copy into PostgreSQL: `target`, an empty database; `copy` runs the command, `begin` starts it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from models import db
from tests.commands import LONG, run
from tests.machine import ROOT
from tests.postgresql import DATABASES, Cluster, new_database
from tests.rows import sql

COPY = [sys.executable, "-m", "flask", "copy-database"]


@dataclass(frozen=True)
class Target:
    server: Cluster
    name: str
    place: Path  # stands for it where a test names a database by a data directory

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def sql(self, *statements: str) -> str:
        """As the superuser."""
        return self.server.sql(*statements, database=self.name)

    def tables(self) -> str:
        return self.sql("SELECT string_agg(tablename, ' ') FROM pg_tables WHERE schemaname = 'public'")

    def counts(self) -> dict[str, int]:
        """The rows by table, without the facts and the links to the console that a start of the service leaves."""
        of_starts = ("service_facts", "sessions")
        names = [table.name for table in db.metadata.sorted_tables if table.name not in of_starts]
        return {name: int(sql(self.place, f"SELECT count(*) FROM {name}")[0][0]) for name in names}  # noqa: S608


@pytest.fixture
def target(server_of_postgresql: Cluster, tmp_path: Path) -> Iterator[Target]:
    with new_database(server_of_postgresql, "template1") as name:
        made = Target(server_of_postgresql, name, tmp_path / "copy")
        DATABASES[made.place] = made.url
        yield made
        DATABASES.pop(made.place, None)


@pytest.fixture
def serve_target(target: Target, make_app: Callable[..., Flask]) -> Callable[..., Flask]:
    """serve_target(secret): an application on the target, whose tables it makes where there are none."""

    def start(secret: str = LONG) -> Flask:
        return make_app(target.place, KEYHOOK_DATABASE_URL=target.url, KEYHOOK_SECRET_KEY=secret)

    return start


@pytest.fixture
def here(data_dir: Path, database_of: Callable[[Path], dict[str, str]]) -> dict[str, Any]:
    """The settings of the source."""
    return {"KEYHOOK_DATA_DIR": data_dir, **database_of(data_dir)}


@pytest.fixture
def copy(here: dict[str, Any], target: Target) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda url=target.url: run([*COPY, url], **here)


@pytest.fixture
def begin(here: dict[str, Any], target: Target) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    with ExitStack() as stack:

        def start() -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [*COPY, target.url],
                cwd=ROOT,
                env={**os.environ, **{name: str(value) for name, value in here.items()}},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process

        yield start
