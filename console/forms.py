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
from identity.rates import read_rate
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

BAD = {
    "hosts": "A host is written as photos.example.com, or *.example.com, in small letters; a key has at most 20.",
    "networks": "A network is written as 192.0.2.0/24 or 2001:db8::/32; a key has at most 50.",
    "rate_limit": "Choose 1 to 1,000,000 uses in 1 to 86,400 seconds.",
}

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
    # A form without these fields asks for nothing: an empty text would be any host, and a change to it.
    hosts: str | None = None
    networks: str | None = None
    uses: str | None = None  # in a span of `seconds`
    seconds: str = "60"

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
            hosts=fields.get("hosts"),
            networks=fields.get("networks"),
            uses=fields.get("uses"),
            seconds=fields.get("seconds", "60"),
        )

    @classmethod
    def showing(cls, row: KeyRow) -> "KeyForm":
        expires, rate = KEEP if row.expires_at else NEVER, read_rate(row.rate_limit)
        shown = cls(row.name, row.description, row.role, row.scopes.split(), expires=expires)
        shown.hosts, shown.networks = row.hosts, row.networks
        shown.uses, shown.seconds = (str(rate.requests), str(rate.seconds)) if rate else ("", "60")
        return shown

    @property
    def is_limited(self) -> bool:
        """Whether there is something in the fields that few keys need."""
        return bool(self.hosts or self.networks or self.uses)

    def new_key(self) -> NewKey:
        """Raises FormError."""
        return _load(CreateKey(), self._members())

    def changes(self) -> KeyChanges:
        """Raises FormError."""
        return _load(ChangeKey(), self._members())

    def _members(self) -> dict[str, Any]:
        scopes = [*self.scopes, *_words(self.more_scopes)]
        members: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "role": self.role,
            "scopes": list(dict.fromkeys(scopes)),
            **self._limits(),
        }
        return members if self.expires == KEEP else {**members, "expires_at": self._expires_at()}

    def _limits(self) -> dict[str, Any]:
        given = {"hosts": self.hosts, "networks": self.networks}
        limits: dict[str, Any] = {name: _words(text) for name, text in given.items() if text is not None}
        if self.uses is None:
            return limits
        rate = {"requests": _number(self.uses), "seconds": _number(self.seconds)} if self.uses.strip() else None
        return {**limits, "rate_limit": rate}

    def _expires_at(self) -> str | None:
        if self.expires in DAYS:
            return timestamp(datetime.now(UTC) + timedelta(days=DAYS[self.expires]))
        if self.expires == DATE:
            return _last_second_of(self.date)
        if self.expires == NEVER:
            return None
        raise FormError({"expires_at": "Choose when the key ends."})


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _number(text: str) -> int:
    """-1, which no rule allows, for what is no number."""
    return int(text) if text.strip().isascii() and text.strip().isdigit() and len(text) < 10 else -1


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
    if name in BAD:
        return BAD[name]
    return SENTENCES.get(name, {}).get(rule, rule)
