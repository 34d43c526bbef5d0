"""Finds credentials in texts of any length that anybody sends, and keeps them out of logs, audit and errors.

Each pattern takes time in proportion to the text: where it begins, it either matches or gives up before another place
at which it could begin.
"""

import re
from typing import Any
from urllib.parse import unquote

_JWT = re.compile(r"(?<![\w-])e(?:yJ|yA|w[ok0])[\w-]{8,}\.[\w-]{8,}\.[\w-]+", re.ASCII)

_GAP = r"[^0-9A-Za-z_]*"  # what wrapping, quoting and pasting put between the characters of a key
_ID = rf"_{_GAP}(?:[0-9A-Fa-f]{_GAP}){{32}}"
# Whoever has the 43 characters has the key: the rest can be computed.
_WHOLE_SECRET = re.compile(rf"{_ID}_{_GAP}[0-9A-Za-z](?:{_GAP}[0-9A-Za-z]){{42}}")
# Wider on purpose: a key that lost its last characters is still most of a secret. The id is left, which is no secret.
_KEY_LEAK = re.compile(rf"({_ID})_{_GAP}(?:[0-9A-Za-z](?:{_GAP}[0-9A-Za-z]){{19,50}}[0-9A-Za-z]*|[0-9A-Za-z]{{8,}})")
# The end of a key, its secret and its checksum, that lost its beginning.
_TAIL_LEAK = re.compile(r"(?<![0-9A-Za-z])[0-9A-Za-z]{43}[0-9a-f]{8}(?![0-9A-Za-z])")
# A JWT is known by its first letters: base64url of `{"`, or of `{` and white space. What begins like one and is none is
# matched as well, all of it, so that nobody looks at it again from its middle.
_JWT_LEAK = re.compile(
    r"e(?:(?<![A-Za-z]e)(?:yJ|yA|w[ok0])[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?|yJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)?"
    r"|(?P<none>(?:yJ|yA|w[ok0])[\w-]*))",
    re.ASCII,
)
_WRAPPED_JWT_LEAK = re.compile(
    r"(?<![A-Za-z])eyJ(?:[^.]{8,}\.[^.]{8,}\.[^\w.]*(?:[\w-][^\w.-]*){42}[\w-]+|(?P<none>[^.]*))", re.ASCII
)
_ENCODED = re.compile(r"(?<![\w.~%-])[\w.~-]*%[\w.~%-]*", re.ASCII)  # what percent-encoding makes of a word
_ENCODINGS = 5  # times
SHORTEST_LEAK = 19  # characters
_LONGEST = 64 * 1024  # characters of one text that are looked at: no credential is as long, and nobody reads on
REDACTED = "[redacted]"
CUT = "…"


def has_credential(text: str) -> bool:
    """Whether an API key, all of its secret or a JWT stands anywhere in the text; also wrapped or percent-encoded."""
    if len(text) < SHORTEST_LEAK:
        return False
    forms = (text, _decoded(text) or "")
    return any(shape.search(form) for shape in (_WHOLE_SECRET, _TAIL_LEAK, _JWT) for form in forms)


def redact(text: str) -> str:
    """The text with every credential in it, or what is left of one, replaced; what is far too long loses its end.

    Also one that was wrapped or quoted, and one that was percent-encoded, however often.
    """
    if len(text) < SHORTEST_LEAK:
        return text
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + CUT
    if "%" in text:
        text = _ENCODED.sub(_legible, text)
    text = _without_leaks(text)
    return REDACTED if "%" in text and _hides_leak(text) else text  # in several words


def redact_values(value: Any) -> Any:
    """The same for every text in a value that JSON can hold, the names of members included.

    For before it becomes JSON: a text that was serialised already would be torn, where a word begins with an escape.
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


def _legible(word: re.Match[str]) -> str:
    brief = len(word[0]) < SHORTEST_LEAK and "%25" not in word[0]  # decoding makes nothing longer
    return REDACTED if not brief and _hides_leak(word[0]) else word[0]


def _hides_leak(text: str) -> bool:
    plain = _decoded(text)
    return plain is None or (plain != text and _without_leaks(plain) != plain)


def _decoded(text: str) -> str | None:
    """The text without its percent-encoding; None where there is more than anybody needs who has nothing to hide."""
    for _ in range(_ENCODINGS):
        plain = unquote(text)
        if plain == text:
            return plain
        text = plain
    return None
