"""The tokens of an OpenID provider beside keys and tokens of our own, and what the provider's absence costs."""

import os
import socket
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from flask import Flask

from bench.load import Load, request
from bench.server import FLASK_RUN, SERVE, running
from bench.service import CHECK, REAL_KEYS, caller, fill, quiet_app, token
from bench.tables import Series, at_most, compared, header, in_turn, row
from oidc.provider import FRESH, Provider
from runtime.authenticator import TOKENS
from tests.oidc import issuer as stand_in
from tests.oidc.door import CLIENT, SECRET, Door
from tests.oidc.issuer import METADATA, Issuer, public_jwk, send

WITH, OWN, OWN_FIRST = "the same, with a provider", "a token of ours, remembered", "the same, seen first"
REMEMBERED, FIRST = "a token of the provider, remembered", "a token of the provider, seen first: {}"
ALONE, UNREACHABLE = "without a provider", "with a provider that does not answer"
BARS = {"RS256": 3.0, "ES256": 3.5, "EdDSA": 4.0}  # times a warm key
SITE = "https://keys.example.com"
MANY = TOKENS + 76  # more than are remembered: whoever sends them in turn is never known
WITHOUT = "import sys; sys.modules['cryptography'] = None; from flask.cli import main; main()"
BARE_SERVE = [sys.executable, "-c", WITHOUT, *SERVE[3:]]  # as where the provider's packages are not installed


def measure(directory: Path, rounds: int, size: int, cores: list[int]) -> None:
    with stand_in.running() as issuer:
        issuer.keys = [public_jwk(algorithm) for algorithm in BARS]
        resident(directory, issuer, cores)
        os.sched_setaffinity(0, {cores[0]})
        in_process(directory, issuer, 2 * rounds, size)
        outage(directory, issuer)
        entering(directory, issuer, size)
    unreachable(directory, rounds, cores[0])


def settings(issuer: str) -> dict[str, str]:
    return {"KEYHOOK_OIDC_ISSUER": issuer, "KEYHOOK_OIDC_READ_GROUPS": "staff"}


def in_process(directory: Path, issuer: Issuer, rounds: int, size: int) -> None:
    series: Series = defaultdict(list)
    places = directory / "without", directory / "with"
    with ExitStack() as stack:
        off = stack.enter_context(quiet_app(KEYHOOK_DATA_DIR=places[0]))
        on = stack.enter_context(quiet_app(KEYHOOK_DATA_DIR=places[1], **settings(issuer.name)))
        asked = {
            WITH: fill(places[1], REAL_KEYS)[:1],
            OWN: [token(on)],
            OWN_FIRST: [token(on, f"person-{number}") for number in range(MANY)],
            REMEMBERED: [issuer.token()],
            **{FIRST.format(each): [issuer.token(each, jti=str(n)) for n in range(MANY)] for each in BARS},
        }
        calls = {CHECK: (20 * size, caller(off, "GET", "/v0/auth", fill(places[0], REAL_KEYS)[:1]))}
        calls |= {label: (20 * size, caller(on, "GET", "/v0/auth", bearers)) for label, bearers in asked.items()}
        in_turn(calls, series, rounds)
    targets: Any = {WITH: (CHECK, at_most, 1.02), REMEMBERED: (OWN, at_most, 1.1)}
    targets |= {FIRST.format(each): (WITH, at_most, bar) for each, bar in BARS.items()}
    header("Inside the process, without a server", "µs", "ratio", "target")
    for label in calls:
        row(label, f"{median(series[label]):,.0f}", *compared(series, label, targets))


def resident(directory: Path, issuer: Issuer, cores: list[int]) -> None:
    """Of `flask serve` after a second of a key and a second of a token, on all 16 connections."""
    header("Resident after a load", "MB", "target")
    for label, command, given, limit in (
        ("without a provider, and without its packages", BARE_SERVE, {}, 70),
        ("with a provider", SERVE, settings(issuer.name), 80),
    ):
        place = directory / f"resident-{limit}"
        with quiet_app(KEYHOOK_DATA_DIR=place) as app:
            bearers = [fill(place, REAL_KEYS)[0], issuer.token() if given else token(app)]
        given = {"KEYHOOK_DATA_DIR": str(place), **given}
        with (
            closing(Load(cores[-1])) as load,
            running(command, "/healthz", directory / "log", cores[0], **given) as ours,
        ):
            for bearer in bearers:
                load.run(ours.port, request("GET", "/v0/auth", bearer), 200, 16, 1.0)
            row(label, f"{ours.resident():.0f}", at_most(ours.resident(), limit))


