"""A page of rows, and the cursor of the next page."""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

R = TypeVar("R")


class Page(NamedTuple, Generic[R]):
    """Rows, and the cursor of the next page; None on the last page."""

    rows: Sequence[R]
    next: int | None


def page(rows: Sequence[R], limit: int, cursor: Callable[[R], int]) -> Page[R]:
    """A page from up to `limit` + 1 rows: the extra row only shows that there is a next page."""
    shown = rows[:limit]
    return Page(shown, cursor(shown[-1]) if len(rows) > limit else None)
