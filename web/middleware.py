"""The request id, the security headers, the line in the log and the figures of every request.

A WSGI middleware rather than hooks of Flask, so that no answer of the application can escape it.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from errors import NotFound, render
from formats.api_key import SECRET_LENGTH
from formats.redaction import redact
from observability.logs import access, access_writer, loggable, one_word
from observability.metrics import Figures
from observability.request_info import ENVIRON_KEY, RequestInfo
from web.forwarded import client_address
from web.request_line import repair

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

NOSNIFF = ("X-Content-Type-Options", "nosniff")
MAX_REMEMBERED = 500  # characters of an X-Forwarded-For
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LONG_RUN = re.compile(rf"[0-9A-Za-z]{{{SECRET_LENGTH},}}")


class Middleware:
    """Makes the RequestInfo of a request, and lets the application fill it."""

    def __init__(self, app: "WSGIApplication", proxies: int, figures: Figures) -> None:
        self._app = app
        self._proxies = proxies
        self._note = figures.note

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        started = time.perf_counter()
        info = environ[ENVIRON_KEY] = RequestInfo(_request_id(environ.get("HTTP_X_REQUEST_ID")))
        path = repair(environ)
        sent = ""

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal sent
            sent = status[:3]
            if "Cache-Control" not in [name for name, _ in headers]:
                headers.append(("Cache-Control", "no-store"))
            headers += info.headers
            headers += NOSNIFF, ("Referrer-Policy", info.referrer)
            headers += ("X-Request-ID", info.id or ""), ("Content-Security-Policy", info.policy)
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        # Werkzeug would route `//healthz` as `/healthz`, but to a proxy in front they are two paths.
        app = render(NotFound(), environ) if path.startswith("//") else self._app
        body = app(environ, start)
        took = time.perf_counter() - started
        self._note(info, sent, took)
        if access.isEnabledFor(logging.INFO):
            line = f"{_method_and_path(environ, path)} {sent} {took * 1000:.1f}ms {self._evidence(environ, info)}"
            self._write_line(line)
        return body

    @cached_property
    def _write_line(self) -> Callable[[str], None]:
        """The writer of lines, chosen at the first request, when the program around has configured its logging."""
        return access_writer()

    def _evidence(self, environ: "WSGIEnvironment", info: RequestInfo) -> str:
        """The caller, the request id and the address; for a refusal also the key, and last the reason."""
        forwarded = environ.get("HTTP_X_FORWARDED_FOR", "") if self._proxies else ""
        address = _address if len(forwarded) <= MAX_REMEMBERED else _address.__wrapped__
        ip = address(environ.get("REMOTE_ADDR"), forwarded, self._proxies)
        evidence = f"who={one_word(info.who)} id={info.id} ip={ip}"
        if info.refused_key:
            evidence += f" key={info.refused_key}"
        if info.reason:
            evidence += f' reason="{loggable(info.reason)}"'
        return evidence


@lru_cache(maxsize=1024)
def _address(peer: str | None, forwarded: str, proxies: int) -> str:
    """The client's address as a word of the log, cached because reading one takes a twentieth of a check."""
    return one_word(client_address({"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}, proxies) or "-")


def _method_and_path(environ: "WSGIEnvironment", path: str) -> str:
    return f"{one_word(environ['REQUEST_METHOD'])} {one_word(environ.get('SCRIPT_NAME', '') + path, 'latin-1')}"


def _request_id(given: str | None) -> str:
    """The request's own id, or a new one if that is, or may be, a credential."""
    if given and _REQUEST_ID.fullmatch(given) and not _may_be_secret(given) and redact(given) == given:
        return given
    return os.urandom(16).hex()


def _may_be_secret(text: str) -> bool:
    """Whether the text may hold a key's bare secret: a long run in mixed case, as hardly any hash or counter has."""
    return any(run != run.lower() and run != run.upper() for run in _LONG_RUN.findall(text))
