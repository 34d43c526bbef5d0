"""The application behind the proxies: it reports the request, and how other applications would read its path."""

import base64
import hashlib
import json
import posixpath
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

SHOWN_BODY = 1_000_000  # bytes; of a longer one the application tells the size alone


class Application(BaseHTTPRequestHandler):
    """Answers with the request that it got; echoes a WebSocket; sends /events in two parts, and /git as a file."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Behind"

    def answer(self) -> None:
        if self.headers.get("Upgrade") == "websocket" and self.headers.get("Connection", "").lower() == "upgrade":
            return self.upgrade()
        path = self.requestline.split(" ")[1]  # self.path has one slash where two were sent
        if path.startswith("/events"):
            return self.events(path.partition("?")[2])
        if path.startswith("/git/"):
            return self.file(path.partition("?")[0].removeprefix("/git/"))
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size else self.chunks()
        told = {
            "method": self.command,
            "path": path,
            "readings": readings(path),
            "headers": self.headers.items(),
            "body": body.decode("latin-1") if len(body) <= SHOWN_BODY else "",
            "size": len(body),
        }
        return self.whole(200, json.dumps(told).encode())

    def whole(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Location", self.path)  # a proxy that logs the headers of answers logs the query
        self.send_header("Connection", "close")  # so that nothing goes on answering once it is stopped
        self.end_headers()
        self.wfile.write(body)

    def chunks(self) -> bytes:
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return body

    def upgrade(self) -> None:
        """A WebSocket (RFC 6455) for one short frame of text."""
        digest = hashlib.sha1((self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode())  # noqa: S324
        self.send_response(101)
        self.send_header("Upgrade", self.headers["Upgrade"])
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(digest.digest()).decode())
        self.end_headers()
        size = self.rfile.read(2)[1] & 0x7F
        mask, masked = self.rfile.read(4), self.rfile.read(size)
        text = bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked))
        self.wfile.write(bytes([0x81, size]) + text)
        self.close_connection = True

    def events(self, how: str) -> None:
        """Sends the second part when the test has seen the first; in chunks, or until the connection closes."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain" if how == "plain" else "text/event-stream")
        self.send_header("Connection", "close")
        if how != "close":
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        parts = ["data: first\r\n\r\n", "data: second\r\n\r\n"]
        for part in parts if how == "close" else [f"{len(part):x}\r\n{part}\r\n" for part in parts]:
            self.wfile.write(part.encode())
            self.server.seen.wait(20)
        if how != "close":
            self.wfile.write(b"0\r\n\r\n")

    def file(self, name: str) -> None:
        content = self.server.files.get(name)
        self.whole(200 if content is not None else 404, content or b"")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_PROPFIND = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Behind(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Application)
        self.seen = threading.Event()
        self.files: dict[str, bytes] = {}


def readings(target: str) -> list[str]:
    """The readings of a path by applications, in small letters.

    They decode it, end it at a #, drop text after a semicolon (Tomcat), read a backslash as a slash (IIS), join slashes
    (Flask), resolve dots: each alone and all together.
    """
    path = target.partition("?")[0]
    found = {unquote(path, "latin-1"), unquote(path.partition("#")[0], "latin-1")}
    found |= {re.sub(";[^/]*", "", one) for one in found}
    found |= {one.replace("\\", "/") for one in found}
    found |= {re.sub("/+", "/", one) for one in found}
    found |= {posixpath.normpath(one) for one in found} | {resolved(one) for one in found}
    return sorted(one.lower() for one in found)


def resolved(path: str) -> str:
    """The path without dot segments, but with empty ones (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept)
