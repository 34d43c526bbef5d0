"""The README and the pages of docs/: short, with valid links, and with lists that agree with the code."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from flask import Flask

from app import DEFAULTS
from tests.machine import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST_LINES = 150
MADE = {"instance"}  # by the service, where it runs in the checkout


def prose(page: Path) -> str:
    """The page without blocks of code, which hold no links or headings."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The headings as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [link for link in found if not re.match("[a-z]+:", link)]


def column(page: str, header: str) -> str:
    """The left column of the only table with this header."""
    tables = re.findall(rf"^\| {header} \|.*\n((?:\|.*\n)+)", prose(ROOT / page), re.MULTILINE)
    assert len(tables) == 1, header
    return "".join(re.findall(r"^\|((?:[^|\\\n]|\\.)*)\|", tables[0], re.MULTILINE))


def commands(group: click.Group, path: tuple[str, ...] = ("flask",)) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name))


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert links(page)
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_leads_to_every_page() -> None:
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= set(links(PAGES[0]))


def test_every_setting_is_documented_and_no_other() -> None:
    written = re.findall(r"`(KEYHOOK_\w+)`", column("docs/configuration.md", "variable"))
    assert written == list(DEFAULTS)


def test_the_defaults_are_the_documented_ones() -> None:
    """The plain defaults, that is; the others depend on a directory."""
    written = dict(
        re.findall(r"^\| `(KEYHOOK_\w+)` \| `([^`/]*)` \|", prose(ROOT / "docs/configuration.md"), re.MULTILINE)
    )
    assert written == {name: str(value) for name, value in DEFAULTS.items() if isinstance(value, (str, int))}


def test_every_command_is_documented_and_no_other(app: Flask) -> None:
    assert isinstance(app.cli, click.Group)
    written = re.findall(r"`(flask [a-z-]+(?: [a-z]+)?)", column("docs/operation.md", "command"))
    assert sorted(written) == sorted(commands(app.cli))


def test_every_room_stands_in_the_map() -> None:
    modules = {path.name for path in ROOT.glob("*.py")}
    rooms = {f"{path.name}/" for path in ROOT.glob("[a-z]*/") if path.is_dir() and path.name not in MADE}
    shown = re.findall(r"\]\(([^)]+)\)", column("README.md", "where"))
    assert sorted(shown) == sorted(modules | rooms)
