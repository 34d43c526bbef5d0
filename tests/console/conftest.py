"""Fixtures: `sign_in` makes a client with a session, as a browser on the service's own pages."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jinja2 import StrictUndefined

from tests.console.pages import Page

OWN = {"Origin": "http://localhost"}


class Visitor:
    """A person's browser, without a script."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def get(self, path: str, **more: Any) -> Page:
        return Page(self.client.get(path, **more))

    def post(self, path: str, headers: dict[str, str] | None = None, **data: Any) -> Page:
        return Page(self.client.post(path, data=data, headers=OWN if headers is None else headers))

    def submit(self, path: str, action: str = "", **changed: Any) -> Page:
        """Fills in the form of a page and sends it."""
        page = self.get(path)
        target, fields = page.form(action or path)
        return self.post(target, **{**fields, **changed})


@pytest.fixture(autouse=True)
def _strict_templates(request: pytest.FixtureRequest) -> None:
    """A value that a page lacks is a fault in a test, and an empty place in the service."""
    if "app" in request.fixturenames:
        request.getfixturevalue("app").jinja_env.undefined = StrictUndefined


@pytest.fixture
def sign_in(app: Flask) -> Callable[..., Visitor]:
    """sign_in(role="admin", tenant="default", owner="alice"): a visitor with a session of their own."""

    def enter(role: str = "admin", tenant: str = "default", owner: str = "alice") -> Visitor:
        code = app.extensions["keyhook"].sessions.invite(owner, role, tenant, timedelta(hours=1))
        visitor = Visitor(app.test_client())
        assert visitor.post("/console/sign-in", token=code).status == 303
        return visitor

    return enter


@pytest.fixture
def alice(sign_in: Callable[..., Visitor]) -> Visitor:
    return sign_in()


@pytest.fixture
def nobody(app: Flask) -> Visitor:
    return Visitor(app.test_client())
