"""/v0/audit: every change of a tenant's keys, and its author."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from api.resource import Resource, Tag
from api.responses import with_next
from auth import keyring, requires
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
def list_audit_entries(limit: int, before: int | None) -> tuple[Sequence[Row[Any]], dict[str, str]]:
    """List the changes of the tenant's keys, newest first. They outlive the keys."""
    return with_next(keyring().audit(limit, before), limit, "before")
