"""Fixtures: `issuer` is a provider over HTTP, `ask` an application that takes its tokens."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from oidc.provider import Provider
from tests.oidc.door import CLIENT, SECRET, Door
from tests.oidc.issuer import Issuer, running


class Clock:
    """The time of a provider, which goes on by itself and may be moved."""

    def __init__(self) -> None:
        self.moved = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.moved


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running() as started:
        yield started


@pytest.fixture
def provided(issuer: Issuer, make_app: Callable[..., Flask], data_dir: Path, clock: Clock) -> Callable[..., Flask]:
    """provided(GROUPS_CLAIM=...): an application that takes the issuer's tokens."""

    def make(public_url: str | None = None, **values: str | None) -> Flask:
        given = {"ISSUER": issuer.name, "ADMIN_GROUPS": "admins", "READ_GROUPS": "staff", **values}
        settings = {f"KEYHOOK_OIDC_{name}": value for name, value in given.items()}
        app = make_app(data_dir, **settings, KEYHOOK_PUBLIC_URL=public_url)
        provider_of(app).clock = clock
        return app

    return make


@pytest.fixture
def door(issuer: Issuer) -> Door:
    return Door(issuer)


@pytest.fixture
def opened(provided: Callable[..., Flask]) -> Callable[..., Flask]:
    """opened(SCOPES=...): an application that people enter through the issuer's page."""

    def make(public_url: str = "http://localhost", **values: str | None) -> Flask:
        return provided(**{"CLIENT_ID": CLIENT, "CLIENT_SECRET": SECRET, **values}, public_url=public_url)

    return make


@pytest.fixture
def app(provided: Callable[..., Flask]) -> Flask:
    return provided()


@pytest.fixture
def gate(app: Flask) -> Callable[[str], Any]:
    """gate(token): what the gate says to a bearer."""
    return lambda token: app.test_client().get("/v0/auth", headers={"Authorization": f"Bearer {token}"})


def provider_of(app: Flask) -> Provider:
    provider: Provider = app.extensions["keyhook"].bearers.provider
    return provider


def settled(provider: Provider) -> Provider:
    """The provider, when no attempt is under way."""
    if provider._attempt:
        provider._attempt.join()
    return provider
