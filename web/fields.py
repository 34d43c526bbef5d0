"""Types of fields and schemas that marshmallow lacks, or has less strictly than the wire contract."""

import json
import re
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, TypeVar

from marshmallow import Schema, ValidationError, fields, validate

from formats.names import MAX_NAME, nfc
from formats.redaction import has_credential
from formats.times import timestamp, wire_time
from identity.places import network

NOTE = r"^[a-z0-9_.-]{1,40}$"
MAX_NOTES = 20
MAX_NOTE = 200  # characters

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


class Words(fields.List):  # type: ignore[type-arg]
    """Dumps the text of the table, or a sequence. Loads like any list, but a long one gets one message."""

    def __init__(self, inner: fields.Field[Any], most: int, **more: Any) -> None:
        super().__init__(inner, validate=validate.Length(max=most), **more)
        self._most = most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, list) and len(value) > self._most:
            raise ValidationError(f"Longer than maximum length {self._most}.")
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


class Network(fields.String):
    """A CIDR block, version 4 or 6; a bare address is the block of that address."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        try:
            return str(network(super()._deserialize(value, attr, data, **kwargs)))
        except ValueError as error:
            bits = " It has bits beyond its length." if "host bits" in str(error) else ""
            raise ValidationError(f"Not a valid network, as in 192.0.2.0/24 or 2001:db8::/32.{bits}") from None


class Notes(fields.Field[dict[str, str]]):
    """An object with few short texts. Loads as a dictionary, dumps the JSON of the table."""

    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "object",
        "maxProperties": MAX_NOTES,
        "propertyNames": {"pattern": NOTE},
        "additionalProperties": {"type": "string", "maxLength": MAX_NOTE, "pattern": Text.PATTERN},
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise ValidationError("Not a valid object.")
        if len(value) > MAX_NOTES:
            raise ValidationError(f"More than {MAX_NOTES} members.")
        if wrong := [what for name, text in value.items() if (what := _wrong_note(name, text))]:
            raise ValidationError(wrong)
        return dict(value)

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> dict[str, str]:
        return dict(json.loads(value)) if isinstance(value, str) else dict(value or {})


def _wrong_note(name: str, text: object) -> str:
    """What is wrong with a member; an empty text if nothing is."""
    if not re.fullmatch(NOTE, name) or name.endswith("\n"):
        return f"{name[:MAX_NAME]}: a name is 1 to 40 of a-z, 0-9, _, . and -."
    if not isinstance(text, str):
        return f"{name}: not a string."
    if len(text) > MAX_NOTE:
        return f"{name}: longer than {MAX_NOTE} characters."
    return f"{name}: must not contain U+0000." if "\0" in text else ""
