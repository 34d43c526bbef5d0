"""Tokens for people: JWTs (RFC 7519) that this service alone makes and reads."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from errors import AuthenticationFailed
from formats.strict_json import MalformedJSON, parse_object
from formats.times import timestamp
from identity.principal import OF_PEOPLE, Principal

ALGORITHM = "HS256"
ISSUER = AUDIENCE = "keyhook"
COMPACT = re.compile(r"([\w-]+)\.([\w-]+)\.([\w-]+)", re.ASCII)  # base64url without padding (RFC 7515 section 2)
LEEWAY = 60  # seconds that another clock may be ahead, for `iat` and `nbf`; `exp` has no leeway


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
    """The principal of a JWT, checked as RFC 8725 asks: one algorithm, required claims, no header ever followed.

    Raises AuthenticationFailed, also for another spelling of a good token and for a member with two values.
    """
    parts = COMPACT.fullmatch(token)
    if parts is None:
        raise AuthenticationFailed("bad token: not written like one")
    try:
        signature = jwt.decode_complete(
            token,
            secret,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY,
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )["signature"]
        if urlsafe_b64encode(signature).rstrip(b"=").decode() != parts[3]:
            raise AuthenticationFailed("bad token: another text of its signature")
        _require_type(parse_part(parts[1]))
        return _principal(parse_part(parts[2]))
    except MalformedJSON:
        raise AuthenticationFailed("bad token: no strict JSON") from None
    except jwt.ExpiredSignatureError:
        raise expired_token() from None
    except jwt.InvalidTokenError as error:
        raise AuthenticationFailed(f"bad token: {type(error).__name__}") from None
    except (ValueError, TypeError, OverflowError, OSError, RecursionError) as error:
        # A hostile header or claim that the library does not expect, such as one nested too deep.
        raise AuthenticationFailed(f"bad token: {type(error).__name__}") from None


def is_ours(token: str) -> bool:
    """Whether only this service can have made it, if anybody has: a provider never signs with our secret.

    The algorithm alone decides. What is not written like a token counts as ours too, and is refused like one.
    """
    parts = COMPACT.fullmatch(token)
    try:
        return parts is None or parse_part(parts[1]).get("alg") == ALGORITHM
    except ValueError:  # MalformedJSON is one
        return True


def expired_token() -> AuthenticationFailed:
    return AuthenticationFailed("expired token", told="The token has expired")


def parse_part(part: str) -> dict[str, Any]:
    """Reads a part again, since the library takes the last of two equal members, and encodings other than UTF-8."""
    return parse_object(urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def _require_type(header: dict[str, Any]) -> None:
    """Refuses a `typ` other than JWT: another service may sign with this secret (RFC 8725 section 3.11)."""
    if str(header.get("typ", "JWT")).upper() != "JWT":
        raise AuthenticationFailed("bad token: another type")


def _principal(claims: dict[str, Any]) -> Principal:
    sub, role, tenant = (
        text_claim(claims, "sub"),
        text_claim(claims, "role"),
        text_claim({"tenant": "default", **claims}, "tenant"),
    )
    if role not in OF_PEOPLE:
        raise AuthenticationFailed("bad token: unknown role")
    expires, issued = numeric_date(claims, "exp"), numeric_date(claims, "iat")
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


def text_claim(claims: dict[str, Any], claim: str) -> str:
    """A claim that is a text and not empty. Raises AuthenticationFailed."""
    value = claims.get(claim)
    if not isinstance(value, str) or not value:
        raise AuthenticationFailed(f"bad token: {claim} is empty or no string")
    if "\0" in value:
        raise AuthenticationFailed(f"bad token: {claim} holds U+0000")
    return value


def numeric_date(claims: dict[str, Any], claim: str) -> datetime:
    """A NumericDate (RFC 7519 section 2): a number, not the text of one."""
    value = claims[claim]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AuthenticationFailed(f"bad token: {claim} is no number")
    return datetime.fromtimestamp(value, UTC)
