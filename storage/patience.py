"""How long a request waits for a database that may be slow: in all, however often it asks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

PATIENCE = 4.5  # seconds


class Patience:
    """That of one request. Only waits for the database use it up: a slow client or a dear hash do not."""

    def __init__(self) -> None:
        self.left = PATIENCE


OF_REQUEST: ContextVar[Patience] = ContextVar("patience")


@contextmanager
def waiting() -> Iterator[float]:
    """Until when one operation may wait (time.monotonic). Outside a request each has the whole patience."""
    patience = OF_REQUEST.get(None) or Patience()
    started = time.monotonic()
    try:
        yield started + patience.left
    finally:
        patience.left -= time.monotonic() - started
