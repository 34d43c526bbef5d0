"""A client that sends raw bytes, and reads each answer of a connection separately."""

import re
import socket
from dataclasses import dataclass
from types import TracebackType

PATIENCE = 20  # seconds


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection; use it in a `with`."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._read = b""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()

    def send(self, *lines: str, body: bytes = b"") -> None:
        """Sends the lines of a request's head, then its body."""
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def answer(self, *, head_only: bool = False) -> Answer:
        """The next answer, interim ones too. Raises EOFError if the server has closed instead."""
        while b"\r\n\r\n" not in self._read:
            self._receive()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = 0 if head_only else int(headers.get("content-length", "0"))
        while len(self._read) < length:
            self._receive()
        body, self._read = self._read[:length], self._read[length:]
        matched = re.match(r"HTTP/1\.[01] (\d{3}) ", first)
        assert matched, first
        return Answer(int(matched[1]), headers, body)

    def is_closed(self) -> bool:
        """Waits for the next byte; returns whether the server closed instead of sending it."""
        try:
            self._receive()
        except EOFError:
            return True
        return False

    def _receive(self) -> None:
        try:
            chunk = self.socket.recv(65536)
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            raise EOFError
        self._read += chunk
