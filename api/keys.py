"""Blueprint of /v0/api_keys, /v0/audit and /healthz: the decorators are a view's contract, its body is one call."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from flask import Blueprint, request

from auth import keyring, public, requires
from errors import DuplicateName, ExpiryExceedsCreator, ScopeExceedsCreator, UnknownApiKey, UnknownApiKeyId
from formats.names import nfc
from keys.tenant_keys import Minted, Page
from runtime.state import service
from schemas import (
    AuditEntry,
    AuditPage,
    ChangeKey,
    CreateKey,
    DeleteKey,
    DeleteKeyById,
    Health,
    Key,
    KeyPage,
    MintedKey,
    NoParameters,
    RotateKey,
)
from web.contract import answers, fails, mount_path, takes_body, takes_query

bp = Blueprint("api", __name__)


@bp.post("/v0/api_keys")
@requires("write")
@takes_query(NoParameters)
@takes_body(CreateKey)
@answers(201, MintedKey, headers=("Location",))
@fails(DuplicateName, ScopeExceedsCreator, ExpiryExceedsCreator)
def create_api_key(body: dict[str, Any]) -> tuple[Minted, dict[str, str]]:
    """Mint a key.

    The secret is in this answer and nowhere else. What is minted with a key lies within that key's own limits.
    """
    return _with_location(keyring().create(**body))


@bp.get("/v0/api_keys")
@requires("read")
@takes_query(KeyPage)
@answers(200, Key, many=True, headers=("Link",))
def list_api_keys(limit: int, after: int) -> tuple[Any, dict[str, str]]:
    """List keys in order of creation.

    Follow `Link` with rel="next" to see every key exactly once, whatever is created or deleted meanwhile.
    """
    return _with_next(keyring().page(limit, after), limit, "after")


@bp.get("/v0/api_keys/<name>")
@requires("read")
@takes_query(NoParameters)
@answers(200, Key)
@fails(UnknownApiKey)
def get_api_key(name: str) -> Any:
    """Show a key."""
    return keyring().get(nfc(name))


@bp.patch("/v0/api_keys/<name>")
@requires("write")
@takes_query(NoParameters)
@takes_body(ChangeKey)
@answers(200, Key)
@fails(UnknownApiKey, DuplicateName, ScopeExceedsCreator, ExpiryExceedsCreator)
def update_api_key(name: str, body: dict[str, Any]) -> Any:
    """Change a key.

    Only the members that are given change. With a key: both the key as it is and as it would be lie within the limits
    of the caller's own; disabling needs only the role. What a person disabled, only a person enables again.
    """
    return keyring().update(nfc(name), body)


@bp.delete("/v0/api_keys")
@requires("write")
@takes_query(DeleteKeyById)
@answers(204, preview=Key)
@fails(UnknownApiKeyId)
def delete_api_key_by_id(key_id: str, cascade: bool, dry_run: bool) -> Sequence[Any] | None:
    """Delete a key by its id, with `cascade` also all that was minted with it.

    A cascade reaches the offspring of a key that is gone already. With `dry_run` nothing is deleted.
    """
    if dry_run:
        return keyring().doomed(key_id=key_id, cascade=cascade)
    keyring().delete(key_id=key_id, cascade=cascade)
    return None


@bp.delete("/v0/api_keys/<name>")
@requires("write")
@takes_query(DeleteKey)
@answers(204, preview=Key)
@fails(UnknownApiKey)
def delete_api_key(name: str, cascade: bool, dry_run: bool) -> Sequence[Any] | None:
    """Delete a key, with `cascade` also all that was minted with it.

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
@fails(UnknownApiKey, ScopeExceedsCreator, ExpiryExceedsCreator)
def rotate_api_key(name: str, body: dict[str, Any]) -> tuple[Minted, dict[str, str]]:
    """Give a key a new secret.

    The key keeps its id and its name. The old secret goes on working for `grace_seconds`; a second rotation ends an
    earlier grace.
    """
    return _with_location(keyring().rotate(nfc(name), **body))


@bp.get("/v0/audit")
@requires("admin")
@takes_query(AuditPage)
@answers(200, AuditEntry, many=True, headers=("Link",))
def list_audit_entries(limit: int, before: int | None) -> tuple[Any, dict[str, str]]:
    """List what was done to the tenant's keys, newest first. It outlives the keys."""
    return _with_next(keyring().audit(limit, before), limit, "before")


@bp.get("/healthz")
@public
@takes_query(NoParameters)
@answers(200, Health)
def healthz() -> dict[str, str]:
    """Say whether the database answers."""
    service().storage.ping()
    service().keys.last_use.flush()
    return {"status": "ok"}


def _with_location(minted: Minted) -> tuple[Minted, dict[str, str]]:
    return minted, {"Location": f"{mount_path()}/v0/api_keys/{quote(minted.name, safe='')}"}


def _with_next(page: Page, limit: int, cursor: str) -> tuple[Any, dict[str, str]]:
    if page.next is None:
        return page.rows, {}
    return page.rows, {"Link": f'<{mount_path()}{request.path}?limit={limit}&{cursor}={page.next}>; rel="next"'}
