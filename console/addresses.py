"""Addresses within the console, and the address of the service as the browser knows it."""

import re
from urllib.parse import parse_qsl, urlencode

from flask import request, url_for

from console.cookies import is_over_tls
from runtime.state import service
from web.contract import mount_path

_PAGE = re.compile(r"/console/[a-z0-9/-]+")


def own_page(given: str) -> str:
    """An address that a request brought, if it is that of a page here, else that of the list. It is written anew, so
    that it leads to no other host in any browser's reading."""
    path, _, query = given.partition("?")
    if not _PAGE.fullmatch(path) or "//" in path:
        return url_for("console.keys")
    return mount_path() + path + _query(dict(parse_qsl(query, keep_blank_values=True)))


def this_page() -> str:
    """The address of this request for `own_page`, without the mount path."""
    return request.path + _query(request.args.to_dict())


def here(**changes: object) -> str:
    """The query of this page with some parameters changed, or left out (None or empty)."""
    return _query({**request.args.to_dict(), **changes}) or "?"


def service_address() -> str:
    """Where browsers find the service, without a slash at the end."""
    if public_url := service().settings.public_url:
        return public_url
    scheme = "https" if is_over_tls() else request.scheme
    return f"{scheme}://{request.host}{mount_path()}"


def _query(given: dict[str, object] | dict[str, str]) -> str:
    kept = {name: value for name, value in given.items() if value not in (None, "")}
    return "?" + urlencode(kept) if kept else ""
