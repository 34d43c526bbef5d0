"""Commands of root on the data of a service that runs as another user: that user can go on."""

import os
from pathlib import Path

import pytest

from tests.commands import BACKUP, CREATE, run
from tests.machine import missing
from tests.preforked import FLASK

pytestmark = [pytest.mark.processes, pytest.mark.sqlite]

STRANGER = 54321


def give_away(data: Path) -> None:
    if os.geteuid() != 0:
        missing("root", "run as root to give a file away")
    for path in (data, *data.rglob("*")):
        os.chown(path, STRANGER, STRANGER)


def owners(data: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_uid, path.stat().st_gid) for path in (data, *data.rglob("*"))}


def test_root_leaves_every_file_to_the_service(data_dir: Path, tmp_path: Path) -> None:
    """What systemd does with a StateDirectory at the next start does not help: it looks at the directory alone."""
    copy = tmp_path / "copy.db"
    assert run([*CREATE, "laptop"], KEYHOOK_DATA_DIR=data_dir).returncode == 0
    give_away(data_dir)
    for words in ([*CREATE, "second"], [*BACKUP, str(copy)], [*FLASK, "restore", str(copy)], [*CREATE, "third"]):
        assert run(words, KEYHOOK_DATA_DIR=data_dir).returncode == 0
    assert set(owners(data_dir).values()) == {(STRANGER, STRANGER)}
    assert copy.stat().st_uid == 0


def test_root_restores_where_nothing_is_yet(data_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    run([*CREATE, "laptop"], KEYHOOK_DATA_DIR=tmp_path / "elsewhere")
    assert run([*BACKUP, str(copy)], KEYHOOK_DATA_DIR=tmp_path / "elsewhere").returncode == 0
    data_dir.mkdir(mode=0o700)
    give_away(data_dir)
    assert run([*FLASK, "restore", str(copy)], KEYHOOK_DATA_DIR=data_dir).returncode == 0
    assert owners(data_dir)["keyhook.db"] == (STRANGER, STRANGER)
