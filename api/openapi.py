"""/openapi.json: derived from the routes, their contracts and the schemas that run.

Nothing is written twice: the decorator that checks a request also documents it. Here stands only the text that no code
can give: prose.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, current_app
from marshmallow import Schema, fields
from werkzeug.routing import Rule

import errors
from api.resource import Resource, Tag
from auth import public
from errors import KeyhookError
from identity.principal import ROLES
from observability.build import COMMAND
from schemas import CreateKey, Document, Error, InvalidRequestError, NoParameters
from web.contract import PUBLIC, Contract, View, contract_of, documents, json_answer, mount_path, takes_query
from web.fields import Flag, Notes, Timestamp, WholeNumber

if TYPE_CHECKING:
    from apispec import APISpec

bp = Resource("openapi", __name__, Tag.SERVICE)

UNDOCUMENTED = ("docs.docs_page", "docs.docs_asset")  # for people, not for programs
EXTENSION = "keyhook-openapi"

ABOUT = """
Mints API keys and answers, fast, whether a key is good.

Every refusal has the same three members: `message` for people, `error_code` for programs, `details` whose members
depend on the code. Beside what each operation lists, any request can meet `NotFound` (404: no such route),
`MethodNotAllowed` (405, with an `Allow` header), `BadRequest` (400: not HTTP as it should be) and
`InternalServerError` (500: a fault of the service, told to its log alone).

