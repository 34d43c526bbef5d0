"""Creating, changing, rotating and deleting. Each form is a page of its own, which a script may open as a dialog.

A form of change carries the revision of the key that it shows, so a second send, or a change by somebody else
meanwhile, is refused. While the database does not answer, a form comes back with what was filled in.
"""

from contextlib import suppress
from typing import Any
from uuid import UUID

from flask import Response, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from console.forms import USUAL_GRACE, FormError, KeyForm, grace, scopes_to_offer, sentences_of
from console.keys import for_a_new_key, rotation, snippets_for
from console.pages import bp, catalog, go_to, keyring, render, signed_in
from errors import DatabaseUnavailable, DuplicateName, UnknownApiKey, ValidationError, noted
from formats.names import nfc
from keys.key_fields import KeyChanges
from keys.revision import family_rev, rev
from keys.tenant_keys import Minted
from models import KeyRow
from web.contract import read_fields

TAKEN = "There is already a key with this name."
NOT_TYPED = "Type the name exactly as it is shown."
ONE, FAMILY = "one", "family"


@bp.get("/keys/new")
@signed_in("write")
def new() -> Response:
    return render("new", down=None, **for_a_new_key())


@bp.post("/keys")
@signed_in("write")
def create() -> Response:
    form = KeyForm.of(read_fields())
    try:
        minted = keyring().create(form.new_key())
    except FormError as wrong:
        return _form_again("new", form, wrong.sentences)
    except DuplicateName:
        return _form_again("new", form, {"name": TAKEN})
    except ValidationError as wrong:
        return _form_again("new", form, sentences_of(wrong))
    except DatabaseUnavailable as down:
        return _form_again("new", form, {}, down)
    return _secret(minted, rotated=False)


@bp.get("/keys/<uuid:key_id>/edit")
@signed_in("write")
def edit(key_id: UUID) -> Response:
    row = catalog().by_id(str(key_id))
    form = KeyForm.showing(row)
    offered = scopes_to_offer(catalog().scopes_in_use(), form)
    return render("edit", down=None, form=form, errors={}, offered=offered, **_of(row))


@bp.post("/keys/<uuid:key_id>/edit")
@signed_in("write")
def save(key_id: UUID) -> AnyResponse:
    row, fields = catalog().by_id(str(key_id)), read_fields()
    form, shown = KeyForm.of(fields, expires="keep"), {**_of(row), "rev": fields.get("rev", "")}
    try:
        keyring().update(None, form.changes(), shown["rev"], key_id=row.id)
    except FormError as wrong:
        return _form_again("edit", form, wrong.sentences, **shown)
    except DuplicateName:
        return _form_again("edit", form, {"name": TAKEN}, **shown)
    except ValidationError as wrong:
        return _form_again("edit", form, sentences_of(wrong), **shown)
    except DatabaseUnavailable as down:
        return _form_again("edit", form, {}, down, **shown)
    return _to(row.id, "saved")


@bp.post("/keys/<uuid:key_id>/disable")
@signed_in("write")
def disable(key_id: UUID) -> AnyResponse:
    keyring().update(None, KeyChanges(disabled=True), key_id=str(key_id))
    return _to(str(key_id), "disabled")


@bp.post("/keys/<uuid:key_id>/enable")
@signed_in("write")
def enable(key_id: UUID) -> AnyResponse:
    keyring().update(None, KeyChanges(disabled=False), key_id=str(key_id))
    return _to(str(key_id), "enabled")


@bp.get("/keys/<uuid:key_id>/rotate")
@signed_in("write")
def rotate(key_id: UUID) -> Response:
    return _rotation(catalog().by_id(str(key_id)))


@bp.post("/keys/<uuid:key_id>/rotate")
@signed_in("write")
def give_new_secret(key_id: UUID) -> Response:
    row, fields = catalog().by_id(str(key_id)), read_fields()
    sent = {"rev": fields.get("rev", ""), "hours": fields.get("grace", str(USUAL_GRACE))}
    try:
        minted = keyring().rotate(None, grace(sent["hours"]), sent["rev"], key_id=row.id)
    except FormError as wrong:
        return _rotation(row, 422, errors=wrong.sentences, **sent)
    except DatabaseUnavailable as down:
        return _rotation(row, down.status, down=down, **sent)
    return _secret(minted, rotated=True)


@bp.get("/keys/<uuid:key_id>/delete")
@signed_in("write")
def ask_before_deleting(key_id: UUID) -> Response:
    return _deletion(catalog().by_id(str(key_id)))


@bp.post("/keys/<uuid:key_id>/delete")
@signed_in("write")
def delete(key_id: UUID) -> AnyResponse:
    row, fields = catalog().by_id(str(key_id)), read_fields()
    what, typed = fields.get("what", ONE), fields.get("confirm", "")
    if what not in (ONE, FAMILY) or (what == FAMILY and nfc(typed.strip()) != row.name):
        return _deletion(row, 422, what=what, typed=typed, error=NOT_TYPED)
    shown = fields.get("family_rev" if what == FAMILY else "rev", "")
    try:
        keyring().delete(key_id=row.id, cascade=what == FAMILY, if_rev=shown)
    except DatabaseUnavailable as down:
        return _deletion(row, down.status, what=what, typed=typed, down=down)
    return go_to(url_for("console.keys", deleted=row.id))


def _of(row: KeyRow) -> dict[str, Any]:
    return {"key": row, "rev": rev(row)}


def _form_again(
    template: str, form: KeyForm, errors: dict[str, str], down: DatabaseUnavailable | None = None, **more: Any
) -> Response:
    """The form with what was filled in, and what is wrong with it."""
    offered = scopes_to_offer([] if down else catalog().scopes_in_use(), form)
    return _noting(
        down,
        render(template, down.status if down else 422, form=form, errors=errors, offered=offered, down=down, **more),
    )


def _rotation(row: KeyRow, answer: int = 200, **more: Any) -> Response:
    values = {**rotation(row), "down": None, **more}
    return _noting(values["down"], render("rotate", answer, **values))


def _deletion(row: KeyRow, answer: int = 200, **more: Any) -> Response:
    family = catalog().family(row.id)
    shown = {"family": family, "family_rev": family_rev(row, family.ids), **_of(row)}
    values = {"what": ONE, "typed": "", "error": "", "down": None, **shown, **more}
    return _noting(values["down"], render("delete", answer, **values))


def _noting(down: DatabaseUnavailable | None, response: Response) -> Response:
    """Treats a database that does not answer as the page of the error would."""
    if down is not None:
        response.headers.update(noted(down, request.environ).headers)
    return response


def _secret(minted: Minted, *, rotated: bool) -> Response:
    """The only page that has the secret, so it is shown even if the row cannot be read any more."""
    row: KeyRow | None = None
    with suppress(DatabaseUnavailable, UnknownApiKey):
        row = catalog().by_id(minted.id)
    scopes = row.scopes.split() if row else []
    return render("secret", 201, minted=minted, key=row, rotated=rotated, snippets=snippets_for(scopes, minted.api_key))


def _to(key_id: str, done: str) -> AnyResponse:
    return go_to(url_for("console.show", key_id=key_id, done=done))
