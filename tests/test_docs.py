"""/docs in the real browser, under its own policy: no other host, no error on the console."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from conftest import Server, missing
from flask.testing import FlaskClient

import openapi

CHROMIUM = "/usr/bin/chromium"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.mark.parametrize(("file", "source"), [(file, source) for file, source in openapi.ASSETS.items()])
def test_an_asset_is_served_with_its_media_type(client: FlaskClient, file: str, source: tuple[Any, str]) -> None:
    with client.get(f"/docs/{file}") as response:
        assert (response.status_code, response.mimetype) == (200, source[1])
        assert response.data == (source[0] / file).read_bytes()


@pytest.mark.parametrize(
    "path",
    ["/docs/", "/docs/index.css", "/docs/oauth2-redirect.html", "/docs/../app.py", "/docs/%2e%2e/app.py", "/docs//etc/passwd"],
)
def test_nothing_else_is_served(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.json["error_code"]) == (404, "NotFound")


def test_an_asset_is_not_sent_twice(client: FlaskClient) -> None:
    with client.get("/docs/swagger-ui-bundle.js") as first:
        tag = first.headers["ETag"]
    with client.get("/docs/swagger-ui-bundle.js", headers={"If-None-Match": tag}) as second:
        assert (second.status_code, second.data) == (304, b"")


@dataclass
class Visit:
    """A page in the browser, and what it did besides showing itself."""

    page: Any
    url: str
    console: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def operations(self) -> list[str]:
        """The paths that can be seen."""
        texts = self.page.locator(".opblock-summary-path").all_inner_texts()
        return [text.replace("​", "").strip() for text in texts]

    def search(self, phrase: str, count: int) -> list[str]:
        from playwright.sync_api import expect

        self.page.get_by_role("searchbox").fill(phrase)
        expect(self.page.locator(".opblock")).to_have_count(count)
        return self.operations()


@pytest.fixture
def browser() -> Iterator[Any]:
    if not shutil.which(CHROMIUM):
        missing("Chromium", "apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, serve: Callable[..., Server]) -> Iterator[Callable[..., Visit]]:
    """visit(width=1280): the page of a live server, loaded. At the end it must have kept to its policy."""
    server = serve()
    visits: list[Visit] = []

    def load(width: int = 1280, by: str | None = None) -> Visit:
        page = browser.new_page(viewport={"width": width, "height": 900})
        opened = Visit(page, server.url)
        visits.append(opened)
        page.on("console", lambda message: opened.console.append(message.text))
        page.on("pageerror", lambda error: opened.console.append(str(error)))
        page.on("request", lambda request: opened.requested.append(request.url))
        page.goto(f"{server.url}/docs")
        page.wait_for_selector(".opblock")
        return opened

    yield load
    for opened in visits:
        assert opened.console == []
        assert [url for url in opened.requested if not url.startswith((f"{server.url}/", "data:"))] == []
