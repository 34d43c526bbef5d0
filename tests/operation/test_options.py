"""The table of commands names the options of each command, with their values, and no others."""

import re
from collections.abc import Iterator

import click
import pytest
from flask import Flask

from tests.machine import ROOT
from tests.operation.table import PAGE, Row, command, rows

ELSEWHERE = {"flask keys create": "docs/keys.md"}  # where “and more” leads
ROWS = pytest.mark.parametrize("row", rows(), ids=lambda row: "+".join(row.options))
TENANT = "--tenant"


def commands(group: click.Group, path: str = "flask") -> Iterator[tuple[str, click.Command]]:
    for name, one in group.commands.items():
        if isinstance(one, click.Group):
            yield from commands(one, f"{path} {name}")
        else:
            yield f"{path} {name}", one


@pytest.fixture
def known(app: Flask) -> dict[str, dict[str, click.Option]]:
    """The options of each command by their names."""
    assert isinstance(app.cli, click.Group)
    return {
        name: {given.opts[0]: given for given in one.params if isinstance(given, click.Option)}
        for name, one in commands(app.cli)
    }


@ROWS
def test_a_command_has_the_options_that_the_page_names(known: dict[str, dict[str, click.Option]], row: Row) -> None:
    for name, named in row.options.items():
        page = ELSEWHERE.get(name)
        more = set(re.findall(r"--[a-z-]+", (ROOT / page).read_text())) & set(known[name]) if page else set()
        assert (named | more) - {TENANT} == set(known[name]) - {TENANT}, name


def test_a_tenant_can_be_chosen_where_the_page_says(known: dict[str, dict[str, click.Option]]) -> None:
    [text] = re.findall(r"Every `keys` command but .*?\.", (ROOT / PAGE).read_text(), re.DOTALL)
    excepted, others = text.split("can take\n`--tenant`; so do")
    without = {f"flask keys {name}" for name in re.findall(r"`([a-z]+)`", excepted.partition(" but ")[2])}
    taking = {name for name in known if name.startswith("flask keys ")} - without
    taking |= {f"flask {name}" for name in re.findall(r"`([a-z]+)`", others)}
    assert {name for name, options in known.items() if TENANT in options} == taking


@ROWS
def test_choices_and_repetitions_are_those_of_the_command(known: dict[str, dict[str, click.Option]], row: Row) -> None:
    for usage in row.usages:
        there = known[command(usage)]
        for option, values in re.findall(r"(--[a-z-]+) ([a-z]+(?:\|[a-z]+)+)", usage):
            given = there[option].type
            assert isinstance(given, click.Choice)
            assert list(given.choices) == values.split("|")
        repeated = set(re.findall(r"\[(--[a-z-]+)[^\]]*\]…", usage))
        assert repeated == {option for option in there if there[option].multiple and option in usage}
