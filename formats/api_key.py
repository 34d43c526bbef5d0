"""The text of an API key: writing and reading it. No database, no hash.

    kh_<32 hex: the key's id>_<43 of [0-9A-Za-z], 256 bits><8 hex: CRC-32 of everything before it>

One word, so that a double click selects it and a secret scanner finds it; the checksum refuses a mistyped key before
the database is asked. It does not stop an attacker, who can compute it; the 256 bits do.
"""

import re
import secrets
import string
import zlib
from typing import NamedTuple

ALPHABET = string.digits + string.ascii_letters
BASE = len(ALPHABET)
SECRET_LENGTH = 43  # 62 ** 43 > 2 ** 256
PREFIX = re.compile(r"[a-z][a-z0-9]{1,9}")

_KEY = re.compile(
    r"(?P<prefix>[a-z][a-z0-9]{1,9})_(?P<id>[0-9a-f]{32})_(?P<secret>[0-9A-Za-z]{43})(?P<crc>[0-9a-f]{8})"
)


class ParsedKey(NamedTuple):
    prefix: str
    id: str
    secret: str


def new_secret() -> str:
    """A random 256-bit number in base 62, from the operating system's generator."""
    number = secrets.randbits(256)
    digits = []
    for _ in range(SECRET_LENGTH):
        number, digit = divmod(number, BASE)
        digits.append(ALPHABET[digit])
    return "".join(digits)


def write_key(prefix: str, key_id: str, secret: str) -> str:
    """The text of a key; `key_id` is a UUID in canonical form."""
    head = f"{prefix}_{key_id.replace('-', '')}_{secret}"
    return f"{head}{zlib.crc32(head.encode()):08x}"


def read_key(text: str) -> ParsedKey | None:
    """The prefix, the id (a canonical UUID) and the secret, or None when the text is no key."""
    match = _KEY.fullmatch(text)
    if match is None or zlib.crc32(text[:-8].encode()) != int(match["crc"], 16):
        return None
    return ParsedKey(match["prefix"], _uuid(match["id"]), match["secret"])


def is_key(text: str, prefix: str) -> bool:
    """Whether a credential is read as an API key; all others are read as JWTs."""
    return text.startswith(f"{prefix}_") or _KEY.fullmatch(text) is not None


def surrounded_key(text: str) -> str | None:
    """The id of a key in the text with something around it, such as quotes or a second `Bearer`; else None."""
    match = _KEY.search(text)
    return _uuid(match["id"]) if match and len(match[0]) < len(text) else None


def id_within(text: str) -> str | None:
    """The id of a key that is, or is a part of, the text; else None."""
    match = _KEY.search(text)
    return _uuid(match["id"]) if match else None


def _uuid(hexes: str) -> str:
    return f"{hexes[:8]}-{hexes[8:12]}-{hexes[12:16]}-{hexes[16:20]}-{hexes[20:]}"
