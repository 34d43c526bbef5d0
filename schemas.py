"""The schemas of requests and answers. Pure: no session, no request, no database.

Requests are checked here and nowhere else; an unknown member is an error (marshmallow's RAISE). The schemas are also
the source of /openapi.json, so every field carries its own description.
"""

import json
from collections.abc import Callable
from typing import Any

from marshmallow import INCLUDE, Schema, ValidationError, fields, post_load, validate, validates_schema

from errors import EXAMPLE_ID
from formats.names import MAX_NAME
from formats.redaction import redact
from formats.times import now, wire_time
from identity.places import HOST, MAX_HOST, MAX_HOSTS, MAX_NETWORKS
from identity.principal import ROLES
from identity.rates import MAX_REQUESTS, MAX_SECONDS, RateLimit
from keys.key_fields import KeyChanges, NewKey, rate_shown
from keys.uses import KEPT
from models import KeyRow, grace_until, status
from web.fields import (
    Body,
    Flag,
    KeyId,
    Name,
    Network,
    Notes,
    StrictBoolean,
    StrictInteger,
    Text,
    Timestamp,
    WholeNumber,
    Words,
)

NAME = r"^(?!\.{1,2}$)[^/\s]([^/]*[^/\s])?$"  # for the document; the class Name decides
SCOPE = r"^[A-Za-z0-9][A-Za-z0-9:._/-]{0,63}\Z"
MAX_SCOPES = 50
MAX_DESCRIPTION = 500  # characters
MAX_PAGE = 1000
MAX_GRACE = 30 * 24 * 3600  # seconds
MAX_CURSOR = 2**63 - 1

STATUSES = ["active", "expired", "disabled"]
ACTIONS = ["key.created", "key.updated", "key.rotated", "key.revoked", "key.deleted"]

EXAMPLE_KEY = "kh_" + EXAMPLE_ID.replace("-", "") + "_" + "0" * 43 + "6f614121"


def in_the_future(value: str) -> None:
    if value <= now():
        raise ValidationError("Must be in the future.")


def _details(stored: str | None) -> dict[str, Any] | None:
    """The details of an audit entry. Text that is no JSON, as 1.0.0 could leave it, is shown unchanged."""
    if not stored:
        return None
    try:
        read = json.loads(stored)
    except ValueError:
        read = None
    return read if isinstance(read, dict) else {"unreadable": redact(stored)}


def _name(**more: Any) -> Name:
    shown = {
        "description": "1 to 100 printable characters, no slash; kept in NFC, unique within a tenant.",
        "example": "laptop",
        "minLength": 1,
        "maxLength": MAX_NAME,
        "pattern": NAME,
        "format": "key-name",  # what a pattern cannot say: printable and in NFC
    }
    return Name(metadata=shown, **more)


def _key_role(more_to_say: str = "", **more: Any) -> fields.String:
    note = (
        "What the key may do to this service: `check` nothing, it is good at the gate alone; `read` lists; `write` "
        "also creates, changes and deletes." + more_to_say
    )
    return fields.String(validate=validate.OneOf(["check", "read", "write"]), metadata={"description": note}, **more)


def _scopes() -> Words:
    word = fields.String(
        validate=validate.Regexp(SCOPE, error="Not a valid scope."), metadata={"example": "photos:read"}
    )
    note = "What the key may do elsewhere: words that only your own services understand."
    return Words(word, MAX_SCOPES, metadata={"description": note})


def _expires_at() -> Timestamp:
    note = "When the key ends, in the future; null for never. Left out with a key: when that key ends."
    return Timestamp(allow_none=True, validate=in_the_future, metadata={"description": note})


def _description() -> Text:
    shown = {"description": "For people.", "pattern": Text.PATTERN}
    return Text(validate=validate.Length(max=MAX_DESCRIPTION), metadata=shown)


def _hosts(**more: Any) -> Words:
    host = fields.String(
        validate=[validate.Length(max=MAX_HOST), validate.Regexp(HOST, error="Not a valid host name in lower case.")],
        metadata={"example": "photos.example.com"},
    )
    note = "The hosts that the key is good for at the gate; `*.` stands for one label. None: any."
    return Words(host, MAX_HOSTS, metadata={"description": note}, **more)


