"""/docs: a page that shows /openapi.json. Its files come with the requirements, so it needs no internet."""

from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, request, send_file

import errors
from auth import public
from observability.request_info import request_info
from schemas import NoParameters
from web.contract import takes_query

bp = Blueprint("docs", __name__)

OURS = Path(__file__).with_name("static")
THEIRS = Path(flask_swagger_ui.__file__).with_name("dist")
ASSETS = {
    "docs.css": (OURS, "text/css"),
    "docs.js": (OURS, "text/javascript"),
    "swagger-ui.css": (THEIRS, "text/css"),
    "swagger-ui-bundle.js": (THEIRS, "text/javascript"),
    "favicon-32x32.png": (THEIRS, "image/png"),
}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


@bp.get("/docs")
@public
@takes_query(NoParameters)
def docs_page() -> Response:
    """The only answer in HTML. It loads files of this service alone, so its policy needs no exception."""
    request_info(request.environ).policy = PAGE_POLICY
    return send_file(OURS / "docs.html", "text/html")


@bp.get("/docs/<path:file>")
@public
@takes_query(NoParameters)
def docs_asset(file: str) -> Response:
    if file not in ASSETS:
        raise errors.NotFound
    directory, media_type = ASSETS[file]
    return send_file(directory / file, media_type)
