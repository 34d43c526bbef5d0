"""The shapes in which a key leaks, and a search for parts of it in a text."""

import re
from collections.abc import Callable
from urllib.parse import unquote

from formats import api_key

ID = "0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11"
SECRET = "Zk3vQ9xT1bLr7WmYc5HsN0dJpE8uGaXf2VoKi6RtBqM"
KEY = api_key.write_key("kh", ID, SECRET)
TOKEN = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
    "eyJpc3MiOiJrZXlob29rIiwic3ViIjoiYWxpY2UiLCJyb2xlIjoiYWRtaW4ifQ."
    "3Zc1dXQ2mK0hTtVw8sYpRbNfLgJqAeUoXi9CkD5v7Hw"
)
DEEP = "%25252525252525252525"  # encoded so often that somebody has something to hide


def split(separator: str, *places: int) -> Callable[[str], str]:
    def cut(text: str) -> str:
        ends = [*places, len(text)]
        return separator.join(text[start:end] for start, end in zip([0, *places], ends, strict=True))

    return cut


SHAPES: dict[str, Callable[[str], str]] = {
    "whole": str,
    "without its checksum": lambda key: key[:-8],
    "without its end": lambda key: key[:60],
    "without its beginning": lambda key: key[36:],
    "in capitals, but for the secret": lambda key: key[:36].upper() + key[36:],
    **{
        f"{separator!r} {where}": split(separator, *places)
        for separator in (" ", "\n", "\r\n    ", ".", "/", "-", "+", "\0", "\xad", "\u200b", "=\n", '", "', "\\n")
        for where, places in {
            "before the secret": [36],
            "in the secret": [50],
            "in the id": [20],
            "behind the id": [35],
            "everywhere": [2, 20, 35, 36, 40, 55, 70, 80],
        }.items()
        if separator != "\\n" or where not in ("in the id", "everywhere")  # a letter, which no id has
    },
    "a space after every character": " ".join,
}


def bared(text: str) -> str:
    """The letters and digits of a text, without wrapping and encoding."""
    for _ in range(10):
        text = unquote(text)
    return re.sub(r"[^0-9A-Za-z]", "", text)


def leaks(text: str, secret: str = SECRET) -> bool:
    """Whether the text shows 12 characters in a row of the secret."""
    found, secret = bared(text), bared(secret)
    return any(secret[start : start + 12] in found for start in range(len(secret) - 11))
