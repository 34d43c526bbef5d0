"""A view's contract in its decorators: its caller, its query and body, its answer, its failures.

The decorators do the work (strict reading, schema loading, dumping) and enter the contract in one registry, where the
OpenAPI document finds it: nothing is written twice.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote
from weakref import WeakKeyDictionary

from flask import Response, request
from marshmallow import Schema
from marshmallow import ValidationError as SchemaError
from werkzeug.datastructures import MultiDict

from errors import (
    BadRequest,
    InvalidRequest,
    KeyhookError,
    MalformedBody,
    PayloadTooLarge,
    UnsupportedMediaType,
    ValidationError,
)
from formats.redaction import redact_values
from formats.strict_json import MalformedJSON, parse_object
from web.fields import Body

MAX_BODY = PayloadTooLarge.LIMIT

PUBLIC = "public"  # the access of a view that needs no credential

View = Callable[..., Any]
T = TypeVar("T")


@dataclass
class Contract:
    """The promises of a view; the source of its OpenAPI operation."""

    access: str | None = None  # the role that a caller needs, or PUBLIC
    query: Schema | None = None
    body: Schema | None = None
    form: Schema | None = None
    status: int | None = None
    answer: Schema | None = None
    text: str | None = None  # the media type of an answer that is text
    preview: Schema | None = None
    headers: list[str] = field(default_factory=list)
    failures: list[type[KeyhookError]] = field(default_factory=list)


_contracts: WeakKeyDictionary[View, Contract] = WeakKeyDictionary()


def contract_of(view: View | None) -> Contract | None:
    """The contract of a view, or None. It is found through other decorators that use `functools.wraps`."""
    while view is not None:
        if view in _contracts:
            return _contracts[view]
        view = getattr(view, "__wrapped__", None)
    return None


def enter(view: View) -> Contract:
    """The contract of this very view, to be written to: a copy of the wrapped view's contract, or a new one.

    A view and its wrapper have separate contracts, or the bare view would pass for the guarded one.
    """
    if view not in _contracts:
        known = contract_of(view)
        _contracts[view] = replace(known, headers=[*known.headers], failures=[*known.failures]) if known else Contract()
    return _contracts[view]


def takes_query(schema: type[Schema]) -> Callable[[View], View]:
    """Passes the query's parameters as keywords. An unknown, repeated or wrong one is a ValidationError."""
    loader = schema()

    def decorate(view: View) -> View:
        @wraps(view)
        def loading(*args: Any, **kwargs: Any) -> Any:
            return view(*args, **kwargs, **read_query(loader))

        terms = enter(loading)
        terms.query = loader
        terms.failures.append(ValidationError)
        return loading

    return decorate


def takes_body(schema: type[Body[T]]) -> Callable[[View], View]:
    """Passes the loaded body as the keyword `body`."""
    loader = schema()

    def decorate(view: View) -> View:
        @wraps(view)
        def loading(*args: Any, **kwargs: Any) -> Any:
            return view(*args, **kwargs, body=read_json(loader))

        terms = enter(loading)
        terms.body = loader
        terms.failures += [MalformedBody, ValidationError, PayloadTooLarge, UnsupportedMediaType]
        return loading

    return decorate


def takes_form(schema: type[Schema]) -> Callable[[View], View]:
    """Passes the loaded members of a form-encoded body as the keyword `form`."""
    loader = schema(unknown="exclude")

    def decorate(view: View) -> View:
        @wraps(view)
        def loading(*args: Any, **kwargs: Any) -> Any:
            return view(*args, **kwargs, form=read_form(loader))

        terms = enter(loading)
        terms.form = loader
        terms.failures += [InvalidRequest, PayloadTooLarge, UnsupportedMediaType]
        return loading

    return decorate


def answers(
    status: int,
    schema: type[Schema] | None = None,
    *,
    many: bool = False,
    headers: tuple[str, ...] = (),
    preview: type[Schema] | None = None,
) -> Callable[[View], View]:
    """Dumps the value that the view returns; a view that sets headers returns `(value, headers)`.

    With `preview` a list is the result of a dry run: it is dumped with a 200.
    """
    dumper = schema(many=many) if schema else None
    previewer = preview(many=True) if preview else None

    def decorate(view: View) -> View:
        @wraps(view)
        def dumping(*args: Any, **kwargs: Any) -> Response:
            value = view(*args, **kwargs)
            if previewer and value is not None:
                return json_answer(previewer.dump(value))
            extra: dict[str, str] = {}
            if headers:
                value, extra = value
            answer = json_answer(dumper.dump(value), status) if dumper else empty(status)
            answer.headers.update(extra)
            return answer

        terms = enter(dumping)
        terms.status, terms.answer, terms.headers = status, dumper, list(headers)
        terms.preview = previewer
        return dumping

    return decorate


