"""A fingerprint in the database of the secret that signs tokens, so that a changed secret is noticed.

It is 32 bits of an HMAC under the secret. They tell secrets apart, and leave 224 bits of a 256-bit secret to guess. Of
a weak secret they reveal no more than one token does.
"""

import hmac
from contextlib import suppress

from sqlalchemy import Connection, delete, insert, select

from errors import DatabaseUnavailable
from models import service_facts
from observability.terminal import is_server, say
from storage.database import Storage

FACT = "secret_fingerprint"
OTHER = "the secret that signs tokens is another than before: tokens made with the earlier one are refused from now on"


def fingerprint(secret: bytes) -> str:
    return hmac.digest(secret, b"keyhook: which secret signs", "sha256").hex()[:8]


def is_another(storage: Storage, secret: bytes) -> bool:
    """Whether the service last started with another secret; False if the database does not answer."""
    with suppress(DatabaseUnavailable):
        found = storage.first(_QUERY)
        return found is not None and found.value != fingerprint(secret)
    return False


def remember(storage: Storage, secret: bytes) -> None:
    """Stores the fingerprint of a server's secret, and warns if it changed; a command only fills in a missing one.

    A database that cannot be written does not stop the start: the next one warns again.
    """
    changed = False
    with suppress(DatabaseUnavailable):
        found = storage.first(_QUERY)
        if found is not None and (found.value == fingerprint(secret) or not is_server()):
            return
        changed = found is not None
        with storage.write() as transaction:
            changed = _replace(transaction, fingerprint(secret))
    if changed:
        say(OTHER)


_QUERY = select(service_facts.c.value).where(service_facts.c.name == FACT)


def _replace(transaction: Connection, value: str) -> bool:
    """Returns whether there was another, so that of many servers that start at once one warns."""
    found = transaction.execute(_QUERY).scalar()
    if found == value or (found is not None and not is_server()):
        return False
    transaction.execute(delete(service_facts).where(service_facts.c.name == FACT))
    transaction.execute(insert(service_facts).values(name=FACT, value=value))
    return found is not None
