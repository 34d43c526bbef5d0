"""The line of a request, made readable in one way before anything routes by it."""

from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def repair(environ: "WSGIEnvironment") -> str:
    """Replaces what Werkzeug would fail on, or read as something else; returns the path."""
    query = environ.get("QUERY_STRING", "")
    if not query.isascii():  # raw bytes
        environ["QUERY_STRING"] = quote(query, safe="%&=+", encoding="latin-1")
    path: str = environ.get("PATH_INFO", "")
    if not path.isascii():
        path = environ["PATH_INFO"] = unambiguous(path)
    return path


def unambiguous(path: str) -> str:
    """Replaces bytes that are no UTF-8 by U+FFFE, which no name has; Werkzeug takes U+FFFD, which a name may have."""
    raw = path.encode("latin-1")
    try:
        raw.decode()
    except UnicodeDecodeError:
        raw = raw.decode("utf-8", "replace").replace("\ufffd", "\ufffe").encode()
    return raw.decode("latin-1")
