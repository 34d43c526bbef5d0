"""What a new key gets: what is asked for it, and for the rest what the acting key has."""

from keys.key_fields import NewKey, Value
from keys.lifetimes import Lifetimes
from keys.limits import Limits

Columns = dict[str, Value]


def columns_of(new: NewKey, key_id: str, limits: Limits | None, lifetimes: Lifetimes) -> Columns:
    """The columns that a caller may set, and the allowance. Raises ValidationError or an ExceedsCreator."""
    given = new.columns()
    if "expires_at" in given:
        lifetimes.require(given["expires_at"])  # type: ignore[arg-type]
    else:
        given["expires_at"] = lifetimes.end(limits.expires_at if limits else None)
    if limits and limits.rate_limit and "rate_limit" in given:
        limits.refuse_rate(given["rate_limit"])  # type: ignore[arg-type]
    columns = {**_inherited(limits), **given}
    if not (limits and limits.rate_limit):
        columns["allowance"] = key_id if columns["rate_limit"] else None
    if limits:
        limits.require_within(Limits.of(columns, columns["expires_at"]))  # type: ignore[arg-type]
    return columns


def _inherited(limits: Limits | None) -> Columns:
    if limits is None:
        return {"hosts": "", "networks": "", "rate_limit": None}
    return {
        "hosts": " ".join(limits.hosts),
        "networks": " ".join(limits.networks),
        "rate_limit": limits.rate_limit,
        "allowance": limits.allowance if limits.rate_limit else None,
    }
