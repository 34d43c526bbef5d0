"""In front of the service on PostgreSQL: all waits of a request for its database come out of one patience."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from storage import patience

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class BoundedWait:
    """A WSGI application around another. SQLite bounds its waits by itself, and needs none."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        outer = patience.OF_REQUEST.set(patience.Patience())
        try:
            return self._app(environ, start_response)
        finally:
            patience.OF_REQUEST.reset(outer)
