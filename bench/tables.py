"""Figures taken in turn, round by round, their ratios, and Markdown tables of them."""

from collections.abc import Callable, Mapping
from statistics import median

Series = dict[str, list[float]]
Judge = Callable[[float, float], str]
Targets = Mapping[str, tuple[str, Judge, float]]  # by label: the label of the base, and what the ratio to it has to be


def in_turn(calls: dict[str, tuple[int, Callable[[int], float]]], series: Series, rounds: int) -> None:
    for number in range(rounds + 1):
        for label, (count, call) in calls.items():
            microseconds = call(count)
            if number:  # the first round warms up
                series[label].append(microseconds)


def compared(series: Series, label: str, targets: Targets) -> tuple[str, str]:
    """The ratio of a label to its base, and whether it meets the target."""
    if label not in targets:
        return "", ""
    base, judge, limit = targets[label]
    ratio = median(ours / theirs for ours, theirs in zip(series[label], series[base], strict=True))
    return f"{ratio:.2f} of “{base}”", judge(ratio, limit)


def at_least(value: float, limit: float) -> str:
    return f"≥ {limit:.2f}: {'met' if value >= limit else 'not met'}"


def at_most(value: float, limit: float) -> str:
    return f"≤ {limit:.4g}: {'met' if value <= limit else 'not met'}"


def header(*cells: object) -> None:
    print()
    row(*cells)
    row("---", *["---:"] * (len(cells) - 1))


def row(*cells: object) -> None:
    print("|", " | ".join(str(cell) for cell in cells), "|", flush=True)
