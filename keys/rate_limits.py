"""How often keys are used at the gate: a moving window an allowance, in this process or shared by several in Redis.

By the library `limits`, which is loaded when the first key with a limit is checked.
"""

import logging
import threading
import time
from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, Any

from errors import RateLimited, rate_headers
from identity.rates import RateLimit

if TYPE_CHECKING:
    from limits.storage import MovingWindowSupport

Clock = Callable[[], float]

log = logging.getLogger("keyhook")

ALONE = 5.0  # seconds in which a store that did not answer is not asked again
LOGGED_EVERY = 60  # seconds between two lines in the log about it
STORE_TIMEOUT = 0.25  # seconds that a check waits for the store


class RateLimits:
    """Counts by allowance. While the shared store does not answer, the process counts alone."""

    def __init__(self, url: str = "") -> None:
        self._shared = _in_redis(url) if url else None
        self._local: MovingWindowSupport | None = None
        self._guard = threading.Lock()
        self._alone_until = 0.0
        self._logged_at = float("-inf")

    def take(self, allowance: str, rate: RateLimit) -> list[tuple[str, str]]:
        """Counts one use, and returns the headers that tell what is left. Raises RateLimited, which counts nothing."""
        if self._shared is not None and time.monotonic() >= self._alone_until:
            from limits.errors import StorageError

            try:
                return _take(self._shared, allowance, rate, time.time)
            except StorageError as error:
                self._go_on_alone(error)
        return _take(self._local or self._open_local(), allowance, rate, time.monotonic)

    def _open_local(self) -> "MovingWindowSupport":
        """Once, whatever the number of threads: each store would give the whole allowance."""
        with self._guard:
            if self._local is None:
                self._local = _in_memory()
            return self._local

    def _go_on_alone(self, error: Exception) -> None:
        now = time.monotonic()
        self._alone_until = now + ALONE
        if now - self._logged_at >= LOGGED_EVERY:
            self._logged_at = now
            why = type(error.__cause__ or error).__name__  # its text may hold the address with a password
            log.warning("KEYHOOK_LIMITS_URL does not answer (%s): this process counts rate limits alone", why)


def _take(store: "MovingWindowSupport", allowance: str, rate: RateLimit, clock: Clock) -> list[tuple[str, str]]:
    key = f"keyhook/{allowance}/{rate.requests}/{rate.seconds}"
    taken = store.acquire_entry(key, rate.requests, rate.seconds)
    oldest, used = store.get_moving_window(key, rate.requests, rate.seconds)
    wait = min(rate.seconds, max(1, ceil(oldest + rate.seconds - clock())))
    if not taken:
        raise RateLimited(rate.requests, rate.seconds, wait)
    return rate_headers(rate.requests, rate.seconds, max(0, rate.requests - used), wait)


def _in_memory() -> "MovingWindowSupport":
    from keys.moving_windows import MovingWindows

    return MovingWindows()


def _in_redis(url: str) -> "MovingWindowSupport":
    from limits.storage import RedisStorage

    patience: dict[str, Any] = {"socket_timeout": STORE_TIMEOUT, "socket_connect_timeout": STORE_TIMEOUT}
    return RedisStorage(url, wrap_exceptions=True, **patience)
