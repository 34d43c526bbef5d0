"""The server for a long-running install: waitress, mended by strict_http, on one address, from start to end.

All its options stand here.
"""

import logging
import resource
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from waitress.adjustments import Adjustments
from waitress.task import ThreadedTaskDispatcher
from waitress.wasyncore import poll2

from observability import logs
from serving.strict_http import MAX_HEAD, Listener

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

THREADS = 8
CONNECTIONS = 2000
OPTIONS: dict[str, Any] = {
    "threads": THREADS,
    # An answer leaves in one piece: threads that send head and body apart would contend for the interpreter.
    "send_bytes": 18_000,
    # X-Forwarded-For reaches the application, which reads as much of it as KEYHOOK_TRUSTED_PROXIES allows.
    "clear_untrusted_proxy_headers": False,
    "max_request_body_size": 2**62,  # the application refuses a larger body before it is read
    "max_request_header_size": MAX_HEAD,
    "ident": None,
}
SPARE_FILES = 100  # beside the connections: the database, the log
LOOK_INTERVAL = 0.5  # seconds between two searches for clients that take too long
CHORE_INTERVAL = 60  # seconds
LINGER = 0.3  # seconds after a signal in which an idle connection may send its last request
PATIENCE = 3.0  # seconds after a signal until the last answer


class Server:
    """waitress on one address, or on each address of a host name."""

    def __init__(
        self,
        app: "WSGIApplication",
        host: str,
        port: int,
        *,
        largest_body: int,
        url_prefix: str = "",
        chore: Callable[[], None] = lambda: None,
    ) -> None:
        """Keeps at most `largest_body` bytes of a body, and does the chore once a minute. Raises OSError.

        `url_prefix` is where the application is mounted: every address in its answers begins with it.
        """
        waitress_log = logging.getLogger("waitress")
        waitress_log.addHandler(logs.Terminal())
        waitress_log.propagate = False
        options = Adjustments(connection_limit=_connection_limit(), url_prefix=url_prefix, **OPTIONS)
        options.largest_body = largest_body  # for strict_http.Parser
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self._map: dict[int, Any] = {}
        self._dispatcher = ThreadedTaskDispatcher()
        self._listeners = [
            Listener(app, self._map, dispatcher=self._dispatcher, adj=options, sockinfo=(*where[:3], where[4]))
            for where in addresses
        ]
        self._dispatcher.set_thread_count(THREADS)
        self.port = int(self._listeners[0].effective_port)
        self._chore = Chore(chore)
        self._chore_due = self._look_due = 0.0
        self._ending = False

    def stop(self) -> None:
        """Makes `run` return; a signal handler may call it."""
        self._ending = True
        self._listeners[0].pull_trigger()

    def run(self) -> bool:
        """Serves until `stop`, then answers the requests under way; returns whether all are answered."""
        while not self._ending:
            self._poll_once(1.0)
        signalled = time.monotonic()
        self._take_no_more()
        while (waited := time.monotonic() - signalled) < PATIENCE and self._is_at_work(waited):
            self._poll_once(0.02)
        self._dispatcher.shutdown(timeout=0.2)
        return not self._dispatcher.threads

    def _poll_once(self, seconds: float) -> None:
        poll2(seconds, self._map)
        moment = time.monotonic()
        if moment >= self._look_due:
            self._look_due = moment + LOOK_INTERVAL
            for listener in self._listeners:
                listener.close_overdue(moment)
        if moment >= self._chore_due and not self._ending:
            self._chore_due = moment + CHORE_INTERVAL
            self._dispatcher.add_task(self._chore)

    def _take_no_more(self) -> None:
        """Accepts the last connections and closes the listeners: the kernel refuses later clients.

        The kernel resets a connection that it took and nobody accepted. So the threads wait here, or such a connection
        could come between the last accept and the close.
        """
        with self._dispatcher.lock:
            time.sleep(0.005)  # for the threads to finish what they began
            for listener in self._listeners:
                listener.take_the_last()

    def _is_at_work(self, waited: float) -> bool:
        channels = [channel for listener in self._listeners for channel in listener.active_channels.values()]
        if waited < LINGER:
            return bool(channels)
        return any(channel.is_busy() or channel.request is not None for channel in channels)


class Chore:
    """A function as a task of waitress."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work

    def service(self) -> None:
        self._work()

    def cancel(self) -> None:
        pass


def _connection_limit() -> int:
    """Raises the limit of open files as far as allowed, and returns how many connections fit in it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + SPARE_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    files = wanted if soft == resource.RLIM_INFINITY else soft
    return max(2, min(CONNECTIONS, files - SPARE_FILES))
