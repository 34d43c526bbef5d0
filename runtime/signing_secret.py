"""The secret that signs tokens: whether it can sign, and whether it is easily guessed."""

import jwt

from runtime.settings_table import refuse

MIN_SECRET = 32  # bytes, for HS256 (RFC 7518 section 3.2)
# Of a secret (RFC 8725 section 3.5). A random one has fewer in one of 10^18 cases with 64 hexadecimal digits, in one of
# 10^21 with 32 characters of base64, in one of 10^7 with 32 hexadecimal digits.
MIN_VARIETY = 8  # different bytes
MIN_PERIOD = 16  # bytes before it repeats itself
GUESSABLE = (
    "the secret that signs tokens is easily guessed, and who guesses it is an admin: "
    "take a random one, as `openssl rand -hex 32` prints it"
)


def secret_of(name: str, value: bytes) -> bytes:
    """The value when it can sign; raises StartupError."""
    if len(value) < MIN_SECRET:
        raise refuse(name, f"holds {len(value)} bytes; a secret needs at least {MIN_SECRET}")
    try:
        jwt.encode({}, value, algorithm="HS256")
    except jwt.InvalidKeyError:
        raise refuse(name, "holds a key of another kind (PEM, SSH, JWK); a secret is any random text") from None
    return value


def is_guessable(secret: bytes) -> bool:
    """Whether a secret has so little variety that no generator made it (RFC 8725 section 3.5)."""
    return len(set(secret)) < MIN_VARIETY or _period(secret) < MIN_PERIOD


def _period(value: bytes) -> int:
    """The length of the shortest beginning that makes the whole when it is repeated."""
    return next(length for length in range(1, len(value) + 1) if value[length:] == value[:-length])
