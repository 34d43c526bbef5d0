"""Uses by day as pictures: a small one in each row of the list, a larger one on the page of a key."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple

from console.pages import bp
from keys import uses

HIGH = 24  # of the small picture
LEAST = 2  # the height of a day with any use
WIDTH, HEIGHT, GAP = 600, 112, 4  # of the large one


class Bar(NamedTuple):
    x: float
    y: int
    width: float
    height: int
    number: int
    day: str


@bp.app_template_filter("spark")
def spark(numbers: Sequence[int]) -> str:
    """One path for all days: an element a day would be most of the page, and most of its time."""
    most = max(numbers) or 1
    tops = [(3 * day, _height(number, most, HIGH)) for day, number in enumerate(numbers) if number]
    return "".join(f"M{x} {HIGH}v-{high}h2v{high}z" for x, high in tops)


@bp.app_template_filter("bars")
def bars(numbers: Sequence[int]) -> list[Bar]:
    return list(_bars(numbers))


def _bars(numbers: Sequence[int]) -> Iterator[Bar]:
    most, step = max(numbers) or 1, WIDTH / len(numbers)
    for index, number in enumerate(numbers):
        high = _height(number, most, HEIGHT) if number else 1
        day = uses.today() - timedelta(days=len(numbers) - 1 - index)
        yield Bar(round(index * step, 2), HEIGHT - high, round(step - GAP, 2), high, number, f"{day:%d %b}")


def _height(number: int, most: int, high: int) -> int:
    return max(LEAST, round(high * number / most))
