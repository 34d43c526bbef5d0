"""The table of commands in docs/operation.md as command lines: every form of each, with each of its options."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.machine import ROOT

PAGE = "docs/operation.md"

# What stands for a value, by the word before it or by itself.
VALUES = {
    "--owner": "alice",
    "--role": "read",
    "--scope": "photos:read",
    "--status": "active",
    "--tenant": "default",
    "--url": "https://keys.example.com",
    "--description": "of the kitchen",
    "--host": "127.0.0.1",
    "--port": "{port}",
    "--url-prefix": "/keys",
    "NAME": "laptop",
}


@dataclass(frozen=True)
class Row:
    """One cell of commands: each command, and what may stand in place of its NAME or its options."""

    usages: dict[str, list[str]]
    prints: str

    @property
    def options(self) -> dict[str, set[str]]:
        return {
            command(usage): set(re.findall(r"--[a-z-]+", " ".join([usage, *others])))
            for usage, others in self.usages.items()
        }

    def lines(self) -> list[list[str]]:
        """Each command alone, with each of its options, and with all of them; the same with what may stand instead."""
        found = [line for usage, others in self.usages.items() for line in spelled(usage, others)]
        return [line.split() for line in dict.fromkeys(found)]


def rows() -> list[Row]:
    [table] = re.findall(r"^\| command \| prints \|\n.*\n((?:\|.*\n)+)", (ROOT / PAGE).read_text(), re.MULTILINE)
    cells = re.findall(r"^\| (.*?) \| (.*) \|$", table, re.MULTILINE)
    return [Row(usages(cell.replace(r"\|", "|")), prints) for cell, prints in cells]


def usages(cell: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in re.findall(r"`([^`]+)`", cell):
        if text.startswith("flask "):
            found[text] = []
        elif text.startswith("--"):
            found[list(found)[-1]].append(text)
    return found


def spelled(usage: str, others: list[str]) -> Iterator[str]:
    required, optional = re.sub(r" \[.*?\]…?", "", usage), re.findall(r"\[(.*?)\]", usage)
    for form in (required, *(instead(required, other) for other in others)):
        if form == required or "NAME" in required:  # else it leaves no room for options
            yield from (" ".join([form, *more]) for more in ([], *([one] for one in optional), optional))
        else:
            yield form


def instead(required: str, other: str) -> str:
    return required.replace("NAME", other) if "NAME" in required else f"{required} {other}"


def command(usage: str) -> str:
    """`flask keys list` of `flask keys list [--json]`."""
    found = re.match(r"flask(?: [a-z]+(?:-[a-z]+)*)+", usage)
    assert found, usage
    return found[0]


def filled(words: list[str], **values: str) -> list[str]:
    """The words after `flask`, with a value for each placeholder."""
    given = {**VALUES, **values}

    def value(before: str, word: str) -> str:
        return word if word.startswith("--") else given.get(before, given.get(word, word))

    return [value(before, word) for before, word in pairwise(words)]
