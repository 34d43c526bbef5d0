"""Nothing escalates: what an acting key has is the most that it can give."""

from collections.abc import Iterable
from dataclasses import dataclass

from errors import (
    ExpiryExceedsCreator,
    ScopeExceedsCreator,
)
from formats.redaction import redact_values
from formats.times import wire_time


@dataclass(frozen=True, slots=True)
class Limits:
    """What an acting key has, and so the most that it can give. `expires_at` None: it never expires."""

    scopes: frozenset[str]
    expires_at: str | None

    def require_within(self, scopes: Iterable[str], expires_at: str | None) -> None:
        """Raises ScopeExceedsCreator or ExpiryExceedsCreator unless a key with these fits inside."""
        requested = list(scopes)
        if not self.scopes.issuperset(requested):
            raise ScopeExceedsCreator(requested=redact_values(requested), creator=redact_values(sorted(self.scopes)))
        if self.expires_at is not None and (expires_at is None or expires_at > self.expires_at):
            raise ExpiryExceedsCreator(requested=wire_time(expires_at), creator=wire_time(self.expires_at))
