"""How long the keys of this service may live: what one gets that names no end, and the most that any can have."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from errors import ValidationError
from formats.durations import write_duration
from formats.times import timestamp


class Lifetimes(NamedTuple):
    usual: timedelta | None = None
    most: timedelta | None = None

    def end(self, creator: str | None = None) -> str | None:
        """The end of a key that names none: the usual one, but not after that of the key that mints it."""
        span = self.usual or self.most
        usual = timestamp(datetime.now(UTC) + span) if span else None
        return min((end for end in (usual, creator) if end is not None), default=None)

    def require(self, expires_at: str | None) -> None:
        """Raises ValidationError for an end that is too far away, or none, if there is a limit."""
        if self.most and (expires_at is None or expires_at > timestamp(datetime.now(UTC) + self.most)):
            raise ValidationError({"expires_at": [f"Must be at most {write_duration(self.most)} from now."]})
