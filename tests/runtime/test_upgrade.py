"""A database of an earlier version at the start: updated with its keys, or left unchanged."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from alembic import command
from alembic.config import Config
from flask import Flask
from sqlalchemy import create_engine

import models
from errors import StartupError
from formats import api_key
from storage import migrate
from tests.bad_keys import under
from tests.commands import CREATE, run
from tests.machine import ROOT
from tests.rows import everything, sql, url_of

pytestmark = pytest.mark.processes

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
def key(data_dir: Path, database_of: Callable[[Path], dict[str, str]]) -> str:
    """A key in a database of this version."""
    given: dict[str, Any] = {"KEYHOOK_DATA_DIR": data_dir, **database_of(data_dir)}
    return run([*CREATE, "laptop"], **given).stdout.strip()


@pytest.fixture
def tomorrow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """tomorrow("UPDATE ..."): gives the service one more migration, which ends with the statement."""

    def add(statement: str) -> None:
        migrations = shutil.copytree(ROOT / "migrations", tmp_path / "migrations")
        new = migrations / "versions" / "9999_note.py"
        new.write_text(NEXT.format(newest=models.SCHEMA, statement=statement))
        monkeypatch.setattr(migrate, "MIGRATIONS", migrations)
        monkeypatch.setattr(migrate, "SCHEMA", "9999")

    return add


def test_an_older_database_is_brought_up_to_date_with_its_keys(
    key: str, tomorrow: Callable[[str], None], make_app: Callable[..., Flask], data_dir: Path
) -> None:
    tomorrow("UPDATE api_keys SET note = note || ' yet'")
    client = make_app(data_dir).test_client()
    assert client.get("/v0/auth", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert sql(data_dir, "SELECT name, note, version_num FROM api_keys, alembic_version") == [
        ("laptop", "none yet", "9999")
    ]


OLD_ID = "0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11"


@pytest.fixture
def old_key(data_dir: Path) -> str:
    """A key in a database of the first release, which stored no prefix."""
    data_dir.mkdir(mode=0o700)
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    engine = create_engine(f"sqlite:///{data_dir / 'keyhook.db'}")
    secret = api_key.new_secret()
    hashed = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(4)).decode()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO api_keys (id, tenant, name, role, owner, created_at, secret_hash) "
            "VALUES (?, 'default', 'old', 'write', 'alice', '2025-01-01T00:00:00.000000Z', ?)",
            (OLD_ID, hashed),
        )
    engine.dispose()
    return api_key.write_key("kh", OLD_ID, secret)


@pytest.mark.sqlite
def test_a_key_of_the_first_release_is_good_under_any_prefix_until_it_is_rotated(
    old_key: str, make_app: Callable[..., Flask], data_dir: Path
) -> None:
    app = make_app(data_dir, KEYHOOK_KEY_PREFIX="team2")
    client, runner = app.test_client(), app.test_cli_runner()

    def good(*keys: str) -> list[bool]:
        return [client.get("/v0/auth", headers={"X-API-Key": key}).status_code == 200 for key in keys]

    def shown() -> tuple[Any, Any]:
        [key] = client.get("/v0/api_keys", headers={"Authorization": f"Bearer {old_key}"}).get_json()
        assert (key["id"], key["name"], key["status"]) == (OLD_ID, "old", "active")
        return key["prefix"], key["hint"]

    assert good(old_key, under("team2", old_key), under("zz", old_key)) == [True] * 3
    assert shown() == (None, None)
    assert runner.invoke(args=["keys", "inspect"], input=under("zz", old_key)).stdout.startswith("old: active")
    new = runner.invoke(args=["keys", "rotate", "old", "--grace", "1h"]).stdout.strip()
    assert good(new, under("kh", new), old_key, under("zz", old_key)) == [True, False, True, True]
    assert shown() == ("team2", f"…{new[-4:]}")
    newest = runner.invoke(args=["keys", "rotate", "old", "--grace", "1h"]).stdout.strip()
    assert good(newest, new, under("kh", new), old_key) == [True, True, False, False]


def test_a_migration_that_fails_changes_nothing(
    key: str, tomorrow: Callable[[str], None], make_app: Callable[..., Flask], data_dir: Path
) -> None:
    tomorrow("UPDATE nowhere SET note = 1")
    before = everything(data_dir)
    with pytest.raises(StartupError) as refusal:
        make_app(data_dir)
    why = 'used: relation "nowhere" does not exist' if url_of(data_dir) else "brought up to date: .*nowhere"
    assert re.fullmatch(f"KEYHOOK_DATABASE_URL .* cannot be {why}", str(refusal.value.code))
    assert everything(data_dir) == before


@pytest.mark.sqlite
def test_the_tables_are_what_the_migrations_make(tmp_path: Path) -> None:
    """Runs the two commands of `make migration` in a copy, since they write a scratch file."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".*", "__pycache__", "instance", "tests", "bench"))
    for words in (["upgrade", "head"], ["check"]):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *words], cwd=checkout, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
