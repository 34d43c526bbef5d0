"""What is counted: requests with their durations, checks with their outcomes, failures of the database, writers.

Labels have few values, none of which comes from a client: the rule of a route rather than a path, a word rather than a
text, and never a name, an owner or a tenant. The counting is ours, and the library only writes what was counted: it
takes 1 µs of a check's 35, and the library's counters, with their mode for several processes, 3 µs of their own.
"""

import os
import threading
from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from observability.cells import Cell, Cells
from observability.request_info import OTHER, RequestInfo

EXTENSION = "keyhook.metrics"

# Seconds. Most checks take less than a millisecond, and nothing should take ten seconds.
BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0)
SUM = len(BOUNDS) + 1  # after the numbers of requests up to each bound, and of those beyond the last

GOOD = "none"  # the reason of a check that refuses nothing
GOOD_AT_THE_GATE = ("/v0/auth", "200")  # a request is such a check, so most checks are counted once and not twice
REASONS = (
    GOOD,
    *("no_credential", "malformed", "unknown", "wrong_secret", "disabled", "expired"),
    *("role", "scope", "tenant", "host", "address", "rate", "demand", "method", "database", "provider", "fault"),
)

Durations = dict[tuple[str, str], list[float]]  # by route and status


class Totals(NamedTuple):
    """The sums over all processes; `processes` has the ids of those that live, by their numbers."""

    durations: Durations
    checks: dict[str, int]  # by reason
    database_errors: int
    writers: int
    processes: dict[int, int]


class Figures:
    """The figures of one application. Nothing is opened before the first request: a command counts nothing."""

    def __init__(self, directory: Path) -> None:
        """The processes with the same directory count together."""
        self._directory = directory
        self._guard = threading.Lock()
        self._cells: Cells | None = None
        self._durations: dict[tuple[str, str], Cell] = {}
        self._checks: dict[str, Cell] = {}
        self._database_errors = self._writers = _nowhere()

    def note(self, info: RequestInfo, status: str, seconds: float) -> None:
        """Notes a request that was answered."""
        cell = self._durations.get((info.route, status)) or self._duration(info.route, status)
        with self._guard:
            cell[bisect_left(BOUNDS, seconds)] += 1
            cell[SUM] += seconds
            if info.check is not None:
                self._checks[info.check][0] += 1
            if info.database_failed:
                self._database_errors[0] += 1

    def note_writers(self, number: int) -> None:
        """Notes how many writers of this process are in the queue."""
        with self._guard:
            self._writers[0] = number

    def totals(self) -> Totals:
        durations: Durations = {}
        counted: Counter[str] = Counter()
        processes: dict[int, int] = {}
        with self._guard:
            found = self._open().read()
        for number, alive, cells in found:
            for (kind, *labels), numbers in cells.items():
                if kind == "duration":
                    before = durations.get((labels[0], labels[1]), [0.0] * (SUM + 1))
                    durations[labels[0], labels[1]] = [a + b for a, b in zip(before, numbers, strict=False)]
                elif kind == "process":
                    processes |= {number: int(numbers[0])} if alive else {}
                elif kind != "writers" or alive:
                    counted[" ".join([kind, *labels])] += int(numbers[0])
        counted[f"check {GOOD}"] += int(sum(durations.get(GOOD_AT_THE_GATE, [])[:SUM]))
        checks = {reason: counted[f"check {reason}"] for reason in REASONS}
        return Totals(durations, checks, counted["database_errors"], counted["writers"], processes)

    def _duration(self, route: str, status: str) -> Cell:
        """The numbers of a route and a status; of OTHER, if there are more than fit."""
        with self._guard:
            cells = self._open()
            cell = cells.cell(("duration", route, status)) or cells.cell(("duration", OTHER, status)) or _nowhere()
            self._durations[route, status] = cell
        return cell

    def _open(self) -> Cells:
        if self._cells is None:
            self._cells = cells = Cells(self._directory)
            self._checks = {reason: cells.cell(("check", reason)) or _nowhere() for reason in REASONS}
            self._database_errors = cells.cell(("database_errors",)) or _nowhere()
            self._writers = cells.cell(("writers",)) or _nowhere()
            self._writers[0] = 0  # those of the process that had the file before
            (cells.cell(("process",)) or _nowhere())[0] = os.getpid()
        return self._cells


def _nowhere() -> Cell:
    """Numbers that nobody reads."""
    return memoryview(bytearray(8 * (SUM + 1))).cast("d")
