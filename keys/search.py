"""Search of keys by words: each word must occur in the name, the description, the owner, the scopes or the id."""

from collections.abc import Callable, Iterable

from sqlalchemy import ColumnElement, false, or_

from models import api_keys

MAX_WORDS = 10
MAX_WORD = 200  # characters

_SEARCHED = ("name", "description", "owner", "scopes", "id")

AsciiLower = Callable[[ColumnElement[str]], ColumnElement[str]]


def words(phrase: str) -> tuple[str, ...]:
    """The words of a phrase, so few and so short that a search stays cheap."""
    return tuple(word[:MAX_WORD] for word in phrase.split()[:MAX_WORDS])


def contains(searched: Iterable[str], lower: AsciiLower) -> list[ColumnElement[bool]]:
    """A condition a word. The letters A to Z are found in either case, and `%` and `_` stand for themselves."""
    return [contains_word(word, lower) for word in searched]


def contains_word(word: str, lower: AsciiLower, columns: Iterable[str] = _SEARCHED) -> ColumnElement[bool]:
    """Whether the word occurs in one of the columns."""
    if "\0" in word:  # which PostgreSQL refuses, and no key holds
        return false()
    wanted = word.encode(errors="replace").lower().decode()  # bytes know no letters but A to Z
    return or_(*(lower(api_keys.c[column]).contains(wanted, autoescape=True) for column in columns))
