"""The document agrees with the service: each documented refusal is provoked; each route and member is documented."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from flask import Flask
from flask.testing import FlaskClient
from marshmallow import Schema, fields
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

import auth
import errors
import schemas
from api import openapi
from app import create_app
from formats import api_key
from runtime.identity_provider import bearers_of
from runtime.settings import load
from tests.machine import ROOT
from tests.outage import take_away
from tests.rows import move
from web import contract

METHODS = ("delete", "get", "patch", "post", "put")
FOR_ADMINS = ("list_audit_entries", "disable_api_keys_of_owner")  # which no key is
REQUIRED_QUERY = ("delete_api_key_by_id", "disable_api_keys_of_owner")
OF_TOKENS = ("introspect", "revoke")  # which take a form with a token
END = "2099-01-01T00:00:00Z"


def read_document() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        app = create_app({"KEYHOOK_DATA_DIR": Path(directory, "data")})
        document = openapi.document(app)
        app.extensions["keyhook"].close()
    return document


DOCUMENT = read_document()


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str

    @property
    def said(self) -> dict[str, Any]:
        return DOCUMENT["paths"][self.path][self.method]  # type: ignore[no-any-return]

    @property
    def status(self) -> str:
        return str(next(status for status in self.said["responses"] if status < "300"))

    def url(self, name: str = "laptop") -> str:
        return str(self.path.replace("{name}", name))


OPERATIONS = {
    said["operationId"]: Operation(said["operationId"], method, path)
    for path, item in DOCUMENT["paths"].items()
    for method, said in item.items()
    if method in METHODS
}
REFUSALS = [
    (operation, status, code)
    for operation in OPERATIONS.values()
    for status, response in operation.said["responses"].items()
    if status >= "400"
    for code in response["content"]["application/json"]["examples"]
]
GOOD: dict[str, dict[str, Any]] = {
    "create_api_key": {"json": {"name": "other"}},
    "update_api_key": {"json": {"description": "mine"}},
    "rotate_api_key": {"json": {}},
    "delete_api_key_by_id": {"query_string": {"id": errors.EXAMPLE_ID}},
    "disable_api_keys_of_owner": {"query_string": {"owner": "alice"}, "json": {"disabled": True}},
    "introspect": {"data": {"token": "x"}},
    "revoke": {"data": {"token": "kh_" + "0" * 32 + "_" + "0" * 43 + "4b9d58e1"}},
    "list_api_keys": {"query_string": {"limit": "1"}},
    "list_audit_entries": {"query_string": {"limit": "1"}},
}


def errors_of(schema: dict[str, Any], value: Any) -> list[str]:
    """The errors of a value under a schema of the document, with references resolved."""
    whole = {**schema, "components": DOCUMENT["components"]}
    return [error.message for error in OAS31Validator(whole).iter_errors(value)]


class Scene:
    """Provokes each refusal of an operation, with a request that is otherwise good."""

    def __init__(
        self, app: Flask, call: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str]
    ) -> None:
        self.app, self.call, self.mint, self.token = app, call, mint, token

    def send(self, operation: Operation, name: str = "laptop", **changed: Any) -> Any:
        request = {**GOOD.get(operation.id, {}), **changed}
        return self.call(operation.method.upper(), operation.url(name), **request)

    def authentication_failed(self, operation: Operation) -> Any:
        return self.send(operation, by=None)

    def insufficient_permissions(self, operation: Operation) -> Any:
        asked: dict[str, Any] = {"query_string": {"role": "write"}} if operation.id == "auth" else {}
        refused = operation.said["responses"]["403"]["content"]["application/json"]["examples"]
        low = refused["InsufficientPermissions"]["value"]["details"]["actual"]
        return self.send(operation, by=self.mint("caller", role=low), **asked)

    def insufficient_scope(self, operation: Operation) -> Any:
        key = self.mint("caller", scopes=["photos:read"])
        return self.send(operation, by=key, query_string="scope=photos:read&scope=photos:write")

    def tenant_not_allowed(self, operation: Operation) -> Any:
        return self.send(operation, by=self.token(tenant="lab"), query_string="tenant=default&tenant=home")

    def unknown_demand(self, operation: Operation) -> Any:
        return self.send(operation, query_string="scopes=photos:read")

    def malformed_body(self, operation: Operation) -> Any:
        return self.send(operation, json=[])

    def validation_error(self, operation: Operation) -> Any:
        if operation.id in OF_TOKENS:
            return self.send(operation, data={"token_type_hint": "x"})
        needed = GOOD[operation.id]["query_string"] if operation.id in REQUIRED_QUERY else {}
        return self.send(operation, query_string={"expires": END, **needed})

    def payload_too_large(self, operation: Operation) -> Any:
        if operation.id in OF_TOKENS:
            return self.send(operation, data={"token": "x" * contract.MAX_BODY})
        return self.send(operation, json={"description": "x" * contract.MAX_BODY})

    def unsupported_media_type(self, operation: Operation) -> Any:
        return self.send(operation, json=None, data="x", headers={"Content-Type": "text/plain"})

    def unknown_api_key(self, operation: Operation) -> Any:
        return self.send(operation)

    def not_found(self, operation: Operation) -> Any:
        return self.send(operation, "top/shelf")

    def duplicate_name(self, operation: Operation) -> Any:
        self.mint("other")
        self.mint("laptop")
        return self.send(operation, json={"name": "other"})

    def declared_key(self, operation: Operation) -> Any:
        self.mint("laptop")
        move(self.app, "laptop", declared=True)
        by_id: dict[str, Any] = {"query_string": {"id": self.call("GET", "/v0/api_keys/laptop").json["id"]}}
        return self.send(operation, **(by_id if operation.id == "delete_api_key_by_id" else {}))

    def scope_exceeds_creator(self, operation: Operation) -> Any:
        self.mint("laptop", scopes=["photos:write"])
        caller = self.mint("caller", scopes=["photos:read"])
        asked = {} if operation.id == "rotate_api_key" else {"scopes": ["photos:write"]}
        return self.send(operation, by=caller, json={**GOOD[operation.id]["json"], **asked})

    def expiry_exceeds_creator(self, operation: Operation) -> Any:
        self.mint("laptop")
        caller = self.mint("caller", expires_at=END)
        asked = {} if operation.id == "rotate_api_key" else {"expires_at": None}
        return self.send(operation, by=caller, json={**GOOD[operation.id]["json"], **asked})

    def host_exceeds_creator(self, operation: Operation) -> Any:
        return self.beyond(operation, {"hosts": ["photos.example.com"]}, {"hosts": []})

    def network_exceeds_creator(self, operation: Operation) -> Any:
        return self.beyond(operation, {"networks": ["127.0.0.0/8"]}, {"networks": []})

    def rate_exceeds_creator(self, operation: Operation) -> Any:
        return self.beyond(operation, {"rate_limit": {"requests": 10, "seconds": 3600}}, {"rate_limit": None})

    def beyond(self, operation: Operation, limit: dict[str, Any], asked: dict[str, Any]) -> Any:
        """What a key with that limit is refused: to give away, or to rotate, what has no limit."""
        self.mint("laptop")
        caller = self.mint("caller", **limit)
        given = {} if operation.id == "rotate_api_key" else asked
        return self.send(operation, by=caller, json={**GOOD[operation.id]["json"], **given})

    def address_not_allowed(self, operation: Operation) -> Any:
        return self.send(operation, by=self.mint("caller", networks=["192.0.2.0/24"]))

    def host_not_allowed(self, operation: Operation) -> Any:
        return self.send(operation, by=self.mint("caller", hosts=["photos.example.com"]))

    def rate_limited(self, operation: Operation) -> Any:
        key = self.mint("caller", rate_limit={"requests": 1, "seconds": 3600})
        self.send(operation, by=key)
        return self.send(operation, by=key)


@pytest.fixture
def scene(app: Flask, call: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str]) -> Scene:
    return Scene(app, call, mint, token)


def check_headers(operation: Operation, status: str, response: Any) -> None:
    """Each of our headers in the answer is documented, and each header documented as always there is in the answer."""
    documented = operation.said["responses"][status]["headers"]
    always = {name for name in documented if openapi.HEADERS[name][2]}
    ours = {name for name in dict(response.headers) if name in openapi.HEADERS}
    assert always <= ours <= set(documented)


def of_a_provider_that_is_away(app: Flask) -> str:
    """A token of a provider that the application cannot reach."""
    state = app.extensions["keyhook"]
    given = {"KEYHOOK_OIDC_ISSUER": "http://localhost:9", "KEYHOOK_OIDC_READ_GROUPS": "*"}
    state.authenticator._bearers = bearers_of(load(given))
    signer = ed25519.Ed25519PrivateKey.generate()
    return jwt.encode({"iss": "http://localhost:9"}, signer, algorithm="EdDSA")


@pytest.mark.parametrize(
    ("operation", "status", "code"), REFUSALS, ids=[f"{operation.id}-{code}" for operation, _, code in REFUSALS]
)
def test_a_documented_refusal_is_the_one_that_is_given(
    app: Flask, scene: Scene, operation: Operation, status: str, code: str
) -> None:
    content = operation.said["responses"][status]["content"]["application/json"]
    if code == "DatabaseUnavailable":
        key = scene.mint("caller")
        take_away(app)
        response = scene.send(operation, by=key)
    elif code == "IdentityProviderUnavailable":
        response = scene.send(operation, by=of_a_provider_that_is_away(app))
    else:
        response = getattr(scene, re.sub(r"(?<!^)(?=[A-Z])", "_", code).lower())(operation)
    assert (str(response.status_code), response.json) == (status, content["examples"][code]["value"])
    assert errors_of(content["schema"], response.json) == []
    check_headers(operation, status, response)


BEARERS = [
    (operation, kind)
    for operation in OPERATIONS.values()
    for kind in ("jwt", "key")
    if kind == "jwt" or operation.id not in FOR_ADMINS
]


@pytest.mark.parametrize(("operation", "kind"), BEARERS, ids=[f"{operation.id}-{kind}" for operation, kind in BEARERS])
def test_a_documented_answer_is_the_one_that_is_given(scene: Scene, operation: Operation, kind: str) -> None:
    scene.mint("laptop", scopes=["photos:read"], expires_at=END)
    caller = scene.mint("caller", scopes=["photos:read"], expires_at=END)
    request = GOOD.get(operation.id, {})
    if operation.id in OF_TOKENS:
        request = {"data": {"token": caller}}
    if operation.id == "delete_api_key_by_id":
        request = {"query_string": {"id": scene.call("GET", "/v0/api_keys/laptop").json["id"]}}
    if operation.id == "create_api_key" and kind == "key":
        request = {"json": {"name": "other", "scopes": ["photos:read"]}}
    response = scene.send(operation, by=scene.token() if kind == "jwt" else caller, **request)
    assert str(response.status_code) == operation.status, response.text
    check_headers(operation, operation.status, response)
    content = operation.said["responses"][operation.status].get("content")
    if content is None:
        assert response.data == b""
    elif "application/json" not in content:
        assert list(content) == [response.mimetype] == ["text/plain"]
    else:
        assert errors_of(content["application/json"]["schema"], response.json) == []


PREVIEWS = [operation for operation in OPERATIONS.values() if {"200", "204"} <= operation.said["responses"].keys()]


@pytest.mark.parametrize("operation", PREVIEWS, ids=[operation.id for operation in PREVIEWS])
def test_a_documented_dry_run_is_the_one_that_is_given(scene: Scene, operation: Operation) -> None:
    scene.mint("laptop", scopes=["photos:read"])
    parameters = {parameter["name"] for parameter in operation.said["parameters"]}
    key_id = {"id": scene.call("GET", "/v0/api_keys/laptop").json["id"]} if "id" in parameters else {}
    response = scene.send(operation, query_string={"dry_run": "true", **key_id})
    assert response.status_code == 200
    check_headers(operation, "200", response)
    assert [key["name"] for key in response.json] == ["laptop"]
    assert errors_of(operation.said["responses"]["200"]["content"]["application/json"]["schema"], response.json) == []


def test_only_what_deletes_has_a_dry_run() -> None:
    assert {operation.id for operation in PREVIEWS} == {"delete_api_key", "delete_api_key_by_id"}


def test_the_route_answers_with_the_document(client: FlaskClient) -> None:
    assert client.get("/openapi.json").json == DOCUMENT


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_every_route_is_documented(app: Flask) -> None:
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules()}
    left_out = {endpoint for endpoint in endpoints if app.view_functions[endpoint].__name__ not in OPERATIONS}
    of_pages = {endpoint for endpoint in endpoints if endpoint.startswith("console")}  # for people
    assert left_out - of_pages == {"docs.docs_page", "docs.docs_asset"} == set(openapi.UNDOCUMENTED)
    assert of_pages <= left_out


def test_a_new_route_needs_a_description(app: Flask) -> None:
    @auth.public
    @contract.answers(200, schemas.Health)
    def surprise() -> None:
        """Surprise."""

    app.add_url_rule("/v0/surprise", "surprise", surprise)
    with pytest.raises(LookupError, match="surprise"):
        openapi.document(app)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_says_what_it_is(operation: Operation) -> None:
    assert operation.said["summary"]
    assert operation.said["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    assert all(parameter["description"] for parameter in operation.said.get("parameters", []))


def members() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (name, member, said)
        for name, schema in DOCUMENT["components"]["schemas"].items()
        for member, said in schema["properties"].items()
    ]


@pytest.mark.parametrize(("schema", "member", "said"), members(), ids=[f"{s}.{m}" for s, m, _ in members()])
def test_a_member_says_what_it_is(schema: str, member: str, said: dict[str, Any]) -> None:
    assert said["description"]
    assert {"type", "$ref", "anyOf"} & set(said)


def test_every_schema_is_in_the_document() -> None:
    of_queries = {
        "AuthQuery",
        "AuditPage",
        "DeleteKey",
        "DeleteKeyById",
        "KeyPage",
        "NoParameters",
        "OfOwner",
        "UsageQuery",
    }
    ours = {name for name, value in vars(schemas).items() if isinstance(value, type) and issubclass(value, Schema)}
    assert ours - {"Schema", "Body"} == set(DOCUMENT["components"]["schemas"]) | of_queries


@pytest.mark.parametrize("schema", DOCUMENT["components"]["schemas"])
def test_the_document_follows_the_schema_that_runs(schema: str) -> None:
    running: dict[str, fields.Field[Any]] = getattr(schemas, schema)().fields
    said = DOCUMENT["components"]["schemas"][schema]
    assert set(said["properties"]) == set(running)
    assert set(said.get("required", [])) == {name for name, field in running.items() if field.required}


def test_every_refusal_is_documented_or_general() -> None:
    general = {"BadRequest", "InternalServerError", "MethodNotAllowed"}
    of_forms = {error.code() for error in subclasses(errors.OfForms)}  # which no route of the API takes
    documented = {code for _, _, code in REFUSALS}
    kinds = {error.code() for error in subclasses(errors.KeyhookError) if not error.__subclasses__()}
    assert documented | general | of_forms == kinds
    assert all(f"`{code}`" in DOCUMENT["info"]["description"] for code in general)


def subclasses(error: type[errors.KeyhookError]) -> Iterator[type[errors.KeyhookError]]:
    for subclass in error.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


@pytest.mark.parametrize(
    ("name", "accepted"),
    [("laptop", True), ("ключ", True), ("a b", True), ("..", False), ("a/b", False), (" a", False), ("a ", False)],
)
def test_the_pattern_of_a_name_agrees_with_the_service(call: Callable[..., Any], name: str, accepted: bool) -> None:
    schema = DOCUMENT["components"]["schemas"]["CreateKey"]["properties"]["name"]
    assert (errors_of(schema, name) == []) is accepted
    assert (call("POST", "/v0/api_keys", json={"name": name}).status_code == 201) is accepted


@pytest.mark.parametrize(
    ("grace", "status"), [("60", 201), ("60.0", 201), ("6e1", 201), ("60.5", 400), ("1e400", 400), ("1e300", 400)]
)
def test_an_integer_is_what_json_schema_takes_for_one(call: Callable[..., Any], grace: str, status: int) -> None:
    call("POST", "/v0/api_keys", json={"name": "laptop"})
    body = f'{{"grace_seconds": {grace}}}'
    response = call("POST", "/v0/api_keys/laptop/rotate", data=body, content_type="application/json")
    assert response.status_code == status


def test_the_example_of_a_key_is_written_like_one() -> None:
    parsed = api_key.read_key(schemas.EXAMPLE_KEY)
    assert parsed is not None
    assert parsed.id == errors.EXAMPLE_ID


def test_starting_does_not_load_what_builds_the_document() -> None:
    command = "import sys, app; sys.exit('apispec' in sys.modules)"
    subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=True)
