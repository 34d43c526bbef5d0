"""What every response carries and every request leaves behind: its id, the security headers, one line in the log.

A WSGI middleware rather than Flask's hooks, so that nothing the application ever answers can do without.
"""

import logging
import os
import re
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from formats.api_key import SECRET_LENGTH
from formats.redaction import redact
from observability.logs import log, loggable, one_word, write_line
from web.forwarded import client_address

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

API_POLICY = "default-src 'none'; frame-ancestors 'none'"
HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]
MAX_REMEMBERED = 500  # characters of an X-Forwarded-For
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LONG_RUN = re.compile(rf"[0-9A-Za-z]{{{SECRET_LENGTH},}}")


class Middleware:
    """Views leave what it needs in the environ: `keyhook.who`; of a refusal `keyhook.reason` and `keyhook.key`;
    `keyhook.policy`, and `keyhook.headers`: a list of more headers, which costs a third of what it does in a Response.
    """

    def __init__(self, app: "WSGIApplication", proxies: int) -> None:
        self._app = app
        self._proxies = proxies

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        started = time.perf_counter()
        request_id = environ["keyhook.request_id"] = _request_id(environ.get("HTTP_X_REQUEST_ID"))
        query = environ.get("QUERY_STRING", "")
        if not query.isascii():  # raw bytes, which werkzeug would fail on
            environ["QUERY_STRING"] = quote(query, safe="%&=+", encoding="latin-1")
        path = environ.get("PATH_INFO", "")
        if not path.isascii():
            path = environ["PATH_INFO"] = _unambiguous(path)
        sent = ""

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal sent
            sent = status[:3]
            if "Cache-Control" not in [name for name, _ in headers]:
                headers.append(("Cache-Control", "no-store"))
            headers += environ.get("keyhook.headers", ())
            headers += HEADERS
            headers.append(("X-Request-ID", request_id))
            headers.append(("Content-Security-Policy", environ.get("keyhook.policy", API_POLICY)))
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        body = self._app(environ, start)
        if log.isEnabledFor(logging.INFO):
            took = (time.perf_counter() - started) * 1000
            write_line(f"{_asked(environ, path)} {sent} {took:.1f}ms {self._evidence(environ, request_id)}")
        return body

    def _evidence(self, environ: "WSGIEnvironment", request_id: str) -> str:
        """Who it was, under which id, from where; of a refusal also which key, and last why."""
        forwarded = environ.get("HTTP_X_FORWARDED_FOR", "") if self._proxies else ""
        address = _address if len(forwarded) <= MAX_REMEMBERED else _address.__wrapped__
        ip = address(environ.get("REMOTE_ADDR"), forwarded, self._proxies)
        evidence = f"who={one_word(environ.get('keyhook.who', '-'))} id={request_id} ip={ip}"
        if key := environ.get("keyhook.key"):
            evidence += f" key={key}"
        if reason := environ.get("keyhook.reason"):
            evidence += f' reason="{loggable(reason)}"'
        return evidence


@lru_cache(maxsize=1024)
def _address(peer: str | None, forwarded: str, proxies: int) -> str:
    """The client's address as a word of the log: remembered, since to read one takes a twentieth of a check."""
    return one_word(client_address({"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}, proxies) or "-")


def _asked(environ: "WSGIEnvironment", path: str) -> str:
    return f"{one_word(environ['REQUEST_METHOD'])} {one_word(environ.get('SCRIPT_NAME', '') + path, 'latin-1')}"


def _unambiguous(path: str) -> str:
    """The path, with bytes that are no UTF-8 as a character that no name has: werkzeug's choice is one that may."""
    raw = path.encode("latin-1")
    try:
        raw.decode()
    except UnicodeDecodeError:
        raw = raw.decode("utf-8", "replace").replace("\ufffd", "\ufffe").encode()
    return raw.decode("latin-1")


def _request_id(given: str | None) -> str:
    """The request's own, unless it is a credential, or may be one."""
    if given and _REQUEST_ID.fullmatch(given) and not _may_be_secret(given) and redact(given) == given:
        return given
    return os.urandom(16).hex()


def _may_be_secret(text: str) -> bool:
    """Whether the characters that open a key may stand here without the rest of it: then in capitals and small letters,
    as hardly anybody's hash or counter is."""
    return any(run != run.lower() and run != run.upper() for run in _LONG_RUN.findall(text))
