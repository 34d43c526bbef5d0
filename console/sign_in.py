"""Signing in with a token or the code of a link, and signing out. Nobody signs in with an API key."""

from contextlib import suppress

from flask import Response, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from auth import client_address, public
from console import cookies
from console.addresses import own_page
from console.pages import bp, go_to, recognise, render, way_out
from errors import AuthenticationFailed, DatabaseUnavailable, InsufficientPermissions
from formats import api_key
from observability.request_info import request_info
from runtime.sessions import LINK, Opened
from runtime.state import service
from web.contract import read_fields

IS_KEY = "This is an API key. Keys are for programs; people sign in with a token."
IS_OLD = "This link was used already, or is older than ten minutes. Make a new one with the command above."
IS_BAD = "This token is not valid or has expired. Make a new one with the command above."
NO_ROLE = "This token is good, but no group in it has a role here."


@bp.get("/sign-in")
@public
def sign_in_page() -> Response:
    with suppress(AuthenticationFailed, DatabaseUnavailable):  # the page shows without a database too
        recognise()
    return _door(request.args.get("next", ""))


@bp.post("/sign-in")
@public
def sign_in() -> AnyResponse:
    fields = read_fields()
    text, target = fields.get("token", "").strip(), fields.get("next", "")
    try:
        opened = _open(text)
    except AuthenticationFailed as refusal:
        refusal.note(request_info(request.environ))
        return _door(target, _sentence(text), 401)
    except InsufficientPermissions as refusal:
        refusal.note(request_info(request.environ))
        return _door(target, NO_ROLE, 403)
    end_session()
    response = go_to(own_page(target))
    cookies.keep(response, opened)
    return response


@bp.post("/sign-out")
@bp.post("/logout")  # the word beside `/console/login`
@public
def sign_out() -> AnyResponse:
    """Also at the provider, if the session came from there."""
    with suppress(AuthenticationFailed):
        recognise()
    end_session()
    response = go_to(way_out() or url_for("console.sign_in_page"))
    cookies.forget(response)
    return response


def _open(text: str) -> Opened:
    """Raises AuthenticationFailed."""
    sessions = service().sessions
    if _begins_like_a_code(text):
        return sessions.redeem(text)
    if _is_key(text):
        raise AuthenticationFailed("an API key, where people sign in", key_id=api_key.id_within(text))
    holder = service().authenticator.authenticate(text, client_address)
    return sessions.open(holder._replace(issuer=None))  # a pasted token says nothing of a session at its provider


def _sentence(text: str) -> str:
    return IS_OLD if _begins_like_a_code(text) else IS_KEY if _is_key(text) else IS_BAD


def _begins_like_a_code(text: str) -> bool:
    return text.startswith(f"{LINK}_")


def _is_key(text: str) -> bool:
    return api_key.is_key(text, service().settings.key_prefix) or api_key.id_within(text) is not None


def end_session() -> None:
    """Ends every session that the request brings, so that none outlives its cookie."""
    for cookie in cookies.session_cookies():
        with suppress(AuthenticationFailed):
            service().sessions.end(cookie)


def _door(target: str, error: str = "", status: int = 200) -> Response:
    response = render("sign_in", status, next=target, error=error, ended=False)
    if status == 401:
        response.headers["WWW-Authenticate"] = AuthenticationFailed.CHALLENGE
    return response
