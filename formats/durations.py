"""Durations as people write them: a number and one of s, m, h, d, w."""

import re
from datetime import timedelta

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}  # seconds
_DURATION = re.compile(r"([0-9]+)([smhdw])")


def read_duration(text: str) -> timedelta | None:
    """None for a text that is written otherwise. One that is too long for a timedelta is the longest there is."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    try:
        return timedelta(seconds=int(match[1]) * UNITS[match[2]])
    except (OverflowError, ValueError):
        return timedelta.max


def write_duration(span: timedelta) -> str:
    """In the largest unit that leaves no fraction."""
    seconds = int(span.total_seconds())
    unit = next(unit for unit in reversed(UNITS) if seconds % UNITS[unit] == 0)
    return f"{seconds // UNITS[unit]}{unit}"
