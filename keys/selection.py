"""Which keys a program asks for: all demands of a selection must be met."""

from typing import NamedTuple

from sqlalchemy import ColumnElement, false, func, literal, or_

from keys import filters, search
from keys.search import AsciiLower
from models import api_keys

_key = api_keys.c
_SEARCHED = ("name", "description", "owner")


class Selection(NamedTuple):
    """What is empty or None demands nothing. The moments are in the form of the table."""

    status: str = ""
    owner: str = ""
    scope: str = ""
    words: tuple[str, ...] = ()  # each in the name, the description or the owner, or the whole id
    expires_before: str | None = None
    unused_since: str | None = None  # the last use was earlier, or there was none and the creation was earlier

    def conditions(self, lower: AsciiLower) -> list[ColumnElement[bool]]:
        found = [filters.conditions()[self.status]] if self.status else []
        if self.owner:
            found.append(filters.is_text(_key.owner, self.owner))
        if self.scope:
            found.append(_has_scope(self.scope))
        if self.expires_before is not None:
            found.append(_key.expires_at < self.expires_before)
        if self.unused_since is not None:
            found.append(filters.last_sign() < self.unused_since)
        return found + [_has_word(word, lower) for word in self.words]


ALL = Selection()


def _has_scope(scope: str) -> ColumnElement[bool]:
    """Whether the scope is one of the words of the column. LIKE would find it in any case of its letters."""
    if scope.split() != [scope] or "\0" in scope:  # no single word, so no key has it
        return false()
    padded = literal(" ").concat(_key.scopes).concat(" ")
    return func.replace(padded, f" {scope} ", "") != padded


def _has_word(word: str, lower: AsciiLower) -> ColumnElement[bool]:
    return or_(search.contains_word(word, lower, _SEARCHED), filters.is_text(_key.id, word.lower()))
