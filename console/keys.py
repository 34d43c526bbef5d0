"""The list of keys, and one key."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from flask import Response, g, request
from werkzeug.wrappers import Response as AnyResponse

from console.addresses import here, service_address
from console.forms import GRACES, USUAL_GRACE, KeyForm, scopes_to_offer
from console.pages import bp, catalog, go_to, render, signed_in
from console.snippets import Snippet, snippets
from formats import api_key
from formats.redaction import redact
from keys import filters, revision
from keys.catalog import Query
from keys.family import Branch
from keys.search import words
from keys.sorting import DEFAULT
from models import KeyRow, status
from schemas import AuditEntry

ON_A_PAGE = 50
HISTORY = 6  # entries on the page of a key
FILTERS = {
    "": "All",
    "active": "Active",
    "expiring": "Expiring",
    "unused": "Unused",
    "expired": "Expired",
    "disabled": "Disabled",
}
ROLES = {
    "check": "do nothing: it is good at the gate alone",
    "read": "list keys",
    "write": "list, create, change and delete keys",
}


@bp.get("/keys")
@signed_in("read")
def keys() -> AnyResponse:
    phrase = request.args.get("q", "")
    if (harmless := _without_secret(phrase)) != phrase:
        return go_to(request.path + here(q=harmless, after=None))
    chosen = request.args.get("status", "")
    asked = Query(words(phrase), chosen, request.args.get("sort", DEFAULT), request.args.get("after", ""), ON_A_PAGE)
    found, counts = catalog().find_and_count(asked)
    shown: dict[str, Any] = {"found": found, "counts": counts, "asked": asked, "phrase": phrase, "filters": FILTERS}
    if not found.rows:
        shown["all"] = catalog().counts()
    shown["uses"] = catalog().uses([row.id for row in found.rows])
    attention = catalog().attention()
    deleted = _just_deleted(request.args.get("deleted", ""))
    new = for_a_new_key() if g.principal.role != "read" else {}
    return render("keys", **shown, attention=attention, deleted=deleted, new=new)


@bp.get("/keys/<uuid:key_id>")
@signed_in("read")
def show(key_id: UUID) -> Response:
    row = catalog().by_id(str(key_id))
    return render(
        "key",
        **rotation(row),
        uses=catalog().uses([row.id])[row.id],
        history=history_of(row.id) if g.principal.role == "admin" else [],
        family=catalog().family(row.id),
        names=catalog().names([row.created_by_key] if row.created_by_key else []),
        snippets=snippets_for(row.scopes.split()),
    )


def rotation(row: KeyRow) -> dict[str, Any]:
    """What the form of a rotation needs."""
    return {"key": row, "rev": revision.rev(row), "graces": GRACES, "hours": str(USUAL_GRACE), "errors": {}}


def for_a_new_key() -> dict[str, Any]:
    """What the empty form of a new key needs."""
    form = KeyForm()
    return {"form": form, "errors": {}, "offered": scopes_to_offer(catalog().scopes_in_use(), form)}


def snippets_for(scopes: list[str], key: str = "kh_…") -> list[Snippet]:
    return snippets(service_address(), g.principal.tenant, scopes, key)


def history_of(key_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = AuditEntry(many=True).dump(catalog().history(HISTORY, key_id=key_id).rows)
    return found


def _without_secret(phrase: str) -> str:
    """A key that somebody found and looks up becomes its id; any other credential is no search."""
    return phrase if redact(phrase) == phrase else api_key.id_within(phrase) or ""


def _just_deleted(key_id: str) -> dict[str, Any] | None:
    """The audit entry, if it is the last that happened to the key: the page says nothing that a link invents."""
    newest = catalog().history(1, key_id=key_id).rows if key_id else []
    entry: dict[str, Any] | None = AuditEntry().dump(newest[0]) if newest else None
    return entry if entry and entry["action"] == "key.deleted" else None


@bp.app_template_test("expiring_soon")
def _expires_soon(row: KeyRow) -> bool:
    return status(row) == "active" and filters.is_soon(row.expires_at)


@bp.app_template_test("used_lately")
def _used_lately(row: KeyRow) -> bool:
    return filters.is_lately(row.last_used_at)


@bp.app_template_test("in_grace")
def _in_grace(row: KeyRow) -> bool:
    return filters.is_ahead(row.previous_until)


@bp.app_template_filter("in_tree")
def _in_tree(branches: Sequence[Branch]) -> int:
    """The number of living keys in the branches of a tree."""
    return sum((branch.row is not None) + _in_tree(branch.minted) for branch in branches)


bp.add_app_template_filter(status, "status")
bp.add_app_template_filter(ROLES.get, "role_in_words")


@bp.app_template_filter("rate")
def _rate(stored: str) -> str:
    requests, _, seconds = stored.partition("/")
    return f"{int(requests):,} uses in {int(seconds):,} seconds".replace(",", "\u202f")


@bp.app_template_filter("notes")
def _notes(stored: str) -> dict[str, str]:
    return dict(json.loads(stored))
