"""/docs in the real browser, under its own policy: no other host, no error on the console."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import docs
from tests.browser import chromium
from tests.servers import Server


@pytest.mark.parametrize(("file", "source"), [(file, source) for file, source in docs.ASSETS.items()])
def test_an_asset_is_served_with_its_media_type(client: FlaskClient, file: str, source: tuple[Any, str]) -> None:
    with client.get(f"/docs/{file}") as response:
        assert (response.status_code, response.mimetype) == (200, source[1])
        assert response.data == (source[0] / file).read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/docs/",
        "/docs/index.css",
        "/docs/oauth2-redirect.html",
        "/docs/../app.py",
        "/docs/%2e%2e/app.py",
        "/docs//etc/passwd",
    ],
)
def test_nothing_else_is_served(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.get_json()["error_code"] == "NotFound"


def test_an_asset_is_not_sent_twice(client: FlaskClient) -> None:
    with client.get("/docs/swagger-ui-bundle.js") as first:
        tag = first.headers["ETag"]
    with client.get("/docs/swagger-ui-bundle.js", headers={"If-None-Match": tag}) as second:
        assert (second.status_code, second.data) == (304, b"")


@dataclass
class Visit:
    """A page in the browser, with its console and its requests."""

    page: Any
    server: Server
    console: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def operations(self) -> list[str]:
        """The visible paths."""
        texts = self.page.locator(".opblock-summary-path").all_inner_texts()
        return [text.replace("​", "").strip() for text in texts]

    def search(self, phrase: str, count: int) -> list[str]:
        from playwright.sync_api import expect

        self.page.get_by_role("searchbox").fill(phrase)
        expect(self.page.locator(".opblock")).to_have_count(count)
        return self.operations()


@pytest.fixture
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Any, serve: Callable[..., Server]) -> Iterator[Callable[..., Visit]]:
    """visit(width=1280): the loaded page of a live server. At the end it must have kept to its policy."""
    server = serve()
    visits: list[Visit] = []

    def load(width: int = 1280) -> Visit:
        page = browser.new_page(viewport={"width": width, "height": 900})
        opened = Visit(page, server)
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


@pytest.mark.ecosystem
@pytest.mark.parametrize("width", [1280, 400])
def test_every_operation_is_listed_and_fits_the_window(visit: Callable[..., Visit], width: int) -> None:
    opened = visit(width)
    assert len(opened.operations()) == documented(opened)
    assert {"/v0/api_keys", "/v0/auth", "/healthz"} <= set(opened.operations())
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.ecosystem
def test_searching_narrows_the_operations(visit: Callable[..., Visit]) -> None:
    opened = visit()
    found = {
        "a path": opened.search("/v0/audit", 1),
        "a summary, in any case": opened.search("NEW SECRET", 1),
        "a description": opened.search("second rotation ends", 1),
        "words apart": opened.search("proxy overwrites", 1),
        "nothing": opened.search("proxy rotation", 0),
        "a name": opened.search("list_api_keys", 1),
        "a tag": opened.search("gate", 2),
    }
    assert found == {
        "a path": ["/v0/audit"],
        "a summary, in any case": ["/v0/api_keys/{name}/rotate"],
        "a description": ["/v0/api_keys/{name}/rotate"],
        "words apart": ["/v0/auth"],
        "nothing": [],
        "a name": ["/v0/api_keys"],
        "a tag": ["/v0/auth", "/v0/introspect"],
    }
    assert len(opened.search("", documented(opened))) == documented(opened)


def documented(opened: Visit) -> int:
    """The number of operations in the document."""
    paths = opened.server.call("GET", "/openapi.json").json()["paths"]
    return sum(len(methods.keys() - {"parameters"}) for methods in paths.values())


@pytest.mark.ecosystem
def test_a_request_can_be_tried_out_with_a_token(visit: Callable[..., Visit]) -> None:
    opened = visit()
    page = opened.page
    page.get_by_role("button", name="Authorize").click()
    page.locator("#auth-bearer-value").fill(opened.server.token())
    page.locator(".auth-container").nth(0).get_by_role("button", name="Apply credentials").click()
    page.locator(".modal-ux").get_by_role("button", name="Close").first.click()
    page.locator("#operations-keys-create_api_key .opblock-summary-control").click()
    page.locator("textarea.body-param__text").fill('{"name": "from the page"}')
    page.get_by_role("button", name="Execute").click()
    page.wait_for_selector(".live-responses-table .response-col_status")
    assert page.locator(".live-responses-table .response-col_status").nth(1).inner_text().startswith("201")
    names = [key["name"] for key in opened.server.call("GET", "/v0/api_keys").json()]
    assert names == ["from the page"]
