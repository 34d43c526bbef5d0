"""Errors as pages, whose words are in `problem.html`. A fault of ours stays JSON, which says nothing but the id."""

from flask import Response, request, url_for

from console.addresses import here
from console.pages import bp, render
from errors import (
    DatabaseUnavailable,
    ForeignPage,
    IdentityProviderUnavailable,
    InsufficientPermissions,
    InternalServerError,
    KeyChanged,
    KeyhookError,
    NotFound,
    SessionEnded,
    SignInFailed,
    UnknownApiKey,
    as_json,
    noted,
)
from observability.request_info import API_POLICY, request_info

KINDS: dict[type[KeyhookError], str] = {
    DatabaseUnavailable: "database",
    ForeignPage: "foreign",
    IdentityProviderUnavailable: "provider",
    InsufficientPermissions: "role",
    KeyChanged: "changed",
    NotFound: "nothing",
    SignInFailed: "sign_in",
    UnknownApiKey: "gone",
}


@bp.errorhandler(Exception)
def problem(error: Exception) -> Response:
    told = noted(error, request.environ)
    if isinstance(told, InternalServerError):
        request_info(request.environ).policy = API_POLICY
        return as_json(told)
    response = _page(told)
    response.headers.update(told.headers)
    return response


def _page(told: KeyhookError) -> Response:
    if isinstance(told, SessionEnded):
        return render("sign_in", told.status, next="", error="", ended=True)
    kind = next((kind for error, kind in KINDS.items() if isinstance(told, error)), "other")
    key_id = (request.view_args or {}).get("key_id")
    return render("problem", told.status, kind=kind, told=told, key_id=key_id, again=_again())


def _again() -> str:
    """Where the same may be tried again. The way back from a provider cannot: its address holds a code that is used."""
    if request.endpoint == "console.callback":
        return url_for("console.sign_in_page")
    return here() if request.method == "GET" else url_for("console.keys")
