"""waitress, mended where it is laxer than RFC 9110 and 9112, and where one slow client could keep others out.

waitress reads each request whole before a thread gets it, so a slow client holds no thread. Each class says what it
changes. The version of waitress is pinned, and the tests check each change on a real process.
"""

import json
import logging
import os
import re
import socket
import time
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import BadRequest, build_http_date

log = logging.getLogger("keyhook")

MAX_HEAD = 32 * 1024  # bytes of a request line and its headers
MAX_FRAMING = 8  # times its size that a chunked body may take on the wire
MAX_CHUNK_LINE = 1024  # bytes
HEAD_TIMEOUT = 10  # seconds from the first byte of a request to the end of its headers
BODY_TIMEOUT = 30  # seconds from there to the end of its body
ANSWER_TIMEOUT = 120  # seconds that a client may take to read an answer
IDLE_TIMEOUT = 150  # seconds without a request; proxies close a connection sooner, so they close it first
DISCARD_TIMEOUT = 2  # seconds of reading and dropping the rest of a request, so that its answer arrives
MAX_UNREAD = 4 * 1024 * 1024  # bytes of unread answers above which a client gets no more
ACCEPTED_AT_ONCE = 64  # connections
_FRAMING = re.compile(rb"\n(transfer-encoding|host)[ \t]*:", re.IGNORECASE)


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """The parser of one request.

    A body that is larger than the service reads is cut off: the request is complete at once, with the part that is
    there. The application refuses it, or ignores the body, as the gate does, and the rest is never stored.
    """

    cut = False

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self.began = time.monotonic()

    def received(self, data: bytes) -> int:
        """Returns how many bytes it took. A complete request does not wait for its `Expect`."""
        head_was_there = self.headers_finished
        consumed: int = super().received(data)
        if self.headers_finished and not head_was_there:
            self.began = time.monotonic()  # of the body
        if self.body_rcv is not None and not self.completed:
            self._bound_body()
        if self.completed:
            self.expect_continue = False
        return len(data) if self.cut else consumed

    def parse_header(self, header_plus: bytes) -> None:
        """Refuses headers that two parsers could read differently (RFC 9112 sections 3.2, 5.2, 6.1, 6.3), and repeats
        nothing of them, since any part may be a credential."""
        try:
            super().parse_header(header_plus)
        except (ParsingError, ValueError):  # a ValueError for some addresses, and for a length of 5,000 digits
            raise ParsingError("malformed request") from None
        fields = [name.lower() for name in _FRAMING.findall(header_plus)]
        hosts, codings = fields.count(b"host"), fields.count(b"transfer-encoding")
        if hosts > 1 or (not hosts and self.version == "1.1"):
            raise ParsingError("no Host or several")
        if codings > 1 or (codings and (not self.chunked or "CONTENT_LENGTH" in self.headers)):
            raise ParsingError("ambiguous length")
        if b"\n " in header_plus or b"\n\t" in header_plus:
            raise ParsingError("folded header")
        if codings and re.search(rb"\ntransfer-encoding[ \t]*:[^\n]*,", header_plus, re.IGNORECASE):
            raise ParsingError("ambiguous length")

    def _bound_body(self) -> None:
        most = self.adj.largest_body
        if self.chunked:
            if max(len(self.body_rcv.control_line), len(self.body_rcv.trailer)) > MAX_CHUNK_LINE:
                self.error, self.completed = BadRequest("chunk line too long"), True
                return
            self.cut = len(self.body_rcv) > most or self.body_bytes_received > MAX_FRAMING * most
        else:
            self.cut = self.content_length > most
        if self.cut:
            self.completed = True
            self.headers["CONNECTION"] = "close"
            if self.chunked:
                self.headers["CONTENT_LENGTH"] = str(max(len(self.body_rcv), most + 1))


class Task(WSGITask):  # type: ignore[misc]
    """The task that calls the application. While the server ends, each answer closes its connection."""

    def build_response_header(self) -> bytes:
        if self.channel.server.ending:
            self.request.headers["CONNECTION"] = "close"
        header: bytes = self._plain_header() if self._is_plain() else super().build_response_header()
        return header

    def _is_plain(self) -> bool:
        """Whether the headers need nothing that waitress would add, change or leave out, but for the date."""
        known = self.version == "1.1" and self.content_length is not None and self.has_body
        return bool(known and not any(name in ("Date", "Server") for name, _ in self.response_headers))

    def _plain_header(self) -> bytes:
        """The headers as the application gave them. waitress spells each name anew and sorts them, which takes 13 µs of
        the 150 that a check takes over HTTP; this takes 5."""
        if self.request.headers.get("CONNECTION", "").lower() == "close":
            self.set_close_on_finish()
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in self.response_headers)]
        return "\r\n".join([*lines, f"Date: {build_http_date(self.start_time)}", "", ""]).encode("latin-1")


