"""Who is calling: the bearer of a request becomes a Principal, or the request is refused (RFC 6750).

`requires` states the role that a view needs, `public` that it needs none; a view that states neither answers nothing.
"""

from base64 import b64decode
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from flask import Blueprint, Flask, g, request

from errors import AuthenticationFailed
from formats.times import wire_time
from identity.principal import Principal, RequestOrigin
from keys.tenant_keys import TenantKeys
from runtime.state import service
from web import forwarded

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

STATIC_FILES = (Flask.send_static_file, Blueprint.send_static_file)
AT_THE_GATE = ("bearer", "apikey", "token")  # schemes whose token is a credential there

P = ParamSpec("P")
R = TypeVar("R")


def requires(role: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The view needs a bearer with at least this role; it finds them in `g.principal`."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            environ = request.environ
            g.principal = authenticate(environ, bearer(environ))
            g.principal.require_role(role)
            return view(*args, **kwargs)

        guarded.access = role  # type: ignore[attr-defined]
        return guarded

    return decorate


def public(view: Callable[P, R]) -> Callable[P, R]:
    """The view needs no credential."""
    view.access = "public"  # type: ignore[attr-defined]
    return view


class Views(dict[str, Callable[..., Any]]):
    """The views of an application by their endpoints: one that states no access is a fault of ours and answers nothing.

    Looked at when it is called, whichever way it came in, since a hook before every request would cost five times that.
    Flask's own view of a folder of static files can state nothing, and is public by what it is for.
    """

    def __getitem__(self, endpoint: str) -> Callable[..., Any]:
        view = super().__getitem__(endpoint)
        if not hasattr(view, "access") and getattr(view, "__func__", None) not in STATIC_FILES:
            raise LookupError(f"the view {endpoint} states no access")
        return view


def bearer(environ: "WSGIEnvironment") -> str | None:
    """The token of the Authorization header (RFC 6750 section 2.1), the scheme in any case, or None."""
    scheme, token = _authorization(environ)
    return token if scheme == "bearer" and token else None


def gate_credential(environ: "WSGIEnvironment", key_param: str = "") -> str | None:
    """What the gate judges: X-API-Key, else Authorization under more schemes than elsewhere, else the parameter of the
    original URI where one is named; or None. What is empty counts as absent.

    Raises AuthenticationFailed for a Basic that is not written as RFC 7617 has it.
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


def authenticate(environ: "WSGIEnvironment", credential: str | None) -> Principal:
    """Says in the environ who it is, for the log and the answer. Raises AuthenticationFailed."""
    if credential is None:
        scheme = environ.get("HTTP_AUTHORIZATION", "").partition(" ")[0]
        why = "another scheme" if scheme and scheme.lower() != "bearer" else "no credential"
        raise AuthenticationFailed(why, sent=False)
    principal = service().identify(credential, client_address)
    environ["keyhook.who"] = f"{principal.kind}:{principal.key_name or principal.owner}"
    if principal.key_id:
        environ["keyhook.acting_key"] = principal.key_id  # for the line of a refusal
    if principal.key_id and principal.expires_at:
        environ["keyhook.headers"] = [("Keyhook-Key-Expires", wire_time(principal.expires_at))]
    return principal


def keyring() -> TenantKeys:
    """The keys of the caller's tenant, as the caller may see and change them."""
    return service().keyring(g.principal, RequestOrigin(client_address(), request.environ.get("keyhook.request_id")))


def client_address() -> str | None:
    """The client of this request, seen from behind KEYHOOK_TRUSTED_PROXIES proxies."""
    return forwarded.client_address(request.environ, service().settings.trusted_proxies)
