"""Who did what, newest first. A cascade, which wrote an entry for each key, is one line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from flask import Response, request

from console.pages import bp, catalog, render, signed_in
from console.words import local
from schemas import AuditEntry

ON_A_PAGE = 50
ACTIONS = {
    "": "Everything",
    "key.created": "Created",
    "key.updated": "Changed",
    "key.rotated": "Rotated",
    "key.revoked": "Revoked",
    "key.deleted": "Deleted",
}

Entry = dict[str, Any]  # as the API shows it


@dataclass
class Line:
    """An entry, and those of the keys that were deleted with its key."""

    entry: Entry
    cascade: list[Entry] = field(default_factory=list)


@bp.get("/audit")
@signed_in("admin")
def audit() -> Response:
    action, key_id = request.args.get("action", ""), request.args.get("key", "")
    action = action if action in ACTIONS else ""
    found = catalog().history(ON_A_PAGE, key_id=key_id.replace("\0", ""), action=action, before=_before())
    entries: list[Entry] = AuditEntry(many=True).dump(found.rows)
    names = catalog().names([entry["key_id"] for entry in entries])
    return render(
        "audit",
        lines=list(in_lines(entries)),
        older=found.next,
        names=names,
        actions=ACTIONS,
        action=action,
        key_id=key_id,
    )


def in_lines(entries: list[Entry]) -> Iterator[Line]:
    """A cascade's other entries follow that of its key, or of each other where a page begins within it."""
    line: Line | None = None
    for entry in entries:
        if line is not None and _root(entry) and _root(entry) in (line.entry["key_id"], _root(line.entry)):
            line.cascade.append(entry)
            continue
        if line is not None:
            yield line
        line = Line(entry)
    if line is not None:
        yield line


@bp.app_template_filter("by_day")
def by_day(lines: Iterable[Line]) -> list[tuple[str, list[Line]]]:
    """Lines under the days of the reader's zone."""
    days = groupby(lines, lambda line: local(line.entry["at"], "%A, %d %B %Y"))
    return [(day, list(those)) for day, those in days]


def _root(entry: Entry) -> str | None:
    """The id of the key with which this one was deleted."""
    root = (entry["details"] or {}).get("cascade_of")
    return root if isinstance(root, str) else None


def _before() -> int | None:
    """A cursor that is none is the beginning."""
    given = request.args.get("before", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None
