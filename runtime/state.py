"""The state that the parts of an application share."""

from contextlib import suppress

from flask import Flask, current_app

from errors import DatabaseUnavailable
from identity.principal import Principal, RequestOrigin
from keys.catalog import Catalog
from keys.census import Census
from keys.rate_limits import RateLimits
from keys.tenant_keys import TenantKeys
from keys.verification import KeyVerifier
from models import db
from observability import metrics
from runtime import secret_fingerprint
from runtime.authenticator import Authenticator
from runtime.engine import open_storage
from runtime.identity_provider import bearers_of, sign_in_of
from runtime.sessions import Sessions
from runtime.settings import Settings
from runtime.startup import prepared
from storage.database import Storage

EXTENSION = "keyhook"
SETTINGS = "keyhook.settings"  # under which an application keeps its settings before the database is open


class AppState:
    """Shared by the parts of an application; each has one, under `app.extensions["keyhook"]`."""

    def __init__(self, settings: Settings, storage: Storage) -> None:
        self.settings = settings
        self.storage = storage
        self.keys = KeyVerifier(storage, settings.key_prefix, settings.bcrypt_rounds)
        self.bearers = bearers_of(settings)
        self.sign_in = sign_in_of(settings, self.bearers)
        self.authenticator = Authenticator(self.keys, settings.secret_key, settings.key_prefix, self.bearers)
        self.rates = RateLimits(settings.limits_url)
        self.sessions = Sessions(storage, settings.secret_key)
        self.census = Census(storage)
        self._closed = False

    def begin(self) -> None:
        """Begins what only a server needs, in the background: the keys of the provider, before the first token."""
        if self.bearers:
            self.bearers.provider.begin()

    def settle(self) -> None:
        """Writes pending uses and leaves the database whole. Closes nothing: requests may be under way.

        Does nothing after `close`. Raises DatabaseUnavailable when the database is not the one that was opened.
        """
        if self._closed:
            return
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
        self._closed = True
        self.keys.last_use.close()
        self.storage.close()

    def keyring(self, principal: Principal, origin: RequestOrigin) -> TenantKeys:
        return TenantKeys(self.storage, self.keys, principal, origin, self.settings.lifetimes)

    def catalog(self, principal: Principal) -> Catalog:
        return Catalog(self.storage, principal.tenant)


def service() -> AppState:
    """The state of the current application."""
    return state_of(current_app)


def state_of(app: Flask) -> AppState:
    """The state, with the database opened on the first call, which may raise StartupError. Some commands need none."""
    if EXTENSION not in app.extensions:
        with app.app_context(), prepared(app.extensions[SETTINGS]) as settings:
            opened = AppState(settings, open_storage(db.engine, settings))
        secret_fingerprint.remember(opened.storage, settings.secret_key)
        opened.storage.watch_writers(app.extensions[metrics.EXTENSION].note_writers)
        app.extensions[EXTENSION] = opened
    return app.extensions[EXTENSION]  # type: ignore[no-any-return]
