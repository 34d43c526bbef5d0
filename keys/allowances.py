"""The allowance that keys share: what a limited key mints draws from its allowance, whatever becomes of that key.

Each of these keys has a copy of the limit, so that a check reads no other row.
"""

from sqlalchemy import Connection, select, update

from keys.key_fields import Value
from keys.limits import Limits
from models import KeyRow, api_keys


def changed(before: KeyRow, rate_limit: Value, limits: Limits | None) -> dict[str, str | None]:
    """The allowance of a key, if its limit changes: from then on its own. Raises RateExceedsCreator.

    A key without a limit keeps an allowance of its own: when it gets one again, the others are limited with it.
    """
    if limits and limits.rate_limit:
        limits.refuse_rate(rate_limit)  # type: ignore[arg-type]
    if rate_limit == before.rate_limit:
        return {}
    return {"allowance": before.id if rate_limit or before.allowance == before.id else None}


def spread(tx: Connection, root: KeyRow, rate_limit: Value) -> list[KeyRow]:
    """Gives the limit to all others that draw from the allowance of a key; returns them as they were."""
    others = (api_keys.c.allowance == root.id) & (api_keys.c.id != root.id)
    differ = others & api_keys.c.rate_limit.is_distinct_from(rate_limit)
    found = [KeyRow._make(row) for row in tx.execute(select(api_keys).where(differ).order_by(api_keys.c.seq))]
    tx.execute(update(api_keys).where(differ).values(rate_limit=rate_limit))
    return found
