"""Addresses that nobody between can read or change."""

import re
from urllib.parse import urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")

_NETLOC = re.compile(r"[\w.:\[\]-]+", re.ASCII)  # no user, and nothing that a header cannot hold


def is_private(url: str) -> bool:
    """Whether nobody between can read or change what goes there: TLS, or this machine."""
    try:
        parts = urlsplit(url)
        fits = bool(parts.hostname) and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        return False
    fits = fits and bool(_NETLOC.fullmatch(parts.netloc))
    return fits and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))


def origin_of(url: str) -> str:
    """The origin (RFC 6454) of a private address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def site_of(url: str) -> str:
    """The site as people call it: its host, with the port if it has one."""
    return urlsplit(url).netloc
