"""The log: one line a record on stderr, in UTC, never with a credential."""

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

LONGEST = 1000  # characters of what a client sent, as one field of a line
_READ = 20_000  # characters that are looked at for them: a credential that begins among those ends in these
_LEGIBLE = "/:[]@!$&'()*+,;=~"  # beside letters, digits and -._
_BROKEN_ESCAPE = re.compile(r"%[0-9A-F]?\Z")


def set_up(application: str) -> None:
    """One line a record on stderr, unless the program around has configured the logger already."""
    if not log.handlers and not logging.getLogger().handlers:
        log.addHandler(Terminal())
        log.propagate = False
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO)
    # Flask's development server writes its own line for each request, with whatever stood in the path and the query,
    # and waitress one for each that waits for a thread.
    logging.getLogger("werkzeug").addFilter(_no_access_lines)
    # All that write about a request; Flask, under the application's name, where a hook of the program around failed.
    for name in (log.name, application, "werkzeug", "waitress"):
        logging.getLogger(name).addFilter(redact_record)
    access.addFilter(_mark_redacted)
    queue = logging.getLogger("waitress.queue")
    if queue.level == logging.NOTSET:
        queue.setLevel(logging.ERROR)


def access_writer() -> Callable[[str], None]:
    """How the line of a request is written: as a record of `access`, or straight to the terminal where nobody listens
    but that. A record takes 13 µs of a check's 45."""
    terminal = log.handlers[0] if log.handlers else None
    return terminal.line if isinstance(terminal, Terminal) and terminal.is_all() else access.info


def one_word(text: str, encoding: str = "utf-8") -> str:
    """The text as one field of a line, which nothing in it can pass for another: no credential, and not too long."""
    if len(text) >= SHORTEST_LEAK:
        text = redact(text[:_READ])
    if not (text.isascii() and text.isprintable()) or " " in text:
        text = quote(text[: LONGEST + 1], safe=_LEGIBLE, encoding=encoding, errors="replace")
    return text if len(text) <= LONGEST else _cut(text)


def loggable(text: str) -> str:
    """The text as a part of one line of a log: no credential, nothing that could start another line."""
    text = redact(text[:_READ])
    if not (text.isascii() and text.isprintable()):
        text = quote(text[: LONGEST + 1], safe=_LEGIBLE + ' %"', errors="replace")
    return text if len(text) <= LONGEST else _cut(text)


def redact_record(record: logging.LogRecord) -> bool:
    """A filter of a logger: whichever handler takes the record, no credential is in it, nor in its trace.

    The exception itself has them still, so it goes no further than its text.
    """
    if getattr(record, "keyhook_redacted", False):
        return True
    try:
        message = record.getMessage()
    except Exception:  # arguments that do not fit: logging would say so, with all of them
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
    """The last line of defence: a trace, too, is written without what looks like a credential. Times are UTC."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return _utc(int(record.created))

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if getattr(record, "keyhook_redacted", False) else redact(text)


class Terminal(logging.StreamHandler[TextIO]):
    """Records on stderr, one line each; and the lines of requests without a record."""

    FORMATTER = RedactingFormatter("%(asctime)s %(levelname)s %(message)s")

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(self.FORMATTER)

    def is_all(self) -> bool:
        """Whether a record of `access` would come to nothing else than its line here."""
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
        except (OSError, ValueError, AttributeError):  # a full disk, a closed stream, none: no reason to refuse
            pass
        finally:
            self.release()


def _cut(text: str) -> str:
    """The beginning of a text that is ASCII, under a mark that is none: nobody else can have put it there."""
    return _BROKEN_ESCAPE.sub("", text[:LONGEST]) + CUT


@lru_cache(maxsize=2)
def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def _mark_redacted(record: logging.LogRecord) -> bool:
    """The line of a request was redacted word by word: as a whole nothing edits it any more."""
    record.keyhook_redacted = True
    return True


def _no_access_lines(record: logging.LogRecord) -> bool:
    return " - - [" not in str(record.msg)
