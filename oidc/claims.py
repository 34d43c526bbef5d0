"""What the claims of a provider mean here: who it is, of which tenant, with which role. Pure functions.

No role comes by default. Providers name things in their own ways, so the configuration says where they stand; a claim
of any other shape than the expected ones gives nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from errors import AuthenticationFailed
from identity.tokens import LEEWAY, expired_token, numeric_date, text_claim

EVERYBODY = "*"
LONGEST = timedelta(hours=24)  # after `iat`: the life of a token that nobody can revoke
TYPES = ("jwt", "at+jwt", "application/at+jwt")  # of an access token (RFC 9068), in the header
SPLIT = ("scope", "scp")  # the claims whose text is a list with spaces (RFC 8693 section 4.2)
OF_CLIENTS = ("azp", "client_id", "scope", "scp")  # which access tokens have
REQUIRED = ("exp", "iat", "iss", "aud", "sub")
DEFAULT_TENANT = "default"
LONGEST_NAME = 200  # characters


@dataclass(frozen=True, slots=True)
class Rules:
    """The configuration of a provider."""

    audience: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]  # by role, the highest first
    groups_claim: str
    owner_claim: str
    tenant_claim: str | None
    id_tokens: bool


def find(claims: dict[str, Any], name: str) -> Any:
    """A claim by its whole name, which may hold dots, else by a path with dots; None if it is not there."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for step in name.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def role_of(claims: dict[str, Any], rules: Rules) -> str | None:
    """The highest role that a group gives; None: none does."""
    held = set(groups_of(claims, rules.groups_claim))
    return next((role for role, groups in rules.groups.items() if EVERYBODY in groups or held & set(groups)), None)


def groups_of(claims: dict[str, Any], name: str) -> Iterable[str]:
    """The texts of a list, the names of an object's members, or one text as it is: a group may hold spaces."""
    value = find(claims, name)
    if name == "email" and claims.get("email_verified") is not True:
        return ()
    if isinstance(value, str):
        return value.split(" ") if name in SPLIT else (value,)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list | dict) else ()


def owner_of(claims: dict[str, Any], rules: Rules) -> str:
    """Raises AuthenticationFailed: no other claim stands in for a missing one."""
    name = rules.owner_claim
    if name == "email" and claims.get("email_verified") is not True:
        raise AuthenticationFailed("bad token: email is not verified")
    return _name({name: find(claims, name)}, name)


def tenant_of(claims: dict[str, Any], rules: Rules) -> str:
    """Raises AuthenticationFailed: whoever has no tenant is not in the default one, once tenants are told apart."""
    name = rules.tenant_claim
    return DEFAULT_TENANT if name is None else _name({name: find(claims, name)}, name)


def _name(claims: dict[str, Any], name: str) -> str:
    """A claim that may stand for a person or a tenant. Raises AuthenticationFailed."""
    value = text_claim(claims, name)
    if len(value) > LONGEST_NAME or not value.isprintable() or value != value.strip():
        raise AuthenticationFailed(f"bad token: {name} is no name")
    return value


def client_of(claims: dict[str, Any]) -> str | None:
    """The program that the token was signed for, if it says so (RFC 9068 section 2.2, OpenID Connect Core 2)."""
    return next((claims[name] for name in ("client_id", "azp") if isinstance(claims.get(name), str)), None)


def require_kind(header: dict[str, Any], claims: dict[str, Any], rules: Rules) -> None:
    """Refuses what the same provider signs for another purpose: ID, refresh, logout and event tokens, among others."""
    kind, payload = header.get("typ", "JWT"), claims.get("typ", "Bearer")
    if not isinstance(kind, str) or kind.lower() not in TYPES:
        raise AuthenticationFailed("bad token: another type")
    if payload != "Bearer" and not (rules.id_tokens and payload == "ID"):
        raise AuthenticationFailed("bad token: its claims are of another type")
    if "events" in claims:
        raise AuthenticationFailed("bad token: it reports an event")
    if "cnf" in claims:
        raise AuthenticationFailed("bad token: it is bound to a key of its holder")
    if not rules.id_tokens and is_id_token(claims):
        raise AuthenticationFailed("bad token: an ID token")


def is_id_token(claims: dict[str, Any]) -> bool:
    """Whether something tells it from an access token. Where nothing does, only the audience can."""
    if "at_hash" in claims or "c_hash" in claims:
        return True
    return "nonce" in claims and not any(name in claims for name in OF_CLIENTS)


def require_registered(claims: dict[str, Any], issuer: str, audience: tuple[str, ...]) -> None:
    """The claims that RFC 7519 registers, but `exp`. Raises jwt.InvalidTokenError, or AuthenticationFailed."""
    if missing := next((name for name in REQUIRED if claims.get(name) is None), None):
        raise jwt.MissingRequiredClaimError(missing)
    if claims["iss"] != issuer:
        raise jwt.InvalidIssuerError
    named = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if not all(isinstance(each, str) for each in named) or not any(each in audience for each in named):
        raise jwt.InvalidAudienceError
    if not all(isinstance(claims.get(name, ""), str) for name in ("sub", "jti")):
        raise AuthenticationFailed("bad token: its sub or jti is no text")
    latest = datetime.now(UTC) + timedelta(seconds=LEEWAY)
    if any(numeric_date(claims, name) > latest for name in ("iat", "nbf") if name in claims):
        raise jwt.ImmatureSignatureError


def span_of(claims: dict[str, Any]) -> tuple[datetime, datetime]:
    """When it was issued and when it ends here. Raises AuthenticationFailed, also if it has ended."""
    issued, expires = numeric_date(claims, "iat"), numeric_date(claims, "exp")
    if expires <= issued:
        raise AuthenticationFailed("bad token: it ends before it begins")
    ends = min(expires, issued + LONGEST)
    if ends <= datetime.now(UTC):
        raise expired_token()
    return issued, ends
