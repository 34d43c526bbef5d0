"""The provider dies or falls silent under load, or somebody invents keys of it: who is already in notices nothing."""

import json
import signal
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import randbytes, shuffle
from statistics import median, quantiles

import pytest
from jwt.algorithms import RSAAlgorithm

from tests.faults.load import SLACK, check, check_times, send_all, until
from tests.oidc.certified import GROUPS, fetches, packages, robot, running
from tests.oidc.issuer import private_key
from tests.servers import SERVE, Server, free_port

pytestmark = [pytest.mark.faults, pytest.mark.alone, pytest.mark.usefixtures("afresh")]

# The same server, in a hurry: it reads the keys again after 0.3 seconds instead of ten minutes, and after an attempt it
# pauses for 0.1 seconds instead of 30. So every outage here is one of keys that are due.
HURRY = "import oidc.provider as p; p.FRESH, p.PAUSE = 0.3, 0.1; from flask.cli import main; main()"
HURRIED = [sys.executable, "-c", HURRY, *SERVE[3:]]


class Provider:
    """A process at the same address each time, with the same key: what a provider is after its restart."""

    def __init__(self, place: Path, stack: ExitStack) -> None:
        self._place, self._stack, self._port = place, stack, free_port()
        key = RSAAlgorithm.to_jwk(private_key("RS256"), as_dict=True)
        named = {"kid": "kept", "use": "sig", "alg": "RS256"}
        self._key = json.dumps({**{name: key[name] for name in ("kty", *"nedpq", "dp", "dq", "qi")}, **named})
        self.start()

    def start(self) -> None:
        entered = running(self._place, self._port, IDP_ALG="RS256", IDP_KEY=self._key)
        self.issuer, self.process = self._stack.enter_context(entered)


@pytest.fixture(scope="module")
def installed(pytestconfig: pytest.Config) -> Path:
    return packages(pytestconfig)


@pytest.fixture
def provider(installed: Path) -> Iterator[Provider]:
    with ExitStack() as stack:
        yield Provider(installed, stack)


@pytest.fixture
def serve_with(serve: Callable[..., Server], provider: Provider) -> Callable[..., Server]:
    given = {f"KEYHOOK_OIDC_{name}": value for name, value in {"ISSUER": provider.issuer, **GROUPS}.items()}
    return lambda command: serve(command, **given)


def of_robot(provider: Provider) -> str:
    return str(robot(provider.issuer)["access_token"])


def let_in(server: Server, provider: Provider) -> list[str]:
    """Four keys and four tokens of the provider, which the server has seen."""
    good = [server.mint(f"good-{number}") for number in range(4)] + [of_robot(provider) for _ in range(4)]
    assert send_all(server.port, [[check(secret) for secret in good]]) == {200: 8}
    return good


def for_a(second: float) -> Callable[[], bool]:
    end = time.monotonic() + second
    return lambda: time.monotonic() < end


def p95(times: list[float]) -> float:
    return quantiles(times, n=20)[18]


def dies(provider: Provider) -> None:
    provider.process.kill()


def falls_silent(provider: Provider) -> None:
    provider.process.send_signal(signal.SIGSTOP)


def comes_back(provider: Provider) -> None:
    """Also one that only slept: what it did not answer then nobody waits for now."""
    provider.process.kill()
    provider.process.wait()
    provider.start()


@pytest.mark.parametrize("fails", [dies, falls_silent])
def test_an_outage_under_load(
    serve_with: Callable[..., Server],
    provider: Provider,
    elsewhere: ProcessPoolExecutor,
    fails: Callable[[Provider], None],
) -> None:
    """Every answer stays good, and hardly one takes three times as long as while the provider is there."""
    server = serve_with(HURRIED)
    good = let_in(server, provider)
    shares = [[check(secret)] for secret in good]
    sent: Counter[int] = Counter()
    before: list[float] = []
    during: list[float] = []
    for _ in range(3):  # so that a noisy moment hits both
        new = of_robot(provider)
        began = time.monotonic()
        load = elsewhere.submit(send_all, server.port, shares, 1.4)
        before += check_times(server, good, for_a(0.7))
        fails(provider)
        during += check_times(server, good, until(load))
        assert time.monotonic() - began < 1.4 + 1, "an answer waited for the provider"
        during += check_times(server, [new], for_a(0.1))  # whose key is known
        sent += load.result()
        comes_back(provider)
    print(f"{sent}; p95 {p95(before):.4f} s before, {p95(during):.4f} s during {len(during)} checks")
    assert sent.keys() == {200}
    assert "the OpenID provider does not answer as it should" in server.log.read_text()
    assert p95(during) <= 3 * p95(before) + SLACK
    assert send_all(server.port, [*shares, [check(of_robot(provider))]]) == {200: 9}
    check_times(server, good, for_a(1))
    assert fetches(provider.issuer) > 0  # its keys are read again


def b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def forgeries(good: str) -> list[str]:
    """The claims of a good token, 2,000 times under key ids that nobody has, and 500 times under the right one."""
    claims = good.split(".")[1]
    kids = [uuid.uuid4().hex for _ in range(2000)] + ["kept"] * 500
    heads = [b64(json.dumps({"alg": "RS256", "typ": "at+jwt", "kid": kid}).encode()) for kid in kids]
    made = [f"{head}.{claims}.{b64(randbytes(256))}" for head in heads]
    shuffle(made)
    return made


def test_invented_keys(serve_with: Callable[..., Server], provider: Provider, elsewhere: ProcessPoolExecutor) -> None:
    """They cost one fetch, and a good check beside 32 connections of them what it costs beside 32 of good ones."""
    server = serve_with(SERVE)
    good = let_in(server, provider)
    read = fetches(provider.issuer)
    bad = forgeries(good[-1])
    floods = {200: [good[number % 8] for number in range(len(bad))], 401: bad}
    times: dict[int, list[float]] = {200: [], 401: []}
    sent: Counter[int] = Counter()
    for turn in range(4):  # a quarter of each by turns, so that a noisy moment hits both
        for status, flood in floods.items():
            quarter = [check(secret) for secret in flood[turn::4]]
            load = elsewhere.submit(send_all, server.port, [quarter[number::32] for number in range(32)])
            times[status] += check_times(server, good, until(load))
            sent += load.result()
    print(f"{sent}; a good check beside them {median(times[200]):.4f} s, {median(times[401]):.4f} s")
    assert sent == {200: len(bad), 401: len(bad)}
    assert fetches(provider.issuer) <= read + 1
    assert median(times[401]) <= 3 * median(times[200]) + SLACK
