"""Keyhook as one finds it on another machine: behind a server that speaks TLS."""

import ssl
import subprocess
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.proxies.installed import tool


class Encrypted(BaseHTTPRequestHandler):
    """A question to the gate, passed on."""

    protocol_version = "HTTP/1.1"
    server: "Terminator"

    def do_GET(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.server.keyhook)
        self.server.host = self.headers["Host"]
        connection.request("GET", self.path, headers=dict(self.headers))
        answer = connection.getresponse()
        body = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Terminator(ThreadingHTTPServer):
    """TLS in front of Keyhook."""

    daemon_threads = True

    def __init__(self, place: Path, keyhook: int) -> None:
        super().__init__(("127.0.0.1", 0), Encrypted)
        self.keyhook, self.certificate = keyhook, place / "keyhook.pem"
        self.name = self.host = ""  # that the last client asked for: in TLS and in HTTP
        self.impostor = False  # whether the next client meets somebody else, who says that he is Keyhook
        self.address = f"https://localhost:{self.server_address[1]}"
        self.other, context = certified(place / "other.pem"), certified(self.certificate)
        context.sni_callback = self.greet
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def greet(self, socket: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        self.name = name or ""
        if self.impostor:
            socket.context = self.other


def certified(file: Path) -> ssl.SSLContext:
    """A server that is localhost by a certificate of its own in this file."""
    key = file.with_suffix(".key")
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key)]
    subprocess.run([tool("openssl"), *words, "-out", str(file)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # so that each connection asks for the certificate again
    return context
