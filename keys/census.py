"""How many keys there are, of all tenants together, for the figures of the service."""

import threading
import time
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import case, func, select

from keys import filters
from models import api_keys
from storage.database import Storage

STATUSES = ("active", "expired", "disabled")
WITHIN = {"1d": timedelta(days=1), "7d": timedelta(days=7), "14d": timedelta(days=14), "30d": timedelta(days=30)}
LIFETIME = 30.0  # seconds that numbers are kept: among a million keys, counting takes half a second


class Numbers(NamedTuple):
    """The keys by status, and the active ones that end within a time."""

    by_status: dict[str, int]
    expiring: dict[str, int]


class Census:
    """Counts at most once in LIFETIME seconds, and in one thread; others wait for its numbers."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._guard = threading.Lock()
        self._counted: Numbers | None = None
        self._due = 0.0  # time.monotonic

    def numbers(self) -> Numbers:
        """Raises DatabaseUnavailable, also while it was the last count's answer."""
        with self._guard:
            if self._counted is None or time.monotonic() >= self._due:
                self._counted = None
                self._counted = self._count()
                self._due = time.monotonic() + LIFETIME
            return self._counted

    def _count(self) -> Numbers:
        """Reads the keys once."""
        conditions = filters.conditions()
        flags = {name: conditions[name] for name in STATUSES}
        flags |= {name: filters.ends_within(span) for name, span in WITHIN.items()}
        sums = [func.coalesce(func.sum(case((flag, 1), else_=0)), 0).label(name) for name, flag in flags.items()]
        row = self._storage.all(select(*sums).select_from(api_keys))[0]._mapping
        return Numbers(*({name: int(row[name]) for name in names} for names in (STATUSES, WITHIN)))
