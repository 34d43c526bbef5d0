"""Repairs the request line before routing, so that everything reads it the same way."""

from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def repair(environ: "WSGIEnvironment") -> str:
    """Replaces bytes that Werkzeug would fail on, or misread; returns the path."""
    query = environ.get("QUERY_STRING", "")
    if not query.isascii():  # raw bytes
        environ["QUERY_STRING"] = quote(query, safe="%&=+", encoding="latin-1")
    path: str = environ.get("PATH_INFO", "")
    if not path.isascii():
        path = environ["PATH_INFO"] = unambiguous(path)
    return path


def unambiguous(path: str) -> str:
    """Replaces invalid UTF-8 with U+FFFE, which no name has; Werkzeug would use U+FFFD, which a name may have."""
    raw = path.encode("latin-1")
    try:
        raw.decode()
    except UnicodeDecodeError:
        raw = raw.decode("utf-8", "replace").replace("\ufffd", "\ufffe").encode()
    return raw.decode("latin-1")
