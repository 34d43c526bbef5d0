"""How the service ends: what is under way is answered, uses are written, and the database file is whole by itself.

Signals are taken only where the process is ours: under `flask run` and `flask serve`. Under any other server, which has
its own, the database is put in order when the interpreter ends.
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
QUIET = 0.2  # seconds without a request until there are none under way

_left_to_others: WeakSet[AppState] = WeakSet()


def install(app: Flask) -> None:
    context = click.get_current_context(silent=True)
    if context is None or context.find_object(ScriptInfo) is None:  # another program may use click as well
        _left_to_others.add(app.extensions[EXTENSION])
    elif context.info_name == "run" and threading.current_thread() is threading.main_thread():
        development.install()
        _end_flask_run_in_order(app)


def on_signal(app: Flask, stop: Callable[[], object]) -> None:
    """SIGTERM and SIGINT call `stop`, and no write waits long for its lock any more. SIGHUP does nothing, since the log
    goes to stderr and nothing needs reopening.

    Process 1 of a container has no handlers but its own, and a shell starts what it puts into the background with
    SIGINT ignored, so each is set whatever it was.
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

    At once rather than by way of the interpreter's own end, which would close the connections of a database file that
    was replaced, and so write old pages into the new one.
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
        """Waits until there has been none for a moment, or PATIENCE is over; tells whether there is none."""
        end = time.monotonic() + PATIENCE
        quiet_since = time.monotonic()
        while (moment := time.monotonic()) < end and moment - max(quiet_since, self._last) < QUIET:
            if self._count:
                quiet_since = moment
            time.sleep(0.02)
        self._guard.acquire()  # and kept: whoever comes now finds no database, and waits for the process to be gone
        return not self._count

    def _leave(self) -> None:
        with self._guard:
            self._count -= 1
            self._last = time.monotonic()


def _end_flask_run_in_order(app: Flask) -> None:
    """Its server has no end of its own: a signal leaves its loop, and the rest is done when the interpreter ends."""
    under_way = UnderWay(app.wsgi_app)
    app.wsgi_app = under_way  # type: ignore[method-assign]
    signalled = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal signalled
        if _takes_a_request(frame):  # which would be lost
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
