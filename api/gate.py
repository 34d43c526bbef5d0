"""The gate in front of Flask: a WSGI application that answers /v0/auth by api/forward_auth.py.

A proxy asks for every request of every application behind it. So this route alone skips Flask's request context,
routing and Response: in process a check takes 35 µs here and 135 µs by the plain view; a bare Flask route that returns
a constant takes 43 µs. `make bench` measures all three again. The plain view still answers if the program around has
hooks or limits hosts; tests/api/test_gate_flask.py holds both to the same answers.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask

from api import forward_auth
from api.outcomes import outcome
from auth import require_stated_access
from errors import render
from observability.request_info import request_info
from runtime.state import state_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Gate:
    """A WSGI application around Flask's."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._flask = app.wsgi_app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ.get("PATH_INFO") != forward_auth.PATH:
            return self._flask(environ, start_response)
        if self._is_extended():
            environ.pop("HTTP_UPGRADE", None)  # the question is about a handshake; Flask would take it for one
            return self._flask(environ, start_response)
        info = request_info(environ)
        info.route = forward_auth.PATH
        try:
            body, headers = forward_auth.judge(state_of(self._app), environ)
        except Exception as error:
            info.check = outcome(error)
            return render(error, environ)(environ, start_response)
        start_response("200 OK", [*headers, ("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _is_extended(self) -> bool:
        """Whether the program around uses hooks of Flask on requests or answers, which the gate would bypass.

        Hooks of other blueprints, such as the console's, are about their own pages.
        """
        before, own = self._app.before_request_funcs, forward_auth.bp.name
        later = self._app.after_request_funcs, self._app.teardown_request_funcs
        return bool(
            before.get(None) != [require_stated_access]
            or own in before
            or any(None in hooks or own in hooks for hooks in later)
            or self._app.config["TRUSTED_HOSTS"] is not None
        )
