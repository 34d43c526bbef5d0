"""The end of the service: requests under way are answered, uses written, and the WAL taken into the database file.

Signals are handled only where the process is ours: under `flask run` and `flask serve`. Any other server handles its
own; there the database is put in order when the interpreter ends.
"""

import atexit
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import BaseServer
from types import FrameType
from typing import TYPE_CHECKING, NoReturn
from weakref import WeakSet

import click
from flask import Flask
from flask.cli import ScriptInfo
from werkzeug.wsgi import ClosingIterator

from errors import DatabaseUnavailable
from runtime.state import EXTENSION, AppState
from serving import development

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("keyhook")

PATIENCE = 3.0  # seconds after a signal until the last answer
LOCK_PATIENCE = 1.5  # seconds after a signal that a write may still wait for its lock, before it is refused
QUIET = 0.2  # seconds without a request after which none is expected

_left_to_others: WeakSet[AppState] = WeakSet()


def install(app: Flask) -> None:
    context = click.get_current_context(silent=True)
    if context is None or context.find_object(ScriptInfo) is None:  # another program may use click too
        _left_to_others.add(app.extensions[EXTENSION])
    elif context.info_name == "run" and threading.current_thread() is threading.main_thread():
        development.install()
        _end_flask_run_in_order(app)


def on_signal(app: Flask, stop: Callable[[], object]) -> None:
    """Makes SIGTERM and SIGINT call `stop` and shorten the wait for the write lock. SIGHUP does nothing, since the log
    goes to stderr and needs no reopening.

    Each handler is set whatever it was before: process 1 of a container has no default handlers, and a shell starts
    background processes with SIGINT ignored.
    """
    service: AppState = app.extensions[EXTENSION]

    def handle(number: int, frame: FrameType | None) -> None:
        service.storage.hurry(LOCK_PATIENCE)
        stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def end(app: Flask, *, quiet: bool) -> NoReturn:
    """Ends the process with status 0. `quiet`: no thread is at work any more.

    It skips the interpreter's own end: if the database file was replaced, closing its connections there would write old
    pages into the new file.
    """
    service: AppState = app.extensions[EXTENSION]
    try:
        service.settle()
        if quiet:
            service.close()
    except DatabaseUnavailable as error:
        log.error("the database is left as it is: %s", error.reason)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # a full disk, a closed stream, none
            stream.flush()
    os._exit(0)


class UnderWay:
    """Counts the requests that are being answered."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app
        self._guard = threading.Lock()
        self._count = 0
        self._last = 0.0  # time.monotonic at the end of the last one

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        with self._guard:
            self._count += 1
        try:
            return ClosingIterator(self._app(environ, start_response), self._leave)
        except BaseException:
            self._leave()
            raise

    def wait(self) -> bool:
        """Waits until no request came for QUIET seconds, or PATIENCE is over; returns whether none is under way."""
        end = time.monotonic() + PATIENCE
        quiet_since = time.monotonic()
        while (moment := time.monotonic()) < end and moment - max(quiet_since, self._last) < QUIET:
            if self._count:
                quiet_since = moment
            time.sleep(0.02)
        self._guard.acquire()  # and kept: a later request would find no database, so it waits for the end
        return not self._count

    def _leave(self) -> None:
        with self._guard:
            self._count -= 1
            self._last = time.monotonic()


def _end_flask_run_in_order(app: Flask) -> None:
    """Ends `flask run`, whose server has no end of its own: a signal leaves its loop, and `atexit` does the rest."""
    under_way = UnderWay(app.wsgi_app)
    app.wsgi_app = under_way  # type: ignore[method-assign]
    signalled = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal signalled
        if _takes_a_request(frame):  # it would be lost
            signal.setitimer(signal.ITIMER_REAL, 0.005)
            return
        signalled = True
        app.extensions[EXTENSION].storage.hurry(LOCK_PATIENCE)
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(each, lambda number, frame: None)  # not ignored: one may be on its way already
        sys.exit(0)

    def finish() -> None:
        if signalled:
            end(app, quiet=under_way.wait())

    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(each, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    atexit.register(finish)


def _takes_a_request(frame: FrameType | None) -> bool:
    """Whether the main thread is between accepting a connection and handing it to a thread."""
    while frame is not None:
        if frame.f_code is BaseServer._handle_request_noblock.__code__:  # type: ignore[attr-defined]
            return True
        frame = frame.f_back
    return False


@atexit.register
def _settle_what_is_left() -> None:
    for service in list(_left_to_others):
        with suppress(DatabaseUnavailable):
            service.settle()