def _networks(**more: Any) -> Words:
    block = Network(metadata={"format": "cidr", "example": "192.0.2.0/24"})
    note = "The networks from which the key may be used, at every route. None: any."
    return Words(block, MAX_NETWORKS, metadata={"description": note}, **more)


def _rate_limit(**more: Any) -> fields.Nested:
    note = "How often the key may be used at the gate, with all that it mints; null for no limit."
    return fields.Nested(Rate, allow_none=True, metadata={"description": note}, **more)


def _notes(**more: Any) -> Notes:
    return Notes(metadata={"description": "Notes of your own: shown, and never judged."}, **more)


def _moment_of(read: Callable[[KeyRow], str | None], note: str) -> fields.Function:
    """A moment of a shown key that is worked out, or null."""
    shown = {"type": ["string", "null"], "format": "date-time", "description": note}
    return fields.Function(lambda row: wire_time(read(row)), required=True, metadata=shown)


def _wanted(note: str) -> fields.String:
    """A parameter that demands nothing when it is left out, and is refused when it is empty."""
    return fields.String(load_default="", validate=validate.Length(min=1), metadata={"description": note})


def _with_tuples(given: dict[str, Any]) -> dict[str, Any]:
    """The loaded fields with tuples for lists, as the frozen dataclasses need them."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


class Rate(Schema):
    requests = StrictInteger(
        strict=True,
        required=True,
        validate=validate.Range(1, MAX_REQUESTS),
        metadata={"description": "At most so many", "example": 100},
    )
    seconds = StrictInteger(
        strict=True,
        required=True,
        validate=validate.Range(1, MAX_SECONDS),
        metadata={"description": "in any span of so many seconds.", "example": 60},
    )

    @post_load
    def make(self, given: dict[str, Any], **_: Any) -> RateLimit:
        return RateLimit(**given)


class CreateKey(Body[NewKey]):
    name = _name(required=True)
    role = _key_role(" When left out: `write`.")
    scopes = _scopes()
    expires_at = _expires_at()
    description = _description()
    hosts = _hosts()
    networks = _networks()
    rate_limit = _rate_limit()
    metadata = _notes()

    @post_load
    def make(self, given: dict[str, Any], **_: Any) -> NewKey:
        return NewKey(**_with_tuples(given))


class ChangeKey(Body[KeyChanges]):
    name = _name()
    description = _description()
    role = _key_role()
    scopes = _scopes()
    expires_at = _expires_at()
    disabled = StrictBoolean(metadata={"description": "A disabled key is refused until it is enabled again."})
    hosts = _hosts()
    networks = _networks()
    rate_limit = _rate_limit()
    metadata = _notes()

    @post_load
    def make(self, given: dict[str, Any], **_: Any) -> KeyChanges:
        return KeyChanges(**_with_tuples(given))


class DisableKeys(Body[dict[str, bool]]):
    """A change of many keys at once, which can only disable them."""

    disabled = StrictBoolean(
        required=True, validate=validate.Equal(True), metadata={"enum": [True], "description": "Only `true`."}
    )


class RotateKey(Body[dict[str, int]]):
    grace_seconds = StrictInteger(
        strict=True,
        load_default=0,
        validate=validate.Range(0, MAX_GRACE),
        metadata={"description": "How long the old secret goes on working, in seconds; 0 when left out."},
    )


class KeyPage(Schema):
    limit = WholeNumber(
        load_default=MAX_PAGE, validate=validate.Range(1, MAX_PAGE), metadata={"description": "Keys on a page."}
    )
    after = WholeNumber(
        load_default=0,
        validate=validate.Range(0, MAX_CURSOR),
        metadata={"description": "The cursor of a `Link` header."},
    )
    status = fields.String(
        load_default="",
        validate=validate.OneOf(STATUSES),
        metadata={"description": "`disabled`, else `expired`, else `active`."},
    )
    owner = _wanted("The person behind the key.")
    scope = _wanted("A scope that the key has.")
    search = _wanted("Words, each in the name, the description or the owner; or the id of a key.")
    expires_before = Timestamp(load_default=None, metadata={"description": "The key ends, and before this moment."})
    unused_since = Timestamp(
        load_default=None,
        metadata={"description": "Last used before this moment; or created before it, and never used."},
    )


class AuditPage(Schema):
    limit = WholeNumber(
        load_default=100, validate=validate.Range(1, MAX_PAGE), metadata={"description": "Entries on a page."}
    )
    before = WholeNumber(
        load_default=None,
        validate=validate.Range(0, MAX_CURSOR),
        metadata={"description": "Only entries older than this id."},
    )
    after = WholeNumber(
        load_default=None,
        validate=validate.Range(0, MAX_CURSOR),
        metadata={"description": "Only entries newer than this id, oldest first; not together with `before`."},
    )
    action = fields.String(
        load_default="", validate=validate.OneOf(ACTIONS), metadata={"description": "What was done."}
    )
    owner = _wanted("The person who acted.")
    key_id = KeyId(
        load_default="", metadata={"format": "uuid", "description": "The key that was changed.", "example": EXAMPLE_ID}
    )

    @validates_schema
    def one_direction(self, given: dict[str, Any], **_: Any) -> None:
        if given["before"] is not None and given["after"] is not None:
            raise ValidationError({"after": ["Not together with before."]})


class OfOwner(Schema):
    owner = fields.String(
        required=True, validate=validate.Length(min=1), metadata={"description": "The person behind the keys."}
    )


class UsageQuery(Schema):
    days = WholeNumber(
        load_default=30, validate=validate.Range(1, KEPT), metadata={"description": "Days, the last of them today."}
    )


class DeleteKey(Schema):
    cascade = Flag(load_default=False, metadata={"description": "Also every key that was minted with it, and theirs."})
    dry_run = Flag(load_default=False, metadata={"description": "Delete nothing: answer with the keys that would go."})


class DeleteKeyById(DeleteKey):
    key_id = KeyId(
        required=True,
        data_key="id",
        metadata={
            "format": "uuid",
            "description": "With `cascade` also that of a key that is gone.",
            "example": EXAMPLE_ID,
        },
    )


class NoParameters(Schema):
    """A route that takes no query."""


class MintedKey(Schema):
    api_key = fields.String(
        required=True,
        metadata={"description": "The secret; this response is the only place it appears.", "example": EXAMPLE_KEY},
    )
    id = fields.UUID(required=True, metadata={"description": "Stays the same for good.", "example": EXAMPLE_ID})
    name = _name(required=True)


class Key(Schema):
    id = fields.String(
        required=True, metadata={"format": "uuid", "description": "Stays the same for good.", "example": EXAMPLE_ID}
    )
    name = _name(required=True)
    role = _key_role(required=True)
    scopes = Words(
        fields.String(), MAX_SCOPES, required=True, metadata={"description": "What the key may do elsewhere."}
    )
    description = fields.String(required=True, metadata={"description": "For people."})
    owner = fields.String(required=True, metadata={"description": "The person behind the key.", "example": "alice"})
    created_at = Timestamp(required=True, metadata={"description": "When the key was minted."})
    created_by_key = fields.String(
        required=True, allow_none=True, metadata={"format": "uuid", "description": "The id of the key that minted it."}
    )
    expires_at = Timestamp(
        required=True, allow_none=True, metadata={"description": "When the key ends; null for never."}
    )
    last_used_at = Timestamp(
        required=True, allow_none=True, metadata={"description": "When it was last good; right to within 60 seconds."}
    )
    last_used_ip = fields.String(
        required=True, allow_none=True, metadata={"description": "From where it was last used.", "example": "192.0.2.7"}
    )
    disabled = fields.Boolean(required=True, metadata={"description": "Refused until it is enabled again."})
    status = fields.Function(
        status,
        required=True,
        metadata={
            "type": "string",
            "enum": STATUSES,
            "description": "`disabled`, else `expired`, else `active`.",
        },
    )
    hosts = _hosts(required=True)
    networks = _networks(required=True)
    rate_limit = fields.Function(
        lambda row: rate_shown(row.rate_limit),
        required=True,
        metadata={
            "type": ["object", "null"],
            "properties": {"requests": {"type": "integer"}, "seconds": {"type": "integer"}},
            "description": "How often the key may be used at the gate, with all that it mints; null for no limit.",
        },
    )
    metadata = _notes(required=True)
    declared = fields.Boolean(
        required=True, metadata={"description": "Declared in a file, which alone changes it; it can be disabled here."}
    )
    grace_until = _moment_of(
        grace_until, "Until when the secret before the last rotation is good too; null when it is not."
    )
    previous_last_used_at = _moment_of(
        lambda row: row.previous_last_used_at if grace_until(row) else None,
        "When the secret in its grace was last good; right to within 60 seconds.",
    )
    prefix = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "What the key begins with; null for one of an earlier version.", "example": "kh"},
    )
    hint = fields.Function(
        lambda row: f"…{row.hint}" if row.hint else None,
        required=True,
        metadata={
            "type": ["string", "null"],
            "description": "Its last four characters, after an ellipsis; null for one of an earlier version.",
            "example": "…4121",
        },
    )


class Offspring(Key):
    parent = fields.Function(
        lambda row: row.created_by_key,
        required=True,
        metadata={
            "type": "string",
            "format": "uuid",
            "description": "The id of the key that minted it, which may be gone.",
        },
    )


class Usage(Schema):
    date = fields.String(required=True, metadata={"format": "date", "description": "The day, in UTC."})
    checks = fields.Integer(required=True, metadata={"description": "Requests in which the key was good enough."})
    refused = fields.Integer(
        required=True, metadata={"description": "Requests in which it was not, or somebody tried a wrong secret."}
    )


class Actor(Schema):
    kind = fields.String(
        required=True,
        validate=validate.OneOf(["api_key", "jwt", "cli", "console", "holder", "file"]),
        metadata={
            "description": "A key, a person with a token, the command line, a person in the console, somebody who "
            "held the key and revoked it, or a file of declared keys."
        },
    )
    owner = fields.String(
        required=True,
        metadata={
            "description": "The person; for `cli` the login name, for `file` its name and the beginning of its SHA-256."
        },
    )
    key_id = fields.String(
        required=True, allow_none=True, metadata={"format": "uuid", "description": "The key that acted."}
    )
    key_name = fields.String(required=True, allow_none=True, metadata={"description": "Its name at the time."})


class AuditEntry(Schema):
    id = fields.Integer(required=True, metadata={"description": "Grows with time."})
    at = Timestamp(required=True, metadata={"description": "When it was done."})
    action = fields.String(
        required=True,
        validate=validate.OneOf(ACTIONS),
        metadata={"description": "What was done."},
    )
    actor = fields.Function(
        lambda row: {member: getattr(row, f"actor_{member}") for member in Actor().fields},
        required=True,
        metadata={"schema": Actor, "description": "Who did it."},
    )
    key_id = fields.String(required=True, metadata={"format": "uuid", "description": "The key that it was done to."})
    key_name = fields.String(required=True, metadata={"description": "Its name then."})
    ip = fields.String(required=True, allow_none=True, metadata={"description": "From where; null for `cli`."})
    request_id = fields.String(
        required=True, allow_none=True, metadata={"description": "The `X-Request-ID`; null for `cli`."}
    )
    details = fields.Function(
        lambda row: _details(row.details),
        required=True,
        metadata={
            "type": ["object", "null"],
            "description": "What was changed, by action. `unreadable`: an early release damaged this text.",
            "additionalProperties": True,
        },
    )


class AuthQuery(Schema):
    scope = fields.List(
        fields.String(metadata={"example": "photos:read"}), metadata={"description": "Scopes that are all needed."}
    )
    role = fields.String(
        validate=validate.OneOf(list(ROLES)), metadata={"description": "The least role that is needed."}
    )
    tenant = fields.List(
        fields.String(validate=validate.Length(min=1), metadata={"example": "default"}),
        metadata={"description": "Tenants; the credential must be of one of them."},
    )
    challenge = fields.String(
        validate=validate.OneOf(["basic"]), metadata={"description": "A 401 asks for HTTP Basic as well."}
    )
    preflight = fields.String(
        validate=validate.OneOf(["pass"]),
        metadata={
            "description": "A CORS preflight passes without a credential: `OPTIONS` in `X-Forwarded-Method`, with "
            "`Origin` and `Access-Control-Request-Method`. The proxy must set the first of them itself."
        },
    )
    limited = fields.String(
        validate=validate.OneOf(["403"]),
        metadata={
            "description": "A key that was used too often is refused with 403, since nginx makes a 500 of a 429."
        },
    )
    key_param = fields.String(
        validate=validate.Length(min=1),
        metadata={
            "description": "When no header brings a credential: the query parameter of the original URI "
            "(`X-Forwarded-Uri` or `X-Original-URI`) that does."
        },
    )


class Identity(Schema):
    """The holder of a credential. A preflight has null everywhere, and no scopes."""

    kind = fields.String(
        required=True,
        validate=validate.OneOf(["api_key", "jwt", "preflight"]),
        metadata={"description": "A key, a person, or a CORS preflight without either."},
    )
    tenant = fields.String(
        required=True, allow_none=True, metadata={"description": "Whose keys are in reach.", "example": "default"}
    )
    owner = fields.String(
        required=True, allow_none=True, metadata={"description": "The person behind it.", "example": "alice"}
    )
    role = fields.String(
        required=True,
        allow_none=True,
        validate=validate.OneOf(list(ROLES)),
        metadata={"description": "What it may do to this service."},
    )
    scopes = Words(
        fields.String(),
        MAX_SCOPES,
        required=True,
        metadata={"description": "What it may do elsewhere; empty for a person."},
    )
    key_id = fields.String(
        required=True, allow_none=True, metadata={"format": "uuid", "description": "Null for a person."}
    )
    key_name = fields.String(required=True, allow_none=True, metadata={"description": "Null for a person."})
    expires_at = Timestamp(
        required=True, allow_none=True, metadata={"description": "When the credential ends; null for never."}
    )


class IntrospectionRequest(Schema):
    token = fields.String(
        required=True, validate=validate.Length(min=1), metadata={"description": "The token to look at."}
    )
    token_type_hint = fields.String(metadata={"description": "Accepted and not needed."})


class RevocationRequest(Schema):
    token = fields.String(
        required=True, validate=validate.Length(min=1), metadata={"description": "The key that is to end."}
    )
    token_type_hint = fields.String(metadata={"description": "Accepted and not needed."})


class Introspection(Schema):
    """The answer of RFC 7662 section 2.2. Members without a value are left out."""

    active = fields.Boolean(required=True, metadata={"description": "Whether the token is good."})
    scope = fields.String(metadata={"description": "The scopes, a space between each two."})
    client_id = fields.String(metadata={"description": "The key's id; of a provider's token, its client."})
    username = fields.String(metadata={"description": "The owner."})
    token_type = fields.String(metadata={"description": "How it is sent.", "example": "Bearer"})
    exp = fields.Integer(metadata={"description": "When it ends, in seconds since 1970."})
    iat = fields.Integer(metadata={"description": "When it was made, in seconds since 1970."})
    sub = fields.String(metadata={"description": "The owner."})
    iss = fields.String(metadata={"description": "Who made it.", "example": "keyhook"})
    jti = fields.String(metadata={"description": "The key's id."})
    tenant = fields.String(metadata={"description": "Whose keys are in reach."})
    role = fields.String(metadata={"description": "What it may do to this service."})
    key_name = fields.String(metadata={"description": "The key's name."})


class Health(Schema):
    status = fields.String(
        required=True, validate=validate.OneOf(["ok"]), metadata={"description": "The database answers."}
    )


class Error(Schema):
    message = fields.String(required=True, metadata={"description": "For people; may change."})
    error_code = fields.String(required=True, metadata={"description": "For programs; stays."})
    details = fields.Raw(
        required=True,
        allow_none=True,
        metadata={
            "type": "object",
            "description": "Its members depend on the code.",
            "additionalProperties": True,
        },
    )


class InvalidRequestError(Error):
    """An error of RFC 6749 section 5.2, beside the usual three members."""

    error = fields.String(
        required=True, validate=validate.OneOf(["invalid_request"]), metadata={"description": "For OAuth clients."}
    )


class Document(Schema):
    """An OpenAPI document, as far as clients of this service need to know."""

    class Meta:
        unknown = INCLUDE

    openapi = fields.String(required=True, metadata={"description": "The version of OpenAPI.", "example": "3.1.0"})
    info = fields.Dict(required=True, metadata={"description": "The title, the version and the license."})
    paths = fields.Dict(required=True, metadata={"description": "The operations by path and method."})
    components = fields.Dict(required=True, metadata={"description": "What the operations share."})
