"""Tokens for people: JWTs (RFC 7519) that only this service makes, and only this service reads."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from errors import AuthenticationFailed
from models import timestamp
from principal import ROLES, Principal

ALGORITHM = "HS256"
ISSUER = AUDIENCE = "keyhook"
LEEWAY = 60  # seconds that a clock elsewhere may be ahead (`iat`, `nbf`); `exp` is taken as it is


def make_token(secret: bytes, owner: str, role: str, tenant: str, lifetime: timedelta) -> str:
    """A JWT for a person (RFC 7519)."""
    issued = datetime.now(UTC)
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": owner,
        "iat": issued,
        "exp": issued + lifetime,
        "role": role,
        "tenant": tenant,
    }
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def read_token(token: str, secret: bytes) -> Principal:
    """Who a JWT speaks for, checked as RFC 8725 asks: one algorithm, required claims, no header ever followed.

    Raises AuthenticationFailed.
    """
    try:
        claims = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY,
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )
        return _person(claims)
    except jwt.ExpiredSignatureError:
        raise expired_token() from None
    except jwt.InvalidTokenError as error:
        raise AuthenticationFailed(f"bad token: {type(error).__name__}") from None
    except (ValueError, TypeError, OverflowError, OSError, RecursionError) as error:
        # A hostile header or claim that the library does not expect, such as one nested too deep.
        raise AuthenticationFailed(f"bad token: {type(error).__name__}") from None


def expired_token() -> AuthenticationFailed:
    return AuthenticationFailed("expired token", told="The token has expired")


def _person(claims: dict[str, Any]) -> Principal:
    sub, role, tenant = _text(claims, "sub"), _text(claims, "role"), _text({"tenant": "default", **claims}, "tenant")
    if role not in ROLES:
        raise AuthenticationFailed("bad token: unknown role")
    expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
    if expires <= datetime.now(UTC):
        raise expired_token()
    return Principal(
        kind="jwt",
        tenant=tenant,
        owner=sub,
        role=role,
        expires_at=timestamp(expires),
        issued_at=timestamp(issued),
    )


def _text(claims: dict[str, Any], claim: str) -> str:
    value = claims.get(claim)
    if not isinstance(value, str) or not value:
        raise AuthenticationFailed(f"bad token: {claim} is empty or no string")
    value.encode()  # a lone surrogate is a ValueError
    return value


def _moment(claims: dict[str, Any], claim: str) -> datetime:
    """A NumericDate (RFC 7519 section 2), which is a number and not its text."""
    value = claims[claim]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AuthenticationFailed(f"bad token: {claim} is no number")
    return datetime.fromtimestamp(value, UTC)
