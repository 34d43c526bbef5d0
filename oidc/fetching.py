"""JSON from a provider over HTTP, and from nothing that only looks like one.

A provider that is broken, or somebody in its place, may redirect, drip, or send without end. None of that may hold a
thread for long or fill the memory, so every way out of a fetch is short.
"""

import http.client
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from threading import Timer
from typing import Any
from urllib.parse import urlencode
from urllib.request import AbstractHTTPHandler, OpenerDirector, ProxyHandler, Request

from formats.private_url import is_private
from formats.strict_json import MalformedJSON, parse_object

STEP = 5.0  # seconds for each step: the connection, every read
WHOLE = 10.0  # seconds for all of it
LARGEST = 1024**2  # bytes of an answer
CHUNK = 64 * 1024

_ERROR = re.compile(r"[a-z_]{1,50}")  # of RFC 6749 section 5.2: a word, and no text that may hold anything


class FetchFailed(Exception):
    """The text says why, for the log. `status` is that of an answer, if there was one."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


def fetch_object(
    url: str,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    whole: float = WHOLE,
) -> dict[str, Any]:
    """The JSON object at the address, or the answer to a form, with the proxies of the environment.

    Raises FetchFailed.
    """
    if not is_private(url):
        raise FetchFailed("an address without TLS")
    body = None if form is None else urlencode(form).encode()
    request = Request(url, body, {"Accept": "application/json", "User-Agent": "keyhook", **(headers or {})})  # noqa: S310
    try:
        with _deadline(whole) as span:
            return parse_object(_body(request, span))
    except MalformedJSON:
        raise FetchFailed("the answer is no JSON object") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise FetchFailed(_reason(error)) from None


def _reason(error: Exception) -> str:
    """The text of the machine's own errors. Any other may repeat the answer, and an answer may repeat the secrets that
    it was asked with."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, OSError) else name


def _body(request: Request, span: "_Span") -> bytes:
    answer = _opener(span).open(request, timeout=STEP)
    if answer is None:
        raise FetchFailed("a scheme that is not HTTP")
    with closing(answer):
        if answer.status != 200:  # a redirect too: whoever sends one is not the address that was configured
            raise FetchFailed(f"status {answer.status}{_error_in(answer)}", answer.status)
        return b"".join(_chunks(answer))


def _error_in(answer: http.client.HTTPResponse) -> str:
    """What the provider says is wrong (RFC 6749 section 5.2), so that the operator can mend it."""
    with suppress(FetchFailed, ValueError, OSError, http.client.HTTPException):
        word = parse_object(b"".join(_chunks(answer))).get("error")
        if isinstance(word, str) and _ERROR.fullmatch(word):
            return f": {word}"
    return ""


def _chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    size = 0
    while chunk := answer.read1(CHUNK):
        size += len(chunk)
        if size > LARGEST:
            raise FetchFailed(f"the answer is larger than {LARGEST} bytes")
        yield chunk
    if answer.length:
        raise FetchFailed("the answer ends early")


def _opener(span: "_Span") -> OpenerDirector:
    """Without the handlers for redirects, files and FTP, which `build_opener` adds."""
    opener = OpenerDirector()
    for handler in (ProxyHandler(), _Handler(span)):
        opener.add_handler(handler)
    return opener


class _Span:
    """The time of a fetch, and the sockets that are shut when it is over."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._sockets: list[socket.socket] = []

    def step(self) -> float:
        """Seconds for the next step; never zero, which would mean to wait for nothing."""
        return min(STEP, max(self._ends - time.monotonic(), 0.001))

    def watch(self, opened: socket.socket) -> None:
        """Also a socket that was opened too late."""
        opened.settimeout(self.step())
        self._sockets.append(opened)
        if time.monotonic() >= self._ends:
            self.end()

    def end(self) -> None:
        """Not by the `shutdown` of TLS, which ends that first: what is sent meanwhile would go out in clear."""
        for each in self._sockets:
            with suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)


class _Handler(AbstractHTTPHandler):
    """HTTP and HTTPS over sockets that a timer can shut."""

    def __init__(self, span: _Span) -> None:
        super().__init__()
        self._span = span

    def http_open(self, request: Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_Plain, self._span), request)

    def https_open(self, request: Request) -> http.client.HTTPResponse:
        context = ssl.create_default_context()
        return self.do_open(partial(_Secure, self._span), request, context=context)

    http_request = https_request = AbstractHTTPHandler.do_request_


class _Plain(http.client.HTTPConnection):
    def __init__(self, span: _Span, host: str, **more: Any) -> None:
        super().__init__(host, **more)
        self._span = span
        self._create_connection = self._reach  # in place of the library's, which gives each address all of the time

    def connect(self) -> None:
        super().connect()
        self._span.watch(self.sock)

    def _reach(self, host: tuple[str, int], *_: Any) -> socket.socket:
        """A connection to the first address of the host that answers. A silent one leaves time for the others."""
        places: list[Any] = [place[:2] for *_, place in socket.getaddrinfo(*host, type=socket.SOCK_STREAM)]
        for waiting, place in zip(range(len(places), 0, -1), places, strict=True):
            try:
                opened = socket.create_connection(place, self._span.step() / waiting)
            except OSError:
                if waiting == 1:
                    raise
            else:
                self._span.watch(opened)
                return opened
        raise OSError("the host has no address")


class _Secure(_Plain, http.client.HTTPSConnection):
    """The same over TLS: `super()` above is then HTTPSConnection."""


@contextmanager
def _deadline(seconds: float) -> Iterator[_Span]:
    """Ends a fetch when its time is over: a head or a body that drips begins a step anew with each byte."""
    span = _Span(seconds)
    timer = Timer(seconds, span.end)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # no thread is to be had, and without one a fetch may last for ever
        raise FetchFailed("no thread for the deadline") from None
    try:
        yield span
    finally:
        timer.cancel()
