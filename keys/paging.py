"""A page of rows and where the next one begins."""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

R = TypeVar("R")


class Page(NamedTuple, Generic[R]):
    """Rows, and the cursor of the next page or None when these are the last."""

    rows: Sequence[R]
    next: int | None


def page(rows: Sequence[R], limit: int, cursor: Callable[[R], int]) -> Page[R]:
    """Of one row more than the limit, where there are so many."""
    shown = rows[:limit]
    return Page(shown, cursor(shown[-1]) if len(rows) > limit else None)
