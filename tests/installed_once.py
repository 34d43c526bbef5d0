"""What the tests install for themselves: once for all of their processes, and kept for the next run."""

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest


def installed_once(config: pytest.Config, name: str, inputs: list[Path], install: Callable[[Path], None]) -> Path:
    """The directory that `install` fills, made anew when one of the inputs changes."""
    assert config.cache is not None
    digest = hashlib.sha256(b"\0".join(each.read_bytes() for each in inputs)).hexdigest()[:12]
    place = config.cache.mkdir(name) / digest
    if not place.exists():
        fresh = place.with_suffix(f".{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        install(fresh)
        with suppress(OSError):  # another process of the tests was faster
            fresh.rename(place)
        shutil.rmtree(fresh, ignore_errors=True)
    return place
