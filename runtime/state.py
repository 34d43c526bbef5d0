"""The shared state of the application, and the identification of credentials."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from flask import Flask, current_app

from errors import AuthenticationFailed, DatabaseUnavailable
from formats import api_key
from identity.principal import Principal, RequestOrigin
from identity.tokens import expired_token, read_token
from keys import verification
from keys.bounded_cache import BoundedCache, weight
from keys.tenant_keys import TenantKeys
from keys.verification import KeyVerifier
from models import CheckedKey, db, is_expired
from runtime import secret_fingerprint
from runtime.engine import open_storage
from runtime.settings import Settings
from runtime.startup import prepared
from storage.database import Storage

MAX_CREDENTIAL = 8192  # characters
PEOPLE = 1024  # tokens in the cache of a process,
PEOPLE_ROOM = 2 * 1024**2  # and bytes of their claims
HOLDERS = 2048  # holders of keys in the cache of a process,
HOLDERS_ROOM = 4 * 1024**2  # and bytes of them: 1,700 for a small key, 11,000 for one of 50 long scopes
EXTENSION = "keyhook"
SETTINGS = "keyhook.settings"  # under which an application keeps its settings before the database is open


class AppState:
    """Shared by the parts of an application; each has one, under `app.extensions["keyhook"]`."""

    def __init__(self, settings: Settings, storage: Storage) -> None:
        self.settings = settings
        self.storage = storage
        self.keys = KeyVerifier(storage, settings.key_prefix, settings.bcrypt_rounds)
        # By the SHA-256 of the token:
        self._people: BoundedCache[Principal] = BoundedCache(PEOPLE, PEOPLE_ROOM, lambda digest, person: weight(person))
        # By the row of the key and the hash that its secret matched:
        self._holders: BoundedCache[Principal] = BoundedCache(HOLDERS, HOLDERS_ROOM, _weigh_holder)

    def identify(self, credential: str, address: Callable[[], str | None], tenant: str | None = None) -> Principal:
        """The holder of a credential. Raises AuthenticationFailed, also for one of another tenant than the given one.

        White space and line ends around a credential are ignored. A good key is noted as used from the address.
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
        """Writes pending uses and leaves the database whole. Closes nothing: requests may be under way.

        Raises DatabaseUnavailable when the database is not the one that was opened.
        """
        self.storage.check()
        self.keys.last_use.settle()
        self.storage.settle()

    def tidy(self) -> None:
        """Does the same at intervals while the service runs: it waits for no lock and blocks nobody."""
        with suppress(DatabaseUnavailable):
            self.keys.last_use.flush()
            self.storage.tidy()

    def close(self) -> None:
        """Closes the database. No request may be under way."""
        self.keys.last_use.close()
        self.storage.close()

    def _remembered(self, token: str) -> Principal:
        """The holder of a token, which is read once: its claims never change. Its end is checked every time."""
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

    def _holder(self, row: CheckedKey, matched: str) -> Principal:
        """The holder of a key. It depends on nothing but the row that was just read, so the cache is never stale."""
        holder = self._holders.get((row, matched))
        if holder is None:
            holder = _principal(row, matched)
            self._holders.put((row, matched), holder)
        return holder

    def keyring(self, principal: Principal, origin: RequestOrigin) -> TenantKeys:
        return TenantKeys(self.storage, self.keys, principal, origin)


def service() -> AppState:
    """The state of the current application."""
    return state_of(current_app)


def state_of(app: Flask) -> AppState:
    """The state, with the database opened on the first call, which may raise StartupError. Some commands need none."""
    if EXTENSION not in app.extensions:
        with app.app_context(), prepared(app.extensions[SETTINGS]) as settings:
            opened = AppState(settings, open_storage(db.engine, settings))
        secret_fingerprint.remember(opened.storage, settings.secret_key)
        app.extensions[EXTENSION] = opened
    return app.extensions[EXTENSION]  # type: ignore[no-any-return]


def _principal(row: CheckedKey, matched: str) -> Principal:
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
