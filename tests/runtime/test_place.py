"""Where the data is by default: in a checkout beside the code, of a wheel where the platform has it."""

from pathlib import Path

import pytest

from errors import StartupError
from runtime import place, settings
from tests.machine import ROOT


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(place, "IS_WHEEL", True)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/alice")
    return monkeypatch


def test_a_checkout_has_its_data_beside_the_code() -> None:
    assert place.data_directory() == ROOT / "instance" == settings.DEFAULTS["KEYHOOK_DATA_DIR"]


def test_a_wheel_has_it_where_the_platform_does(wheel: pytest.MonkeyPatch) -> None:
    assert place.data_directory() == Path("/home/alice/.local/share/keyhook")
    wheel.setenv("XDG_DATA_HOME", "/srv/data")
    assert place.data_directory() == Path("/srv/data/keyhook")


def test_nothing_is_made_in_the_current_directory(wheel: pytest.MonkeyPatch) -> None:
    """A variable that names no absolute path is none, as the platform's rules say."""
    wheel.setenv("XDG_DATA_HOME", "data")
    assert place.data_directory() == Path("/home/alice/.local/share/keyhook")


def test_a_user_without_a_home_is_told_what_to_set(wheel: pytest.MonkeyPatch) -> None:
    wheel.delenv("HOME")
    wheel.setattr("os.getuid", lambda: 54321)  # of whom nothing is known
    assert place.data_directory() is None
    wheel.setitem(settings.DEFAULTS, "KEYHOOK_DATA_DIR", None)
    with pytest.raises(StartupError, match=r"^KEYHOOK_DATA_DIR must be set: this user has no home directory$"):
        settings.load({})
    assert settings.load({"KEYHOOK_DATA_DIR": "/data"}).data_dir == Path("/data")
