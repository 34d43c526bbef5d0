"""The tree of the keys that a key minted, and of those that these minted, as people look at it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Select, select

from keys.lineage import family, key_ids
from models import KeyRow, api_keys, lineage
from storage.database import Storage


@dataclass
class Branch:
    """A key of the tree with what it minted. `row` is None for a deleted key that stands above living ones."""

    key_id: str
    row: KeyRow | None = None
    minted: list["Branch"] = field(default_factory=list)


class Family(NamedTuple):
    """The living offspring of a key: all ids, and the oldest of them as a tree."""

    ids: Sequence[str]
    branches: Sequence[Branch]


def family_of(storage: Storage, mine: Select[tuple[object, ...]], key_id: str, most: int) -> Family:
    """`mine` selects the keys of a tenant, and of these the offspring; the tree has at most `most` of them."""
    below = select(family(key_ids(key_id)).c.id)
    living = mine.where(api_keys.c.id.in_(below), api_keys.c.id != key_id).order_by(api_keys.c.seq)
    ids = [row.id for row in storage.all(living.with_only_columns(api_keys.c.id))]
    rows = [KeyRow._make(row) for row in storage.all(living.limit(most))] if ids else []
    return Family(ids, _tree(key_id, rows, _parents(storage, [row.id for row in rows])))


def _parents(storage: Storage, ids: list[str]) -> dict[str, str]:
    """The parent of each of the keys, and of each key above them."""
    if not ids:
        return {}
    link = lineage.alias()
    above = select(lineage.c.key_id, lineage.c.parent_id).where(lineage.c.key_id.in_(ids)).cte("above", recursive=True)
    above = above.union(select(link.c.key_id, link.c.parent_id).where(link.c.key_id == above.c.parent_id))
    return {row.key_id: row.parent_id for row in storage.all(select(above))}


def _tree(root: str, rows: list[KeyRow], parents: dict[str, str]) -> Sequence[Branch]:
    branches = {root: Branch(root), **{row.id: Branch(row.id, row) for row in rows}}
    for row in rows:
        child = branches[row.id]
        while (parent := parents.get(child.key_id)) is not None:
            known = parent in branches
            branches.setdefault(parent, Branch(parent)).minted.append(child)
            if known:
                break
            child = branches[parent]
    return branches[root].minted
