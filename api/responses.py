"""Headers of several resources: the address of a key, the next page."""

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import quote

from flask import request

from keys.paging import Page
from keys.tenant_keys import Minted
from web.contract import mount_path

R = TypeVar("R")


def with_location(minted: Minted) -> tuple[Minted, dict[str, str]]:
    return minted, {"Location": f"{mount_path()}/v0/api_keys/{quote(minted.name, safe='')}"}


def with_next(page: Page[R], limit: int, cursor: str) -> tuple[Sequence[R], dict[str, str]]:
    if page.next is None:
        return page.rows, {}
    return page.rows, {"Link": f'<{mount_path()}{request.path}?limit={limit}&{cursor}={page.next}>; rel="next"'}
