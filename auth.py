"""Who is calling: the bearer of a request becomes a Principal, or the request is refused (RFC 6750).

`requires` states the role that a view needs, `public` that it needs none; a view that states neither answers nothing.
"""

import ipaddress
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from flask import g, request

from errors import AuthenticationFailed
from keyring import Keyring
from models import wire_time
from principal import Origin, Principal
from service import service

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

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
    """

    def __getitem__(self, endpoint: str) -> Callable[..., Any]:
        view = super().__getitem__(endpoint)
        if not hasattr(view, "access"):
            raise LookupError(f"the view {endpoint} states no access")
        return view


def bearer(environ: "WSGIEnvironment") -> str | None:
    """The token of the Authorization header (RFC 6750 section 2.1), the scheme in any case, or None."""
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    return token.strip(" ") if scheme.lower() == "bearer" and token.strip(" ") else None


def authenticate(environ: "WSGIEnvironment", credential: str | None) -> Principal:
    """Says in the environ who it is, for the log and the answer. Raises AuthenticationFailed."""
    if credential is None:
        scheme = environ.get("HTTP_AUTHORIZATION", "").partition(" ")[0]
        why = "another scheme" if scheme and scheme.lower() != "bearer" else "no credential"
        raise AuthenticationFailed(why, sent=False)
    principal = service().identify(credential, client_address)
    environ["keyhook.who"] = f"{principal.kind}:{principal.key_name or principal.owner}"
    if principal.kind == "api_key" and principal.expires_at:
        environ["keyhook.headers"] = [("Keyhook-Key-Expires", wire_time(principal.expires_at))]
    return principal


def keyring() -> Keyring:
    """The keys of the caller's tenant, as the caller may see and change them."""
    return service().keyring(g.principal, Origin(client_address(), request.environ.get("keyhook.request_id")))


def client_address() -> str | None:
    """The client of this request."""
    return address_of(request.environ, service().settings.trusted_proxies)


def address_of(environ: "WSGIEnvironment", proxies: int) -> str | None:
    """The client, seen from behind so many proxies: counted from the right of `X-Forwarded-For`.

    The left of that header is whatever the client sent. One that is shorter or holds no address there says nothing:
    then it is the peer's address.
    """
    peer: str | None = environ.get("REMOTE_ADDR")
    if proxies:
        hops = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
        if len(hops) >= proxies:
            with suppress(ValueError):
                found = ipaddress.ip_address(hops[-proxies].strip())
                if not getattr(found, "scope_id", None):  # which may be any text
                    return str(getattr(found, "ipv4_mapped", None) or found)
    return peer
