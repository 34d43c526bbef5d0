"""Which checks a token passes: for an operator whose provider's tokens are refused.

It names claims and never shows what is in them: its lines end up in chats and tickets.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jwt

from errors import AuthenticationFailed
from formats.strict_json import MalformedJSON
from oidc import claims as meaning
from oidc.bearer import Parts, cause, require_plain, require_signature, take_apart, verify
from oidc.claims import Rules
from oidc.keyset import ALL_ALGORITHMS, Keys, Signer


class Finding(NamedTuple):
    """One check, as the operator reads it."""

    what: str
    why_not: str | None  # None: the token passes


def examine(token: str, issuer: str, keys: Keys, rules: Rules) -> Iterator[Finding]:
    """Every check, also after one that the token does not pass."""
    try:
        parts = take_apart(token)
    except (AuthenticationFailed, MalformedJSON):
        yield Finding("is a token", "not three parts in base64url that hold JSON objects; opaque tokens cannot be read")
        return
    for what, check in _checks(parts, issuer, keys, rules).items():
        yield Finding(what, _why_not(check))


def claim_names(token: str) -> list[str]:
    """The names of its claims, as they stand; none if it is no token."""
    try:
        return list(take_apart(token).claims)
    except (AuthenticationFailed, MalformedJSON):
        return []


def _checks(parts: Parts, issuer: str, keys: Keys, rules: Rules) -> dict[str, Callable[[], Any]]:
    claims = parts.claims
    return {
        "is a token": lambda: None,
        f"has one of the algorithms {', '.join(ALL_ALGORITHMS)}": lambda: require_plain(parts.header),
        "names this issuer": lambda: _require(claims.get("iss") == issuer, "iss is another, if only by a slash"),
        "is an access token": lambda: meaning.require_kind(parts.header, claims, rules),
        "is signed by a key of the provider": lambda: require_signature(parts, _key(parts, keys)),
        "is for an audience of KEYHOOK_OIDC_AUDIENCE": lambda: _require_audience(claims, rules),
        "passes everything that is registered": lambda: verify(parts, _key(parts, keys), issuer, rules.audience),
        "has not ended": lambda: meaning.span_of(claims),
        f"names an owner in {rules.owner_claim}": lambda: meaning.owner_of(claims, rules),
        f"names a tenant in {rules.tenant_claim or 'nothing: it is default'}": lambda: meaning.tenant_of(claims, rules),
        f"gives a role by {rules.groups_claim}": lambda: _require(meaning.role_of(claims, rules), "no group of ours"),
    }


def _why_not(check: Callable[[], Any]) -> str | None:
    try:
        check()
    except AuthenticationFailed as refusal:
        return cause(refusal)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError) as error:
        return type(error).__name__  # its text may hold a claim
    return None


def _require(passes: Any, why_not: str) -> None:
    if not passes:
        raise AuthenticationFailed(why_not)


def _key(parts: Parts, keys: Keys) -> Signer:
    kid = parts.header.get("kid")
    key = keys.find(kid) if kid is None or isinstance(kid, str) else None
    if key is None:
        raise AuthenticationFailed("the provider shows no key with its kid")
    return key


def _require_audience(claims: dict[str, Any], rules: Rules) -> None:
    found = claims.get("aud")
    named = found if isinstance(found, list) else [found]
    _require(any(each in rules.audience for each in named), "aud has none of them; add one at the provider")
