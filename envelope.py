"""What every response carries and every request leaves behind: its id, the security headers, one line in the log.

A WSGI middleware rather than Flask's hooks, so that nothing the application ever answers can do without.
"""

import logging
import os
import re
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote

from credentials import redact

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("keyhook")

API_POLICY = "default-src 'none'; frame-ancestors 'none'"
HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),  # frame-ancestors for what predates it
]
_LEGIBLE = "/:[]@!$&'()*+,;=~"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Envelope:
    """Views leave what it needs in the environ: `keyhook.who`, `keyhook.reason` (of a refusal), `keyhook.policy`, and
    `keyhook.headers`: a list of more headers, which costs a third of what it does in a Response.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

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
            headers += environ.get("keyhook.headers", ())
            headers += HEADERS
            headers.append(("X-Request-ID", request_id))
            headers.append(("Content-Security-Policy", environ.get("keyhook.policy", API_POLICY)))
            if "Cache-Control" not in [name for name, _ in headers]:
                headers.append(("Cache-Control", "no-store"))
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        body = self._app(environ, start)
        if log.isEnabledFor(logging.INFO):
            path = _one_word(environ.get("SCRIPT_NAME", "") + path, "latin-1")
            took = (time.perf_counter() - started) * 1000
            who = _one_word(environ.get("keyhook.who", "-"))
            why = f' reason="{reason}"' if (reason := environ.get("keyhook.reason")) else ""
            _write(f"{environ['REQUEST_METHOD']} {path} {sent} {took:.1f}ms who={who} id={request_id}{why}")
        return body


def loggable(text: str) -> str:
    """The text as one line of a log: no credential, nothing that could start another line."""
    text = redact(text)
    if text.isascii() and text.isprintable():
        return text
    return quote(text, safe=_LEGIBLE + ' %"', errors="replace")


def _one_word(text: str, encoding: str = "utf-8") -> str:
    """The text as one field of a line, which nothing in it can pass for another."""
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    return quote(redact(text), safe=_LEGIBLE, encoding=encoding)


def _write(line: str) -> None:
    """What log.info would do, which walks the stack for a file and a line that are always these; where nobody else
    listens, past the record as well: together that is a tenth of a check."""
    if len(log.handlers) == 1 and isinstance(terminal := log.handlers[0], Terminal) and terminal.is_all():
        terminal.line(loggable(line))
    else:
        log.handle(log.makeRecord(log.name, logging.INFO, __file__, 0, loggable(line), (), None))


def _unambiguous(path: str) -> str:
    """The path, with bytes that are no UTF-8 as a character that no name has: werkzeug's choice is one that may."""
    raw = path.encode("latin-1")
    try:
        raw.decode()
    except UnicodeDecodeError:
        raw = raw.decode("utf-8", "replace").replace("\ufffd", "\ufffe").encode()
    return raw.decode("latin-1")


def _request_id(given: str | None) -> str:
    if given and _REQUEST_ID.fullmatch(given) and redact(given) == given:
        return given
    return os.urandom(16).hex()


def set_up_logging() -> None:
    """One line a record on stderr, unless the program around has configured the logger already."""
    if not log.handlers and not logging.getLogger().handlers:
        log.addHandler(Terminal())
        log.propagate = False
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO)
    # Flask's development server writes its own line for each request, with whatever stood in the path and the query,
    # and waitress one for each that waits for a thread.
    logging.getLogger("werkzeug").addFilter(_no_access_lines)
    queue = logging.getLogger("waitress.queue")
    if queue.level == logging.NOTSET:
        queue.setLevel(logging.ERROR)


class RedactingFormatter(logging.Formatter):
    """The last line of defence: a trace, too, is written without what looks like a credential. Times are UTC."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return _utc(int(record.created))

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class Terminal(logging.StreamHandler[TextIO]):
    """Records on stderr, in UTC; and lines that are ready, at a third of a record's cost."""

    FORMATTER = RedactingFormatter("%(asctime)s %(levelname)s %(message)s")

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(self.FORMATTER)

    def is_all(self) -> bool:
        """Whether a record would come to nothing else than its line here: nobody has configured anything since."""
        return not (log.propagate or log.filters or self.filters or self.level or self.formatter is not self.FORMATTER)

    def line(self, text: str) -> None:
        self.acquire()
        try:
            self.stream.write(f"{_utc(int(time.time()))} INFO {text}\n")
            self.stream.flush()
        except (OSError, ValueError, AttributeError):  # a full disk, a closed stream, none: no reason to refuse
            pass
        finally:
            self.release()


@lru_cache(maxsize=2)
def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def _no_access_lines(record: logging.LogRecord) -> bool:
    return " - - [" not in str(record.msg)
