"""Many connections at once: bad credentials, a mixed load, and silent clients."""

import random
import resource
import socket
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from formats import api_key
from tests.faults.load import SLACK, check, check_times, http_request, send_all, until
from tests.machine import missing
from tests.servers import SERVE, Server

pytestmark = [pytest.mark.faults, pytest.mark.alone, pytest.mark.usefixtures("afresh")]


def bad_credentials(key_id: str, token_secret: bytes) -> list[str]:
    """2,000: half with the id of a real key and a right checksum, half broken in other ways."""
    head, *rest = jwt.encode({"sub": "eve"}, token_secret, algorithm="HS256").split(".")
    hour = datetime.now(UTC) + timedelta(hours=1)
    claims = {"iss": "keyhook", "aud": "keyhook", "sub": "eve", "iat": hour, "exp": hour, "role": "admin"}
    good = api_key.write_key("kh", key_id, api_key.new_secret())
    others: list[Callable[[], str]] = [
        lambda: api_key.write_key("kh", str(uuid.uuid4()), api_key.new_secret()),
        lambda: api_key.write_key("old", str(uuid.uuid4()), api_key.new_secret()),
        lambda: good[:-1] + ("0" if good[-1] != "0" else "1"),
        lambda: good[:-9],
        lambda: "kh_",
        lambda: "x" * random.randrange(1, 4000),
        lambda: jwt.encode(claims, random.randbytes(32), algorithm="HS256"),
        lambda: jwt.encode({**claims, "exp": 1}, token_secret, algorithm="HS256"),
        lambda: ".".join([head, *reversed(rest)]),
    ]
    real = [api_key.write_key("kh", key_id, api_key.new_secret()) for _ in range(1000)]
    mixed = real + [others[number % len(others)]() for number in range(1000)]
    random.Random(0).shuffle(mixed)
    return mixed


@pytest.mark.parametrize("temperature", ["warm", "cold"])
def test_bad_credentials(serve: Callable[..., Server], elsewhere: ProcessPoolExecutor, temperature: str) -> None:
    """A good check is at most three times slower beside 32 connections of bad ones than beside 32 of good ones."""
    server = serve(SERVE)
    good = [server.mint(f"good-{number}") for number in range(8)]
    send_all(server.port, [[check(secret) for secret in good]])
    attacked = server.mint("attacked")
    if temperature == "warm":
        send_all(server.port, [[check(attacked)]])
    parsed = api_key.read_key(attacked)
    assert parsed is not None
    bad = bad_credentials(parsed.id, (server.data_dir / "secret_key").read_bytes().strip())
    floods = {200: [good[number % 8] for number in range(len(bad))], 401: bad}
    times: dict[int, list[float]] = {200: [], 401: []}
    sent: Counter[int] = Counter()
    for turn in range(4):  # a quarter of each by turns, so that a noisy moment hits both
        for status, flood in floods.items():
            quarter = [check(secret) for secret in flood[turn::4]]
            load = elsewhere.submit(send_all, server.port, [quarter[number::32] for number in range(32)])
            times[status] += check_times(server, good[:1], until(load))
            sent += load.result()
    beside_good, beside_bad = statistics.median(times[200]), statistics.median(times[401])
    print(f"{sent}; a good check beside them {beside_good:.4f} s, {beside_bad:.4f} s")
    assert sent == {200: len(bad), 401: len(bad)}
    assert beside_bad <= 3 * beside_good + SLACK
    assert send_all(server.port, [[check(attacked)]]) == {200: 1}


def test_a_mixed_load_for_15_seconds(serve: Callable[..., Server], elsewhere: ProcessPoolExecutor) -> None:
    server = serve(SERVE)
    keys = [server.mint(f"key-{number}") for number in range(64)]
    shares: list[list[bytes]] = []
    for number, key in enumerate(keys):
        share = [check(random.Random(number + n).choice(keys)) for n in range(90)]
        share += [http_request("GET", "/v0/api_keys?limit=100", key)] * 9
        share += [http_request("POST", "/v0/api_keys", key, '{"name": "NAME"}')]
        random.Random(number).shuffle(share)
        shares.append(share)
    warm_up = elsewhere.submit(send_all, server.port, shares, 4).result()
    before = server.resident()
    found = elsewhere.submit(send_all, server.port, shares, 15).result()
    print(f"{dict(found)} in 15 s; {before:.1f} MB before, {server.resident():.1f} MB after")
    assert {status // 100 for status in warm_up + found} == {2}
    assert found[201] > 0
    assert server.resident() - before < 8


def test_silent_connections_stop_nobody(serve: Callable[..., Server]) -> None:
    """There are more connections than `select` can hold."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        missing("room for 4,096 open files", "raise the hard limit: ulimit -Hn 4096")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    try:
        server = serve(SERVE)
        key = server.mint("laptop")
        with ExitStack() as silence:
            for _ in range(1200):
                silence.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            end = time.monotonic() + 1
            times = check_times(server, [key], lambda: time.monotonic() < end)
            print(f"good check, median: {statistics.median(times) * 1000:.1f} ms beside 1,200 silent connections")
            assert statistics.median(times) < 0.25
        assert server.process.poll() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
