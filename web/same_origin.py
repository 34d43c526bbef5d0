"""Whether a request came from a page of this very service, so that no other page acts in a person's name.

The algorithm of Go 1.25's CrossOriginProtection, but stricter: a request that says nothing about its page is refused,
since a browser that holds a session always says it.
"""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_PORTS = {"http": 80, "https": 443}


def is_own_page(environ: "WSGIEnvironment") -> bool:
    """By Sec-Fetch-Site (Fetch Metadata), which browsers send over TLS and to localhost; else by Origin (RFC 6454)."""
    site: str | None = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        return site in ("same-origin", "none")
    return _is_ours(environ.get("HTTP_ORIGIN", ""), environ.get("HTTP_HOST", ""))


def speaks_tls(environ: "WSGIEnvironment") -> bool:
    """Whether the browser does, whatever the proxies between speak. The request came from an own page."""
    origin: str = environ.get("HTTP_ORIGIN", "")
    return environ.get("wsgi.url_scheme") == "https" or origin.lower().startswith("https:")


def _is_ours(origin: str, host: str) -> bool:
    """Whether the request was sent to the host and port of the origin. Only the proxies know the scheme."""
    try:
        parts = urlsplit(origin)
        port = _PORTS.get(parts.scheme)
        sent = urlsplit(f"//{host}")
        return bool(host and port and parts.hostname) and (parts.hostname, parts.port or port) == (
            sent.hostname,
            sent.port or port,
        )
    except ValueError:
        return False
