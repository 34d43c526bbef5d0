"""A table of keys that fits the terminal, and times in words."""

import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate, takewhile

from formats.durations import distance
from models import KeyRow, status

GAP = 2  # between two columns of the table
LEAST = {"NAME": 12, "OWNER": 5}  # terminal columns: these two are cut to fit, but not below
GIVES_WAY = ["OWNER", "LAST USED", "ROLE", "EXPIRES"]  # left out in this order when cutting is not enough


def key_table(rows: Sequence[KeyRow], width: int | None = None) -> Iterator[str]:
    """Lines of at most `width` columns; by default those of the terminal, or 80 where there is none."""
    width = width or shutil.get_terminal_size((80, 24)).columns
    columns = {
        "NAME": [row.name for row in rows],
        "ROLE": [row.role for row in rows],
        "STATUS": [status(row) for row in rows],
        "EXPIRES": [in_words(row.expires_at) for row in rows],
        "LAST USED": [in_words(row.last_used_at) for row in rows],
        "OWNER": [row.owner for row in rows],
    }
    whole = {title: max(map(cells, [title, *texts])) for title, texts in columns.items()}
    sizes = {title: min(size, LEAST.get(title, size)) for title, size in whole.items()}
    for title in GIVES_WAY:
        if _width(sizes) > width:
            del sizes[title]
    for title, share in (("OWNER", 3), ("NAME", 1)):
        if title in sizes:
            spare = max(0, width - _width(sizes))
            sizes[title] += min(spare // share, whole[title] - sizes[title])
    yield _line(sizes, {title: title for title in sizes})
    for number in range(len(rows)):
        yield _line(sizes, {title: columns[title][number] for title in sizes})


def in_words(moment: str | None) -> str:
    """`in 3 days`, `2 hours ago`, `never`."""
    if moment is None:
        return "never"
    seconds = (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()
    return distance(seconds) or "now"


def visible(text: str) -> str:
    """The text with U+FFFD for each character that is not printable, as one that moves the cursor."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def cells(text: str) -> int:
    """The number of terminal columns that a text takes."""
    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def _width(sizes: dict[str, int]) -> int:
    return sum(sizes.values()) + GAP * (len(sizes) - 1)


def _line(sizes: dict[str, int], texts: dict[str, str]) -> str:
    return (" " * GAP).join(_fit(texts[title], size) for title, size in sizes.items()).rstrip()


def _fit(text: str, size: int) -> str:
    """The text in exactly `size` columns: padded, or cut with an ellipsis."""
    text = visible(text)
    if cells(text) > size:
        widths = accumulate(cells(char) for char in text)
        text = text[: sum(1 for _ in takewhile(lambda width: width < size, widths))] + "…"
    return text + " " * (size - cells(text))
