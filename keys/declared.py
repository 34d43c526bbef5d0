"""Keys that a file declares: the table of keys is made to agree with the file, in one transaction.

A key is known by its id. What the file says holds; what it leaves out has its default. Only two things are left as they
are: that somebody disabled a key, which no restart may undo, and, without `prune`, a key that the file has no more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, select, update

from formats.times import now
from identity.principal import Principal, RequestOrigin
from keys import allowances, audit, telling, uses
from keys.audit import Subject
from keys.key_fields import NewKey
from keys.lineage import forget_all
from models import KeyRow, api_keys
from storage.database import Storage
from storage.statements import batched, insert

_SECRET = ("secret_hash", "prefix", "hint")
_UNTOLD = (*_SECRET, "disabled_by", "allowance", "previous_hash", "previous_prefix", "previous_until")


class Mistake(Exception):
    """What is wrong with a table of the file; `number` counts from 1."""

    def __init__(self, number: int, name: str, member: str, what: str) -> None:
        super().__init__(f"[[api_keys]] number {number}{f' ({name})' if name else ''}, field {member}: {what}")


@dataclass(frozen=True)
class Declared:
    number: int  # of its table
    new: NewKey
    id: str
    tenant: str
    owner: str
    secret_hash: str
    prefix: str
    hint: str | None
    disabled: bool

    def mistake(self, member: str, what: str) -> Mistake:
        return Mistake(self.number, self.new.name, member, what)

    def columns(self) -> dict[str, Any]:
        unsaid = {"expires_at": None, "hosts": "", "networks": "", "rate_limit": None, "metadata": "{}"}
        given = {**unsaid, **self.new.columns(), "owner": self.owner, "tenant": self.tenant, "declared": True}
        return {**given, **{column: getattr(self, column) for column in _SECRET}}


class Named(NamedTuple):
    tenant: str
    name: str


@dataclass
class Reconciliation:
    created: list[Named] = field(default_factory=list)
    changed: list[Named] = field(default_factory=list)
    deleted: list[Named] = field(default_factory=list)
    left: list[Named] = field(default_factory=list)  # declared once, and in the file no more


class _Undone(Exception):
    """Ends the transaction of a dry run."""


def reconcile(
    storage: Storage, wanted: Sequence[Declared], file: str, *, prune: bool = False, dry_run: bool = False
) -> Reconciliation:
    """Makes the table agree with the file, or only tells what that would do. `file` names it in the audit.

    Raises Mistake, and DatabaseUnavailable; then nothing is changed.
    """
    done = Reconciliation()
    declared = select(api_keys.c.tenant).where(api_keys.c.declared).distinct()
    tenants = {row.tenant for row in storage.all(declared)} | {key.tenant for key in wanted}
    try:
        with storage.write(*tenants) as tx:
            _Work(tx, wanted, file, done).do(prune)
            if dry_run:
                raise _Undone
    except _Undone:
        pass
    return done


class _Work:
    """One transaction."""

    def __init__(self, tx: Connection, wanted: Sequence[Declared], file: str, done: Reconciliation) -> None:
        self._tx, self._wanted, self._file, self._done = tx, wanted, file, done
        self._ids = {key.id for key in wanted}

    def do(self, prune: bool) -> None:
        known = {row.id: row for row in self._rows_with(api_keys.c.id, [key.id for key in self._wanted])}
        for key in self._wanted:
            if key.id in known and known[key.id].tenant != key.tenant:
                raise key.mistake("tenant", "a key of another tenant has this id")
        self._treat_the_rest(prune)
        self._require_free_names()
        self._make_way(known)
        for key in self._wanted:
            if key.id in known:
                self._change(key, known[key.id])
        self._create([key for key in self._wanted if key.id not in known])

    def _treat_the_rest(self, prune: bool) -> None:
        found = self._tx.execute(select(api_keys).where(api_keys.c.declared).order_by(api_keys.c.seq))
        rest = [row for row in map(KeyRow._make, found) if row.id not in self._ids]
        (self._done.deleted if prune else self._done.left).extend(Named(row.tenant, row.name) for row in rest)
        if prune:
            for ids in batched([row.id for row in rest]):
                self._tx.execute(delete(api_keys).where(api_keys.c.id.in_(ids)))
                uses.forget(self._tx, ids)
                forget_all(self._tx, ids)
            for row in rest:
                self._record(row.tenant, "key.deleted", Subject(row.id, row.name), None)

    def _require_free_names(self) -> None:
        """Raises Mistake for the name of a key that the file does not declare."""
        taken = {
            Named(row.tenant, row.name): row.id
            for row in self._rows_with(api_keys.c.name, [key.new.name for key in self._wanted])
        }
        for key in self._wanted:
            if taken.get(Named(key.tenant, key.new.name), key.id) not in self._ids:
                raise key.mistake("name", "another key of this tenant has this name")

    def _make_way(self, known: dict[str, KeyRow]) -> None:
        """Frees the names of keys that are renamed, since two may exchange theirs."""
        for key in self._wanted:
            if key.id in known and known[key.id].name != key.new.name:
                self._tx.execute(update(api_keys).where(api_keys.c.id == key.id).values(name=key.id))

    def _change(self, key: Declared, before: KeyRow) -> None:
        values: dict[str, Any] = key.columns()
        values |= allowances.changed(before, values["rate_limit"], None)
        values |= _disabling(key, before)
        if values["secret_hash"] != before.secret_hash:
            values |= {"previous_hash": None, "previous_prefix": None, "previous_until": None}
        changed = {column: value for column, value in values.items() if getattr(before, column) != value}
        if not changed:
            return
        self._tx.execute(update(api_keys).where(api_keys.c.id == key.id).values(changed))
        self._done.changed.append(Named(key.tenant, key.new.name))
        self._tell(key, before, changed)

    def _tell(self, key: Declared, before: KeyRow, changed: dict[str, Any]) -> None:
        subject = Subject(key.id, key.new.name)
        told = {column: value for column, value in changed.items() if column not in _UNTOLD}
        if told or "secret_hash" not in changed:
            self._record(key.tenant, "key.updated", subject, telling.difference(before, told))
        if "secret_hash" in changed:
            self._record(key.tenant, "key.rotated", subject, {"grace_seconds": 0})
        if "rate_limit" in changed and before.allowance == before.id:
            for other in allowances.spread(self._tx, before, changed["rate_limit"]):
                difference = telling.difference(other, {"rate_limit": changed["rate_limit"]})
                self._record(key.tenant, "key.updated", Subject(other.id, other.name), difference)

    def _create(self, new: Sequence[Declared]) -> None:
        rows = [
            {
                **key.columns(),
                "id": key.id,
                "created_at": now(),
                "created_by_key": None,
                "disabled": key.disabled,
                "disabled_by": "file" if key.disabled else None,
                "allowance": key.id if key.columns()["rate_limit"] else None,
            }
            for key in new
        ]
        if rows:
            insert(self._tx, api_keys, rows)
        for row in rows:
            self._done.created.append(Named(row["tenant"], row["name"]))
            self._record(row["tenant"], "key.created", Subject(row["id"], row["name"]), telling.created(row))

    def _rows_with(self, column: Any, values: Sequence[str]) -> Iterable[KeyRow]:
        for batch in batched(values):
            yield from map(KeyRow._make, self._tx.execute(select(api_keys).where(column.in_(batch))))

    def _record(self, tenant: str, action: str, subject: Subject, details: audit.Details | None) -> None:
        actor = Principal("file", tenant, self._file, "admin")
        audit.record(self._tx, actor, RequestOrigin(), action, [subject], details)


def _disabling(key: Declared, before: KeyRow) -> dict[str, Any]:
    """The file disables a key, and enables one that it has disabled itself, but none that somebody else has."""
    if key.disabled and not before.disabled:
        return {"disabled": True, "disabled_by": "file"}
    if not key.disabled and before.disabled_by == "file":
        return {"disabled": False, "disabled_by": None}
    return {}
