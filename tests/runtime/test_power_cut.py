"""The files that must be synced to the disk before a start or a command ends."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

Synced = list[tuple[str, Any]]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Synced:
    """The syncs since then, in order: of a directory with its names, of a file with whether it was empty."""
    seen: Synced = []
    sync = os.fsync

    def record(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        held = sorted(os.listdir(descriptor)) if path.is_dir() else path.stat().st_size > 0
        seen.append((str(path.relative_to(tmp_path)), held))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return seen


def test_the_first_start_syncs_each_file_before_its_name_and_the_name_before_it_goes_on(
    make_app: Callable[..., Flask], synced: Synced, tmp_path: Path
) -> None:
    make_app(tmp_path / "data", KEYHOOK_DATABASE_URL=f"sqlite:///{tmp_path}/elsewhere/keys.db")
    assert synced == [
        (".", ["data"]),
        (".", ["data", "elsewhere"]),
        ("elsewhere/keys.db.new", True),
        ("elsewhere", ["keys.db"]),
        ("data/secret_key.new", True),
        ("data", ["secret_key"]),
    ]


def test_a_backup_is_synced_under_its_name(app: Flask, synced: Synced, tmp_path: Path) -> None:
    assert app.test_cli_runner().invoke(args=["backup", str(tmp_path / "copy.db")]).exit_code == 0
    assert synced == [(f"copy.db.part-{os.getpid()}", True), (".", ["copy.db", "data"])]


def test_what_is_acknowledged_is_written_by_a_connection_that_syncs_its_commits(app: Flask) -> None:
    with app.extensions["keyhook"].storage.write() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
