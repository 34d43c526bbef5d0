"""How often keys are used and refused, by day: counted in memory, and added now and then to one row a key.

A check only appends to a queue, which is safe without a lock. A crash loses the uses of a minute at most, and an
orderly end none.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, delete, insert, select, update

from models import api_keys, uses
from storage.database import Storage

KEPT = 90  # days
WRITTEN_EVERY = 60  # seconds
QUEUED = 1000  # uses that wait to be counted
COUNTED = 10_000  # keys that wait to be written: while they cannot be, the uses of further keys are lost
BATCH = 500  # keys in one transaction

Days = Counter[str]  # a number by day, as 2026-11-26


class Uses(NamedTuple):
    """The requests with a key: those in which it was good enough, and those in which it was not."""

    checks: Days
    refused: Days


class DayOfUse(NamedTuple):
    date: str
    checks: int
    refused: int


Counts = dict[str, Uses]  # by the id of the key

_VALUES: dict[str, Any] = {name: bindparam(f"new_{name}") for name in ("key_id", "through", "counts", "refused")}
_ADD = insert(uses).values(_VALUES)
_CHANGE = update(uses).where(uses.c.key_id == bindparam("new_key_id")).values(_VALUES)


class Tally:
    """The uses that are not written yet. Anybody notes; one thread at a time does the rest."""

    def __init__(self) -> None:
        self._queue: deque[str] = deque()
        self._refused: deque[tuple[str, bool]] = deque()
        self._counts: Counts = {}
        self._due_at = time.monotonic() + WRITTEN_EVERY

    def __bool__(self) -> bool:
        return bool(self._queue or self._refused or self._counts)

    def note(self, key_id: str) -> bool:
        """Notes a use; returns whether the queue has become long, so that it should be counted."""
        self._queue.append(key_id)
        return len(self._queue) >= QUEUED

    def refuse(self, key_id: str, *, noted: bool) -> bool:
        """Notes that a key was refused; `noted`: after it had been noted as used, which is taken back.

        Returns whether the queue has become long.
        """
        self._refused.append((key_id, noted))
        return len(self._refused) >= QUEUED

    def is_waiting(self) -> bool:
        """Whether there is something to do: a long queue, or counts to be written."""
        return len(self._queue) >= QUEUED or len(self._refused) >= QUEUED or self.is_due()

    def is_due(self) -> bool:
        return time.monotonic() >= self._due_at and bool(self)

    def hurry(self) -> None:
        """Makes due what there is, at the end."""
        self._due_at = 0.0

    def count(self) -> None:
        """Counts the queues under the day of today."""
        day = today().isoformat()
        for key_id, number in _drained(self._queue).items():
            self._add(key_id, day, checks=number)
        for (key_id, noted), number in _drained(self._refused).items():
            self._add(key_id, day, checks=-number if noted else 0, refused=number)

    def of(self, key_id: str) -> Uses:
        """What is counted of one key and not written yet."""
        return self._counts.get(key_id) or Uses(Counter(), Counter())

    def _add(self, key_id: str, day: str, checks: int, refused: int = 0) -> None:
        if key_id not in self._counts and len(self._counts) >= COUNTED:
            return
        uses = self._counts.setdefault(key_id, Uses(Counter(), Counter()))
        uses.checks[day] += checks
        if refused:
            uses.refused[day] += refused

    def batches(self) -> Iterable[Counts]:
        """What is to be written, in parts. Each is taken off when the next one is asked for."""
        while self._counts:
            batch = dict(list(self._counts.items())[:BATCH])
            yield batch
            for key_id in batch:
                del self._counts[key_id]
        self._due_at = time.monotonic() + WRITTEN_EVERY


def _drained(queue: deque[Any]) -> Counter[Any]:
    return Counter([queue.popleft() for _ in range(len(queue))])


def add(tx: Connection, counts: Counts) -> None:
    """Adds to the rows of those keys that live.

    Their rows in `api_keys` are locked, in order: of two processes the second one reads what the first one wrote, and a
    key that is being deleted leaves no row behind.
    """
    wanted = select(api_keys.c.id).where(api_keys.c.id.in_(list(counts))).order_by(api_keys.c.id)
    living = [row.id for row in tx.execute(wanted.with_for_update(key_share=True))]
    known = {row.key_id: _uses(row) for row in tx.execute(_of(living))}
    for statement, ids in ((_CHANGE, known), (_ADD, [key_id for key_id in living if key_id not in known])):
        rows = [_row(key_id, _sum(known.get(key_id), counts[key_id])) for key_id in ids]
        if rows:
            tx.execute(statement, rows)


def forget(tx: Connection, key_ids: Sequence[str] | Select[tuple[str]]) -> None:
    """Removes the rows of keys that are deleted, after the keys themselves."""
    tx.execute(delete(uses).where(uses.c.key_id.in_(key_ids)))


def by_day(
    storage: Storage, mine: Select[tuple[object, ...]], key_ids: Sequence[str], days: int
) -> dict[str, list[int]]:
    """A number of checks a day, the last one for today, of each of the keys that `mine` selects too."""
    chosen = mine.with_only_columns(uses).join(uses, uses.c.key_id == api_keys.c.id).where(api_keys.c.id.in_(key_ids))
    found = {row.key_id: _latest(row.through, row.counts, days) for row in storage.all(chosen)} if key_ids else {}
    return {key_id: found.get(key_id) or [0] * days for key_id in key_ids}


def of_key(storage: Storage, key_id: str, days: int, waiting: Callable[[str], Uses]) -> list[DayOfUse]:
    """Every day, the oldest first, with what is not written yet in this process."""
    row = storage.first(_of([key_id]))  # before `waiting`, or what is written between would count twice
    found = _sum(_uses(row) if row else None, waiting(key_id))
    shown = [(today() - timedelta(days=ago)).isoformat() for ago in reversed(range(days))]
    return [DayOfUse(day, found.checks[day], found.refused[day]) for day in shown]


def today() -> date:
    return datetime.now(UTC).date()


def _of(key_ids: list[str]) -> Select[tuple[object, ...]]:
    return select(uses).where(uses.c.key_id.in_(key_ids))


def _sum(known: Uses | None, new: Uses) -> Uses:
    """Both together, without days of nothing. A number that was taken back on another day leaves no debt."""
    if known is None:
        return Uses(+new.checks, +new.refused)
    return Uses(known.checks + new.checks, known.refused + new.refused)


def _uses(row: Any) -> Uses:
    return Uses(_read(row.through, row.counts), _read(row.through, row.refused))


def _row(key_id: str, uses: Uses) -> dict[str, str]:
    """KEPT days up to the last one. A clock that was wrong may have left days to come, which go."""
    known = [day for day in (*uses.checks, *uses.refused) if day <= (today() + timedelta(days=1)).isoformat()]
    last = date.fromisoformat(max(known, default=today().isoformat()))
    shown = [(last - timedelta(days=ago)).isoformat() for ago in reversed(range(KEPT))]
    counts, refused = _written(shown, uses.checks), _written(shown, uses.refused)
    return {"new_key_id": key_id, "new_through": last.isoformat(), "new_counts": counts, "new_refused": refused}


def _written(shown: list[str], days: Days) -> str:
    """The numbers from the first day that has one."""
    first = next((number for number, day in enumerate(shown) if days[day]), len(shown) - 1)
    return " ".join(str(days[day]) for day in shown[first:])


def _read(through: str, counts: str) -> Days:
    last, numbers = date.fromisoformat(through), counts.split()
    return Counter({(last - timedelta(days=ago)).isoformat(): int(n) for ago, n in enumerate(reversed(numbers))})


def _latest(through: str, counts: str, days: int) -> list[int]:
    """The numbers of the days up to today."""
    numbers, ahead = [int(number) for number in counts.split()], (date.fromisoformat(through) - today()).days
    until_today = numbers[:-ahead] if ahead > 0 else numbers + [0] * min(-ahead, days)
    return ([0] * days + until_today)[-days:]
