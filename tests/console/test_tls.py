"""The console over TLS, behind the real proxies as docs/console.md sets them up, in a real browser."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser import chromium
from tests.machine import ROOT
from tests.proxies.installed import NGINX, proxy_process, tool
from tests.servers import SERVE, Server, free_port

pytestmark = [pytest.mark.ecosystem, pytest.mark.processes]

SITE = "keys.example.com"  # as on the page


def block(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / "console.md").read_text(), re.DOTALL)
    return str(found)


def changed(text: str, **changes: str) -> str:
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


def nginx(place: Path, port: int, server: Server) -> list[str]:
    changes = {
        "443": f"127.0.0.1:{port}",
        "127.0.0.1:5000": f"127.0.0.1:{server.port}",
        f"/etc/ssl/{SITE}.": f"{place}/site.",
    }
    (place / "app.conf").write_text(changed(block("nginx"), **changes))
    (place / "nginx.conf").write_text(NGINX.format(place=place))
    return [tool("nginx"), "-e", "stderr", "-c", str(place / "nginx.conf")]


def caddy(place: Path, port: int, server: Server) -> list[str]:
    site = changed(block("caddyfile"), **{SITE: f"https://{SITE}:{port}", "127.0.0.1:5000": f"127.0.0.1:{server.port}"})
    site = site.replace("{\n", f"{{\n\ttls {place}/site.pem {place}/site.key\n", 1)
    (place / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n}\n" + site)
    return ["env", f"XDG_DATA_HOME={place}", tool("caddy"), "run", "--config", str(place / "Caddyfile")]


def certified(place: Path) -> Path:
    """The directory, with a certificate of the site."""
    certificate = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={SITE}"]
    files = ["-keyout", str(place / "site.key"), "-out", str(place / "site.pem")]
    subprocess.run([tool("openssl"), "req", *certificate, *files], check=True, capture_output=True)
    return place


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(f"--host-resolver-rules=MAP {SITE} 127.0.0.1") as browser:
        yield browser


@pytest.mark.parametrize("proxies", [0, 1])
@pytest.mark.parametrize("proxy", [nginx, caddy], ids=lambda proxy: str(proxy.__name__))
def test_s6_over_tls_the_cookie_is_secure_and_everything_works(
    browser: Any, serve: Callable[..., Server], tmp_path: Path, proxy: Any, proxies: int
) -> None:
    server, port = serve(SERVE, KEYHOOK_TRUSTED_PROXIES=proxies), free_port()
    with proxy_process(proxy(certified(tmp_path), port, server), tmp_path, tmp_path / "proxy.log"):
        page = browser.new_context(ignore_https_errors=True).new_page()
        come_up(page, f"https://{SITE}:{port}/console/audit")
        page.get_by_label("Token").fill(server.token())
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Audit")
        [cookie] = [each for each in page.context.cookies() if "keyhook" in each["name"] and each["httpOnly"]]
        assert (cookie["name"], cookie["secure"], cookie["sameSite"]) == ("__Host-keyhook", True, "Lax")
        page.goto(f"https://{SITE}:{port}/console/keys/new")
        page.get_by_label("Name", exact=True).fill("over tls")
        page.get_by_role("button", name="Create key").click()
        key = page.get_by_role("status", name="The key").inner_text()
        assert server.call("GET", "/v0/auth", by=key).status_code == 200
        page.get_by_text("curl", exact=True).click()
        expect(page.locator("#s-curl")).to_contain_text(f"https://{SITE}:{port}/v0/auth")
        page.get_by_role("button", name="Copy key").click()
        expect(page.get_by_text("Copied. Paste it where it belongs")).to_be_visible()
        page.get_by_role("button", name="alice").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Keyhook")
        page.context.close()


def come_up(page: Any, address: str) -> None:
    """Waits for the proxy, then for the page."""
    from playwright.sync_api import Error

    for _ in range(100):
        try:
            page.goto(address)
            return
        except Error:
            page.wait_for_timeout(50)
    page.goto(address)
