"""/v0/auth: everything else that runs asks here whether a key is good. The hot path."""

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flask import Blueprint, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import Rule

from api.demands import NONE, Demands, read_demands
from auth import authenticate, gate_credential, public
from errors import (
    AuthenticationFailed,
    InsufficientPermissions,
    InsufficientScope,
    MethodNotAllowed,
    TenantNotAllowed,
    UnknownDemand,
)
from identity.principal import Principal
from keys.bounded_cache import BoundedCache, weight
from schemas import AuthQuery, Identity
from web.contract import Answer, documents, fails
from web.forwarded import is_preflight

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

bp = Blueprint("gate", __name__)

REFUSED_METHODS = ("CONNECT", "TRACE")
METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]  # what the Allow header lists
IDENTITY_HEADERS = (
    "Remote-User",
    "Remote-Groups",
    "Keyhook-Key-Id",
    "Keyhook-Key-Name",
    "Keyhook-Role",
    "Keyhook-Tenant",
)
HEADER_SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")

Rendered = tuple[bytes, list[tuple[str, str]]]  # the body and the identity headers

_identity = Identity()
_nobody: dict[str, Any] = {**dict.fromkeys(_identity.fields), "kind": "preflight", "scopes": []}
# Answers by their principals, in at most 4 MB: 2,200 bytes for a small key, 15,000 for one of 50 long scopes.
_answers: BoundedCache[Rendered] = BoundedCache(
    2048, 4 * 1024**2, lambda principal, rendered: weight((principal, rendered))
)
PREFLIGHT: Rendered = json.dumps(_nobody).encode(), [(name, "") for name in IDENTITY_HEADERS]


@public  # it identifies by itself: only here is more read than a bearer
@documents(200, Identity, headers=IDENTITY_HEADERS, query=AuthQuery)
@fails(AuthenticationFailed, InsufficientPermissions, InsufficientScope, TenantNotAllowed, UnknownDemand)
def auth() -> Answer:
    """Say whether a credential is good, for a reverse proxy.

    The credential is read from `X-API-Key` first, then from `Authorization`: as `Bearer`, `ApiKey` or `Token`, or as
    the password of `Basic` (its user name when the password is empty). Every `scope` is needed, one of the `tenant`s,
    and at least the `role`. Any other parameter is refused, before the credential is looked at: a misspelt demand lets
    nobody in. The identity headers are always all there, empty where there is nothing to say, so that a proxy
    overwrites whatever the client sent under these names.
    """
    environ = request.environ
    if environ["REQUEST_METHOD"].upper() in REFUSED_METHODS:
        raise MethodNotAllowed(METHODS)
    demands = read_demands(environ.get("QUERY_STRING", ""))
    try:
        body, headers = _judge(environ, demands)
    except AuthenticationFailed as error:
        if demands.basic:
            error.offer_basic()
        raise
    environ["keyhook.headers"] = [*headers, *environ.get("keyhook.headers", ())]
    return Answer(body, content_type="application/json")


def _judge(environ: "WSGIEnvironment", demands: Demands) -> Rendered:
    """Who it is, once everything that was asked for is there. A credential is judged in a preflight as well."""
    credential = gate_credential(environ, demands.key_param)
    if credential is None and demands.preflight and is_preflight(environ):
        environ["keyhook.who"] = "preflight"
        return PREFLIGHT
    principal = authenticate(environ, credential)
    if demands is not NONE:
        if demands.tenants:
            principal.require_tenant(demands.tenants)
        for role in demands.roles:
            principal.require_role(role)
        principal.require_scopes(demands.scopes)
    return _rendered(principal)


@bp.record
def _any_method(state: BlueprintSetupState) -> None:
    """A rule without methods matches them all, those that nobody has thought of yet included.

    Its endpoint does not begin with the blueprint's name, or Flask would look for hooks of that three times a request.
    """
    state.app.url_map.add(Rule("/v0/auth", endpoint="keyhook-auth"))
    state.app.view_functions["keyhook-auth"] = auth


def _rendered(principal: Principal) -> Rendered:
    """The answer for a principal: a function of what was just read, so remembering it serves nothing stale."""
    rendered = _answers.get(principal)
    if rendered is None:
        rendered = _render(principal)
        _answers.put(principal, rendered)
    return rendered


def _render(principal: Principal) -> Rendered:
    values = (
        principal.owner,
        ",".join(principal.scopes),
        principal.key_id or "",
        principal.key_name or "",
        principal.role,
        principal.tenant,
    )
    headers = [(name, _header_value(value)) for name, value in zip(IDENTITY_HEADERS, values, strict=True)]
    return json.dumps(_identity.dump(principal), ensure_ascii=False).encode(), headers


def _header_value(text: str) -> str:
    """Percent-encoded UTF-8; spaces at either end as well, which HTTP would trim to somebody else's name."""
    return re.sub(r"^ +|(?<! ) +$", lambda spaces: "%20" * len(spaces[0]), quote(text, safe=HEADER_SAFE))
