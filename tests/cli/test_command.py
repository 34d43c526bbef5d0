"""`keyhook`, the command of a wheel: what `flask` offers for this service, whatever the current directory holds."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask

from cli.command import command
from observability.build import ROOT, version


@pytest.fixture
def keyhook(app: Flask) -> Callable[..., Result]:
    group = command(lambda: app)
    return lambda *words: CliRunner().invoke(group, words, prog_name="keyhook")


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with an application and settings of its own."""
    place = tmp_path / "strange"
    place.mkdir()
    for name in (".env", ".flaskenv"):
        (place / name).write_text("FLASK_APP=app\nKEYHOOK_KEY_PREFIX=other\n")
    (place / "app.py").write_text("raise SystemExit('the wrong application')")
    monkeypatch.chdir(place)
    monkeypatch.setenv("FLASK_APP", "app")
    return place


def test_it_makes_a_key_in_a_strange_directory(keyhook: Callable[..., Result], strange: Path) -> None:
    made = keyhook("keys", "create", "laptop")
    assert (made.exit_code, made.stdout[:3]) == (0, "kh_")
    assert "laptop" in keyhook("keys", "list").stdout
    assert keyhook("--help").exit_code == 0  # for which Flask looks for files on a way of its own
    assert "KEYHOOK_KEY_PREFIX" not in os.environ
    assert len(list(strange.iterdir())) == 3


def test_it_has_the_commands_of_flask(keyhook: Callable[..., Result], app: Flask) -> None:
    listed = keyhook("--help").stdout
    assert listed.startswith("Usage: keyhook ")
    commands: Any = app.cli
    for name in ("run", "routes", "shell", *commands.commands):
        assert re.search(rf"^  {name}\b", listed, re.MULTILINE), name


@pytest.mark.parametrize("words", [["--app=other"], ["--env-file=.env"], ["--debug"]])
def test_it_takes_nothing_that_is_decided_already(keyhook: Callable[..., Result], words: list[str]) -> None:
    refused = keyhook(*words, "keys", "list")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "No such option" in refused.stderr


def test_it_tells_the_version_of_the_newest_changes(keyhook: Callable[..., Result]) -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert keyhook("--version").stdout == f"keyhook {version()}\n" == f"keyhook {newest[1]}\n"
