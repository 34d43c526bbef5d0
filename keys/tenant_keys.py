"""All operations on the keys of one tenant, by one actor. The API and the command line call the same methods.

TenantKeys is bound to a tenant when it is made, and every statement starts from `_mine` or carries the tenant, so no
view can forget it. A change, its limits and its audit entry are one transaction, in which the actor's limits are read
again with the row locked. So a key that was disabled, lowered, rotated or deleted meanwhile changes nothing more.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, bindparam, delete, exists, func, select, update

from errors import (
    AuthenticationFailed,
    DeclaredKey,
    DuplicateName,
    InsufficientPermissions,
    KeyChanged,
    UnknownApiKey,
    UnknownApiKeyId,
)
from formats.times import now, timestamp
from identity.principal import Principal, RequestOrigin
from keys import allowances, audit, paging, telling, uses, verification
from keys.audit import Details, Subject, Wanted
from keys.filters import is_text
from keys.inheritance import columns_of
from keys.key_fields import UNSET, KeyChanges, NewKey
from keys.lifetimes import Lifetimes
from keys.limits import Limits
from keys.lineage import family, forget, forget_all, generations, key_ids
from keys.paging import Page
from keys.revision import family_rev, require_unchanged, rev
from keys.selection import ALL, Selection
from keys.uses import DayOfUse
from keys.verification import KeyVerifier
from models import UNIQUE_NAME, KeyRow, api_keys, is_contained, lineage, status
from storage.database import Storage, UniqueViolation
from storage.statements import batched, insert

_ACTING_KEY = select(api_keys).where(api_keys.c.id == bindparam("key_id")).with_for_update()


ANY = Lifetimes()


class Minted(NamedTuple):
    """A new key with its secret: the only place that holds both."""

    api_key: str
    id: str
    name: str


class TenantKeys:
    def __init__(
        self,
        storage: Storage,
        verifier: KeyVerifier,
        principal: Principal,
        origin: RequestOrigin,
        lifetimes: Lifetimes = ANY,
    ) -> None:
        self._storage = storage
        self._verifier = verifier
        self._principal = principal
        self._origin = origin
        self._lifetimes = lifetimes
        self.tenant = principal.tenant

    @cached_property
    def _mine(self) -> Select[Any]:
        return select(api_keys).where(api_keys.c.tenant == self.tenant)

    def page(self, limit: int, after: int, selection: Selection = ALL) -> Page[KeyRow]:
        """The selected keys in order of creation, after the cursor. The key at the cursor may be deleted."""
        mine = self._mine.where(api_keys.c.seq > after, *selection.conditions(self._storage.ascii_lower))
        rows = self._storage.all(mine.order_by(api_keys.c.seq).limit(limit + 1))
        return paging.page(_typed(rows), limit, lambda row: row.seq)

    def get(self, name: str | None = None, *, key_id: str | None = None) -> KeyRow:
        """A key by its name or its id. Raises UnknownApiKey."""
        return _known(_typed(self._storage.all(self._one(name, key_id))), name, key_id)[0]

    def offspring(self, name: str) -> list[KeyRow]:
        """The living keys that a key minted, and that these minted: nearest first. Raises UnknownApiKey."""
        found, key = generations(self.get(name).id), api_keys.alias()
        below = select(key).join(found, key.c.id == found.c.id).where(found.c.depth > 0)
        return _typed(self._storage.all(below.order_by(found.c.depth, key.c.seq)))

    def usage(self, name: str, days: int) -> list[DayOfUse]:
        """How often a key was good and was refused, a day each, the oldest first. Raises UnknownApiKey."""
        return uses.of_key(self._storage, self.get(name).id, days, self._verifier.last_use.waiting_uses)

    def create(self, new: NewKey, owner: str | None = None) -> Minted:
        """Mints a key for the owner, by default the owner of the acting credential.

        Raises DuplicateName, ValidationError for too long a life, an ExceedsCreator, and AuthenticationFailed if the
        acting key has ended meanwhile.
        """
        # Before the transaction, since bcrypt may be slow.
        key_id, secret = verification.new_id(), self._verifier.new_secret()
        with self._change() as (tx, limits):
            row = {
                **columns_of(new, key_id, limits, self._lifetimes),
                "id": key_id,
                "tenant": self.tenant,
                "owner": owner or self._principal.owner,
                "created_at": now(),
                "created_by_key": self._principal.key_id,
                **secret.kept(key_id),
            }
            insert(tx, api_keys, [row])
            if self._principal.key_id:
                insert(tx, lineage, [{"key_id": key_id, "parent_id": self._principal.key_id}])
            self._record(tx, "key.created", [Subject(key_id, new.name)], telling.created(row))
        return Minted(secret.text(key_id), key_id, new.name)

    def update(
        self, name: str | None, changes: KeyChanges, if_rev: str | None = None, *, key_id: str | None = None
    ) -> KeyRow:
        """Changes a key, given by its name or its id, and returns the changed row.

        No key can enable a key that a person disabled. Raises UnknownApiKey, DuplicateName, InsufficientPermissions,
        ValidationError, an ExceedsCreator, AuthenticationFailed, and KeyChanged for another `if_rev`.
        """
        values = changes.columns()
        if not values:
            return self.get(name, key_id=key_id)
        if changes.expires_at is not UNSET:
            self._lifetimes.require(changes.expires_at)
        with self._change() as (tx, limits):
            before = self._find(tx, name, key_id)
            if not changes.only_disables and not (self._principal.kind == "cli" and changes.only_enables):
                _require_not_declared(before)
            require_unchanged(if_rev, rev(before))
            if changes.disabled is not UNSET:
                values["disabled_by"] = self._disabled_by(before, disabled=changes.disabled)
            if "rate_limit" in values:
                values |= allowances.changed(before, values["rate_limit"], limits)
            after = KeyRow(**before._asdict() | values)
            if limits and not changes.only_disables:
                _require_row_within(limits, before)
                _require_row_within(limits, after)
            changed = {column: value for column, value in values.items() if getattr(before, column) != value}
            if changed:
                tx.execute(update(api_keys).where(api_keys.c.id == before.id).values(changed))
                changed.pop("allowance", None)
                if changed.pop("disabled_by", None):  # also a change of a key that was disabled already
                    changed["disabled"] = True
                self._record(tx, "key.updated", [Subject(after.id, after.name)], telling.difference(before, changed))
            if "rate_limit" in changed and before.allowance == before.id:
                for other in allowances.spread(tx, before, after.rate_limit):
                    difference = telling.difference(other, {"rate_limit": after.rate_limit})
                    self._record(tx, "key.updated", [Subject(other.id, other.name)], difference)
        return after

    def disable_all_of(self, owner: str) -> list[KeyRow]:
        """Disables all keys of a person, for good unless a person enables them again; returns them as they are now.

        Keys that a person disabled before stay as they are and are left out.
        """
        kind = self._principal.kind
        contained = api_keys.c.disabled & func.coalesce(api_keys.c.disabled_by, "api_key").not_in(["api_key"])
        with self._change() as (tx, _):
            found = self._mine.where(is_text(api_keys.c.owner, owner), ~contained)
            before = _typed(tx.execute(found.order_by(api_keys.c.seq).with_for_update()).all())
            for ids in batched([row.id for row in before]):
                chosen = update(api_keys).where(api_keys.c.id.in_(ids))
                tx.execute(chosen.values(disabled=True, disabled_by=kind))
            for was in (False, True):  # disabled by a key before, from which the person takes over
                subjects = [Subject(row.id, row.name) for row in before if bool(row.disabled) is was]
                self._record(tx, "key.updated", subjects, {"disabled": {"from": was, "to": True}})
        return [row._replace(disabled=True, disabled_by=kind) for row in before]

    def rotate(
        self, name: str | None, grace_seconds: int = 0, if_rev: str | None = None, *, key_id: str | None = None
    ) -> Minted:
        """Gives a key, by its name or its id, a new secret. The old one works for `grace_seconds` more; an earlier
        grace ends.

        Raises UnknownApiKey, an ExceedsCreator, AuthenticationFailed, and KeyChanged for another `if_rev`.
        """
        secret = self._verifier.new_secret()
        with self._change() as (tx, limits):
            row = self._find(tx, name, key_id)
            _require_not_declared(row)
            require_unchanged(if_rev, rev(row))
            if limits:
                _require_row_within(limits, row)
            until = timestamp(datetime.now(UTC) + timedelta(seconds=grace_seconds)) if grace_seconds else None
            values = {
                **secret.kept(row.id),
                "previous_hash": row.secret_hash if until else None,
                "previous_prefix": row.prefix if until else None,
                "previous_until": until,
                "previous_last_used_at": None,
            }
            tx.execute(update(api_keys).where(api_keys.c.id == row.id).values(values))
            self._record(tx, "key.rotated", [Subject(row.id, row.name)], {"grace_seconds": grace_seconds})
        return Minted(secret.text(row.id), row.id, row.name)

    def revoke(self) -> None:
        """Disables the acting key itself, whose holder asks for it. From then on only a person can enable it.

        Raises AuthenticationFailed if the key has ended meanwhile, or the secret was replaced.
        """
        key_id, held = self._principal.key_id, self._principal.secret_hash
        with self._change() as (tx, _):
            row = self._find(tx, None, key_id)
            if status(row) != "active" or held not in verification.valid_hashes(row):
                raise AuthenticationFailed("the key ended before it was revoked", key_id=key_id)
            values = {"disabled": True, "disabled_by": self._principal.kind}
            tx.execute(update(api_keys).where(api_keys.c.id == row.id).values(values))
            self._record(tx, "key.revoked", [Subject(row.id, row.name)], None)

    def delete(
        self,
        name: str | None = None,
        *,
        key_id: str | None = None,
        cascade: bool = False,
        if_rev: str | None = None,
    ) -> None:
        """Deletes a key, with `cascade` also the keys that it minted, and theirs, in one transaction.

        The key is given by its name or its id. By its id, a cascade also works for a deleted key.
        Raises UnknownApiKey, AuthenticationFailed, and KeyChanged for another `if_rev`, which with `cascade` is that
        of the family.
        """
        with self._change() as (tx, _):
            rows = _known(_typed(tx.execute(self._doomed(name, key_id, cascade)).all()), name, key_id)
            _require_not_declared(*rows)
            root = key_id or next(row.id for row in rows if row.name == name)
            if if_rev is not None:
                _require_shown(if_rev, root, rows, cascade)
            if cascade:
                below = select(family(key_ids(root)).c.id)
                tx.execute(delete(api_keys).where(api_keys.c.id.in_(below)))  # they have the tenant of the root
                uses.forget(tx, below)
                tx.execute(delete(lineage).where(lineage.c.key_id.in_(below), lineage.c.key_id != root))
            else:
                tx.execute(delete(api_keys).where(api_keys.c.id == root))
                uses.forget(tx, [root])
            forget(tx, root)
            offspring = [Subject(row.id, row.name) for row in rows if row.id != root]
            self._record(tx, "key.deleted", offspring, {"cascade_of": root})
            self._record(tx, "key.deleted", [Subject(row.id, row.name) for row in rows if row.id == root], None)

    def doomed(self, name: str | None = None, *, key_id: str | None = None, cascade: bool = False) -> list[KeyRow]:
        """The keys that `delete` would delete, in order of creation. Raises UnknownApiKey."""
        return _known(_typed(self._storage.all(self._doomed(name, key_id, cascade))), name, key_id)

    def prune(self, before: str) -> list[str]:
        """Deletes the keys that expired by that moment, disabled ones too, in one transaction; returns their names.

        The search comes before the transaction, which then takes time for the deleted keys only, not for all keys.
        """
        ids, names = [key.id for key in self.expired(before)], dict[str, str]()
        with self._change() as (tx, _):
            for batch in batched(ids):
                ended = delete(api_keys).where(api_keys.c.id.in_(batch), api_keys.c.expires_at <= before)
                gone = {row.id: row.name for row in tx.execute(ended.returning(api_keys.c.id, api_keys.c.name))}
                names.update(gone)
                uses.forget(tx, list(gone))
                forget_all(tx, batch)
            pruned = [Subject(key_id, names[key_id]) for key_id in ids if key_id in names]
            self._record(tx, "key.deleted", pruned, None)
        return [key.name for key in pruned]

    def expired(self, before: str) -> list[Subject]:
        """The keys that `prune` would delete, in order of creation."""
        ended = self._mine.where(api_keys.c.expires_at <= before, ~api_keys.c.declared).order_by(api_keys.c.seq)
        return [
            Subject._make(row) for row in self._storage.all(ended.with_only_columns(api_keys.c.id, api_keys.c.name))
        ]

    def audit(
        self, limit: int, before: int | None, wanted: Wanted = audit.ALL, after: int | None = None
    ) -> Page[Row[Any]]:
        """The tenant's wanted entries: newest first with ids below `before`, or oldest first with ids above `after`."""
        return audit.page(self._storage, self.tenant, limit, before, wanted, after)

    @contextmanager
    def _change(self) -> Iterator[tuple[Connection, Limits | None]]:
        """A transaction, and the current limits of the acting key; None for people, who have no limits.

        No other change of the tenant happens meanwhile: nobody mints with a key that is being deleted, a list of keys
        overlooks none, and a cascade misses none. The unique constraint decides whether a name is free.
        """
        try:
            with self._storage.write(self.tenant) as tx:
                yield tx, self._limits(tx)
        except UniqueViolation as violation:
            if violation.constraint == UNIQUE_NAME:
                raise DuplicateName from None
            raise

    def _limits(self, tx: Connection) -> Limits | None:
        if self._principal.kind != "api_key":
            return None
        found = tx.execute(_ACTING_KEY, {"key_id": self._principal.key_id}).first()
        row = KeyRow._make(found) if found is not None else None
        if row is None or status(row) != "active" or self._principal.secret_hash not in verification.valid_hashes(row):
            raise AuthenticationFailed("the acting key ended before the change was made", key_id=self._principal.key_id)
        Principal("api_key", row.tenant, row.owner, row.role).require_role("write")
        # A secret in its grace can give no longer life than its own, or it could escape its end by a rotation.
        return Limits.of(row._asdict(), verification.ends_at(row, self._principal.secret_hash))

    def _doomed(self, name: str | None, key_id: str | None, cascade: bool) -> Select[Any]:
        itself = self._one(name, key_id)
        if not cascade:
            return itself
        roots = key_ids(key_id) if key_id is not None else itself.with_only_columns(api_keys.c.id)
        found, key = family(roots), api_keys.alias()
        # Not from `_mine`: the index on tenants would scan all keys of the tenant while others wait.
        mine = select(found.c.id).where(exists().where(key.c.id == found.c.id, key.c.tenant == self.tenant))
        return select(api_keys).where(api_keys.c.id.in_(mine)).order_by(api_keys.c.seq)

    def _disabled_by(self, row: KeyRow, *, disabled: bool) -> str | None:
        """The kind of actor that disables the key from now on. A person takes over from a key, and never the reverse.

        Raises InsufficientPermissions.
        """
        kind = self._principal.kind
        if not disabled:
            if kind == "api_key" and is_contained(row):
                raise InsufficientPermissions(required="jwt", actual=kind)
            return None
        stays = row.disabled and (kind == "api_key" or is_contained(row))
        return row.disabled_by if stays else kind

    def _one(self, name: str | None, key_id: str | None) -> Select[Any]:
        return self._mine.where(is_text(api_keys.c.name, name or "") if key_id is None else api_keys.c.id == key_id)

    def _find(self, tx: Connection, name: str | None, key_id: str | None) -> KeyRow:
        """The row, locked until the transaction ends. Raises UnknownApiKey."""
        return _known(_typed(tx.execute(self._one(name, key_id).with_for_update()).all()), name, key_id)[0]

    def _record(self, tx: Connection, action: str, subjects: Iterable[Subject], details: Details | None) -> None:
        audit.record(tx, self._principal, self._origin, action, subjects, details)


def _typed(rows: Iterable[Row[Any]]) -> list[KeyRow]:
    return [KeyRow._make(row) for row in rows]


def _require_not_declared(*rows: KeyRow) -> None:
    """Raises DeclaredKey."""
    for row in rows:
        if row.declared:
            raise DeclaredKey(row.name)


def _require_row_within(limits: Limits, row: KeyRow) -> None:
    limits.require_within(Limits.of(row._asdict(), row.expires_at))


def _require_shown(if_rev: str, root: str, rows: list[KeyRow], cascade: bool) -> None:
    """Raises KeyChanged unless these are the keys that the revision stands for."""
    row = next((row for row in rows if row.id == root), None)
    if row is None:
        raise KeyChanged
    require_unchanged(
        if_rev, family_rev(row, [other.id for other in rows if other.id != root]) if cascade else rev(row)
    )


def _known(rows: list[KeyRow], name: str | None, key_id: str | None) -> list[KeyRow]:
    """The rows. Raises UnknownApiKey if there are none."""
    if rows:
        return rows
    raise UnknownApiKey(name or "") if key_id is None else UnknownApiKeyId(key_id)
