"""Types of fields and schemas that marshmallow lacks, or has less strictly than the wire contract."""

import re
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from marshmallow import Schema, ValidationError, fields

from formats.names import MAX_NAME, nfc
from formats.redaction import has_credential
from formats.times import timestamp, wire_time

MAX_SCOPES = 50

T = TypeVar("T")

_HOUR_MINUTE = r"([01]\d|2[0-3]):[0-5]\d"
_RFC3339 = re.compile(rf"\d{{4}}-\d\d-\d\d[Tt ]{_HOUR_MINUTE}:[0-5]\d(\.\d+)?([Zz]|[+-]{_HOUR_MINUTE})", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Body(Schema, Generic[T]):
    """The schema of a body in JSON, which loads as a T."""


class Text(fields.String):
    """A text that every database can hold: PostgreSQL has no U+0000. Lone surrogates are refused with the body."""

    PATTERN = r"^[^\u0000]*$"  # for the document

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if "\0" in text:
            raise ValidationError("Must not contain U+0000.")
        return text


class Name(fields.String):
    """A key's name: 1 to 100 printable characters after NFC, no `/`, no white space at either end, not `.` or `..`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        name = nfc(super()._deserialize(value, attr, data, **kwargs))
        if not 1 <= len(name) <= MAX_NAME:
            raise ValidationError(f"Length must be between 1 and {MAX_NAME}.")
        if not name.isprintable():
            raise ValidationError("Must be printable.")
        if "/" in name or name in (".", ".."):
            raise ValidationError("Must not contain a slash nor be a dot segment.")
        if name != name.strip():
            raise ValidationError("Must not begin or end with white space.")
        if has_credential(name):  # a name is shown and logged; the client meant another field
            raise ValidationError("Must not be a credential.")
        return name


class Timestamp(fields.Field[str]):
    """RFC 3339 with any offset on the way in, UTC with a `Z` on the way out."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not _RFC3339.fullmatch(value):
            raise ValidationError("Not a valid RFC 3339 timestamp with an offset.")
        try:
            return timestamp(datetime.fromisoformat(value.upper()).astimezone(UTC))
        except (ValueError, OverflowError):
            raise ValidationError("Not a valid RFC 3339 timestamp with an offset.") from None

    def _serialize(self, value: str | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return wire_time(value)


class Scopes(fields.List):  # type: ignore[type-arg]
    """Loads at most MAX_SCOPES; a longer list gets one message, not one an item. Dumps the text of the table, or a
    sequence."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, list) and len(value) > MAX_SCOPES:
            raise ValidationError(f"Longer than maximum length {MAX_SCOPES}.")
        return super()._deserialize(value, attr, data, **kwargs)

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> list[str]:
        return value.split() if isinstance(value, str) else list(value or ())


class KeyId(fields.String):
    """From a query: a UUID with its hyphens, in either case (RFC 9562 section 4)."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs).lower()
        if not _UUID.fullmatch(text):
            raise ValidationError("Not a valid UUID.")
        return text


class WholeNumber(fields.Integer):
    """From a query: digits and nothing else."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,19}", value):
            raise ValidationError("Not a whole number.")
        return super()._deserialize(value, attr, data, **kwargs)


class Flag(fields.Boolean):
    """From a query: `true` or `false`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if value not in ("true", "false"):
            raise ValidationError("Must be true or false.")
        return bool(value == "true")


class StrictBoolean(fields.Boolean):
    """From a body: JSON's own true or false."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Not a valid boolean.")
        return value


class StrictInteger(fields.Integer):
    """From a body: a number without a fraction. In JSON `60.0` is one too."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        return super()._deserialize(whole, attr, data, **kwargs)
