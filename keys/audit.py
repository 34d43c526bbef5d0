"""The audit: an entry for every change of a key, written in the transaction of the change, and read by pages."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, select

from formats.redaction import redact, redact_values
from formats.times import now
from identity.principal import Principal, RequestOrigin
from keys import paging
from keys.filters import is_text
from keys.paging import Page
from models import audit_entries
from storage.database import Storage
from storage.statements import insert

Details = dict[str, Any]  # JSON


class Subject(NamedTuple):
    """The key that was changed."""

    id: str
    name: str


def record(
    tx: Connection,
    actor: Principal,
    origin: RequestOrigin,
    action: str,
    subjects: Iterable[Subject],
    details: Details | None,
) -> None:
    """Writes one entry in the actor's tenant for each subject."""
    common = {
        "tenant": actor.tenant,
        "at": now(),
        "action": action,
        "actor_kind": actor.kind,
        "actor_owner": redact(actor.owner),
        "actor_key_id": actor.key_id,
        "actor_key_name": actor.key_name,
        "ip": origin.ip,
        "request_id": origin.request_id,
        "details": json.dumps(redact_values(details)) if details is not None else None,
    }
    entries = [{**common, "key_id": key.id, "key_name": key.name} for key in subjects]
    if entries:
        insert(tx, audit_entries, entries)


class Wanted(NamedTuple):
    """The entries to be shown: of an action, an actor, a key. What is empty demands nothing."""

    action: str = ""
    owner: str = ""  # of the actor
    key_id: str = ""

    def conditions(self) -> list[ColumnElement[bool]]:
        column = audit_entries.c
        pairs = {column.action: self.action, column.actor_owner: self.owner, column.key_id: self.key_id}
        return [is_text(known, value) for known, value in pairs.items() if value]


ALL = Wanted()


def page(
    storage: Storage, tenant: str, limit: int, before: int | None, wanted: Wanted = ALL, after: int | None = None
) -> Page[Row[Any]]:
    """The tenant's wanted entries: newest first with ids below `before`, or oldest first with ids above `after`."""
    entry_id = audit_entries.c.id
    mine = select(audit_entries).where(audit_entries.c.tenant == tenant, *wanted.conditions())
    if before is not None:
        mine = mine.where(entry_id < before)
    if after is not None:
        mine = mine.where(entry_id > after)
    rows = storage.all(mine.order_by(entry_id if after is not None else entry_id.desc()).limit(limit + 1))
    return paging.page(rows, limit, lambda row: int(row.id))
