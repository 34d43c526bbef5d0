"""What a reader has chosen for the eyes: colors and a time zone, in two cookies that hold nothing else."""

import re
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

from flask import request

THEME = "keyhook_theme"
ZONE = "keyhook_zone"  # set by the script
THEMES = ("system", "light", "dark")
A_YEAR = 365 * 24 * 3600  # seconds

_NAME = re.compile(r"[A-Za-z0-9_+-]{1,40}(/[A-Za-z0-9_+-]{1,40}){0,2}")


def theme() -> str:
    chosen = request.cookies.get(THEME, "")
    return chosen if chosen in THEMES else THEMES[0]


def zone() -> tzinfo:
    """The reader's time zone; UTC where it is unknown here, or the machine has no list of zones."""
    name = request.cookies.get(ZONE, "")
    try:
        return ZoneInfo(name) if _NAME.fullmatch(name) else UTC
    except (ValueError, OSError, KeyError):
        return UTC
