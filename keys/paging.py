"""A page of rows and where the next one begins."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Row


class Page(NamedTuple):
    """Rows, and the cursor of the next page or None when these are the last."""

    rows: Sequence[Row[Any]]
    next: int | None


def page(rows: Sequence[Row[Any]], limit: int, cursor: str) -> Page:
    shown = rows[:limit]
    return Page(shown, getattr(shown[-1], cursor) if len(rows) > limit else None)
