"""The log: one line a record on stderr, in UTC, without credentials."""

import logging
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TextIO
from urllib.parse import quote

from formats.redaction import CUT, SHORTEST_LEAK, redact

log = logging.getLogger("keyhook")
access = logging.getLogger("keyhook.access")  # one line a request, made of `one_word` and `loggable`

LONGEST = 1000  # characters of a text from a client in one field of a line
_READ = 20_000  # characters that are searched for credentials: one that begins within LONGEST ends within these
_LEGIBLE = "/:[]@!$&'()*+,;=~"  # beside letters, digits and -._
_BROKEN_ESCAPE = re.compile(r"%[0-9A-F]?\Z")


def set_up(application: str) -> None:
    """Sends records to stderr, one line each, unless the program around has configured the logger already."""
    if not log.handlers and not logging.getLogger().handlers:
        log.addHandler(Terminal())
        log.propagate = False
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO)
    # Flask's development server writes its own line for each request, with its raw path and query, and waitress one for
    # each request that waits for a thread.
    logging.getLogger("werkzeug").addFilter(_no_access_lines)
    # All loggers that write about a request; Flask's, under the application's name, when a hook of the program fails.
    for name in (log.name, application, "werkzeug", "waitress"):
        logging.getLogger(name).addFilter(redact_record)
    access.addFilter(_mark_redacted)
    queue = logging.getLogger("waitress.queue")
    if queue.level == logging.NOTSET:
        queue.setLevel(logging.ERROR)


def access_writer() -> Callable[[str], None]:
    """The function that writes the line of a request: a record of `access`, or a plain line if only the terminal
    listens. A record would add 10 µs to a check's 35."""
    terminal = log.handlers[0] if log.handlers else None
    return terminal.line if isinstance(terminal, Terminal) and terminal.is_all() else access.info


def one_word(text: str, encoding: str = "utf-8") -> str:
    """The text as one field of a line: no credential, no separator, and not too long."""
    if len(text) >= SHORTEST_LEAK:
        text = redact(text[:_READ])
    if not (text.isascii() and text.isprintable()) or " " in text:
        text = quote(text[: LONGEST + 1], safe=_LEGIBLE, encoding=encoding, errors="replace")
    return text if len(text) <= LONGEST else _cut(text)


def loggable(text: str) -> str:
    """The text as a part of one line: no credential, and no character that could start another line."""
    text = redact(text[:_READ])
    if not (text.isascii() and text.isprintable()):
        text = quote(text[: LONGEST + 1], safe=_LEGIBLE + ' %"', errors="replace")
    return text if len(text) <= LONGEST else _cut(text)


def redact_record(record: logging.LogRecord) -> bool:
    """A filter of a logger that removes credentials from a record and its trace, for every handler.

    The exception object still holds them, so handlers get only its text.
    """
    if getattr(record, "keyhook_redacted", False):
        return True
    try:
        message = record.getMessage()
    except Exception:  # arguments that do not fit: logging itself would print them all
        message = f"{record.msg} {record.args}"
    record.msg, record.args = redact(message), ()
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    record.exc_info = None
    record.exc_text = record.exc_text and redact(record.exc_text)
    record.stack_info = record.stack_info and redact(record.stack_info)
    record.keyhook_redacted = True
    return True


class RedactingFormatter(logging.Formatter):
    """The last line of defence: redacts records that no filter has redacted. Times are UTC."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return _utc(int(record.created))

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if getattr(record, "keyhook_redacted", False) else redact(text)


class Terminal(logging.StreamHandler[TextIO]):
    """Writes records to stderr, one line each, and the lines of requests without a record."""

    FORMATTER = RedactingFormatter("%(asctime)s %(levelname)s %(message)s")

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(self.FORMATTER)

    def is_all(self) -> bool:
        """Whether a record of `access` would have no effect but its line here."""
        if log.handlers != [self] or access.handlers or log.propagate or not access.propagate:
            return False
        return not (
            access.filters != [_mark_redacted] or self.filters or self.level or self.formatter is not self.FORMATTER
        )

    def line(self, text: str) -> None:
        self.acquire()
        try:
            self.stream.write(f"{_utc(int(time.time()))} INFO {text}\n")
            self.stream.flush()
        except (OSError, ValueError, AttributeError):  # a full disk, a closed stream, none: the request goes on
            pass
        finally:
            self.release()


def _cut(text: str) -> str:
    """The beginning of an ASCII text, with a mark that is not ASCII, so that no client can fake it."""
    return _BROKEN_ESCAPE.sub("", text[:LONGEST]) + CUT


@lru_cache(maxsize=2)
def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def _mark_redacted(record: logging.LogRecord) -> bool:
    """Marks the line of a request as redacted: its words were, and the whole is not edited again."""
    record.keyhook_redacted = True
    return True


def _no_access_lines(record: logging.LogRecord) -> bool:
    return " - - [" not in str(record.msg)