Timestamps are RFC 3339 in UTC with a `Z`. A member or a query parameter that is not listed is refused; only
`/v0/introspect` lets other members of its form pass. New error codes may come.
"""

SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": f"An API key, or a JWT: of `{COMMAND} token`, or of the OpenID provider if there is one.",
    },
    "api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key or a JWT; read by `/v0/auth` alone, and before `Authorization`.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "An API key or a JWT as the password, or as the user name beside an empty one; read by "
        "`/v0/auth` alone.",
    },
}

_TEXT = {"type": "string"}
# The headers of the answers: a description, a schema, and whether the header is always there.
HEADERS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "X-Request-ID": (
        "The request's own, if it is 1 to 128 of `[A-Za-z0-9._-]` and no credential, else a new one.",
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
        True,
    ),
    "Cache-Control": ("`no-store`: what is answered is for this caller and this moment.", _TEXT, True),
    "Keyhook-Key-Expires": (
        "When the caller's own key ends, if it does.",
        {"type": "string", "format": "date-time"},
        False,
    ),
    "Location": ("The key's own resource.", {"type": "string", "format": "uri-reference"}, True),
    "Link": ('The next page, as `<...>; rel="next"`; absent on the last (RFC 8288).', _TEXT, False),
    "Allow": ("The methods of this route, a comma between each two.", _TEXT, True),
    "WWW-Authenticate": (
        "A `Bearer` challenge (RFC 6750 section 3), always with a 401; with `?challenge=basic` before it, on a line of "
        "its own, a `Basic` one.",
        _TEXT,
        False,
    ),
    "Retry-After": ("When to try again, in seconds.", {"type": "integer", "minimum": 0}, True),
    "RateLimit-Policy": ("The rate limit of the key, if it has one: requests (`q`) in seconds (`w`).", _TEXT, False),
    "RateLimit": ("What is left of it (`r`), and in how many seconds there is more (`t`).", _TEXT, False),
    "Remote-User": ("The owner.", _TEXT, True),
    "Remote-Groups": ("The scopes, a comma between each two.", _TEXT, True),
    "Keyhook-Key-Id": ("The id of the key; empty for a JWT.", _TEXT, True),
    "Keyhook-Key-Name": ("The name of the key, percent-encoded; empty for a JWT.", _TEXT, True),
    "Keyhook-Role": ("The role; empty for a preflight.", {"type": "string", "enum": [*ROLES, ""]}, True),
    "Keyhook-Tenant": ("The tenant, percent-encoded.", _TEXT, True),
}
COMMON_HEADERS = {"X-Request-ID", "Cache-Control"}
PATH_PARAMETERS: dict[str, fields.Field[Any]] = {"name": CreateKey().fields["name"]}
FROM_QUERY = (WholeNumber, Flag)
ERROR_SCHEMAS: dict[type[KeyhookError], type[Schema]] = {errors.InvalidRequest: InvalidRequestError}


@bp.get("/openapi.json")
@public
@takes_query(NoParameters)
@documents(200, Document)
def openapi_json() -> Response:
    """Describe this service (OpenAPI 3.1)."""
    known = current_app.extensions
    if EXTENSION not in known:
        known[EXTENSION] = document(current_app)
    here = {**known[EXTENSION], "servers": [{"url": mount_path() or "/"}]}  # one application may have several mounts
    return json_answer(here)


def document(app: Flask) -> dict[str, Any]:
    """The OpenAPI document of an application. It leaves out views of the program around, which have no contract.

    Raises LookupError, ValueError or AttributeError for a route or a header without a description.
    """
    spec, converter = _empty()
    for rule in app.url_map.iter_rules():
        view = app.view_functions.get(rule.endpoint)
        terms = contract_of(view)
        if view and terms and terms.status and rule.endpoint not in UNDOCUMENTED:
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            if terms.form:
                _add_form(spec, terms.form)
            parameters = [_path_parameter(converter, name) for name in sorted(rule.arguments)]
            operation = _operation(_tag(app, rule), rule, view, terms)
            spec.path(path, parameters=parameters, operations=dict.fromkeys(_methods(rule), operation))
    return spec.to_dict()


def refusals(rule: Rule, terms: Contract) -> list[type[KeyhookError]]:
    """The errors of a route: those of its contract, and NotFound if its path has a name, which may hold a slash."""
    found = {*terms.failures, errors.NotFound} if rule.arguments else {*terms.failures}
    return sorted(found, key=lambda error: (error.status, error.code()))


def sample(error: type[KeyhookError], access: str | None = None) -> KeyhookError:
    """The refusal as the document shows it. `access` is the role that the route needs."""
    if issubclass(error, errors.InsufficientPermissions) and access in ROLES:
        return error.example(access)
    return error.example()


def _empty() -> "tuple[APISpec, Any]":
    # Imported here to keep the start fast: most processes never show the document.
    from apispec import APISpec
    from apispec.ext.marshmallow import MarshmallowPlugin

    plugin: Any = MarshmallowPlugin()
    spec = APISpec(
        title="Keyhook",
        version="v0",
        openapi_version="3.1.0",
        info={"description": cleandoc(ABOUT), "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": "/"}],
        tags=[{"name": tag.label, "description": tag.value} for tag in Tag],
        plugins=[plugin],
    )
    plugin.converter.map_to_openapi_type(Timestamp, "string", "date-time")
    plugin.converter.add_attribute_function(_fit_property)
    for name, scheme in SECURITY_SCHEMES.items():
        spec.components.security_scheme(name, scheme)
    for name, (text, schema, always) in HEADERS.items():
        spec.components.header(name, {"description": text, "schema": schema, "required": always})
    return spec, plugin.converter


def _add_form(spec: "APISpec", form: Schema) -> None:
    """Adds a schema that allows unknown members as strings, since a list would mean a repeated member."""
    spec.components.schema(type(form).__name__, {"additionalProperties": {"type": "string"}}, schema=form)


def _fit_property(self: Any, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Corrects a property that apispec derived from a field, and adds the schema of a function's value.

    Requests and answers have separate schemas, so `readOnly` goes. Only a query shows defaults: in a body, generators
    take a member with a default for a required one. JSON Schema has patterns of ECMA 262, where \\Z is written as $.
    """
    ret.pop("readOnly", None)
    if ret.get("default") is None or not isinstance(field, FROM_QUERY):
        ret.pop("default", None)
    if "pattern" in ret:
        ret["pattern"] = ret["pattern"].replace(r"\Z", "$")
    if isinstance(field, Notes):
        return Notes.SCHEMA
    shown = field.metadata.get("schema")
    return self.resolve_nested_schema(shown) if shown else {}


