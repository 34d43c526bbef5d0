"""What a process remembers of credentials that it found good: so many and no more, and never a credential itself."""

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Memory(Generic[V]):
    """A bounded dictionary for several threads; the oldest entry goes first."""

    def __init__(self, size: int) -> None:
        self._known: dict[Hashable, V] = {}
        self._size = size
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Hashable) -> V | None:
        return self._known.get(key)

    def put(self, key: Hashable, value: V) -> None:
        with self._lock:
            while len(self._known) >= self._size:
                del self._known[next(iter(self._known))]
            self._known[key] = value
