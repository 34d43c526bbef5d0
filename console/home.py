"""The ways in: a browser that asks for `/` is led to the console; a program is told that there is nothing."""

from flask import Blueprint, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from auth import public
from console.pages import bp, go_to
from errors import NotFound

front = Blueprint("console_front", __name__)


@front.get("/")
@public
def front_door() -> AnyResponse:
    accepted = request.accept_mimetypes
    if accepted["text/html"] <= accepted["application/json"]:
        raise NotFound
    return go_to(url_for("console.keys"))


@bp.get("")
@bp.get("/")
@public
def home() -> AnyResponse:
    return go_to(url_for("console.keys"))


@bp.get("/<path:nothing>")
@public
def nothing_here(nothing: str) -> AnyResponse:
    """So that a person who mistypes an address sees a page."""
    raise NotFound
