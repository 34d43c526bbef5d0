"""A view's contract in its decorators: the query and the body that it takes, what it answers, how it fails.

They do the work (strict reading, schema loading, dumping) and leave themselves on the view, where the OpenAPI document
finds them: nothing is written twice.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, quote

from flask import Response, request
from marshmallow import Schema
from marshmallow import ValidationError as SchemaError

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
from formats.strict_json import parse_object

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAX_BODY = 64 * 1024  # bytes

View = Callable[..., Any]


@dataclass
class Contract:
    """What a view promised; the source of its OpenAPI operation."""

    query: Schema | None = None
    body: Schema | None = None
    form: Schema | None = None
    status: int = 200
    answer: Schema | None = None
    preview: Schema | None = None
    headers: list[str] = field(default_factory=list)
    failures: list[type[KeyhookError]] = field(default_factory=list)


def contract(view: View) -> Contract:
    if not hasattr(view, "contract"):
        view.contract = Contract()  # type: ignore[attr-defined]
    return view.contract  # type: ignore[attr-defined,no-any-return]


def takes_query(schema: type[Schema]) -> Callable[[View], View]:
    """Passes the query's parameters as keywords. One that is unknown, repeated or wrong is a ValidationError."""
    loader = schema()

    def decorate(view: View) -> View:
        terms = contract(view)
        terms.query = loader
        terms.failures.append(ValidationError)

        @wraps(view)
        def loading(*args: Any, **kwargs: Any) -> Any:
            return view(*args, **kwargs, **read_query(loader))

        return loading

    return decorate


def takes_body(schema: type[Schema]) -> Callable[[View], View]:
    """Passes the loaded body as the keyword `body`."""
    loader = schema()

    def decorate(view: View) -> View:
        terms = contract(view)
        terms.body = loader
        terms.failures += [MalformedBody, ValidationError, PayloadTooLarge, UnsupportedMediaType]

        @wraps(view)
        def loading(*args: Any, **kwargs: Any) -> Any:
            return view(*args, **kwargs, body=read_json(loader))

        return loading

    return decorate


def takes_form(schema: type[Schema]) -> Callable[[View], View]:
    """Passes the loaded members of a form-encoded body as the keyword `form`."""
    loader = schema(unknown="exclude")

    def decorate(view: View) -> View:
        terms = contract(view)
        terms.form = loader
        terms.failures += [InvalidRequest, PayloadTooLarge, UnsupportedMediaType]

        @wraps(view)
        def loading(*args: Any, **kwargs: Any) -> Any:
            return view(*args, **kwargs, form=read_form(loader))

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
    """Dumps what the view returns; a view that sets headers returns `(value, headers)`.

    With `preview` a list that the view returns is what would go, if this were no dry run: it is dumped with a 200.
    """
    dumper = schema(many=many) if schema else None
    previewer = preview(many=True) if preview else None

    def decorate(view: View) -> View:
        terms = contract(view)
        terms.status, terms.answer, terms.headers = status, dumper, list(headers)
        terms.preview = previewer

        @wraps(view)
        def dumping(*args: Any, **kwargs: Any) -> Answer:
            value = view(*args, **kwargs)
            if previewer and value is not None:
                return json_answer(previewer.dump(value))
            extra: dict[str, str] = {}
            if headers:
                value, extra = value
            answer = json_answer(dumper.dump(value), status) if dumper else no_content()
            answer.headers.update(extra)
            return answer

        return dumping

    return decorate


def documents(
    status: int, schema: type[Schema], *, headers: tuple[str, ...] = (), query: type[Schema] | None = None
) -> Callable[[View], View]:
    """For a view that reads its query and renders its answer by itself: the contract alone."""

    def decorate(view: View) -> View:
        terms = contract(view)
        terms.status, terms.answer, terms.headers = status, schema(), list(headers)
        terms.query = query() if query else None
        return view

    return decorate


def fails(*errors: type[KeyhookError]) -> Callable[[View], View]:
    """Names the refusals that are the view's own; those of its other decorators are known without."""

    def decorate(view: View) -> View:
        contract(view).failures.extend(errors)
        return view

    return decorate


class Answer(Response):
    """A body in memory under headers that are right: without Werkzeug's second look at them, a tenth of a check."""

    def get_wsgi_response(self, environ: "WSGIEnvironment") -> tuple[Iterable[bytes], str, list[tuple[str, str]]]:
        if self._on_close or not self.is_sequence or self.status_code in (204, 304):
            return super().get_wsgi_response(environ)  # a hook of the program around has changed it; or no body
        body = [] if environ["REQUEST_METHOD"] == "HEAD" else cast(list[bytes], self.response)
        return body, self.status, self.headers.to_wsgi_list()


def mount_path() -> str:
    """The path under which a server has mounted the application, which every address in an answer begins with; mostly
    empty."""
    return quote(request.root_path, safe="/")


def json_answer(value: Any, status: int = 200) -> Answer:
    return Answer(json.dumps(value, ensure_ascii=False), status, content_type="application/json")


def no_content() -> Answer:
    answer = Answer(status=204)
    del answer.headers["Content-Type"]
    return answer


def flat(messages: dict[str, Any]) -> dict[str, list[str]]:
    """Marshmallow's messages as one list a field; those on an item of a list begin with its index."""
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
    return _load(schema, {name: values[0] for name, values in given.items()}, ValidationError)


def read_json(schema: Schema) -> dict[str, Any]:
    """Raises UnsupportedMediaType, PayloadTooLarge, MalformedBody or ValidationError, in this order."""
    _require_media_type("application/json")
    raw = read_body()
    if not raw:
        raise UnsupportedMediaType
    return _load(schema, parse_object(raw), ValidationError)


def read_form(schema: Schema) -> dict[str, Any]:
    """Raises UnsupportedMediaType, PayloadTooLarge or InvalidRequest (RFC 6749 section 3.1: no member twice)."""
    if request.mimetype or request.content_length:
        _require_media_type("application/x-www-form-urlencoded")
    pairs = parse_qsl(read_body().decode("utf-8", "replace"), keep_blank_values=True)
    given = dict(pairs)
    if len(given) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise InvalidRequest(redact_values({name: ["Given more than once."] for name in given if counts[name] > 1}))
    return _load(schema, given, InvalidRequest)


def read_body() -> bytes:
    """At most MAX_BODY bytes, however they are framed; raises PayloadTooLarge, and BadRequest for one that breaks off.

    Counted here rather than by MAX_CONTENT_LENGTH, which can cut a chunked body without a word.
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


def _load(schema: Schema, given: dict[str, Any], refusal: type[ValidationError]) -> dict[str, Any]:
    try:
        return schema.load(given)  # type: ignore[no-any-return]
    except SchemaError as error:
        # The names in it are the client's own words, so one of them may be a credential.
        raise refusal(redact_values(flat(error.messages_dict))) from None
