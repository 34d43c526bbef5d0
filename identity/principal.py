"""The caller of a request, and what the caller may do."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from errors import (
    AddressNotAllowed,
    HostNotAllowed,
    InsufficientPermissions,
    InsufficientScope,
    TenantNotAllowed,
)
from formats.redaction import redact, redact_values
from identity import places
from identity.rates import RateLimit

# What a role may do, the less first. `check` may do nothing here: such a key is good at the gate alone.
ROLES: dict[str, int] = {"check": 1, "read": 2, "write": 3, "admin": 4}
OF_PEOPLE = ("read", "write", "admin")


class Principal(NamedTuple):
    """The holder of a good credential.

    `expires_at` is the end of the credential, or the end of a secret's grace if that comes first. `scopes` is empty for
    people. `secret_hash` is the stored hash that the secret of a key matched. `hosts` and `networks` are empty where
    any will do. `allowance` tells whose uses count for the `rate_limit`. `issuer` is the provider that signed a token,
    and `client` the program that it signed it for.
    """

    kind: Literal["api_key", "jwt", "cli", "console", "holder", "file"]
    tenant: str
    owner: str
    role: str
    scopes: tuple[str, ...] = ()
    key_id: str | None = None
    key_name: str | None = None
    expires_at: str | None = None
    issued_at: str | None = None
    secret_hash: str | None = None
    hosts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    rate_limit: RateLimit | None = None
    allowance: str | None = None
    issuer: str | None = None
    client: str | None = None

    def require_role(self, required: str) -> None:
        """Raises InsufficientPermissions, also for an unknown role."""
        if ROLES.get(required, len(ROLES) + 1) > ROLES[self.role]:
            raise InsufficientPermissions(required=redact(required), actual=self.role)

    def require_tenant(self, allowed: Iterable[str]) -> None:
        """Raises TenantNotAllowed unless the principal is of one of these."""
        if self.tenant not in allowed:
            raise TenantNotAllowed(redact(self.tenant))

    def require_address(self, address: str | None) -> None:
        """Raises AddressNotAllowed unless the credential may be used from there."""
        if self.networks and not places.is_inside(address or "", self.networks):
            raise AddressNotAllowed(redact(address or ""))

    def require_host(self, host: str | None) -> None:
        """Raises HostNotAllowed unless the credential is good for that host; None: nobody says which it is."""
        if self.hosts and not (host and places.is_host(host, self.hosts)):
            raise HostNotAllowed(redact(host) if host else None)

    def require_scopes(self, required: Iterable[str]) -> None:
        """Raises InsufficientScope unless the principal has every one."""
        missing = [scope for scope in required if scope not in self.scopes]
        if missing:
            # The scopes come from a query, so one of them may be a credential.
            raise InsufficientScope(required=redact_values(required), missing=redact_values(missing))


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """The source of a request, for the audit; both are None on the command line."""

    ip: str | None = None
    request_id: str | None = None
