"""The check of a bearer that a provider has signed (RFC 7519, as RFC 8725 and RFC 9068 ask)."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jwt

from errors import AuthenticationFailed, InsufficientPermissions
from formats.redaction import redact
from formats.strict_json import MalformedJSON
from formats.times import timestamp
from identity.principal import Principal
from identity.tokens import COMPACT, parse_part
from oidc import claims as meaning
from oidc.claims import Rules
from oidc.keyset import ALL_ALGORITHMS, LONGEST_KID, Signer
from oidc.provider import Provider, UnknownSigner

_PATH = re.compile(r"[/\\]|\.\.?[/\\]|[A-Za-z]+:[/\\]")
NEVER = ("crit", "b64")  # headers that change what the rest means
SHOWN = 100  # characters of another audience in the log


class Parts(NamedTuple):
    """A token as it is written; nothing of it is true yet."""

    signed: bytes
    header: dict[str, Any]
    claims: dict[str, Any]
    signature: str


class Bearers:
    """The bearers of one provider."""

    def __init__(self, provider: Provider, rules: Rules) -> None:
        self.provider = provider
        self.rules = rules

    def is_meant(self, token: str) -> bool:
        """Whether a token names the provider, however it is signed: so the log can say what is wrong there."""
        try:
            return take_apart(token).claims.get("iss") == self.provider.issuer
        except (AuthenticationFailed, ValueError):
            return False

    def read(self, token: str) -> Principal:
        """The holder of a token.

        Raises AuthenticationFailed, InsufficientPermissions for a good token without a group of ours, and
        IdentityProviderUnavailable if nobody can say at the moment.
        """
        return self.holder(self.claims(token))

    def claims(self, token: str) -> dict[str, Any]:
        """The claims of a token of the provider, for an audience of ours.

        Raises AuthenticationFailed and IdentityProviderUnavailable. Whether it has ended, `holder` says.
        """
        with _refusals():
            parts = take_apart(token)
            try:
                self._verify(parts)
            except jwt.InvalidAudienceError:
                raise AuthenticationFailed(f"bad token: its aud is {_shown(parts.claims.get('aud'))}") from None
            return parts.claims

    def holder(self, claims: dict[str, Any]) -> Principal:
        """Whom verified claims name. Raises AuthenticationFailed and InsufficientPermissions."""
        with _refusals():
            return self._holder(claims)

    def _verify(self, parts: Parts) -> None:
        """What is cheap comes first: a token that is none of this provider never makes anybody fetch."""
        require_plain(parts.header)
        if parts.claims.get("iss") != self.provider.issuer:
            raise AuthenticationFailed("bad token: another issuer")
        meaning.require_kind(parts.header, parts.claims, self.rules)
        verify(parts, self.provider.key(parts.header.get("kid")), self.provider.issuer, self.rules.audience)

    def _holder(self, claims: dict[str, Any]) -> Principal:
        rules = self.rules
        issued, ends = meaning.span_of(claims)
        owner, tenant = meaning.owner_of(claims, rules), meaning.tenant_of(claims, rules)
        role = meaning.role_of(claims, rules)
        if role is None:
            raise InsufficientPermissions(required="read", actual=None, why=f"no group of ours: {redact(owner)}")
        return Principal(
            kind="jwt",
            tenant=tenant,
            owner=owner,
            role=role,
            expires_at=timestamp(ends),
            issued_at=timestamp(issued),
            issuer=self.provider.issuer,
            client=meaning.client_of(claims),
        )


def cause(refusal: AuthenticationFailed) -> str:
    """What is wrong with a token, without the words by which the log says that it is one."""
    return refusal.reason.removeprefix("bad token: ")


def take_apart(token: str) -> Parts:
    """Raises AuthenticationFailed or MalformedJSON."""
    parts = COMPACT.fullmatch(token)
    if parts is None:
        raise AuthenticationFailed("bad token: not written like one")
    return Parts(token.rpartition(".")[0].encode(), parse_part(parts[1]), parse_part(parts[2]), parts[3])


def require_plain(header: dict[str, Any]) -> None:
    """Refuses every header but those of a plain signature. A key or an address in it is never looked at."""
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALL_ALGORITHMS:
        hint = "; choose a signing key at the provider" if str(algorithm).startswith("HS") else ""
        raise AuthenticationFailed(f"bad token: no algorithm of ours{hint}")
    if any(name in header for name in NEVER):
        raise AuthenticationFailed("bad token: a header that changes its meaning")
    if kid is not None and not is_key_id(kid):
        raise AuthenticationFailed("bad token: its kid is none")


def is_key_id(kid: Any) -> bool:
    """Whether a provider may have chosen it. Base64 has slashes, but no provider names a key like a file."""
    return isinstance(kid, str) and 0 < len(kid) <= LONGEST_KID and kid.isprintable() and not _PATH.match(kid)


def verify(parts: Parts, key: Signer, issuer: str, audience: tuple[str, ...]) -> None:
    """The signature and the registered claims but `exp`. Raises AuthenticationFailed, or jwt.PyJWTError."""
    require_signature(parts, key)
    meaning.require_registered(parts.claims, issuer, audience)


def require_signature(parts: Parts, key: Signer) -> None:
    """The library's algorithm alone: its reading of the whole token is a second one, and looks at each letter."""
    algorithm = key.algorithms.get(parts.header["alg"])
    if algorithm is None:
        raise AuthenticationFailed("bad token: its key is for another algorithm")
    signature = urlsafe_b64decode(parts.signature + "=" * (-len(parts.signature) % 4))
    if urlsafe_b64encode(signature).rstrip(b"=").decode() != parts.signature:
        raise AuthenticationFailed("bad token: another text of its signature")
    if not algorithm.verify(parts.signed, key.key, signature):
        raise jwt.InvalidSignatureError


@contextmanager
def _refusals() -> Iterator[None]:
    """Makes what a library says of a bad token an AuthenticationFailed."""
    try:
        yield
    except MalformedJSON:
        raise AuthenticationFailed("bad token: no strict JSON") from None
    except UnknownSigner:
        raise AuthenticationFailed("bad token: no key of the provider has its kid") from None
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, OSError, RecursionError) as error:
        # Beside what the library raises itself: a hostile header or claim that it does not expect.
        raise AuthenticationFailed(f"bad token: {type(error).__name__}") from None


def _shown(audience: Any) -> str:
    return redact(repr(audience)[:SHOWN])