def _path_parameter(converter: Any, name: str) -> dict[str, Any]:
    schema = converter.field2property(PATH_PARAMETERS[name])
    return {"in": "path", "name": name, "required": True, "description": schema.pop("description"), "schema": schema}


def _methods(rule: Rule) -> list[str]:
    """The documented methods of a rule: GET for one that takes any method, and no HEAD, which comes with GET."""
    return sorted(method.lower() for method in (rule.methods or {"GET"}) - {"HEAD", "OPTIONS"})


def _tag(app: Flask, rule: Rule) -> Tag:
    blueprint = app.blueprints.get(rule.endpoint.rpartition(".")[0])
    if not isinstance(blueprint, Resource):
        raise LookupError(f"{rule.rule} is of no resource, so it has no tag")
    return blueprint.tag


def _operation(tag: Tag, rule: Rule, view: View, terms: Contract) -> dict[str, Any]:
    summary, _, rest = cleandoc(view.__doc__ or "").partition("\n\n")
    security = _security(terms)
    common = COMMON_HEADERS | {"Keyhook-Key-Expires"} if security else COMMON_HEADERS
    failures = _by_status(sample(error, terms.access) for error in refusals(rule, terms))
    operation: dict[str, Any] = {
        "operationId": view.__name__,
        "tags": [tag.label],
        "summary": " ".join(summary.replace("`", "").split()).removesuffix("."),
        "security": security,
        "responses": {
            **_successes(terms, common),
            **{str(status): _failure(found, common) for status, found in failures.items()},
        },
    }
    if rest:
        operation["description"] = rest
    if terms.query and terms.query.fields:
        operation["parameters"] = [{"in": "query", "schema": terms.query}]
    if terms.body or terms.form:
        media_type = "application/json" if terms.body else "application/x-www-form-urlencoded"
        content = {media_type: {"schema": terms.body or terms.form}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _security(terms: Contract) -> list[dict[str, list[str]]]:
    """The ways to send a credential. A public view that can refuse one is the gate, which reads three ways."""
    if terms.access != PUBLIC:
        return [{"bearer": []}]
    return [{"api_key": []}, {"bearer": []}, {"basic": []}] if errors.AuthenticationFailed in terms.failures else []


def _by_status(samples: Iterable[KeyhookError]) -> dict[int, list[KeyhookError]]:
    found: dict[int, list[KeyhookError]] = defaultdict(list)
    for error in samples:
        found[error.status].append(error)
    return found


def _successes(terms: Contract, common: set[str]) -> dict[str, Any]:
    """The answer of the view, and that of its dry run if it has one."""
    done: dict[str, Any] = {"description": "Done", "headers": _header_refs(common.union(terms.headers))}
    if terms.answer:
        done["content"] = {"application/json": {"schema": terms.answer}}
    if terms.text:
        done["content"] = {terms.text: {"schema": {"type": "string"}}}
    if terms.preview is None:
        return {str(terms.status): done}
    content = {"application/json": {"schema": terms.preview}}
    tried = {"description": "With `dry_run`: what would go", "headers": _header_refs(common), "content": content}
    return {str(terms.status): done, "200": tried}


def _failure(samples: list[KeyhookError], common: set[str]) -> dict[str, Any]:
    schemas = {ERROR_SCHEMAS.get(type(error), Error) for error in samples}
    if len(schemas) > 1:
        raise LookupError(f"one status, several shapes: {schemas}")
    examples = {error.code(): {"value": error.body()} for error in samples}
    return {
        "description": "; ".join(f"`{error.code()}`: {error.message}" for error in samples),
        "headers": _header_refs(common.union(*(error.headers.keys() for error in samples))),
        "content": {"application/json": {"schema": schemas.pop(), "examples": examples}},
    }


def _header_refs(names: set[str]) -> dict[str, Any]:
    ordered = sorted(names, key=list(HEADERS).index)
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ordered}
