"""/v0/auth: other services and proxies ask here whether a key is good.

This file has the questions, the answers, and a plain view. api/gate.py answers most requests before Flask does.
"""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flask import Response, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import Rule

from api.demands import NONE, Demands, read_demands
from api.outcomes import outcome
from api.resource import Resource, Tag
from auth import authenticate, gate_credential, public
from errors import (
    AddressNotAllowed,
    AuthenticationFailed,
    DatabaseUnavailable,
    HostNotAllowed,
    IdentityProviderUnavailable,
    InsufficientPermissions,
    InsufficientScope,
    MethodNotAllowed,
    RateLimited,
    TenantNotAllowed,
    UnknownDemand,
)
from identity.principal import Principal
from keys.bounded_cache import BoundedCache, weight
from observability.request_info import request_info
from runtime.state import AppState, service
from schemas import AuthQuery, Identity
from web.contract import documents, fails
from web.forwarded import is_preflight, original_host

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

bp = Resource("gate", __name__, Tag.GATE)

PATH = "/v0/auth"
REFUSED_METHODS = ("CONNECT", "TRACE")
METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]  # for the Allow header
IDENTITY_HEADERS: dict[str, Callable[[Principal], str | None]] = {
    "Remote-User": lambda principal: principal.owner,
    "Remote-Groups": lambda principal: ",".join(principal.scopes),
    "Keyhook-Key-Id": lambda principal: principal.key_id,
    "Keyhook-Key-Name": lambda principal: principal.key_name,
    "Keyhook-Role": lambda principal: principal.role,
    "Keyhook-Tenant": lambda principal: principal.tenant,
}
HEADER_SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")

Rendered = tuple[bytes, list[tuple[str, str]]]  # the body and the identity headers

_identity = Identity()
_nobody: dict[str, Any] = {**dict.fromkeys(_identity.fields), "kind": "preflight", "scopes": []}
# Answers by principal, in at most 4 MB: 2,200 bytes for a small key, 15,000 for one of 50 long scopes.
_answers: BoundedCache[Rendered] = BoundedCache(
    2048, 4 * 1024**2, lambda principal, rendered: weight((principal, rendered))
)
PREFLIGHT: Rendered = json.dumps(_nobody).encode(), [(name, "") for name in IDENTITY_HEADERS]


@public  # it authenticates by itself: only here other credentials than a bearer count
@documents(200, Identity, headers=(*IDENTITY_HEADERS, "RateLimit-Policy", "RateLimit"), query=AuthQuery)
@fails(AuthenticationFailed, InsufficientPermissions, InsufficientScope, TenantNotAllowed, UnknownDemand)
@fails(AddressNotAllowed, HostNotAllowed, RateLimited, DatabaseUnavailable, IdentityProviderUnavailable)
def auth() -> Response:
    """Say whether a credential is good, for a reverse proxy.

    The credential is read from `X-API-Key` first, then from `Authorization`: as `Bearer`, `ApiKey` or `Token`, or as
    the password of `Basic` (its user name if the password is empty). Every `scope` is required, one of the `tenant`s,
    and at least the `role`. Any other parameter is refused before the credential is checked: a misspelt demand lets
    nobody in. A key with a rate limit is counted last, when all else is good. All identity headers are always sent,
    empty if they have no value, so that a proxy overwrites the client's headers of these names.
    """
    try:
        body, headers = judge(service(), request.environ)
    except Exception as error:
        request_info(request.environ).check = outcome(error)
        raise
    return Response(body, headers=headers, content_type="application/json")


@bp.record
def _any_method(state: BlueprintSetupState) -> None:
    """Adds a rule without methods, which matches all methods, also unknown ones."""
    endpoint = f"{bp.name}.{auth.__name__}"
    state.app.url_map.add(Rule(PATH, endpoint=endpoint))
    state.app.view_functions[endpoint] = auth


def judge(state: AppState, environ: "WSGIEnvironment") -> Rendered:
    """The answer to a good credential that meets all demands. Raises KeyhookError."""
    if environ["REQUEST_METHOD"].upper() in REFUSED_METHODS:
        raise MethodNotAllowed(METHODS)
    demands = read_demands(environ.get("QUERY_STRING", ""))
    try:
        return _meet(state, environ, demands)
    except AuthenticationFailed as error:
        if demands.basic:
            error.offer_basic()
        raise
    except RateLimited as error:
        if demands.limited:
            error.as_forbidden()
        raise


def _meet(state: AppState, environ: "WSGIEnvironment", demands: Demands) -> Rendered:
    """Checks a credential against the demands. A preflight needs none, but one that it carries is checked."""
    credential = gate_credential(environ, demands.key_param)
    if credential is None and demands.preflight and is_preflight(environ):
        request_info(environ).who = "preflight"
        return PREFLIGHT
    principal = authenticate(state, environ, credential)
    if principal.hosts:
        principal.require_host(original_host(environ, state.settings.trusted_proxies))
    if demands is not NONE:
        if demands.tenants:
            principal.require_tenant(demands.tenants)
        for role in demands.roles:
            principal.require_role(role)
        principal.require_scopes(demands.scopes)
    if principal.rate_limit:
        info = request_info(environ)
        info.headers += state.rates.take(principal.allowance or principal.key_id or "", principal.rate_limit)
    return _rendered(principal)


def _rendered(principal: Principal) -> Rendered:
    """The answer for a principal. It depends on nothing else, so the cache is never stale."""
    rendered = _answers.get(principal)
    if rendered is None:
        rendered = _render(principal)
        _answers.put(principal, rendered)
    return rendered


def _render(principal: Principal) -> Rendered:
    headers = [(name, _header_value(read(principal) or "")) for name, read in IDENTITY_HEADERS.items()]
    return json.dumps(_identity.dump(principal), ensure_ascii=False).encode(), headers


def _header_value(text: str) -> str:
    """Percent-encoded UTF-8. Spaces at either end are encoded too: HTTP would trim them to another name."""
    return re.sub(r"^ +|(?<! ) +$", lambda spaces: "%20" * len(spaces[0]), quote(text, safe=HEADER_SAFE))
