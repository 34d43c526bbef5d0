"""The text of a credential: how an API key is written, read and kept out of every log. A leaf: no database, no hash.

    kh_<32 hex: the key's id>_<43 of [0-9A-Za-z], 256 bits><8 hex: CRC-32 of everything before it>

One word, so that a double click selects it and a secret scanner finds it; the checksum refuses a mistyped key before
the database is asked. It is no protection against an attacker, who can compute it: that is what the 256 bits are for.
"""

import re
import secrets
import string
import zlib
from typing import NamedTuple
from urllib.parse import unquote

ALPHABET = string.digits + string.ascii_letters
BASE = len(ALPHABET)
SECRET_LENGTH = 43  # 62 ** 43 > 2 ** 256
PREFIX = re.compile(r"[a-z][a-z0-9]{1,9}")

_KEY = re.compile(
    r"(?P<prefix>[a-z][a-z0-9]{1,9})_(?P<id>[0-9a-f]{32})_(?P<secret>[0-9A-Za-z]{43})(?P<crc>[0-9a-f]{8})"
)
_JWT = re.compile(r"(?<![\w-])e(?:yJ|yA|w[ok0])[\w-]{8,}\.[\w-]{8,}\.[\w-]+", re.ASCII)
# Whoever has the 43 characters has the key: the rest can be computed.
_WHOLE_SECRET = re.compile(r"_[0-9A-Fa-f]{32}_[0-9A-Za-z]{43}")
# Wider on purpose: a credential that lost its last characters is still most of a secret. Of a key the id is left, which
# is no secret. A JWT is known by its first letters: base64url of `{"`, or of `{` and white space.
_LEAKS = [
    re.compile(r"_(?<=_[0-9A-Fa-f]{32}_)[0-9A-Za-z]{8,}"),
    re.compile(r"e(?<![\w-]e)(?:yJ|yA|w[ok0])[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?", re.ASCII),
]
_ENCODED = re.compile(r"[\w.~-]*%[\w.~%-]*", re.ASCII)  # what percent-encoding makes of a word
_ENCODINGS = 5  # times
_SHORTEST_LEAK = 19  # characters


class ParsedKey(NamedTuple):
    prefix: str
    id: str
    secret: str


def new_secret() -> str:
    """256 bits from the operating system's generator, as the digits of one number."""
    number = secrets.randbits(256)
    digits = []
    for _ in range(SECRET_LENGTH):
        number, digit = divmod(number, BASE)
        digits.append(ALPHABET[digit])
    return "".join(digits)


def write_key(prefix: str, key_id: str, secret: str) -> str:
    """The key as its holder sees it; `key_id` in the canonical form of a UUID."""
    head = f"{prefix}_{key_id.replace('-', '')}_{secret}"
    return f"{head}{zlib.crc32(head.encode()):08x}"


def read_key(text: str) -> ParsedKey | None:
    """The prefix, the id (a canonical UUID) and the secret, or None for what is not written like a key."""
    match = _KEY.fullmatch(text)
    if match is None or zlib.crc32(text[:-8].encode()) != int(match["crc"], 16):
        return None
    prefix, hexes, secret, _ = match.groups()
    return ParsedKey(prefix, f"{hexes[:8]}-{hexes[8:12]}-{hexes[12:16]}-{hexes[16:20]}-{hexes[20:]}", secret)


def is_key(text: str, prefix: str) -> bool:
    """Whether a credential is to be read as an API key; anything else is a JWT."""
    return text.startswith(f"{prefix}_") or _KEY.fullmatch(text) is not None


def has_credential(text: str) -> bool:
    """Whether an API key, all of its secret or a JWT stands anywhere in the text."""
    return len(text) >= _SHORTEST_LEAK and bool(_WHOLE_SECRET.search(text) or _JWT.search(text))


def redact(text: str) -> str:
    """The text with every credential in it, or what is left of one, replaced; also percent-encoded, however often."""
    if len(text) >= _SHORTEST_LEAK:
        if "%" in text:
            text = _ENCODED.sub(lambda word: "[redacted]" if _hides_leak(word[0]) else word[0], text)
        for leak in _LEAKS:
            text = leak.sub("[redacted]", text)
    return text


def _hides_leak(word: str) -> bool:
    for _ in range(_ENCODINGS):
        plain = unquote(word)
        if plain == word:
            return any(leak.search(word) for leak in _LEAKS)
        word = plain
    return True  # so often only somebody who has something to hide
