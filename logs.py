"""The log: one line a record on stderr, in UTC, never with a credential."""

import logging
import time
from functools import lru_cache
from typing import TextIO
from urllib.parse import quote

from credentials import redact

log = logging.getLogger("keyhook")

_LEGIBLE = "/:[]@!$&'()*+,;=~"  # beside letters, digits and -._


def set_up() -> None:
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


def write_line(line: str) -> None:
    """Logs the line of a request.

    log.info would walk the stack for a file and a line that are always these, and where nobody else listens the record
    is left out as well: together that is a tenth of a check.
    """
    if len(log.handlers) == 1 and isinstance(terminal := log.handlers[0], Terminal) and terminal.is_all():
        terminal.line(loggable(line))
    else:
        log.handle(log.makeRecord(log.name, logging.INFO, __file__, 0, loggable(line), (), None))


def one_word(text: str, encoding: str = "utf-8") -> str:
    """The text as one field of a line, which nothing in it can pass for another."""
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    return quote(redact(text), safe=_LEGIBLE, encoding=encoding)


def loggable(text: str) -> str:
    """The text as one line of a log: no credential, nothing that could start another line."""
    text = redact(text)
    if text.isascii() and text.isprintable():
        return text
    return quote(text, safe=_LEGIBLE + ' %"', errors="replace")


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