def outage(directory: Path, issuer: Issuer) -> None:
    """50 tokens that are new here, with keys that are due and a provider that answers 503."""
    tokens = [issuer.token(jti=f"new-{number}") for number in range(50)]
    with quiet_app(KEYHOOK_DATA_DIR=directory / "outage", **settings(issuer.name)) as app:
        call = caller(app, "GET", "/v0/auth", [issuer.token(), *tokens])
        call(1)
        issuer.answers[METADATA] = lambda asked: send(asked, b"out of order", 503)
        later(provider_of(app), FRESH + 1)
        before = issuer.asked[METADATA]
        times = [call(1) / 1000 for _ in tokens]
        fetches = issuer.asked[METADATA] - before
    del issuer.answers[METADATA]
    header("50 tokens of the provider, seen first while it is down", "", "target")
    row("the slowest answer, ms", f"{max(times):.2f}", at_most(max(times), 5))
    row("fetches", fetches, at_most(fetches, 1))


def entering(directory: Path, issuer: Issuer, size: int) -> None:
    """Both of our requests of a sign-in; what the provider takes for the tokens is left out."""
    given = {"KEYHOOK_OIDC_CLIENT_ID": CLIENT, "KEYHOOK_OIDC_CLIENT_SECRET": SECRET, "KEYHOOK_PUBLIC_URL": SITE}
    with quiet_app(KEYHOOK_DATA_DIR=directory / "entering", **settings(issuer.name), **given) as app:
        door, flow, times = Door(issuer), app.extensions["keyhook"].sign_in, []
        asked = flow.client.redeem = Stopwatch(flow.client.redeem)
        ours = Stopwatch(app.test_client().get)
        for _ in range(size + 1):  # the first reads the provider's keys
            began = ours.seconds - asked.seconds
            address = ours("/console/login", base_url=SITE).location
            assert ours("/console/callback", base_url=SITE, query_string=door.agree(address)).status_code == 303
            times.append(1000 * (ours.seconds - asked.seconds - began))
    header("A sign-in to the console, without the provider's share", "ms", "target")
    row("both requests", f"{median(times[1:]):.1f}", at_most(median(times[1:]), 5))


class Stopwatch:
    """A function, and how long its calls have taken in all."""

    def __init__(self, function: Any) -> None:
        self._function, self.seconds = function, 0.0

    def __call__(self, *args: Any, **named: Any) -> Any:
        began = perf_counter()
        try:
            return self._function(*args, **named)
        finally:
            self.seconds += perf_counter() - began


def later(provider: Provider, seconds: float) -> None:
    clock = provider.clock
    provider.clock = lambda: clock() + seconds


def provider_of(app: Flask) -> Provider:
    provider: Provider = app.extensions["keyhook"].bearers.provider
    return provider


def unreachable(directory: Path, rounds: int, core: int) -> None:
    series: Series = defaultdict(list)
    with silence() as port:
        starts = {ALONE: {}, UNREACHABLE: settings(f"http://127.0.0.1:{port}")}
        for number in range(rounds + 1):
            for label, given in starts.items():
                place = directory / label
                with running(
                    FLASK_RUN, "/healthz", directory / "log", core, KEYHOOK_DATA_DIR=str(place), **given
                ) as ours:
                    if number:  # the first makes the database
                        series[label].append(ours.seconds)
    header("From `flask run` to the first 200", "s", "target")
    row(ALONE, f"{median(series[ALONE]):.2f}", "")
    row(UNREACHABLE, f"{median(series[UNREACHABLE]):.2f}", at_most(median(series[UNREACHABLE]), 1.0))


@contextmanager
def silence() -> Iterator[int]:
    """A port where nobody answers who is let in."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
