"""The lineage of keys: which key minted which, also across deleted keys. A walk is one recursive statement.

The lineage of a key outlives it as long as any of its descendants lives, so that a cascade reaches past it. Holders of
keys decide how long a walk is, and it runs under the write lock.
"""

from collections.abc import Sequence

from sqlalchemy import CTE, ColumnElement, Connection, Integer, Select, cast, delete, exists, literal, select

from models import api_keys, lineage


def key_ids(key_id: str) -> Select[tuple[str]]:
    """A selection of one id, with the type of the column, as PostgreSQL requires in both halves of a recursion."""
    return select(cast(literal(key_id), api_keys.c.id.type).label("id"))


def family(roots: Select[tuple[str]]) -> CTE:
    """The ids of some keys and of all their descendants, also across deleted keys."""
    found = roots.cte("family", recursive=True)
    return found.union(select(lineage.c.key_id).where(lineage.c.parent_id == found.c.id))


def generations(root: str) -> CTE:
    """The ids of a key and of all its descendants, each with its distance (`depth`) from the key."""
    itself = key_ids(root).add_columns(cast(literal(0), Integer).label("depth"))
    found = itself.cte("generations", recursive=True)
    return found.union_all(select(lineage.c.key_id, found.c.depth + 1).where(lineage.c.parent_id == found.c.id))


def forget(tx: Connection, key_id: str) -> None:
    """Removes the lineage of a deleted key without descendants, and then that of each such key above it."""
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
    """Does the same for many keys at once: of the keys above them, those stay that lead to a living key."""
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
