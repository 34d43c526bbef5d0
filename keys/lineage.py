"""Which key minted which, walked through keys that are gone: each way is one recursive statement, however long it is.

The lineage of a key outlives it for as long as something that was minted with it lives, and with that, and so on: so a
cascade reaches past it. Whoever holds a key decides how long these ways are, and they are walked under the write lock.
"""

from collections.abc import Sequence

from sqlalchemy import CTE, ColumnElement, Connection, Select, cast, delete, exists, literal, select

from models import api_keys, lineage


def key_ids(key_id: str) -> Select[tuple[str]]:
    """One id as a selection, of the same type as a column: PostgreSQL holds the two halves of a recursion to that."""
    return select(cast(literal(key_id), api_keys.c.id.type).label("id"))


def family(roots: Select[tuple[str]]) -> CTE:
    """The ids of some keys and of all that was minted with them, through keys that are gone as well."""
    found = roots.cte("family", recursive=True)
    return found.union(select(lineage.c.key_id).where(lineage.c.parent_id == found.c.id))


def forget(tx: Connection, key_id: str) -> None:
    """Removes what the lineage holds of a key that is gone and has no offspring left, and so upwards."""
    link, child, other = lineage.alias(), lineage.alias(), lineage.alias()
    itself = key_ids(key_id).where(~_lives(key_id), ~exists().where(child.c.parent_id == key_id))
    gone = itself.cte("gone", recursive=True)
    above = (
        select(link.c.parent_id)
        .where(link.c.key_id == gone.c.id, ~_lives(link.c.parent_id))
        .where(~exists().where(other.c.parent_id == link.c.parent_id, other.c.key_id != link.c.key_id))
    )
    tx.execute(delete(lineage).where(lineage.c.key_id.in_(select(gone.union(above).c.id))))


def forget_all(tx: Connection, ids: Sequence[str]) -> None:
    """The same for many keys at once: of what leads up from them stays what leads to a key that lives."""
    link, dead = lineage.alias(), select(lineage.c.key_id.label("id")).where(lineage.c.key_id.in_(ids))
    above = dead.where(~_lives(lineage.c.key_id)).cte("above", recursive=True)
    above = above.union(select(link.c.parent_id).where(link.c.key_id == above.c.id, ~_lives(link.c.parent_id)))
    below = family(select(above.c.id))
    kept = select(below.c.id).where(_lives(below.c.id)).cte("kept", recursive=True)
    kept = kept.union(select(lineage.c.parent_id).where(lineage.c.key_id == kept.c.id))
    mine = lineage.c.key_id
    tx.execute(delete(lineage).where(mine.in_(select(above.c.id)), mine.not_in(select(kept.c.id))))


def _lives(key_id: str | ColumnElement[str]) -> ColumnElement[bool]:
    return exists().where(api_keys.c.id == key_id)
