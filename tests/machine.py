"""This machine: the place of the checkout, and missing programs."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
MISSING_FAILS = os.environ.get("CI") == "true"


def missing(what: str, install: str) -> NoReturn:
    """Skips a test that needs something this machine lacks; under CI that is a failure."""
    text = f"{what} is not here: {install}"
    if MISSING_FAILS:
        pytest.fail(text)
    pytest.skip(text)
