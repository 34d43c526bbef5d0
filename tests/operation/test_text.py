"""Each command in the running text of docs/operation.md is one that a test runs, or stands here with the reason."""

import re

import pytest

from tests.machine import ROOT
from tests.operation.table import PAGE, command, rows
from tests.test_readme import prose

PROGRAMS = r"\.venv|cp|docker|flask|git|journalctl|keyhook|make|openssl|pg_dump|pip|pipx|systemctl|systemd-analyze"
# Who runs a command that stands neither in a block nor in the table; or why nobody does.
ELSEWHERE = {
    "make serve": "test_steps.py types what it is",
    "docker stop": "tests/serving/test_image.py sends the signal that it sends",
    "docker": "names the program",
    "keyhook": "names the program, and its logger",
    "keyhook keys create laptop": "tests/ecosystem/test_wheel.py",
    "pip install .": "tests/ecosystem/test_wheel.py",
    "pipx install --force .": "tests/ecosystem/test_wheel.py, but for the force",
    "flask": "names the program",
    ".venv": "names the directory",
    "flask run": "tests/serving/test_stopping.py",
    "make bench ARGS=--servers": "tests/test_bench.py runs what it measures with",
    "cp": "is advised against",
    "pg_dump": "tests/test_postgresql_page.py",
    "journalctl -u keyhook": "needs systemd as process 1; the page marks it",
}
KNOWN = {name: named for row in rows() for name, named in row.options.items()}


def said() -> list[str]:
    """Commands in the running text."""
    spans = re.findall(r"`([^`\n]+)`", prose(ROOT / PAGE).replace("\\|", "|"))
    return sorted({span for span in spans if re.match(rf"(?:{PROGRAMS})(?: |$)", span)})


def blocks() -> str:
    return "".join(re.findall(r"^```console\n(.*?)^```", (ROOT / PAGE).read_text(), re.DOTALL | re.MULTILINE))


def in_table(span: str) -> bool:
    name = command(span) if re.match("flask [a-z]", span) else ""
    return name in KNOWN and set(re.findall(r"--[a-z-]+", span)) <= KNOWN[name]


@pytest.mark.parametrize("span", said())
def test_a_command_in_the_text_is_run_somewhere(span: str) -> None:
    assert span in blocks() or in_table(span) or span in ELSEWHERE


def test_no_excuse_is_left_over() -> None:
    assert ELSEWHERE.keys() <= set(said())
