"""/v0/api_keys. The decorators of a view are its contract, its body is one call."""

from collections.abc import Sequence
from typing import Any

from api.resource import Resource, Tag
from api.responses import with_location, with_next
from auth import keyring, requires
from errors import (
    DeclaredKey,
    DuplicateName,
    ExpiryExceedsCreator,
    HostExceedsCreator,
    NetworkExceedsCreator,
    RateExceedsCreator,
    ScopeExceedsCreator,
    UnknownApiKey,
    UnknownApiKeyId,
)
from formats.names import nfc
from keys.key_fields import KeyChanges, NewKey
from keys.search import words
from keys.selection import Selection
from keys.tenant_keys import Minted
from keys.uses import DayOfUse
from models import KeyRow
from schemas import (
    ChangeKey,
    CreateKey,
    DeleteKey,
    DeleteKeyById,
    DisableKeys,
    Key,
    KeyPage,
    MintedKey,
    NoParameters,
    Offspring,
    OfOwner,
    RotateKey,
    Usage,
    UsageQuery,
)
from web.contract import answers, fails, takes_body, takes_query

EXCEEDS = (
    ScopeExceedsCreator,
    ExpiryExceedsCreator,
    HostExceedsCreator,
    NetworkExceedsCreator,
    RateExceedsCreator,
)

bp = Resource("keys", __name__, Tag.KEYS)


@bp.post("/v0/api_keys")
@requires("write")
@takes_query(NoParameters)
@takes_body(CreateKey)
@answers(201, MintedKey, headers=("Location",))
@fails(DuplicateName, *EXCEEDS)
def create_api_key(body: NewKey) -> tuple[Minted, dict[str, str]]:
    """Mint a key.

    The secret is in this answer and nowhere else. A key can only mint keys within its own limits.
    """
    return with_location(keyring().create(body))


@bp.get("/v0/api_keys")
@requires("read")
@takes_query(KeyPage)
@answers(200, Key, many=True, headers=("Link",))
def list_api_keys(limit: int, after: int, search: str, **wanted: Any) -> tuple[Sequence[KeyRow], dict[str, str]]:
    """List keys in order of creation, all of them or those that meet every demand.

    Follow `Link` with rel="next" to see every key exactly once, even if keys are created or deleted meanwhile.
    """
    return with_next(keyring().page(limit, after, Selection(words=words(search), **wanted)), limit, "after")


@bp.get("/v0/api_keys/<name>")
@requires("read")
@takes_query(NoParameters)
@answers(200, Key)
@fails(UnknownApiKey)
def get_api_key(name: str) -> KeyRow:
    """Show a key."""
    return keyring().get(nfc(name))


@bp.get("/v0/api_keys/<name>/offspring")
@requires("read")
@takes_query(NoParameters)
@answers(200, Offspring, many=True)
@fails(UnknownApiKey)
def list_offspring(name: str) -> list[KeyRow]:
    """List the keys that were minted with a key, and those that were minted with these, nearest first."""
    return keyring().offspring(nfc(name))


@bp.get("/v0/api_keys/<name>/usage")
@requires("read")
@takes_query(UsageQuery)
@answers(200, Usage, many=True)
@fails(UnknownApiKey)
def show_usage(name: str, days: int) -> list[DayOfUse]:
    """Show how often a key was used, by day, the oldest first."""
    return keyring().usage(nfc(name), days)


@bp.patch("/v0/api_keys/<name>")
@requires("write")
@takes_query(NoParameters)
@takes_body(ChangeKey)
@answers(200, Key)
@fails(UnknownApiKey, DuplicateName, DeclaredKey, *EXCEEDS)
def update_api_key(name: str, body: KeyChanges) -> KeyRow:
    """Change a key.

    Only the given members change. A key can only change keys that lie within its own limits, before and after;
    disabling needs only the role. Only a person can enable a key that a person disabled.
    """
    return keyring().update(nfc(name), body)


@bp.patch("/v0/api_keys")
@requires("admin")
@takes_query(OfOwner)
@takes_body(DisableKeys)
@answers(200, Key, many=True)
def disable_api_keys_of_owner(owner: str, body: dict[str, bool]) -> list[KeyRow]:
    """Disable all keys of a person, for somebody who leaves.

    The answer has the keys that are disabled now; those that a person had disabled before are not among them.
    """
    return keyring().disable_all_of(owner)


@bp.delete("/v0/api_keys")
@requires("write")
@takes_query(DeleteKeyById)
@answers(204, preview=Key)
@fails(UnknownApiKeyId, DeclaredKey)
def delete_api_key_by_id(key_id: str, cascade: bool, dry_run: bool) -> list[KeyRow] | None:
    """Delete a key by its id, with `cascade` also the keys that it minted, and theirs.

    A cascade also deletes the keys that a deleted key minted. With `dry_run` nothing is deleted.
    """
    if dry_run:
        return keyring().doomed(key_id=key_id, cascade=cascade)
    keyring().delete(key_id=key_id, cascade=cascade)
    return None


@bp.delete("/v0/api_keys/<name>")
@requires("write")
@takes_query(DeleteKey)
@answers(204, preview=Key)
@fails(UnknownApiKey, DeclaredKey)
def delete_api_key(name: str, cascade: bool, dry_run: bool) -> list[KeyRow] | None:
    """Delete a key, with `cascade` also the keys that it minted, and theirs.

    With `dry_run` nothing is deleted.
    """
    if dry_run:
        return keyring().doomed(nfc(name), cascade=cascade)
    keyring().delete(nfc(name), cascade=cascade)
    return None


@bp.post("/v0/api_keys/<name>/rotate")
@requires("write")
@takes_query(NoParameters)
@takes_body(RotateKey)
@answers(201, MintedKey, headers=("Location",))
@fails(UnknownApiKey, DeclaredKey, *EXCEEDS)
def rotate_api_key(name: str, body: dict[str, int]) -> tuple[Minted, dict[str, str]]:
    """Give a key a new secret.

    The key keeps its id and its name. The old secret goes on working for `grace_seconds`; a second rotation ends an
    earlier grace.
    """
    return with_location(keyring().rotate(nfc(name), body["grace_seconds"]))
