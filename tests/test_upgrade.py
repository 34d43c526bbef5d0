"""A database of an earlier version at the start: brought up to date with its keys, or left as it was."""

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from flask import Flask
from test_startup import CREATE, run

import bootstrap
import models
from errors import StartupError

NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{newest}"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("note", sa.Text(), nullable=False, server_default="none"))
    op.execute("{statement}")
"""


@pytest.fixture
def key(data_dir: Path) -> str:
    """A key in a database of today."""
    return run([*CREATE, "laptop"], KEYHOOK_DATA_DIR=data_dir).stdout.strip()


@pytest.fixture
def tomorrow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """tomorrow("UPDATE ..."): from then on the service has one more migration, which ends with the statement."""

    def migrate(statement: str) -> None:
        migrations = shutil.copytree(ROOT / "migrations", tmp_path / "migrations")
        new = migrations / "versions" / "9999_note.py"
        new.write_text(NEXT.format(newest=models.SCHEMA, statement=statement))
        monkeypatch.setattr(bootstrap, "MIGRATIONS", migrations)
        monkeypatch.setattr(bootstrap, "SCHEMA", "9999")

    return migrate


def rows(data: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(data / "keyhook.db")) as connection:
        return connection.execute(query).fetchall()


def test_an_older_database_is_brought_up_to_date_with_its_keys(
    key: str, tomorrow: Callable[[str], None], make_app: Callable[..., Flask], data_dir: Path
) -> None:
    tomorrow("UPDATE api_keys SET note = note || ' yet'")
    client = make_app(data_dir).test_client()
    assert client.get("/v0/auth", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert rows(data_dir, "SELECT name, note, version_num FROM api_keys, alembic_version") == [
        ("laptop", "none yet", "9999")
    ]


def test_a_migration_that_fails_changes_nothing(
    key: str, tomorrow: Callable[[str], None], make_app: Callable[..., Flask], data_dir: Path
) -> None:
    tomorrow("UPDATE nowhere SET note = 1")
    everything = ("SELECT sql FROM sqlite_master", "SELECT * FROM alembic_version", "SELECT * FROM api_keys")
    before = [rows(data_dir, query) for query in everything]
    with pytest.raises(StartupError) as refusal:
        make_app(data_dir)
    assert re.fullmatch("KEYHOOK_DATABASE_URL .* cannot be brought up to date: .*nowhere", str(refusal.value.code))
    assert [rows(data_dir, query) for query in everything] == before
