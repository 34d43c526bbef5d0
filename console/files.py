"""The files of the pages, and the choice of colors."""

from pathlib import Path

from flask import Response, send_file
from werkzeug.wrappers import Response as AnyResponse

from auth import public
from console import cookies, reader
from console.addresses import own_page
from console.pages import bp, go_to
from errors import NotFound
from web.contract import mount_path, read_fields

HERE = Path(__file__).with_name("static")
FILES = {
    "tokens.css": "text/css",
    "parts.css": "text/css",
    "pages.css": "text/css",
    "console.js": "text/javascript",
    "mark.svg": "image/svg+xml",
}


@bp.get("/static/<file>")
@public
def static(file: str) -> Response:
    if file not in FILES:
        raise NotFound
    return send_file(HERE / file, FILES[file])


@bp.post("/theme")
@public
def choose_theme() -> AnyResponse:
    fields = read_fields()
    chosen = fields.get("theme", "")
    response = go_to(own_page(fields.get("back", "")))
    if chosen in reader.THEMES:
        path, tls = f"{mount_path()}/console", cookies.is_over_tls()
        response.set_cookie(reader.THEME, chosen, max_age=reader.A_YEAR, path=path, secure=tls, samesite="Lax")
    return response
