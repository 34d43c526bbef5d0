"""Headers of several resources: the address of a key, the next page."""

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import quote, urlencode

from flask import request

from keys.paging import Page
from keys.tenant_keys import Minted
from web.contract import mount_path

R = TypeVar("R")


def with_location(minted: Minted) -> tuple[Minted, dict[str, str]]:
    return minted, {"Location": f"{mount_path()}/v0/api_keys/{quote(minted.name, safe='')}"}


def with_next(page: Page[R], limit: int, cursor: str) -> tuple[Sequence[R], dict[str, str]]:
    """The rows, and the address of the next page, which keeps what else was asked for."""
    if page.next is None:
        return page.rows, {}
    query = urlencode({**request.args, "limit": limit, cursor: page.next}, quote_via=quote)
    return page.rows, {"Link": f'<{mount_path()}{request.path}?{query}>; rel="next"'}
