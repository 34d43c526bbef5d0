"""The rooms and the arrows between them: an import leads to a lower floor, or stays within its room."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine import ROOT

# From the top down, as the README draws them. Rooms on one floor know nothing of each other.
FLOORS = [
    ["app"],
    ["cli"],
    ["api", "console", "serving"],
    ["auth", "schemas"],
    ["runtime", "web"],
    ["keys", "oidc"],
    ["identity", "storage"],
    ["errors", "models"],
    ["observability"],
    ["formats"],
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ROOMS = [room for rooms in FLOORS for room in rooms]
BESIDE = {"bench", "migrations", "tests"}  # which may use everything

# What a room must not know, beside what its floor tells.
FOREIGN = {
    "keys": ("flask", "werkzeug"),
    "storage": ("flask", "werkzeug", "click"),
    "oidc": ("flask", "werkzeug", "sqlalchemy"),
    "identity": ("flask", "werkzeug", "sqlalchemy"),
    "formats": ("flask", "werkzeug", "sqlalchemy", "marshmallow"),
    "web": ("sqlalchemy", "bcrypt", "jwt"),
}


def sources(room: str) -> list[Path]:
    file = ROOT / f"{room}.py"
    return [file] if file.exists() else sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_every_module_stands_on_a_floor() -> None:
    modules = {path.stem for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert modules - BESIDE == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_an_arrow_runs_down_only(room: str) -> None:
    for path in sources(room):
        for module in imports(path):
            other = module.partition(".")[0]
            if other in FLOOR_OF and other != room:
                assert FLOOR_OF[other] > FLOOR_OF[room], f"{path} imports {module}"


@pytest.mark.parametrize("room", FOREIGN)
def test_a_room_knows_only_its_own_trade(room: str) -> None:
    for path in sources(room):
        for module in imports(path):
            assert module.partition(".")[0] not in FOREIGN[room], f"{path} imports {module}"


def test_the_map_draws_the_floors() -> None:
    [drawing] = re.findall(r"^```text\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    columns: dict[int, list[str]] = {}
    for line in drawing.splitlines():
        for word in re.finditer(r"[a-z]+", line):
            columns.setdefault(word.start(), []).append(word[0])
    assert [columns[start] for start in sorted(columns)] == FLOORS


@pytest.mark.parametrize(
    ("driver", "home", "words"),
    [
        ("sqlite3", "sqlite", r"PRAGMA|BEGIN IMMEDIATE"),
        ("psycopg", "postgresql", r"set_config|pg_advisory"),
    ],
)
def test_a_database_stays_in_its_room(driver: str, home: str, words: str) -> None:
    for path in [path for room in ROOMS for path in sources(room)]:
        if not path.is_relative_to(ROOT / "storage" / home):
            assert driver not in [module.partition(".")[0] for module in imports(path)], path
            assert not re.search(words, path.read_text()), path