class Refusal(ErrorTask):  # type: ignore[misc]
    """The answer to a request that never reaches the application: a common error body, and a line in the log."""

    def execute(self) -> None:
        error, request_id = self.request.error, os.urandom(16).hex()
        why = error.body if isinstance(error, BadRequest) else error.reason
        log.warning("refused a request: %d ip=%s id=%s reason=%r", error.code, self.channel.addr[0], request_id, why)
        body = {"message": error.reason, "error_code": type(error).__name__, "details": None}
        text = json.dumps(body).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
        self.response_headers += [("X-Content-Type-Options", "nosniff"), ("X-Request-ID", request_id)]
        self.set_close_on_finish()
        self.content_length = len(text)
        self.write(text)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection. It ends when its client takes too long, even if bytes keep coming.

    The server reads on for a moment before it closes it: with unread bytes, the kernel would reset the connection, and
    the client would lose the answer.
    """

    parser_class = Parser
    task_class = Task
    error_task_class = Refusal
    discarding_until: float | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.waiting_since = time.monotonic()  # for a request
        super().__init__(*args, **kwargs)

    def service(self) -> None:
        """Drops a client that sends requests and reads no answers, which would fill memory and then hold the thread."""
        if self.total_outbufs_len > MAX_UNREAD:
            with self.requests_lock:
                self.requests.clear()
                self.will_close = True
            self.server.pull_trigger()
            return
        super().service()
        self.waiting_since = time.monotonic()
        if (coming := self.request) is not None:
            coming.began = self.waiting_since

    def received(self, data: bytes) -> bool:
        return self.discarding_until is None and bool(super().received(data))

    def handle_write(self) -> None:
        if self.close_when_flushed and not self.will_close and not self.requests:
            self._flush_exception(self._flush_some)
            if not self.total_outbufs_len and self.connected:
                self._discard_the_rest()
        else:
            super().handle_write()

    def is_busy(self) -> bool:
        """Whether a request is being answered, or its answer is being sent."""
        return bool(self.requests or self.total_outbufs_len or self.close_when_flushed or self.discarding_until)

    def waits_since(self) -> float:
        """Since when (time.monotonic) the server has waited for the client to send a request or to read an answer."""
        return self.request.began if self.request is not None else self.waiting_since

    def is_overdue(self, moment: float) -> bool:
        if self.discarding_until is not None:
            return moment > self.discarding_until
        if self.requests:
            return False
        waited = moment - self.waits_since()
        if self.total_outbufs_len:
            return moment - self.waiting_since > ANSWER_TIMEOUT
        if self.request is None:
            return waited > IDLE_TIMEOUT
        return waited > (BODY_TIMEOUT if self.request.headers_finished else HEAD_TIMEOUT)

    def _discard_the_rest(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the client has left
            self.handle_close()
            return
        self.discarding_until = time.monotonic() + DISCARD_TIMEOUT
        self.close_when_flushed = False  # so that waitress goes on reading


class Listener(TcpWSGIServer):  # type: ignore[misc]
    """The listening socket. At the limit of connections, it closes the one that has waited longest."""

    channel_class = Channel
    ending = False

    def readable(self) -> bool:
        return self.accepting and not (self._is_full() and self._longest_waiting() is None)

    def handle_accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            if self._is_full():
                waiting = self._longest_waiting()
                if waiting is None:
                    return
                waiting.handle_close()
            before = len(self.active_channels)
            super().handle_accept()
            if len(self.active_channels) == before:
                return

    def take_the_last(self) -> None:
        """Accepts the connections that have come, then closes the socket."""
        self.ending = True
        for _ in range(self.adj.backlog // ACCEPTED_AT_ONCE + 1):
            self.handle_accept()
        self.socket.close()
        self.accepting = False
        self.del_channel()

    def close_overdue(self, moment: float) -> None:
        for channel in list(self.active_channels.values()):
            if channel.is_overdue(moment):
                channel.handle_close()

    def _is_full(self) -> bool:
        return bool(len(self._map) >= self.adj.connection_limit)

    def _longest_waiting(self) -> Any:
        """The connection that has waited longest, or None when all have a request that is being answered."""
        waiting = [channel for channel in self.active_channels.values() if not channel.requests]
        return min(waiting, key=Channel.waits_since, default=None)
