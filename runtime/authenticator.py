"""Authentication: the holder of a credential, whichever kind it is of."""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from errors import AuthenticationFailed
from formats import api_key
from identity.principal import Principal
from identity.rates import read_rate
from identity.tokens import expired_token, is_ours, read_token
from keys import verification
from keys.bounded_cache import BoundedCache, weight
from keys.verification import KeyVerifier, VerifiedKey
from models import is_expired

if TYPE_CHECKING:
    from oidc.bearer import Bearers

MAX_CREDENTIAL = 8192  # characters
TOKENS = 1024  # in the cache of a process,
TOKENS_ROOM = 2 * 1024**2  # and bytes of their claims
HOLDERS = 2048  # of keys in the cache of a process,
HOLDERS_ROOM = 4 * 1024**2  # and bytes of them: 1,700 for a small key, 11,000 for one of 50 long scopes


class Authenticator:
    """Tells an API key from a token by its form, and asks who reads that kind."""

    def __init__(self, keys: KeyVerifier, secret_key: bytes, key_prefix: str, bearers: "Bearers | None" = None) -> None:
        """`bearers` are those of an OpenID provider, if there is one."""
        self._keys = keys
        self._secret_key = secret_key
        self._key_prefix = key_prefix
        self._bearers = bearers
        # By the SHA-256 of the token, and the edition of the provider's keys:
        self._tokens: BoundedCache[Principal] = BoundedCache(
            TOKENS, TOKENS_ROOM, lambda place, principal: weight(principal)
        )
        # By the key that was verified, of which the holder is a function:
        self._holders: BoundedCache[Principal] = BoundedCache(HOLDERS, HOLDERS_ROOM, _weigh_holder)

    def authenticate(self, credential: str, address: Callable[[], str | None], tenant: str | None = None) -> Principal:
        """Raises AuthenticationFailed, also for a credential of another tenant than the given one.

        A token of an OpenID provider may be refused in two more ways: see `Bearers.read`. White space and line ends
        around a credential are ignored. A good key is noted as used from the address.
        """
        self._keys.last_use.flush()
        credential = credential.strip()
        if len(credential) > MAX_CREDENTIAL:
            raise AuthenticationFailed("oversized credential")
        if not api_key.is_key(credential, self._key_prefix):
            principal = self._holder_of_token(credential)
            _require_tenant(principal.tenant, tenant)
            return principal
        verified = self._keys.verify(credential)
        _require_tenant(verified.row.tenant, tenant, verified.row.id)
        self._keys.last_use.note(verified.row, verified.matched_hash, address)
        return self._holder_of_key(verified)

    def holder_of_key(self, text: str) -> Principal:
        """Whoever holds this key, who may do nothing but end it. Raises AuthenticationFailed."""
        text = text.strip()
        if len(text) > MAX_CREDENTIAL:
            raise AuthenticationFailed("oversized credential")
        return self._holder_of_key(self._keys.verify(text))._replace(kind="holder")

    def _holder_of_token(self, token: str) -> Principal:
        """The holder of a token, which is read once: its claims never change. Its end is checked every time.

        When a provider has withdrawn a key, every token is read again.
        """
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        place = digest, self._bearers.provider.edition() if self._bearers else 0
        principal = self._tokens.get(place)
        if principal is None:
            principal = self._read_first(token)
            if place[1] >= 0:
                self._tokens.put(place, principal)
        elif is_expired(principal):
            raise expired_token()
        elif self._bearers:
            self._bearers.provider.freshen()
        return principal

    def _read_first(self, token: str) -> Principal:
        """Only what is refused is looked through for a key: that takes a tenth of the time of a good token."""
        try:
            return self._read(token)
        except AuthenticationFailed as refusal:
            raise verification.surrounded(token) or refusal from None

    def _read(self, token: str) -> Principal:
        if self._bearers is None or (is_ours(token) and not self._bearers.is_meant(token)):
            return read_token(token, self._secret_key)
        return self._bearers.read(token)

    def _holder_of_key(self, verified: VerifiedKey) -> Principal:
        """The holder of a key. It depends on nothing but the row that was just read, so the cache is never stale."""
        holder = self._holders.get(verified)
        if holder is None:
            holder = _principal(verified)
            self._holders.put(verified, holder)
        return holder


def _principal(verified: VerifiedKey) -> Principal:
    row = verified.row
    return Principal(
        kind="api_key",
        tenant=row.tenant,
        owner=row.owner,
        role=row.role,
        scopes=tuple(row.scopes.split()),
        key_id=row.id,
        key_name=row.name,
        expires_at=verified.ends_at,
        issued_at=row.created_at,
        secret_hash=verified.matched_hash,
        hosts=tuple(row.hosts.split()),
        networks=tuple(row.networks.split()),
        rate_limit=read_rate(row.rate_limit),
        allowance=row.allowance,
    )


def _weigh_holder(key: Any, holder: Principal) -> int:
    return weight((tuple(key.row), key.matched_hash, holder))


def _require_tenant(actual: str, required: str | None, key_id: str | None = None) -> None:
    if required is not None and actual != required:
        raise AuthenticationFailed("credential of another tenant", key_id=key_id)
