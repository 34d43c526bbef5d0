"""The console through the pages of real providers: over HTTP with each algorithm, and in a real browser."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.sync_api import expect

from tests.browser import chromium
from tests.console.test_tls import SITE, caddy, certified, come_up
from tests.oidc import openbao
from tests.oidc.certified import GROUPS, SECRET, packages, running
from tests.oidc.openbao import REDIRECT
from tests.oidc.person import Browser
from tests.oidc.test_sign_in import Browser as Visitor
from tests.proxies.installed import proxy_process
from tests.rows import sql
from tests.servers import SERVE, Server, free_port, start_server

pytestmark = [pytest.mark.ecosystem, pytest.mark.processes]


@pytest.fixture(scope="module")
def installed(pytestconfig: pytest.Config) -> Path:
    return packages(pytestconfig)


@contextmanager
def entrance(installed: Path, place: Path, algorithm: str, public_url: str = "") -> Iterator[tuple[Server, str]]:
    """The service and the issuer at whose page people enter it."""
    port = free_port()
    url = public_url or f"http://127.0.0.1:{port}"
    with running(installed, IDP_ALG=algorithm, IDP_REDIRECT=f"{url}/console/callback") as (issuer, _):
        given = {"ISSUER": issuer, "CLIENT_ID": "keyhook", "CLIENT_SECRET": SECRET.format("keyhook"), **GROUPS}
        settings = {f"KEYHOOK_OIDC_{name}": value for name, value in given.items()}
        server = start_server(
            place / "data", place / "server.log", SERVE, port=port, KEYHOOK_PUBLIC_URL=url, **settings
        )
        try:
            yield server, issuer
        finally:
            server.stop()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_people_come_in_and_leave(installed: Path, tmp_path: Path, algorithm: str) -> None:
    with entrance(installed, tmp_path, algorithm) as (server, issuer):
        browser, login = Browser(), f"{server.url}/console/login?next=/console/audit"
        back = browser.follow(login, f"{server.url}/console/callback", "alice")
        status, headers, _ = browser.send(back)
        assert (status, headers["Location"]) == (303, "/console/audit")
        assert browser.send(f"{server.url}/console/audit")[0] == 200
        assert browser.send(back)[0] == 400  # the code was good once
        _, headers, _ = browser.send(f"{server.url}/console/sign-out", {}, Origin=server.url)
        assert headers["Location"].startswith(f"{issuer}/session/end?")
        assert browser.send(f"{server.url}/console/audit")[0] == 303

        mallory = Browser()
        status, _, page = mallory.send(mallory.follow(login, f"{server.url}/console/callback", "mallory"))
        assert (status, "You have no role here" in page) == (403, True)


def test_in_a_real_browser(installed: Path, tmp_path: Path) -> None:
    """Its policy holds on the way out too, and what was seen is not to be seen again by going back."""
    with entrance(installed, tmp_path, "RS256") as (server, issuer), chromium() as browser:
        page = browser.new_context().new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{server.url}/console/keys/new")
        sign_in(page, issuer)
        expect(page.get_by_label("Name", exact=True)).to_be_visible()
        assert urlsplit(page.url).path == "/console/keys/new"
        [cookie] = [each for each in page.context.cookies(server.url) if each["name"] == "keyhook_session"]
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Lax", False)
        page.get_by_role("button", name="alice").click()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="Yes, sign me out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Keyhook")
        assert page.url.startswith(server.url)
        assert [each for each in page.context.cookies(server.url) if each["name"] == "keyhook_session"] == []
        page.goto(f"{server.url}/console/keys")
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Keyhook")
        page.get_by_role("link", name="Continue with").click()
        expect(page.locator("input[name=login]")).to_be_visible()  # its own session has ended too
        assert [text for text in said if "Content Security Policy" in text] == []


def test_two_tabs_of_a_real_browser(installed: Path, tmp_path: Path) -> None:
    with entrance(installed, tmp_path, "ES256") as (server, _), chromium() as browser:
        context = browser.new_context()
        tabs = [context.new_page() for _ in range(2)]
        for tab in tabs:
            tab.goto(f"{server.url}/console/audit")
            tab.get_by_role("link", name="Continue with").click()
        for tab in tabs:
            fill(tab)
            expect(tab.get_by_role("heading", level=1)).to_have_text("Audit")


def sign_in(page: Any, issuer: str) -> None:
    page.get_by_role("link", name=f"Continue with {urlsplit(issuer).netloc}").click()
    fill(page)


def fill(page: Any) -> None:
    page.locator("input[name=login]").fill("alice")
    page.locator("input[name=password]").fill("x")
    page.get_by_role("button", name="Sign-in").click()


def test_the_page_of_openbao(
    make_app: Callable[..., Flask], data_dir: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Another provider, whose own page needs its person's token: a program agrees in its place."""
    with openbao.running(openbao.program(pytestconfig), tmp_path, "ES256") as bao:
        given = {"ISSUER": bao.issuer, "ADMIN_GROUPS": "keyhook-admins"}
        given |= {"CLIENT_ID": bao.client, "CLIENT_SECRET": bao.secret}
        settings = {f"KEYHOOK_OIDC_{name}": value for name, value in given.items()}
        site = REDIRECT.removesuffix("/console/callback")
        app = make_app(data_dir, KEYHOOK_PUBLIC_URL=site, **settings)
        visitor = Visitor(app, site)
        answer = bao.agree(visitor.away("?next=/console/audit"))
        page = visitor.back(answer)
        assert (page.status, page.location) == (303, "/console/audit")
        assert sql(app, "SELECT owner, role FROM sessions") == [(bao.alice, "admin")]


def test_over_tls_behind_a_proxy(installed: Path, tmp_path: Path) -> None:
    """The browser finds another site than the provider's, and keeps cookies for this host alone."""
    port = free_port()
    url = f"https://{SITE}:{port}"
    with (
        entrance(installed, tmp_path, "RS256", url) as (server, issuer),
        proxy_process(caddy(certified(tmp_path), port, server), tmp_path, tmp_path / "proxy.log"),
        chromium(f"--host-resolver-rules=MAP {SITE} 127.0.0.1") as browser,
    ):
        page = browser.new_context(ignore_https_errors=True).new_page()
        come_up(page, f"{url}/console/audit")
        sign_in(page, issuer)
        expect(page.get_by_role("heading", level=1)).to_have_text("Audit")
        ours = {each["name"]: each for each in page.context.cookies(url) if each["httpOnly"]}
        assert ours.keys() == {"__Host-keyhook", "__Host-keyhook_away"}
        assert all(each["secure"] and each["sameSite"] == "Lax" for each in ours.values())
        page.get_by_role("button", name="alice").click()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="Yes, sign me out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Keyhook")
        assert page.url.startswith(url)
