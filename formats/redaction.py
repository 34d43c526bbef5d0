"""Finds credentials in untrusted texts of any length, and keeps them out of logs, audit and errors.

Each pattern takes linear time: from each start it either matches, or fails before the next possible start.
"""

import re
from typing import Any
from urllib.parse import unquote

_JWT = re.compile(r"(?<![\w-])e(?:yJ|yA|w[ok0])[\w-]{8,}\.[\w-]{8,}\.[\w-]+", re.ASCII)

_GAP = r"[^0-9A-Za-z_]*"  # characters that wrapping, quoting and pasting put within a key
_ID = rf"_{_GAP}(?:[0-9A-Fa-f]{_GAP}){{32}}"
# The 43 characters alone give away the key: the rest can be computed.
_WHOLE_SECRET = re.compile(rf"{_ID}_{_GAP}[0-9A-Za-z](?:{_GAP}[0-9A-Za-z]){{42}}")
# Wider on purpose: a key that lost its last characters still holds most of a secret. The id stays: it is no secret.
_KEY_LEAK = re.compile(rf"({_ID})_{_GAP}(?:[0-9A-Za-z](?:{_GAP}[0-9A-Za-z]){{19,50}}[0-9A-Za-z]*|[0-9A-Za-z]{{8,}})")
# The secret and the checksum of a key that lost its beginning.
_TAIL_LEAK = re.compile(r"(?<![0-9A-Za-z])[0-9A-Za-z]{43}[0-9a-f]{8}(?![0-9A-Za-z])")
# A JWT begins with the base64url of `{"`, or of `{` and white space. A word that only begins like a JWT is matched as
# `none`, as a whole, so that the search does not start again within it.
_JWT_LEAK = re.compile(
    r"e(?:(?<![A-Za-z]e)(?:yJ|yA|w[ok0])[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?|yJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)?"
    r"|(?P<none>(?:yJ|yA|w[ok0])[\w-]*))",
    re.ASCII,
)
_WRAPPED_JWT_LEAK = re.compile(
    r"(?<![A-Za-z])eyJ(?:[^.]{8,}\.[^.]{8,}\.[^\w.]*(?:[\w-][^\w.-]*){42}[\w-]+|(?P<none>[^.]*))", re.ASCII
)
_ENCODED = re.compile(r"(?<![\w.~%-])[\w.~-]*%[\w.~%-]*", re.ASCII)  # a word that holds percent-encoding
_ENCODINGS = 5  # times
SHORTEST_LEAK = 19  # characters
_LONGEST = 64 * 1024  # characters of a text that are kept: no credential is longer
REDACTED = "[redacted]"
CUT = "…"


def has_credential(text: str) -> bool:
    """Whether the text holds an API key, a whole secret or a JWT, also one that is wrapped or percent-encoded."""
    if len(text) < SHORTEST_LEAK:
        return False
    forms = (text, _decoded(text) or "")
    return any(shape.search(form) for shape in (_WHOLE_SECRET, _TAIL_LEAK, _JWT) for form in forms)


def redact(text: str) -> str:
    """The text with every credential, and every part of one, replaced; a text over `_LONGEST` loses its end.

    Wrapped, quoted and percent-encoded credentials are replaced too, however often they were encoded.
    """
    if len(text) < SHORTEST_LEAK:
        return text
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + CUT
    if "%" in text:
        text = _ENCODED.sub(_redact_encoded, text)
    text = _without_leaks(text)
    return REDACTED if "%" in text and _hides_leak(text) else text  # a credential that spans several words


def redact_values(value: Any) -> Any:
    """Redacts every text in a JSON value, names of members included.

    Call it before serialising: in serialised text a word can begin with an escape, and redaction would break it.
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact_values(name): redact_values(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [redact_values(item) for item in value]
    return value


def _without_leaks(text: str) -> str:
    text = _KEY_LEAK.sub(rf"\1{REDACTED}", text)
    text = _TAIL_LEAK.sub(REDACTED, text)
    for leak in (_WRAPPED_JWT_LEAK, _JWT_LEAK):
        text = leak.sub(lambda match: REDACTED if match["none"] is None else match[0], text)
    return text


def _redact_encoded(word: re.Match[str]) -> str:
    brief = len(word[0]) < SHORTEST_LEAK and "%25" not in word[0]  # decoding never lengthens
    return REDACTED if not brief and _hides_leak(word[0]) else word[0]


def _hides_leak(text: str) -> bool:
    plain = _decoded(text)
    return plain is None or (plain != text and _without_leaks(plain) != plain)


def _decoded(text: str) -> str | None:
    """The text without percent-encoding; None if encoded more than `_ENCODINGS` times, which only hiding needs."""
    for _ in range(_ENCODINGS):
        plain = unquote(text)
        if plain == text:
            return plain
        text = plain
    return None
