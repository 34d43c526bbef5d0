"""Authentication: turns the bearer of a request into a Principal, or refuses the request (RFC 6750).

`requires` states the role that a view needs, `public` that it needs none. Requests to a view that states neither fail.
"""

from base64 import b64decode
from collections.abc import Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from flask import Blueprint, Flask, current_app, g, request

from errors import (
    AddressNotAllowed,
    AuthenticationFailed,
    DatabaseUnavailable,
    IdentityProviderUnavailable,
    InsufficientPermissions,
)
from formats.times import wire_time
from identity.principal import ROLES, Principal, RequestOrigin
from keys.tenant_keys import TenantKeys
from observability.request_info import request_info
from runtime.state import AppState, service
from web import forwarded
from web.contract import PUBLIC, contract_of, enter

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

STATIC_FILES = (Flask.send_static_file, Blueprint.send_static_file)
AT_THE_GATE = ("bearer", "apikey", "token")  # schemes whose token is a credential there

P = ParamSpec("P")
R = TypeVar("R")


def requires(role: str, *, unless: Callable[[], bool] = lambda: False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Makes a view require a bearer with at least this role. The view finds the caller in `g.principal`.

    A request that `unless` lets pass needs none, and has no caller.
    """

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            if unless():
                return view(*args, **kwargs)
            environ = request.environ
            g.principal = authenticate(service(), environ, bearer(environ))
            g.principal.require_role(role)
            return view(*args, **kwargs)

        terms = enter(guarded)
        terms.access = role
        terms.failures += [
            AuthenticationFailed,
            AddressNotAllowed,
            DatabaseUnavailable,
            IdentityProviderUnavailable,
        ]
        if ROLES.get(role, 0) > min(ROLES.values()):
            terms.failures.append(InsufficientPermissions)
        return guarded

    return decorate


def public(view: Callable[P, R]) -> Callable[P, R]:
    """States that a view needs no credential."""
    enter(view).access = PUBLIC
    return view


def require_stated_access() -> None:
    """A hook before every request: raises LookupError for a view that states no access, however it was added.

    Flask's own view for a folder of static files cannot state any; static files are public. It also notes the route,
    here because a second hook would cost more than the note.
    """
    if request.url_rule is not None:
        request_info(request.environ).route = request.url_rule.rule
    view = current_app.view_functions.get(request.endpoint or "")
    if view is None or getattr(view, "__func__", None) in STATIC_FILES:
        return  # Flask answers that there is no such route
    terms = contract_of(view)
    if terms is None or terms.access is None:
        raise LookupError(f"the view {request.endpoint} states no access")


def bearer(environ: "WSGIEnvironment") -> str | None:
    """The bearer token of the Authorization header (RFC 6750 section 2.1), or None. The scheme may be in any case."""
    scheme, token = _authorization(environ)
    return token if scheme == "bearer" and token else None


def gate_credential(environ: "WSGIEnvironment", key_param: str = "") -> str | None:
    """The credential that the gate judges, or None: X-API-Key, else Authorization with more schemes than elsewhere,
    else the named parameter of the original URI. An empty one counts as absent.

    Raises AuthenticationFailed for a malformed Basic (RFC 7617).
    """
    return (
        environ.get("HTTP_X_API_KEY", "").strip()
        or _of_any_scheme(environ)
        or (key_param and forwarded.original_parameter(environ, key_param))
        or None
    )


def _of_any_scheme(environ: "WSGIEnvironment") -> str:
    scheme, token = _authorization(environ)
    if scheme == "basic" and token:
        return _of_basic(token)
    return token if scheme in AT_THE_GATE else ""


def _of_basic(token: str) -> str:
    """The password, or the user name when that is empty (RFC 7617)."""
    try:
        user, colon, password = b64decode(token, validate=True).decode().partition(":")
    except ValueError:
        raise AuthenticationFailed("malformed Basic") from None
    if not colon:
        raise AuthenticationFailed("malformed Basic")
    return password.strip() or user.strip()


def _authorization(environ: "WSGIEnvironment") -> tuple[str, str]:
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    return scheme.lower(), token.strip()


def authenticate(state: AppState, environ: "WSGIEnvironment", credential: str | None) -> Principal:
    """The holder of the credential, also noted in the request's RequestInfo.

    Raises AuthenticationFailed, and what `Bearers.read` raises for a token of an OpenID provider.
    """
    if credential is None:
        scheme = environ.get("HTTP_AUTHORIZATION", "").partition(" ")[0]
        why = "another scheme" if scheme and scheme.lower() != "bearer" else "no credential"
        raise AuthenticationFailed(why, sent=False)
    address = partial(forwarded.client_address, environ, state.settings.trusted_proxies)
    principal = state.authenticator.authenticate(credential, address)
    info = request_info(environ)
    info.who = f"{principal.kind}:{principal.key_name or principal.owner}"
    info.acting_key, info.refusals = principal.key_id, state.keys.last_use
    if principal.networks:
        principal.require_address(address())
    if principal.key_id and (ends := wire_time(principal.expires_at)):
        info.headers.append(("Keyhook-Key-Expires", ends))
    return principal


def keyring() -> TenantKeys:
    """The keys of the caller's tenant, with the caller's permissions."""
    origin = RequestOrigin(client_address(), request_info(request.environ).id)
    return service().keyring(g.principal, origin)


def client_address() -> str | None:
    """The client's address, behind KEYHOOK_TRUSTED_PROXIES proxies."""
    return forwarded.client_address(request.environ, service().settings.trusted_proxies)
