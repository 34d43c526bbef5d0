"""Which secret signs the tokens, as far as the database remembers it: so that two that should be one are noticed.

Kept are 32 bits of an HMAC under the secret. They tell one secret from another, and of one with the 256 bits that it
should have they leave 224 to guess. They say no more about a weak one than a single token of it does.
"""

import hmac
from contextlib import suppress

from sqlalchemy import Connection, delete, insert, select

from errors import DatabaseUnavailable
from models import service_facts
from observability.terminal import is_server, say
from storage.sqlite.database import Storage

FACT = "secret_fingerprint"
OTHER = "the secret that signs tokens is another than before: tokens made with the earlier one are refused from now on"


def fingerprint(secret: bytes) -> str:
    return hmac.digest(secret, b"keyhook: which secret signs", "sha256").hex()[:8]


def is_another(storage: Storage, secret: bytes) -> bool:
    """Whether the service last started with another secret, as far as the database can be asked."""
    with suppress(DatabaseUnavailable):
        found = storage.first(_QUERY)
        return found is not None and found.value != fingerprint(secret)
    return False


def remember(storage: Storage, secret: bytes) -> None:
    """Notes the secret of a start, and says when it is another; a command changes nothing that is remembered.

    A database that cannot be written at the moment is no reason to stop: then the next start says it again.
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
    """Whether there was another: of many that start at once, one says so."""
    found = transaction.execute(_QUERY).scalar()
    if found == value or (found is not None and not is_server()):
        return False
    transaction.execute(delete(service_facts).where(service_facts.c.name == FACT))
    transaction.execute(insert(service_facts).values(name=FACT, value=value))
    return found is not None
