"""The service itself: what its parts share, and whom a credential stands for."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from flask import Flask, current_app
from sqlalchemy import Row

from errors import AuthenticationFailed, DatabaseUnavailable
from formats import api_key
from identity.principal import Principal, RequestOrigin
from identity.tokens import expired_token, read_token
from keys import verification
from keys.bounded_cache import BoundedCache, weight
from keys.tenant_keys import TenantKeys
from keys.verification import KeyVerifier
from models import db, is_expired
from runtime import secret_fingerprint
from runtime.settings import Settings
from runtime.startup import prepared
from storage.sqlite.database import Storage

MAX_CREDENTIAL = 8192  # characters
PEOPLE = 1024  # tokens that a process remembers,
PEOPLE_ROOM = 2 * 1024**2  # and bytes that it has for what they say
HOLDERS = 2048  # holders of keys that a process remembers by the rows that it reads,
HOLDERS_ROOM = 4 * 1024**2  # and bytes that it has for them: 1,700 for a small key, 11,000 for one of 50 long scopes
EXTENSION = "keyhook"
SETTINGS = "keyhook.settings"  # of an application whose database is not open yet


class AppState:
    """What the parts of the application share; one for each application, under `app.extensions["keyhook"]`."""

    def __init__(self, settings: Settings, storage: Storage) -> None:
        self.settings = settings
        self.storage = storage
        self.keys = KeyVerifier(storage, settings.key_prefix, settings.bcrypt_rounds)
        # By the SHA-256 of a token that was read:
        self._people: BoundedCache[Principal] = BoundedCache(PEOPLE, PEOPLE_ROOM, lambda digest, person: weight(person))
        # By the row that was read and the hash that the secret matched:
        self._holders: BoundedCache[Principal] = BoundedCache(HOLDERS, HOLDERS_ROOM, _weigh_holder)

    def identify(self, credential: str, address: Callable[[], str | None], tenant: str | None = None) -> Principal:
        """Raises AuthenticationFailed, also for one that is not of the tenant when that is given.

        White space at either end, a line's end included, is no part of a credential. A good key counts as used, by who
        is at the address.
        """
        self.keys.last_use.flush()
        credential = credential.strip()
        if len(credential) > MAX_CREDENTIAL:
            raise AuthenticationFailed("oversized credential")
        if not api_key.is_key(credential, self.settings.key_prefix):
            person = self._remembered(credential)
            _require_tenant(person.tenant, tenant)
            return person
        row, matched = self.keys.check(credential)
        _require_tenant(row.tenant, tenant, row.id)
        self.keys.last_use.note(row, address)
        return self._holder(row, matched)

    def settle(self) -> None:
        """Writes the uses that are pending and takes the WAL into the database file; closes nothing, so that requests
        may still be under way. Raises DatabaseUnavailable when the file is not the one that was opened."""
        self.storage.check_file()
        self.keys.last_use.settle()
        self.storage.checkpoint("TRUNCATE")

    def tidy(self) -> None:
        """The same, now and then while the service runs: waits for nobody and lets nobody wait."""
        with suppress(DatabaseUnavailable):
            self.keys.last_use.flush()
            self.storage.checkpoint("PASSIVE")

    def close(self) -> None:
        """Closes the database: no request may be under way."""
        self.keys.last_use.close()
        self.storage.close()

    def _remembered(self, token: str) -> Principal:
        """Reads a token once: what it says never changes, and its end is looked at every time."""
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        person = self._people.get(digest)
        if person is None:
            if refusal := verification.surrounded(token):
                raise refusal
            person = read_token(token, self.settings.secret_key)
            self._people.put(digest, person)
        elif is_expired(person):
            raise expired_token()
        return person

    def _holder(self, row: Row[Any], matched: str) -> Principal:
        """Who holds a key: a function of the row that was just read, so remembering it serves nothing stale."""
        holder = self._holders.get((row, matched))
        if holder is None:
            holder = _principal(row, matched)
            self._holders.put((row, matched), holder)
        return holder

    def keyring(self, principal: Principal, origin: RequestOrigin) -> TenantKeys:
        return TenantKeys(self.storage, self.keys, principal, origin)


def service() -> AppState:
    """That of the current application."""
    return state_of(current_app)


def state_of(app: Flask) -> AppState:
    """Opens the database on the first call, which may raise StartupError: a command that does without it opens none."""
    if EXTENSION not in app.extensions:
        with app.app_context(), prepared(app.extensions[SETTINGS]) as settings:
            opened = AppState(settings, Storage(db.engine, settings.database))
        secret_fingerprint.remember(opened.storage, settings.secret_key)
        app.extensions[EXTENSION] = opened
    return app.extensions[EXTENSION]  # type: ignore[no-any-return]


def _principal(row: Row[Any], matched: str) -> Principal:
    return Principal(
        kind="api_key",
        tenant=row.tenant,
        owner=row.owner,
        role=row.role,
        scopes=tuple(row.scopes.split()),
        key_id=row.id,
        key_name=row.name,
        expires_at=verification.ends_at(row, matched),
        issued_at=row.created_at,
        secret_hash=matched,
    )


def _weigh_holder(key: Any, holder: Principal) -> int:
    row, matched = key
    return weight((tuple(row), matched, holder))


def _require_tenant(actual: str, required: str | None, key_id: str | None = None) -> None:
    if required is not None and actual != required:
        raise AuthenticationFailed("credential of another tenant", key_id=key_id)
