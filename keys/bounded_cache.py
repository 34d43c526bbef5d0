"""A bounded cache for several threads; the oldest entry goes first."""

import sys
import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

V = TypeVar("V")


def weight(value: Any) -> int:
    """The bytes of a value made of texts in tuples and lists. A shared part counts each time."""
    parts = sum(map(weight, value)) if isinstance(value, tuple | list) else 0
    return sys.getsizeof(value) + parts


class BoundedCache(Generic[V]):
    """A dictionary of at most `entries` entries and, if `weigh` gives the bytes of each, at most `room` bytes.

    A larger entry is not kept. Entries do not change, so an entry is weighed again when it goes.
    """

    def __init__(self, entries: int, room: int = 0, weigh: Callable[[Hashable, V], int] = lambda key, value: 0) -> None:
        self._known: dict[Hashable, V] = {}
        self._entries = entries
        self._room = room
        self._weigh = weigh
        self._taken = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Hashable) -> V | None:
        return self._known.get(key)

    def put(self, key: Hashable, value: V) -> None:
        size = self._weigh(key, value)
        if size > self._room:
            return
        with self._lock:
            if key in self._known:
                self._forget(key)
            while self._known and (len(self._known) >= self._entries or self._taken + size > self._room):
                self._forget(next(iter(self._known)))
            self._known[key] = value
            self._taken += size

    def _forget(self, key: Hashable) -> None:
        self._taken -= self._weigh(key, self._known.pop(key))
