"""The headers in which a proxy describes the original request: its client, method and URI. Pure functions.

If the proxy does not overwrite these headers, the client writes them. So they may decide no more than the proxy's
configuration leaves to them.
"""

import ipaddress
import re
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from errors import AuthenticationFailed
from identity.places import host_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAX_QUERY = 16_384  # characters of the query of an original URI; twice the longest credential
_NODE = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")
_URIS = ("HTTP_X_FORWARDED_URI", "HTTP_X_ORIGINAL_URI")  # Caddy's and Traefik's, nginx's


def client_address(environ: "WSGIEnvironment", proxies: int) -> str | None:
    """The client's address behind that many proxies, counted from the right of `X-Forwarded-For`.

    Entries further left come from the client. If the header is shorter, or holds no address there, the peer's address
    counts.
    """
    peer: str | None = environ.get("REMOTE_ADDR")
    if proxies:
        hops = environ.get("HTTP_X_FORWARDED_FOR", "").rsplit(",", proxies)
        if len(hops) >= proxies:
            with suppress(ValueError):
                found = ipaddress.ip_address(_bare(hops[-proxies].strip()))
                if not getattr(found, "scope_id", None):  # it may be any text
                    return str(getattr(found, "ipv4_mapped", None) or found)
    return peer


def _bare(node: str) -> str:
    """The address in a node as RFC 7239 section 6 writes it, with brackets, a port and quotes; else the text itself."""
    if len(node) > 2 and node[0] == node[-1] == '"':
        node = node[1:-1]
    match = _NODE.fullmatch(node)
    return (match[1] or match[2]) if match else node


def original_host(environ: "WSGIEnvironment", proxies: int) -> str | None:
    """The host that the client asked for, by `X-Forwarded-Host`; None: no proxy says it, or several."""
    return host_of(environ.get("HTTP_X_FORWARDED_HOST", "")) if proxies else None


def is_preflight(environ: "WSGIEnvironment") -> bool:
    """Whether the proxy asks about a CORS preflight (Fetch standard), which never carries a credential."""
    return bool(
        environ.get("HTTP_X_FORWARDED_METHOD") == "OPTIONS"
        and environ.get("HTTP_ORIGIN")
        and environ.get("HTTP_ACCESS_CONTROL_REQUEST_METHOD")
    )


def original_parameter(environ: "WSGIEnvironment", name: str) -> str:
    """The credential in a query parameter of the original URI, or an empty text.

    Raises AuthenticationFailed if the parameter stands twice, since another parser may take the other one.
    """
    for header in _URIS:
        query: str = environ.get(header, "").partition("#")[0].partition("?")[2]
        if len(query) > MAX_QUERY:
            raise AuthenticationFailed("oversized query of the original URI")
        found = [value.strip() for known, value in parse_qsl(query) if known == name and value.strip()]
        if len(found) > 1:
            raise AuthenticationFailed("two credentials in the original URI")
        if found:
            return found[0]
    return ""
