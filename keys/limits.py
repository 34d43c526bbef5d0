"""Nothing escalates: a key can give no more than it has."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from errors import (
    ExpiryExceedsCreator,
    HostExceedsCreator,
    NetworkExceedsCreator,
    RateExceedsCreator,
    ScopeExceedsCreator,
)
from formats.redaction import redact_values
from formats.times import wire_time
from identity import places
from keys.key_fields import rate_shown


class Limits(NamedTuple):
    """What a key has, and so the most that it can give. An end of None is never; no hosts or networks are all of them.

    `rate_limit` is in the form of the table, and `allowance` tells whose uses count for it.
    """

    scopes: tuple[str, ...]
    expires_at: str | None
    hosts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    rate_limit: str | None = None
    allowance: str | None = None

    @classmethod
    def of(cls, columns: Mapping[str, Any], ends_at: str | None) -> "Limits":
        scopes, hosts, networks = (tuple(columns[column].split()) for column in ("scopes", "hosts", "networks"))
        return cls(scopes, ends_at, hosts, networks, columns["rate_limit"], columns["allowance"])

    def require_within(self, other: "Limits") -> None:
        """Raises an ExceedsCreator unless the other key has no more than this one."""
        self._require_scopes(other.scopes)
        if self.expires_at is not None and (other.expires_at is None or other.expires_at > self.expires_at):
            raise ExpiryExceedsCreator(requested=wire_time(other.expires_at), creator=wire_time(self.expires_at))
        self._require_places(other)
        if self.rate_limit is not None and other.allowance != self.allowance:
            self.refuse_rate(other.rate_limit)

    def refuse_rate(self, requested: str | None) -> None:
        """Raises RateExceedsCreator."""
        raise RateExceedsCreator(requested=rate_shown(requested), creator=rate_shown(self.rate_limit))

    def _require_scopes(self, scopes: Iterable[str]) -> None:
        requested = list(scopes)
        if not set(self.scopes).issuperset(requested):
            creator = sorted(set(self.scopes))
            raise ScopeExceedsCreator(requested=redact_values(requested), creator=redact_values(creator))

    def _require_places(self, other: "Limits") -> None:
        """A host or network must be covered by an own one; none at all would be any."""
        if self.hosts and not (other.hosts and all(places.is_host(host, self.hosts) for host in other.hosts)):
            raise HostExceedsCreator(requested=redact_values(other.hosts), creator=redact_values(self.hosts))
        if self.networks and not (
            other.networks and all(places.covers(self.networks, block) for block in other.networks)
        ):
            raise NetworkExceedsCreator(requested=list(other.networks), creator=list(self.networks))
