"""The keys of a provider over time: fetched seldom, kept through an outage, never waited for by a good token.

Whoever sends tokens with invented key ids must gain nothing by it: not a fetch for each, and not a thread that waits.
"""

import logging
import os
import threading
import time
from collections.abc import Callable

from errors import IdentityProviderUnavailable
from oidc.fetching import FetchFailed
from oidc.keyset import Signer
from oidc.published import NOTHING, Metadata, Published, read_published

log = logging.getLogger("keyhook")

FRESH = 600.0  # seconds until the keys are read again
BELIEVED = 86_400.0  # seconds that they are good for, if the provider does not answer
PAUSE = 30.0  # seconds between two attempts, whatever happens
PATIENCE = 3.0  # seconds that a request waits for an attempt of its own
SAID = 60.0  # seconds until the log repeats itself


class UnknownSigner(Exception):
    """No key of the provider has this id."""


class Provider:
    """One issuer. `clock` is in seconds, and a test may move it."""

    def __init__(self, issuer: str, read: Callable[[str], Published] = read_published) -> None:
        self.issuer = issuer
        self.clock: Callable[[], float] = time.monotonic
        self._read = read
        self._published = NOTHING
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._said_at: float | None = None
        self._edition = 0
        self._attempt: threading.Thread | None = None
        self._guard = threading.Lock()
        self._second = threading.Lock()  # who holds it waits for the attempt of the start
        self._process = os.getpid()

    def edition(self) -> int:
        """A number that changes when a key is gone: what was verified under another is to be verified again.

        Below zero while the keys are too old: then nothing is to be remembered.
        """
        return -1 if self._read_at is not None and self._age() > BELIEVED else self._edition

    def metadata(self) -> Metadata:
        """Raises IdentityProviderUnavailable while nothing is known of the provider."""
        if (age := self._age()) > FRESH:
            own = self.begin()
            if age > BELIEVED:
                self._wait(own)
        self._require_believable()
        return self._published.metadata

    def known(self) -> Metadata:
        """The same without waiting for anything; empty while nothing is known."""
        return self._published.metadata

    def freshen(self) -> None:
        """Sees to it that old keys are read again, also if only tokens come that are remembered."""
        if self._age() > FRESH:
            self.begin()

    def key(self, kid: str | None) -> Signer:
        """The key with this id. Raises UnknownSigner, and IdentityProviderUnavailable while there are none to believe.

        A key that is known and not too old is there at once. Otherwise the request that begins an attempt waits for
        it; the others do not, or invented ids would hold every thread.
        """
        found, age = self._published.keys.find(kid), self._age()
        if found and age <= FRESH:
            return found
        own = self.begin()
        if found and age <= BELIEVED:
            return found
        self._wait(own)
        return self._now(kid)

    def begin(self) -> threading.Thread | None:
        """Begins an attempt in the background, if none runs and the last one is long enough ago."""
        if self._process != os.getpid():
            self._leave_to_the_parent()
        with self._guard:
            now = self.clock()
            running = self._attempt is not None and self._attempt.is_alive()
            if running or (self._tried_at is not None and now - self._tried_at < PAUSE):
                return None
            self._tried_at = now
            attempt = threading.Thread(target=self._try, name="keyhook-oidc", daemon=True)
            try:
                attempt.start()
            except RuntimeError:  # no thread is to be had: the keys of before have to do
                return None
            self._attempt = attempt
            return attempt

    def _leave_to_the_parent(self) -> None:
        """After a fork an attempt that ran goes on in the parent alone, and so do its locks."""
        self._process = os.getpid()
        self._guard, self._second = threading.Lock(), threading.Lock()
        self._attempt = self._tried_at = None

    def _wait(self, own: threading.Thread | None) -> None:
        """Waits for the own attempt; while there are no keys at all, one request waits for that of the start."""
        if own:
            own.join(PATIENCE)
        elif self._read_at is None and self._attempt and self._second.acquire(blocking=False):
            try:
                self._attempt.join(PATIENCE)
            finally:
                self._second.release()

    def _now(self, kid: str | None) -> Signer:
        self._require_believable()
        if found := self._published.keys.find(kid):
            return found
        raise UnknownSigner

    def _require_believable(self) -> None:
        if self._age() > BELIEVED:
            raise IdentityProviderUnavailable("no keys of the provider")

    def _age(self) -> float:
        return float("inf") if self._read_at is None else self.clock() - self._read_at

    def _try(self) -> None:
        try:
            published = self._read(self.issuer)
        except FetchFailed as failure:
            self._say(f"the OpenID provider does not answer as it should: {failure}")
        except Exception:
            log.exception("the keys of the OpenID provider could not be read")
        else:
            self._take(published)

    def _take(self, published: Published) -> None:
        """Takes the new keys before it counts the edition on: who reads the new number finds the new keys."""
        gone = self._published.keys.texts - published.keys.texts
        self._published, self._read_at = published, self.clock()
        self._said_at = None
        if gone:
            self._edition += 1

    def _say(self, text: str) -> None:
        now = self.clock()
        if self._said_at is None or now - self._said_at >= SAID:
            self._said_at = now
            log.warning("%s", text)
