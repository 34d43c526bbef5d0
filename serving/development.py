"""`flask run`: Werkzeug's request handler, mended so that it neither repeats a credential nor reads half a request."""

import json
import logging
import os
from http import HTTPStatus

import click
from flask.helpers import get_debug_flag
from werkzeug import serving
from werkzeug.serving import WSGIRequestHandler

from errors import StartupError

log = logging.getLogger("keyhook")


class Handler(WSGIRequestHandler):
    """Refuses a request that it cannot read whole, and repeats nothing of it, since any part may be a credential."""

    def parse_request(self) -> bool:
        """Refuses a carriage return within a header: the standard library ends the headers there and loses the rest."""
        if not super().parse_request():
            return False
        if self.headers.defects or self.headers.get_payload():
            self.send_error(HTTPStatus.BAD_REQUEST)
            return False
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answers without `message`, which is a part of the request; the standard library would show it."""
        status, request_id = HTTPStatus(code), os.urandom(16).hex()
        log.warning("refused a request: %d ip=%s id=%s", status, self.client_address[0], request_id)
        body = json.dumps({"message": status.phrase, "error_code": "BadRequest", "details": None}).encode()
        self.close_connection = True
        self.request_version = "HTTP/1.1"  # it is 0.9, which has no status line, until a request line is understood
        self.send_response(status, status.phrase)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Request-ID", request_id)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def install() -> None:
    """Replaces the class that the server of `flask run` looks up by this name; there is no option for it."""
    serving.WSGIRequestHandler = Handler  # type: ignore[misc]


def refuse_debugger() -> None:
    """Raises StartupError where `flask run` would serve Werkzeug's console."""
    context = click.get_current_context(silent=True)
    if context is None or context.info_name != "run":
        return
    debugger = context.params.get("debugger")
    if get_debug_flag() if debugger is None else debugger:
        raise StartupError("FLASK_DEBUG or --debug serves a console that runs any code: start without it")
