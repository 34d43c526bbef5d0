"""The demands of a proxy, in the query of /v0/auth. A misspelt demand lets nobody in."""

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl

from errors import UnknownDemand
from formats.redaction import redact

REPEATABLE = ("scope", "role", "tenant")
ONCE = ("challenge", "preflight", "key_param", "limited")
WORDS = {"challenge": "basic", "preflight": "pass", "limited": "403"}  # the only value of each
MAX_TOLD = 200  # characters of a parameter's name in a refusal
_SHORT = 512  # characters of a query that is cached
_NOT_TEXT = "\ufffd"  # stands for bytes that are no UTF-8


class Demands(NamedTuple):
    """Every scope and role is required, and one of the tenants; `key_param` is empty if the URI may hold no key.

    `limited`: a key that was used too often is refused with 403.
    """

    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    basic: bool = False
    preflight: bool = False
    key_param: str = ""
    limited: bool = False


NONE = Demands()


def read_demands(query: str) -> Demands:
    """Raises UnknownDemand for an unknown parameter, and for a value that makes no sense.

    A scope or a role that nobody can have makes sense: the credential is refused for lacking it.
    """
    if not query:
        return NONE
    return _remembered(query) if len(query) <= _SHORT else _read(query)


def _read(query: str) -> Demands:
    given: dict[str, list[str]] = {name: [] for name in REPEATABLE + ONCE}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in given or not _makes_sense(name, value) or (name in ONCE and given[name]):
            raise UnknownDemand(redact(name[:MAX_TOLD]))
        given[name].append(value)
    return Demands(
        scopes=tuple(given["scope"]),
        roles=tuple(given["role"]),
        tenants=tuple(given["tenant"]),
        basic=bool(given["challenge"]),
        preflight=bool(given["preflight"]),
        key_param="".join(given["key_param"]),
        limited=bool(given["limited"]),
    )


# A proxy asks the same every time. The cache takes half a megabyte at most: 128 queries of 512 characters.
_remembered = lru_cache(maxsize=128)(_read)


def _makes_sense(name: str, value: str) -> bool:
    if name in WORDS:
        return value == WORDS[name]
    return name in ("scope", "role") or (value != "" and _NOT_TEXT not in value)
