"""Nothing escalates: a key can give no more than it has."""

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
    """The scopes and the expiry of an acting key, and so the most that it can give. None: it never expires."""

    scopes: frozenset[str]
    expires_at: str | None

    def require_within(self, scopes: Iterable[str], expires_at: str | None) -> None:
        """Raises ScopeExceedsCreator or ExpiryExceedsCreator unless a key with these stays within the limits."""
        requested = list(scopes)
        if not self.scopes.issuperset(requested):
            raise ScopeExceedsCreator(requested=redact_values(requested), creator=redact_values(sorted(self.scopes)))
        if self.expires_at is not None and (expires_at is None or expires_at > self.expires_at):
            raise ExpiryExceedsCreator(requested=wire_time(expires_at), creator=wire_time(self.expires_at))
