"""The caches of a process are bounded in bytes and in number, for keys and tokens of any size."""

import logging
import tracemalloc
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from identity.principal import Principal, RequestOrigin
from identity.tokens import make_token
from keys.bounded_cache import BoundedCache, weight
from keys.key_fields import NewKey

MB = 1024 * 1024
LONG_SCOPES = tuple(f"{number:02d}{'x' * 62}" for number in range(50))


def weighed(entries: int, room: int) -> BoundedCache[bytes]:
    return BoundedCache(entries, room, lambda key, value: len(value))


def test_the_oldest_entries_make_room_for_bytes() -> None:
    memory = weighed(100, 10)
    for key in range(5):
        memory.put(key, b"four")
    assert [memory.get(key) for key in range(5)] == [None, None, None, b"four", b"four"]
    memory.put("larger", b"7 bytes")
    assert (len(memory), memory.get(4), memory.get("larger")) == (1, None, b"7 bytes")


def test_what_is_larger_than_the_room_takes_nothing_away() -> None:
    memory = weighed(100, 10)
    memory.put("small", b"x")
    memory.put("large", b"x" * 11)
    assert (memory.get("small"), memory.get("large")) == (b"x", None)


def test_what_is_put_twice_counts_once() -> None:
    memory = weighed(100, 10)
    for _ in range(20):
        memory.put("again", b"1234")
        memory.put("other", b"1234")
    assert len(memory) == 2
    memory.put("third", b"12")
    assert len(memory) == 3


def test_entries_are_counted_too() -> None:
    memory = weighed(2, 10)
    for key in range(5):
        memory.put(key, b"")
    assert [memory.get(key) for key in range(5)] == [None, None, None, b"", b""]


@pytest.mark.parametrize("text", ["x" * 10_000, "\U0001f511" * 10_000, "é" * 10_000])
def test_a_weight_is_what_the_interpreter_takes(text: str) -> None:
    for value in (text, (text, None), ("a", [("b", text)]), Principal("jwt", "default", text, "read")):
        assert weight(text) <= weight(value) <= weight(text) + 2000


@pytest.fixture
def grown(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> Callable[[Iterable[str], Iterable[str]], int]:
    """grown(some, more): the growth of the process between some checks and more checks, in bytes."""
    caplog.set_level(logging.WARNING, "keyhook")  # pytest would hold each line

    def check(credentials: Iterable[str]) -> int:
        for credential in credentials:
            answer: Any = client.get("/v0/auth", headers={"Authorization": f"Bearer {credential}"})
            assert answer.status_code == 200
        return tracemalloc.get_traced_memory()[0]

    def grow(some: Iterable[str], more: Iterable[str]) -> int:
        tracemalloc.start()
        try:
            return -check(some) + check(more)
        finally:
            tracemalloc.stop()

    return grow


def test_large_keys_fill_no_more_than_the_room(app: Flask, grown: Callable[..., int]) -> None:
    ring = app.extensions["keyhook"].keyring(Principal("cli", "default", "alice", "admin"), RequestOrigin())
    keys = [ring.create(NewKey(name=f"k{number}", scopes=LONG_SCOPES)).api_key for number in range(1000)]
    assert grown(keys[:400], keys[400:]) < 2 * MB


def test_large_tokens_fill_no_more_than_the_room(app: Flask, grown: Callable[..., int]) -> None:
    secret = app.extensions["keyhook"].settings.secret_key

    def tokens(numbers: range) -> Iterable[str]:
        for number in numbers:
            yield make_token(secret, f"{number}{'x' * 5000}\U0001f511", "read", "default", timedelta(hours=1))

    assert grown(tokens(range(200)), tokens(range(200, 800))) < 2 * MB