def documents(
    status: int, schema: type[Schema], *, headers: tuple[str, ...] = (), query: type[Schema] | None = None
) -> Callable[[View], View]:
    """Enters the contract alone, for a view that reads its query and renders its answer by itself."""

    def decorate(view: View) -> View:
        terms = enter(view)
        terms.status, terms.answer, terms.headers = status, schema(), list(headers)
        terms.query = query() if query else None
        return view

    return decorate


def documents_text(status: int, media_type: str) -> Callable[[View], View]:
    """Enters the contract of a view that answers with text."""

    def decorate(view: View) -> View:
        terms = enter(view)
        terms.status, terms.text = status, media_type
        return view

    return decorate


def fails(*errors: type[KeyhookError]) -> Callable[[View], View]:
    """Names the view's own refusals; those of its other decorators are added by themselves."""

    def decorate(view: View) -> View:
        enter(view).failures.extend(errors)
        return view

    return decorate


def mount_path() -> str:
    """The path under which a server has mounted the application, mostly empty. Every address in an answer begins with
    it."""
    return quote(request.root_path, safe="/")


def json_answer(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value, ensure_ascii=False), status, content_type="application/json")


def empty(status: int) -> Response:
    answer = Response(status=status)
    del answer.headers["Content-Type"]
    return answer


def flat(messages: dict[str, Any]) -> dict[str, list[str]]:
    """Marshmallow's messages as one list a field; a message on a list item begins with its index."""
    return {
        name: [f"{index}: {text}" for index, texts in found.items() for text in texts]
        if isinstance(found, dict)
        else found
        for name, found in messages.items()
    }


def read_query(schema: Schema) -> dict[str, Any]:
    """Raises ValidationError."""
    given = request.args.to_dict(flat=False) if request.query_string else {}
    repeated = {name: ["Given more than once."] for name, values in given.items() if len(values) > 1}
    if repeated:
        raise ValidationError(redact_values(repeated))
    return _load(schema.load, {name: values[0] for name, values in given.items()}, ValidationError)


def read_json(schema: Body[T]) -> T:
    """Raises UnsupportedMediaType, PayloadTooLarge, MalformedBody or ValidationError, in this order."""
    _require_media_type("application/json")
    raw = read_body()
    if not raw:
        raise UnsupportedMediaType
    try:
        given = parse_object(raw)
    except MalformedJSON:
        raise MalformedBody from None
    loaded: T = _load(schema.load, given, ValidationError)
    return loaded


def read_form(schema: Schema) -> dict[str, Any]:
    """Raises UnsupportedMediaType, PayloadTooLarge or InvalidRequest (RFC 6749 section 3.1: no member twice)."""
    if request.mimetype or request.content_length:
        _require_media_type("application/x-www-form-urlencoded")
    pairs = parse_qsl(read_body().decode("utf-8", "replace"), keep_blank_values=True)
    given = dict(pairs)
    if len(given) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise InvalidRequest(redact_values({name: ["Given more than once."] for name in given if counts[name] > 1}))
    return _load(schema.load, given, InvalidRequest)


def read_fields() -> MultiDict[str, str]:
    """The members of a form that a browser sends, in which one may stand several times.

    Raises UnsupportedMediaType or PayloadTooLarge.
    """
    if request.mimetype or request.content_length:
        _require_media_type("application/x-www-form-urlencoded")
    return MultiDict(parse_qsl(read_body().decode("utf-8", "replace"), keep_blank_values=True))


def read_body() -> bytes:
    """The body, at most MAX_BODY bytes. Raises PayloadTooLarge, and BadRequest for a body that breaks off.

    The bytes are counted here because Flask's MAX_CONTENT_LENGTH can cut a chunked body silently.
    """
    if (request.content_length or 0) > MAX_BODY:
        raise PayloadTooLarge
    raw = bytearray()
    try:
        while chunk := request.stream.read(MAX_BODY + 1 - len(raw)):
            raw += chunk
            if len(raw) > MAX_BODY:
                raise PayloadTooLarge
    except (OSError, ValueError):  # chunks that Flask's development server cannot read
        raise BadRequest from None
    return bytes(raw)


def _require_media_type(wanted: str) -> None:
    charset = request.mimetype_params.get("charset", "utf-8")
    if request.mimetype != wanted or charset.lower() != "utf-8" or "Content-Encoding" in request.headers:
        raise UnsupportedMediaType


def _load(load: Callable[[dict[str, Any]], T], given: dict[str, Any], refusal: type[ValidationError]) -> T:
    try:
        return load(given)
    except SchemaError as error:
        # Its names come from the client, so one of them may be a credential.
        raise refusal(redact_values(flat(error.messages_dict))) from None
