"""/v0/audit: every change of a tenant's keys, and its author."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from api.resource import Resource, Tag
from api.responses import with_next
from auth import keyring, requires
from keys.audit import Wanted
from schemas import (
    AuditEntry,
    AuditPage,
)
from web.contract import answers, takes_query

bp = Resource("audit", __name__, Tag.AUDIT)


@bp.get("/v0/audit")
@requires("admin")
@takes_query(AuditPage)
@answers(200, AuditEntry, many=True, headers=("Link",))
def list_audit_entries(
    limit: int, before: int | None, after: int | None, **wanted: str
) -> tuple[Sequence[Row[Any]], dict[str, str]]:
    """List the changes of the tenant's keys, newest first. They outlive the keys.

    With `after` the oldest come first: whoever follows the audit asks again with the last id.
    """
    page = keyring().audit(limit, before, Wanted(**wanted), after)
    return with_next(page, limit, "before" if after is None else "after")
