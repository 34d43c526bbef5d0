"""A PostgreSQL whose locale sorts as a dictionary does: names and times are compared byte by byte all the same."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app import create_app
from models import db
from tests.commands import LONG
from tests.postgresql import DATABASES, Cluster
from tests.rows import ago, move, sql

NAMES = ["B", "a", "A-1", "A 0", "a1", "ä", "Z", "z", "A1"]


@pytest.fixture
def app(server_of_postgresql: Cluster, data_dir: Path) -> Iterator[Flask]:
    """An application on a database in English, by the rules of ICU."""
    name = f"test_{uuid.uuid4().hex}"
    server_of_postgresql.sql(
        f"CREATE DATABASE {name} OWNER keyhook TEMPLATE template0 LOCALE 'C.UTF-8' "
        "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
    )
    DATABASES[data_dir] = server_of_postgresql.url(name)
    given = {"KEYHOOK_DATABASE_URL": DATABASES[data_dir], "KEYHOOK_SECRET_KEY": LONG, "KEYHOOK_DATA_DIR": data_dir}
    app = create_app(given)
    yield app
    app.extensions["keyhook"].close()
    del DATABASES[data_dir]
    server_of_postgresql.sql(f"DROP DATABASE {name}")


def test_names_and_times_are_compared_byte_by_byte(app: Flask, mint: Any, call: Any) -> None:
    assert sql(app, "SELECT 'a' < 'B', 'a' < 'B' COLLATE \"C\"") == [(True, False)]  # or the test shows nothing
    for name in NAMES:
        mint(name)
    for name in NAMES:
        assert call("POST", "/v0/api_keys", json={"name": name}).json["error_code"] == "DuplicateName"
    assert sql(app, "SELECT name FROM api_keys ORDER BY name") == [(name,) for name in sorted(NAMES, key=str.encode)]
    assert [key["name"] for key in call("GET", "/v0/api_keys").json] == NAMES


def test_every_column_of_names_or_times_says_so(app: Flask) -> None:
    compared = [
        (table.name, column.name)
        for table in db.metadata.sorted_tables
        for column in table.columns
        if getattr(column.type.dialect_impl(app.extensions["keyhook"].storage.engine.dialect), "collation", None)
    ]
    ours = "table_schema = 'public' AND collation_name = 'C'"
    found = sql(app, f"SELECT table_name, column_name FROM information_schema.columns WHERE {ours}")  # noqa: S608
    assert {("api_keys", "name"), ("api_keys", "tenant"), ("api_keys", "expires_at")} <= set(compared)
    assert sorted(found) == sorted(compared)


def test_keys_end_and_go_in_time(app: Flask, mint: Any, call: Any) -> None:
    keys = {name: mint(name) for name in ("ended", "lives")}
    move(app, "ended", expires_at=ago(days=2))
    move(app, "lives", expires_at=ago(days=-2))
    assert [call("GET", "/v0/auth", by=key).status_code for key in keys.values()] == [401, 200]
    assert app.test_cli_runner().invoke(args=["keys", "prune", "--expired", "1d"]).stdout == "ended\n"
