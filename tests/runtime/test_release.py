"""A database that release 1.0.0 made serves after every migration, and the way back is its copy.

`release_1_0_0/` holds the file as that release left it, its secret, and the keys that it minted.
"""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app import create_app
from models import SCHEMA
from storage.sqlite.connection import connect
from tests.postgresql import Cluster, new_database
from tests.rows import sql

RELEASE = Path(__file__).parent / "release_1_0_0"
KEYS: dict[str, str] = json.loads((RELEASE / "keys.json").read_text())
SECRET = (RELEASE / "secret_key").read_text().strip()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The data directory of that release."""
    place = tmp_path / "old"
    place.mkdir(mode=0o700)
    (place / "keyhook.db").touch(mode=0o600)
    (place / "keyhook.db").write_bytes(gzip.decompress((RELEASE / "keyhook.db.gz").read_bytes()))
    shutil.copy(RELEASE / "secret_key", place)
    (place / "secret_key").chmod(0o600)
    return place


def version(database: Path) -> str:
    connection = connect(database)
    [(found,)] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    connection.close()
    return str(found)


def check(app: Flask) -> None:
    """All that the release did still holds, and all that is new works on it."""
    client = app.test_client()

    def ask(method: str, path: str, by: str, **body: Any) -> Any:
        return client.open(path, method=method, json=body or None, headers={"Authorization": f"Bearer {KEYS[by]}"})

    asked = {name: ask("GET", "/v0/auth", name).status_code for name in KEYS}
    assert asked == {"laptop": 200, "child": 200, "reader": 200, "off": 401, "rotated": 200}
    assert ask("GET", "/v0/auth?scope=photos:read&scope=photos:write", "laptop").status_code == 200
    shown = {key["name"]: key for key in ask("GET", "/v0/api_keys", "reader").json}
    assert list(shown) == ["laptop", "reader", "off", "rotated", "child"]
    assert (shown["reader"]["owner"], shown["reader"]["description"]) == ("bob", "the camera")
    assert (shown["off"]["status"], shown["child"]["created_by_key"]) == ("disabled", shown["laptop"]["id"])
    assert (shown["laptop"]["hosts"], shown["laptop"]["rate_limit"], shown["laptop"]["metadata"]) == ([], None, {})
    assert [key["name"] for key in ask("GET", "/v0/api_keys/laptop/offspring", "laptop").json] == ["child"]
    assert ask("PATCH", "/v0/api_keys/child", "laptop", hosts=["a.com"]).json["hosts"] == ["a.com"]
    assert ask("POST", "/v0/api_keys/child/rotate", "laptop", grace_seconds=60).status_code == 201
    assert ask("DELETE", "/v0/api_keys/laptop?cascade=true", "rotated").status_code == 204
    assert [key["name"] for key in ask("GET", "/v0/api_keys", "reader").json] == ["reader", "off", "rotated"]


@pytest.mark.sqlite
def test_a_database_of_the_first_release_serves(old: Path, make_app: Callable[..., Flask]) -> None:
    check(make_app(old))
    assert version(old / "keyhook.db") == SCHEMA
    actions = sql(old, "SELECT action FROM audit_entries ORDER BY id")
    assert [action for (action,) in actions][:3] == ["key.created"] * 3


@pytest.mark.sqlite
def test_the_way_back_is_the_copy_of_before(old: Path, make_app: Callable[..., Flask], tmp_path: Path) -> None:
    """A copy is put in place by `restore`, which leaves it as old as it was; that release reads it again."""
    copy = Path(shutil.copy(old / "keyhook.db", tmp_path / "before.db"))
    before = copy.read_bytes()
    app = create_app({"KEYHOOK_DATA_DIR": old})
    app.extensions["keyhook"].close()
    assert version(old / "keyhook.db") == SCHEMA
    done = app.test_cli_runner().invoke(args=["restore", str(copy)])
    assert done.exit_code == 0, done.output
    assert version(old / "keyhook.db") == "0001"
    assert copy.read_bytes() == before
    check(make_app(old))


@pytest.mark.sqlite  # where it begins
def test_it_moves_to_postgresql(old: Path, server_of_postgresql: Cluster) -> None:
    with new_database(server_of_postgresql) as name:
        url = server_of_postgresql.url(name)
        app = create_app({"KEYHOOK_DATA_DIR": old})
        done = app.test_cli_runner().invoke(args=["copy-database", url])
        app.extensions["keyhook"].close()
        assert done.exit_code == 0, done.output
        moved = create_app({"KEYHOOK_DATA_DIR": old, "KEYHOOK_DATABASE_URL": url, "KEYHOOK_SECRET_KEY": SECRET})
        check(moved)
        moved.extensions["keyhook"].close()
