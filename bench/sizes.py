"""Databases with few keys and with many, side by side."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from statistics import median

from flask import Flask

from bench.service import REAL_KEYS, caller, token
from bench.tables import Series, at_most, compared, header, in_turn, row
from keys.hashing import SecretHasher

OPERATIONS = ("check, warm", "check, cold", "creation")
LIMIT = 1.1  # times as long with many keys

Call = tuple[int, Callable[[int], float]]  # how often in a round, and a function that calls so often


def by_size(filled: Mapping[int, tuple[Flask, list[str]]], rounds: int) -> None:
    """Prints the table; for each of the two numbers of keys an application, and the keys in it that are real."""
    series: Series = defaultdict(list)
    in_turn(dict(_calls(filled)), series, rounds)
    small, large = filled
    title = f"By the number of keys (the same, over {REAL_KEYS:,} of them)"
    header(title, f"{small:,}: µs", f"{large:,}: µs", "ratio", "target")
    for label in OPERATIONS:
        few, many = f"{label}, {small:,}", f"{label}, {large:,}"
        ratio = compared(series, many, {many: (few, at_most, LIMIT)})
        row(label, f"{median(series[few]):,.0f}", f"{median(series[many]):,.0f}", *ratio)


def _calls(filled: Mapping[int, tuple[Flask, list[str]]]) -> Iterator[tuple[str, Call]]:
    for size, (app, keys) in filled.items():
        yield f"check, cold, {size:,}", (len(keys), _forgetting(app, caller(app, "GET", "/v0/auth", keys)))
        yield f"check, warm, {size:,}", (len(keys), caller(app, "GET", "/v0/auth", keys))
        yield f"creation, {size:,}", (len(keys) // 5, caller(app, "POST", "/v0/api_keys", [token(app)], named=True))


def _forgetting(app: Flask, call: Callable[[int], float]) -> Callable[[int], float]:
    """The calls of a process that has not seen these keys before."""

    def cold(count: int) -> float:
        app.extensions["keyhook"].keys.hasher = SecretHasher()
        return call(count)

    return cold
