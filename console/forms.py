"""The forms of a key: what a person filled in becomes what a program would send, and is checked by the same schemas."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any, TypeVar

from marshmallow import ValidationError as SchemaError
from werkzeug.datastructures import MultiDict

from console import reader
from errors import ValidationError
from formats.times import timestamp
from keys.key_fields import KeyChanges, NewKey
from models import KeyRow
from schemas import ChangeKey, CreateKey, RotateKey
from web.contract import flat
from web.fields import Body

DAYS = {"30d": 30, "90d": 90, "365d": 365}
DATE, NEVER, KEEP = "date", "never", "keep"
HOUR = 3600  # seconds
GRACES = ((0, "No time"), (1, "1 hour"), (24, "24 hours"), (168, "7 days"), (720, "30 days"))  # in hours
USUAL_GRACE = 24
# What a rule says, as a sentence of a form; any other one is shown as the schema says it.
SENTENCES = {
    "name": {
        "Missing data for required field.": "Give the key a name.",
        "Length must be between 1 and 100.": "Give the key a name of at most 100 characters.",
        "Must be printable.": "A name has visible characters only.",
        "Must not contain a slash nor be a dot segment.": "A name has no slash, and is not “.” or “..”.",
        "Must not begin or end with white space.": "A name does not begin or end with a space.",
        "Must not be a credential.": "This is a key or a token itself. Choose a name that everybody may see.",
    },
    "expires_at": {"Must be in the future.": "Choose a day in the future."},
    "description": {
        "Longer than maximum length 500.": "A description has at most 500 characters.",
        "Must not contain U+0000.": "A description has no NUL character.",
    },
    "scopes": {"Longer than maximum length 50.": "A key has at most 50 scopes."},
    "role": {"Must be one of: check, read, write.": "Choose what the key may do: nothing, read or write."},
}
BAD_SCOPE = "A scope begins with a letter or digit, and has at most 64 letters, digits and : . _ / -"

T = TypeVar("T")


class FormError(Exception):
    """What is wrong, a sentence a field. Nothing was done."""

    def __init__(self, sentences: dict[str, str]) -> None:
        super().__init__()
        self.sentences = sentences


@dataclass
class KeyForm:
    """What stands in the fields."""

    name: str = ""
    description: str = ""
    role: str = "read"
    scopes: list[str] = field(default_factory=list)  # those of the buttons
    more_scopes: str = ""
    expires: str = "90d"
    date: str = ""

    @classmethod
    def of(cls, fields: MultiDict[str, str], expires: str = "90d") -> "KeyForm":
        """As it was sent. What is not in it has the value of a fresh form, and so the least that a key may do."""
        return cls(
            name=fields.get("name", ""),
            description=fields.get("description", ""),
            role=fields.get("role", "read"),
            scopes=fields.getlist("scope"),
            more_scopes=fields.get("more_scopes", ""),
            expires=fields.get("expires", expires),
            date=fields.get("date", ""),
        )

    @classmethod
    def showing(cls, row: KeyRow) -> "KeyForm":
        expires = KEEP if row.expires_at else NEVER
        return cls(row.name, row.description, row.role, row.scopes.split(), expires=expires)

    def new_key(self) -> NewKey:
        """Raises FormError."""
        return _load(CreateKey(), self._members())

    def changes(self) -> KeyChanges:
        """Raises FormError."""
        return _load(ChangeKey(), self._members())

    def _members(self) -> dict[str, Any]:
        scopes = [*self.scopes, *self.more_scopes.replace(",", " ").split()]
        members: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "role": self.role,
            "scopes": list(dict.fromkeys(scopes)),
        }
        return members if self.expires == KEEP else {**members, "expires_at": self._expires_at()}

    def _expires_at(self) -> str | None:
        if self.expires in DAYS:
            return timestamp(datetime.now(UTC) + timedelta(days=DAYS[self.expires]))
        if self.expires == DATE:
            return _last_second_of(self.date)
        if self.expires == NEVER:
            return None
        raise FormError({"expires_at": "Choose when the key ends."})


def sentences_of(refusal: ValidationError) -> dict[str, str]:
    """What the service itself refuses, such as too long a life."""
    return {name: _sentence(name, texts[0]) for name, texts in refusal.details.items()}


def grace(hours: str) -> int:
    """The seconds of a grace that was chosen in hours. Raises FormError."""
    try:
        loaded: dict[str, int] = RotateKey().load({"grace_seconds": int(hours[:9]) * HOUR})
    except (ValueError, SchemaError):
        raise FormError({"grace": "Choose a time of at most 30 days."}) from None
    return loaded["grace_seconds"]


def scopes_to_offer(in_use: Iterable[str], form: KeyForm) -> list[str]:
    """The scopes that have a button: those in use, and those that are pressed already."""
    return sorted({*in_use, *form.scopes})


def _last_second_of(day: str) -> str:
    """A key that ends on a day works on that day, to midnight of the reader's zone."""
    try:
        last = datetime.combine(datetime.strptime(day, "%Y-%m-%d"), time(23, 59, 59), reader.zone())
        return timestamp(last)
    except (ValueError, OverflowError):
        raise FormError({"expires_at": "Choose a day."}) from None


def _load(schema: Body[T], members: dict[str, Any]) -> T:
    try:
        loaded: T = schema.load(members)
    except SchemaError as error:
        messages = flat(error.messages_dict)
        raise FormError({name: _sentence(name, texts[0]) for name, texts in messages.items()}) from None
    return loaded


def _sentence(name: str, rule: str) -> str:
    if rule.endswith("Not a valid scope."):
        return BAD_SCOPE
    return SENTENCES.get(name, {}).get(rule, rule)
