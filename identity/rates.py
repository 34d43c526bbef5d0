"""How often a key may be used at the gate."""

from typing import NamedTuple

MAX_REQUESTS = 1_000_000
MAX_SECONDS = 86_400


class RateLimit(NamedTuple):
    """So many requests in any span of so many seconds."""

    requests: int
    seconds: int

    def __str__(self) -> str:
        """The form of the table."""
        return f"{self.requests}/{self.seconds}"


def read_rate(stored: str | None) -> RateLimit | None:
    """From the form of the table."""
    if stored is None:
        return None
    requests, _, seconds = stored.partition("/")
    return RateLimit(int(requests), int(seconds))
