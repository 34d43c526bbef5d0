"""Redaction leaves no usable part of a credential, in any shape, and leaves all other text alone."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from formats import api_key, redaction
from tests.leaks import DEEP, ID, KEY, SHAPES, TOKEN, leaks, split

AROUND: dict[str, Callable[[str], str]] = {
    "alone": str,
    "in a sentence": lambda text: f"my key {text} leaked",
    "in a path": lambda text: f"/v0/api_keys/{text}/rotate",
    "in quotes": lambda text: f'"{text}"',
    "after a scheme": lambda text: f"Bearer{text}",
    "after a line": lambda text: f"a\n{text}",
    "in a word": lambda text: f"key_{text}_key",
    "behind é": lambda text: f"é{text}é",
    "beside percent signs": lambda text: f"100%25/%252525252525/{text}",
}


ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
    "every byte percent-encoded": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "as latin-1": lambda text: text.encode().decode("latin-1"),
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS.keys())
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_no_shape_of_a_key_is_left(shape: Callable[[str], str], encode: Callable[[str], str]) -> None:
    for place, around in AROUND.items():
        if shape(KEY) == KEY[36:] and place in ("after a scheme", "in a sentence"):
            continue  # nothing tells it from the letters around it
        text = encode(around(shape(KEY)))
        assert leaks(text)
        assert not leaks(redaction.redact(text)), place


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS.keys())
@pytest.mark.parametrize(
    "shape",
    [str, split("\n", 60), split("\r\n  ", 20, 80, 120), split("\xad", 99), lambda token: token.rpartition(".")[0]],
    ids=["whole", "wrapped once", "wrapped often", "with a soft hyphen", "without its signature"],
)
def test_no_shape_of_a_token_is_left(shape: Callable[[str], str], encode: Callable[[str], str]) -> None:
    _, payload, signature = TOKEN.split(".")
    for place, around in AROUND.items():
        if shape(TOKEN) not in TOKEN and place == "after a scheme":
            continue  # a word that goes on for lines is no token: "keyJar"
        left = redaction.redact(encode(around(shape(TOKEN))))
        assert not leaks(left, signature), place
        assert not leaks(left, payload), place


@pytest.mark.parametrize(
    "text",
    [
        "/v0/api_keys/photos-backup/rotate",
        "/files/0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11/part-1",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "/commit/da39a3ee5e6b4b0d3255bfef95601890afd80709/log",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "backup_0b8f7a527f554d0c9b0a3f6f0f6f2a11_v1/x",
        "kh_0b8f7a527f554d0c9b0a3f6f0f6f2a11",
        "https://example.org/a%20b/%C3%A9?q=100%25&page=2#top",
        "framework-settings.configuration-of.production",
        "/homework-2026.exercises-all.pdf",
        "SELECT id FROM api_keys WHERE name = 'a_b_c_d_e_f'",
        "a" * 5000,
    ],
)
def test_what_is_no_credential_stays(text: str) -> None:
    assert redaction.redact(text) == text
    assert not redaction.has_credential(text)


def test_what_follows_a_whole_key_stays() -> None:
    head = KEY[:35]
    assert redaction.redact(f"{KEY} was found\nby Zoë") == f"{head}[redacted] was found\nby Zoë"
    assert redaction.redact(f"{KEY}/{KEY}") == f"{head}[redacted]/{head}[redacted]"


def test_what_is_far_too_long_loses_its_end_and_no_secret_with_it() -> None:
    for start in range(64 * 1024 - 200, 64 * 1024, 7):
        assert not leaks(redaction.redact("a " * (start // 2) + KEY + " b" * 9999))


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS.keys())
def test_a_key_is_no_name_in_any_shape(encode: Callable[[str], str]) -> None:
    for shape in (SHAPES["whole"], SHAPES["without its checksum"], split(" ", 36), split("-", 50)):
        assert redaction.has_credential(encode(f"x {shape(KEY)}"))


def test_values_are_redacted_and_what_is_no_text_is_not() -> None:
    given: Any = {KEY: [KEY, 1, None, True, {"a\n" + DEEP: f"\n{TOKEN}"}], f"é{DEEP}": ("x", 2.5)}
    safe = redaction.redact_values(given)
    head = f"{KEY[:35]}[redacted]"
    assert safe == {head: [head, 1, None, True, {"a\n[redacted]": "\n[redacted]"}], "é[redacted]": ["x", 2.5]}
    assert json.loads(json.dumps(safe)) == safe


@pytest.mark.parametrize("around", [lambda key: f"Bearer {key}", lambda key: f"'{key}'", lambda key: f"\ufeff{key}"])
def test_a_key_with_something_around_it_is_known(around: Callable[[str], str]) -> None:
    assert api_key.surrounded_key(around(KEY)) == ID
    assert api_key.surrounded_key(KEY) is None
    assert api_key.surrounded_key(around(KEY[:-1])) is None
