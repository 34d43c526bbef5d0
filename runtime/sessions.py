"""Sessions of people in the console. A link that works once, a token or a provider opens one, and a cookie holds it.

The secret of a link and that of a cookie are written like keys, so that the redaction of logs and the scanners of
repositories know them. The row keeps only an HMAC of it under the secret that signs tokens: who reads the database can
open nothing, and another signing secret ends all sessions. The row is read again for every page, so signing out acts at
once, in every process.
"""

import hmac
import uuid
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select, update

from errors import AuthenticationFailed
from formats import api_key
from formats.times import now, timestamp
from identity.principal import Principal
from models import sessions
from storage.database import Storage
from storage.statements import insert

LINK = "khc"  # what the code of a link begins with,
COOKIE = "khs"  # and the text of a cookie
REDEEMABLE = timedelta(minutes=10)  # after a link was made
LONGEST = timedelta(hours=12)  # of a session that no link opened: a token may live for years

_row = sessions.c


class Opened(NamedTuple):
    """A new session: the text for the cookie, which is nowhere else, and its end."""

    cookie: str
    ends_at: str


class Sessions:
    """Raises DatabaseUnavailable everywhere."""

    def __init__(self, storage: Storage, signing_secret: bytes) -> None:
        self._storage = storage
        self._key = hmac.digest(signing_secret, b"keyhook: sessions of the console", "sha256")

    def invite(self, owner: str, role: str, tenant: str, lifetime: timedelta) -> str:
        """A code that opens a session once, within the next minutes; the session lasts for `lifetime` from now."""
        moment = datetime.now(UTC)
        person = Principal("console", tenant, owner, role, expires_at=timestamp(moment + lifetime))
        return self._add(person, LINK, redeem_until=timestamp(moment + REDEEMABLE))

    def open(self, holder: Principal) -> Opened:
        """A session for somebody who is known, to the end of their credential or for LONGEST."""
        longest = timestamp(datetime.now(UTC) + LONGEST)
        person = holder._replace(expires_at=min(holder.expires_at or longest, longest))
        return Opened(self._add(person, COOKIE), person.expires_at or longest)

    def redeem(self, code: str) -> Opened:
        """The session of a link. Of many who send the same code at once, one gets it.

        Raises AuthenticationFailed for a code that is unknown, too old or was used.
        """
        session_id, digest = self._read(LINK, code)
        secret = api_key.new_secret()
        good = and_(_row.id == session_id, _row.digest == digest, _row.redeem_until > now())
        change = update(sessions).where(good).values(digest=self._digest(COOKIE, session_id, secret), redeem_until=None)
        refusal = AuthenticationFailed("a link that is unknown, too old or was used")
        found = self._storage.first(select(_row.ends_at).where(good))
        if found is None:  # before the lock, which guesses must not take
            raise refusal
        with self._storage.write() as tx:
            if tx.execute(change).rowcount != 1:
                raise refusal
            _forget_ended(tx)
        return Opened(api_key.write_key(COOKIE, session_id, secret), found.ends_at)

    def person(self, cookie: str) -> Principal:
        """Who is signed in. Raises AuthenticationFailed."""
        session_id, digest = self._read(COOKIE, cookie)
        row = self._storage.first(select(sessions).where(_row.id == session_id))
        if row is None or not hmac.compare_digest(row.digest, digest) or row.redeem_until is not None:
            raise AuthenticationFailed("no such session")
        if row.ends_at <= now():
            raise AuthenticationFailed("ended session")
        return Principal("console", row.tenant, row.owner, row.role, expires_at=row.ends_at, issuer=row.issuer)

    def end(self, cookie: str) -> None:
        """Raises AuthenticationFailed for a text that is no cookie of a session."""
        session_id, digest = self._read(COOKIE, cookie)
        with self._storage.write() as tx:
            tx.execute(delete(sessions).where(_row.id == session_id, _row.digest == digest))

    def end_all(self) -> int:
        """Ends the sessions of all tenants, and the links that nobody used; returns the number of sessions."""
        with self._storage.write() as tx:
            _forget_ended(tx)
            number = tx.execute(select(func.count()).where(_row.redeem_until.is_(None))).scalar_one()
            tx.execute(delete(sessions))
        return int(number)

    def _add(self, person: Principal, prefix: str, redeem_until: str | None = None) -> str:
        session_id, secret = str(uuid.uuid4()), api_key.new_secret()
        row = {
            "id": session_id,
            "digest": self._digest(prefix, session_id, secret),
            "tenant": person.tenant,
            "owner": person.owner,
            "role": person.role,
            "made_at": now(),
            "redeem_until": redeem_until,
            "ends_at": person.expires_at,
            "issuer": person.issuer,
        }
        with self._storage.write() as tx:
            _forget_ended(tx)
            insert(tx, sessions, [row])
        return api_key.write_key(prefix, session_id, secret)

    def _read(self, prefix: str, text: str) -> tuple[str, str]:
        """The id and the digest. Raises AuthenticationFailed."""
        parsed = api_key.read_key(text)
        if parsed is None or parsed.prefix != prefix:
            raise AuthenticationFailed("not written like one of a session" if text else "no session")
        return parsed.id, self._digest(prefix, parsed.id, parsed.secret)

    def _digest(self, prefix: str, session_id: str, secret: str) -> str:
        return hmac.digest(self._key, f"{prefix} {session_id} {secret}".encode(), "sha256").hex()


def _forget_ended(tx: Connection) -> None:
    tx.execute(delete(sessions).where(_is_over()))


def _is_over() -> ColumnElement[bool]:
    return or_(_row.ends_at <= now(), _row.redeem_until <= now())
