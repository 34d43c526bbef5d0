"""Strict JSON, for bodies and tokens: a text that parsers may read in two ways is refused."""

import json
from typing import Any


class MalformedJSON(ValueError):
    """The bytes are not one JSON object in UTF-8, or can be read in more than one way."""


def parse_object(raw: bytes) -> dict[str, Any]:
    """Reads one JSON object in UTF-8 (RFC 8259) without duplicate members (RFC 7493). Raises MalformedJSON."""
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_members_once, parse_constant=_refuse_constant)
        if b"\\u" in raw:  # only an escape makes a lone surrogate, which is no Unicode text
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise MalformedJSON from None
    if not isinstance(value, dict):
        raise MalformedJSON
    return value


def _members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member stands twice")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
