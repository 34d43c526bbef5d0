"""Reading any text of a client takes linear time."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, quote

import click
import pytest
from flask.testing import FlaskClient
from marshmallow import Schema
from werkzeug.http import parse_options_header

import auth
import schemas
from api import demands, forward_auth
from cli import options, table
from errors import KeyhookError, StartupError
from formats import api_key, names, redaction
from formats.strict_json import MalformedJSON, parse_object
from identity import tokens
from observability import logs
from runtime import settings
from web import contract, forwarded, middleware, request_line

pytestmark = pytest.mark.alone

SIZE = 256 * 1024
TRIES = 8
HARMLESS = 0.002  # seconds, whatever they grow by: memory that is fetched page by page; quadratic would be seconds
HEX = "0b8f7a527f554d0c9b0a3f6f0f6f2a11"

# Each begins what some pattern looks for, over and over, and never ends it.
PLAIN = [
    "a", "Z", "0", "_", "-", ".", " ", "\n", "/", ",", ":", "~", "\xad", "é", "a ", "a.", "_ ",
    "%", "%25", "%41 ", "%2525252525",
]  # fmt: skip
BEGINNINGS = [
    "eyJ", "eyJ ", "eyJ.", "eyJ_", "aeyJ1", "ew0", "ewo.", "eyJaaaaaaaa.", "eyJaaaaaaaa.b ", "eyJaaaaaaaa.bbbbbbbb ",
    "eyJaaaaaaaa bbb. ", "eyJaaaaaaaa.eyJbbbbb.", "eyJ" + " " * 100, "eyJ.eyJ.eyJ",
    f"_{HEX}", f"_{HEX}_", f"_{HEX}_a ", f"_{HEX}_" + "a " * 19, f"_{HEX[:-1]}", "_" + "f " * 31, "_" + " " * 1000,
    f"kh_{HEX}", f"kh_{HEX}_" + "a" * 42, "ab" * 9 + "_", "a" * 50 + " ", "0" * 51 + " ", "0" * 52 + " ",
    "a%25", "aaaaaaaaaaaaaaaaaaaaa%25 ", "~" * 100 + " ", "\u0315\u0300\u05ae", "2026-11-25T00:00:00.0", ";a=b", "*0",
]  # fmt: skip


def refused(schema: Schema, member: str, as_list: bool = False) -> Callable[[str], Any]:
    return lambda text: schema.validate({member: [text] if as_list else text})


def quietly(function: Callable[[str], Any], *errors: type[BaseException]) -> Callable[[str], Any]:
    def call(text: str) -> None:
        with suppress(*errors):
            function(text)

    return call


def as_latin_1(text: str) -> str:
    return text.encode().decode("latin-1")


READERS: dict[str, Callable[[str], Any]] = {
    "redact": redaction.redact,
    "leaks": redaction._without_leaks,
    "encoded words": lambda text: redaction._ENCODED.sub(redaction._redact_encoded, text),
    "an encoded word": redaction._hides_leak,
    "has_credential": redaction.has_credential,
    "surrounded_key": api_key.surrounded_key,
    "is_key": lambda text: api_key.is_key(text, "kh"),
    "read_key": api_key.read_key,
    "prefix": api_key.PREFIX.fullmatch,
    "one_word": logs.one_word,
    "loggable": logs.loggable,
    "request id": middleware._request_id,
    "path": lambda text: request_line.unambiguous(as_latin_1(text)),
    "raw query": lambda text: quote(as_latin_1(text), safe="%&=+", encoding="latin-1"),
    "nfc": names.nfc,
    "name": refused(schemas.CreateKey(), "name"),
    "description": refused(schemas.CreateKey(), "description"),
    "role": refused(schemas.CreateKey(), "role"),
    "scope": refused(schemas.CreateKey(), "scopes", as_list=True),
    "timestamp": refused(schemas.CreateKey(), "expires_at"),
    "page": refused(schemas.KeyPage(), "limit"),
    "flag": refused(schemas.DeleteKey(), "cascade"),
    "member": lambda text: redaction.redact_values(contract.flat(schemas.CreateKey().validate({text: 1}))),
    "body": quietly(lambda text: parse_object(text.encode()), MalformedJSON),
    "JSON": lambda text: parse_object(json.dumps({text: text}).encode()),
    "form": lambda text: parse_qsl(text, keep_blank_values=True),
    "media type": lambda text: parse_options_header("application/json;" + text),
    "bearer": lambda text: auth.bearer({"HTTP_AUTHORIZATION": text}),
    "gate credential": quietly(
        lambda text: auth.gate_credential({"HTTP_AUTHORIZATION": "Basic " + text}), KeyhookError
    ),
    "gate scheme": lambda text: auth.gate_credential({"HTTP_AUTHORIZATION": text}),
    "demand": quietly(demands.read_demands, KeyhookError),
    "demands": quietly(lambda text: demands.read_demands("scope=" + text + "&tenant=" + text), KeyhookError),
    "original URI": quietly(
        lambda text: forwarded.original_parameter({"HTTP_X_FORWARDED_URI": "/?k=" + text}, "k"), KeyhookError
    ),
    "original query": quietly(
        lambda text: forwarded.original_parameter({"HTTP_X_ORIGINAL_URI": "/?" + text}, "k"), KeyhookError
    ),
    "forwarded for": lambda text: forwarded.client_address({"HTTP_X_FORWARDED_FOR": text, "REMOTE_ADDR": "::1"}, 1),
    "identity header": forward_auth._header_value,
    "token": quietly(lambda text: tokens.read_token(text, b"0" * 32), KeyhookError),
    "table": lambda text: table._fit(text, 40),
    "audit details": schemas._details,
    "duration": quietly(lambda text: options.Duration().convert(text, None, None), click.ClickException),
    **{
        name: quietly(lambda text, name=name: settings.load({name: text}), StartupError)  # type: ignore[misc]
        for name in settings.DEFAULTS
    },
}  # fmt: skip


def seconds(read: Callable[[str], Any], text: str) -> float:
    """The CPU time of this thread alone, since other programs run too."""
    started = time.thread_time()
    read(text)
    return time.thread_time() - started


def is_linear(read: Callable[[str], Any], unit: str, size: int) -> bool:
    """Whether eight times the text takes less than 24 times as long, at best of several; quadratic would be 64."""
    whole, part = (unit * (length // len(unit)) + "\x01" for length in (size, size // 8))
    best = [float("inf"), float("inf")]
    for _ in range(TRIES):
        best = [min(best[0], seconds(read, whole)), min(best[1], seconds(read, part))]
        if best[0] < max(HARMLESS, 24 * best[1]):
            return True
    return False


@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
def test_what_anybody_sends_takes_time_in_proportion(read: Callable[[str], Any]) -> None:
    for size in (SIZE // 16, SIZE):  # what is quadratic is found by the first, and takes minutes for the second
        slow = [unit[:40] for unit in PLAIN + BEGINNINGS if not is_linear(read, unit, size)]
        assert not slow, f"{size} characters"


LONG = 250_000  # characters; a server takes no more in a line of a request
WORD = "aA0_-.~"


@pytest.fixture
def cost(client: FlaskClient, token: Callable[..., str]) -> Callable[..., float]:
    """cost(path, json=...): the best of several tries, in seconds of this process."""

    def measure(path: str, **more: Any) -> float:
        headers = {"Authorization": f"Bearer {token()}"}
        best = float("inf")
        for _ in range(4):
            started = time.thread_time()
            response = client.open(path, method="POST" if more else "GET", headers=headers, **more)
            best = min(best, time.thread_time() - started)
            assert response.status_code in (400, 404)
        return best

    return measure


@pytest.mark.parametrize("unit", [*WORD, WORD, "eyJ", "%41", "%2541"])
@pytest.mark.parametrize("place", ["path", "query name", "query value", "member"])
def test_a_long_word_beside_a_percent_sign_costs_what_any_does(
    cost: Callable[..., float], place: str, unit: str
) -> None:
    def asked(unit: str, size: int) -> float:
        text = unit * (size // len(unit)) + "/%25"
        if place == "path":
            return cost("/" + text)
        if place == "query name":
            return cost(f"/healthz?{text}=1")
        if place == "query value":
            return cost(f"/v0/api_keys?limit={text}")
        return cost("/v0/api_keys", json={"name": "x", text[:60_000]: 1})

    for size in (LONG // 16, LONG):  # quadratic ones are found by the first
        # Beside what has as many words as there can be, and again if the machine was busy.
        assert any(asked(unit, size) < 8 * asked("ab/", LONG) for _ in range(5))
