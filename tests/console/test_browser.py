"""The console in a real browser: its own policy kept, by keyboard alone, without a script, narrow and dark."""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser import chromium
from tests.commands import run
from tests.console.furnished import HOSTILE, HOUSE, furnish
from tests.rows import sql
from tests.servers import SERVE, Server, running

pytestmark = [pytest.mark.ecosystem, pytest.mark.processes]

LAN = "keys.lan"  # a name that is no secure context, unlike localhost
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
WIDTHS = [320, 390, 800, 1280]
SPACED = """
    const sheet = new CSSStyleSheet();
    const spaces = "letter-spacing: .12em !important; word-spacing: .16em !important";
    sheet.replaceSync(`* { line-height: 1.5 !important; ${spaces} }`);
    document.adoptedStyleSheets = [sheet];
"""
# A page that is a refusal; and a header that a browser takes over TLS and on this machine alone.
EXPECTED = ("the server responded with a status of 4", "Cross-Origin-Opener-Policy header has been ignored")
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class House:
    server: Server
    ids: dict[str, str]

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def lan(self) -> str:
        return f"http://{LAN}:{self.server.port}"


@dataclass
class Visit:
    """A page in the browser, with what it asked for and what the browser said of it."""

    page: Any
    house: House
    said: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def go(self, path: str) -> Any:
        self.page.goto(self.house.url + path)
        return self.page

    def key(self, name: str) -> str:
        return f"/console/keys/{self.house.ids[name]}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(f"--host-resolver-rules=MAP {LAN} 127.0.0.1") as browser:
        yield browser


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    place = tmp_path_factory.mktemp("house")
    with running(place / "data", place / "server.log", SERVE) as server:
        yield House(server, furnish(server, [*HOUSE, *HOSTILE]))


@pytest.fixture
def visit(browser: Any, house: House) -> Iterator[Callable[..., Visit]]:
    """visit(role="admin"): a browser that is signed in. At the end it has kept to the policy, and asked nobody else."""
    made: list[tuple[Any, Visit]] = []

    def enter(role: str | None = "admin", base: str = "", **options: Any) -> Visit:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **options}
        )
        if role:
            token = house.server.token(role)
            origin = base or house.url
            context.request.post(f"{origin}/console/sign-in", form={"token": token}, headers={"Origin": origin})
        opened = Visit(context.new_page(), house)
        made.append((context, opened))
        watch(opened.page, opened)
        context.on("page", lambda page: watch(page, opened))
        return opened

    yield enter
    for context, opened in made:
        context.close()
        ours = (f"{house.url}/", f"{house.lan}/")
        assert [text for text in opened.said if not any(known in text for known in EXPECTED)] == []
        assert [url for url in opened.requested if not url.startswith(ours)] == []


def watch(page: Any, opened: Visit) -> None:
    page.on("console", lambda message: opened.said.append(message.text))
    page.on("pageerror", lambda error: opened.said.append(str(error)))
    page.on("request", lambda request: opened.requested.append(request.url))


def violations(page: Any, context: str | None = None) -> list[str]:
    found = Axe().run(page, context, RULES).response["violations"]
    return [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


def every_page(opened: Visit) -> Iterator[tuple[str, str | None]]:
    """Goes to every page, dialog and menu; yields its name, and the part to be looked at alone."""
    page, key = opened.page, opened.key("photos-backup")
    for path in (
        *("/console/keys", "/console/keys?q=zzz", "/console/keys?status=expiring&sort=expires", "/console/keys/new"),
        *(key, opened.key("old-homepage"), opened.key("W" * 100), f"{key}/edit", f"{key}/delete", f"{key}/rotate"),
        *(
            "/console/audit",
            "/console/nothing",
            "/console/keys/0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11",
            "/console/sign-in",
        ),
    ):
        opened.go(path)
        yield path, None
    opened.go("/console/keys/new")
    page.get_by_label("Name", exact=True).fill("a/b")
    page.get_by_label("On a day…").check()
    page.get_by_role("button", name="Create key").click()
    yield "a wrong form", None
    opened.go("/console/keys")
    page.get_by_role("link", name="Create key").click()
    yield "the dialog of a new key", "dialog"
    opened.go("/console/keys")
    page.get_by_role("button", name="Actions for frigate").click()
    yield "the menu of a row", ".menu:popover-open"
    opened.go(key)
    page.get_by_role("button", name="alice").click()
    yield "the menu of the person", ".menu:popover-open"
    opened.go(key)
    page.get_by_role("link", name="Rotate").click()
    yield "the dialog of a rotation", "dialog[open]"
    opened.go(f"{opened.key('webhook-relay')}/rotate")
    page.get_by_role("button", name="Rotate").click()
    page.get_by_role("button", name="Copy key").wait_for()
    yield "a secret", None
    page.get_by_role("button", name="Copy key").click()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_a1_c3_every_page_can_be_used_by_everybody(visit: Callable[..., Visit], scheme: str, width: int) -> None:
    opened = visit(viewport={"width": width, "height": 900}, color_scheme=scheme)
    found = {name: violations(opened.page, part) for name, part in every_page(opened)}
    assert len(found) == 20
    assert {name: faults for name, faults in found.items() if faults} == {}


def test_a4_c4_nothing_scrolls_sideways(visit: Callable[..., Visit]) -> None:
    opened, wide = visit(), []
    for name, _ in every_page(opened):
        for width in WIDTHS:
            opened.page.set_viewport_size({"width": width, "height": 900})
            if opened.page.evaluate(OVERFLOW) > 0:
                wide.append((name, width))
        opened.page.set_viewport_size({"width": 320, "height": 900})
        opened.page.evaluate(SPACED)
        if opened.page.evaluate(OVERFLOW) > 0:
            wide.append((name, 0))
        opened.page.set_viewport_size({"width": 1280, "height": 900})
    assert wide == []


def test_a4_a_page_from_right_to_left_is_mirrored(visit: Callable[..., Visit]) -> None:
    page = visit().go("/console/keys")
    where = "(s) => document.querySelector(s).getBoundingClientRect().x"
    before = page.evaluate(where, ".brand"), page.evaluate(where, ".account")
    page.evaluate("document.documentElement.dir = 'rtl'")
    after = page.evaluate(where, ".brand"), page.evaluate(where, ".account")
    assert before[0] < before[1]
    assert after[0] > after[1]
    assert page.evaluate(OVERFLOW) == 0


def test_a6_targets_are_large_enough(visit: Callable[..., Visit]) -> None:
    small = """(least) => [...document.querySelectorAll("a, button, input:not([type=hidden])")].filter((element) => {
        const box = element.getBoundingClientRect();
        const lone = !element.closest("p, dd, .note, .tree, .foot, .unseen, label, .skip");
        return lone && element.checkVisibility() && box.height > 1 && box.height < least;
    }).map((element) => element.outerHTML)"""
    opened = visit(viewport={"width": 390, "height": 900})
    for path in ("/console/keys", opened.key("photos-backup"), "/console/keys/new", "/console/audit"):
        assert opened.go(path).evaluate(small, 24) == []
        assert [html for html in opened.page.evaluate(small, 44) if 'class="button' in html] == []


def test_s1_s6_k3_in_a_lan_without_tls_a_link_signs_in_and_a_key_is_copied(
    visit: Callable[..., Visit], house: House
) -> None:
    """`http://keys.lan`: no secure context, so no Sec-Fetch-Site, no `Secure` cookie, no navigator.clipboard."""
    opened = visit(None)
    page, code = opened.page, invite(house)
    page.goto(f"{house.lan}/console/sign-in#{code}")
    expect(page.get_by_label("Token")).to_have_value(code)
    assert code not in page.url
    assert page.evaluate("isSecureContext") is False
    page.keyboard.press("Enter")  # the button has the focus
    page.wait_for_url("**/console/keys")
    [cookie] = [each for each in page.context.cookies() if each["name"] == "keyhook_session"]
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (False, True, "Lax")
    page.get_by_role("link", name="Create key").click()
    page.get_by_role("dialog").get_by_label("Name", exact=True).fill("from the lan")
    page.get_by_role("dialog").get_by_role("button", name="Create key").click()
    key = page.get_by_role("status", name="The key").inner_text()
    page.get_by_role("button", name="Copy key").click()
    expect(page.get_by_text("Copied. Paste it where it belongs")).to_be_visible()
    page.get_by_role("link", name="I have stored the key").click()
    page.get_by_role("link", name="API keys").click()
    page.get_by_role("searchbox").focus()
    page.keyboard.press("Control+V")
    expect(page.get_by_role("searchbox")).to_have_value(
        re.compile("^[0-9a-f-]{36}$")
    )  # the key was pasted: its id is left
    expect(page.locator("tbody tr")).to_have_count(1)
    assert house.server.call("GET", "/v0/auth", by=key).status_code == 200
    assert not [url for url in opened.requested if code[36:60] in url or key[36:60] in url]
    assert code[36:60] not in house.server.log.read_text()
    page.goto(f"{house.lan}/console/sign-in#{code}")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("This link was used already")


def invite(house: House) -> str:
    done = run([sys.executable, "-m", "flask", "console"], KEYHOOK_DATA_DIR=house.server.data_dir)
    return done.stdout.strip().partition("#")[2]


def test_k2_the_secret_is_shown_once(visit: Callable[..., Visit]) -> None:
    opened = visit()
    page = opened.go("/console/keys/new")
    page.get_by_label("Name", exact=True).fill("shown once")
    page.get_by_role("button", name="Create key").click()
    secret = page.get_by_role("status", name="The key").inner_text()
    asked: list[str] = []

    def stay(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("status", name="The key")).to_have_text(secret)
    assert asked == ["beforeunload"]
    page.get_by_role("button", name="Copy key").click()
    expect(page.get_by_text("Copied. Paste it where it belongs")).to_be_visible()
    methods: list[str] = []
    page.on("request", lambda request: methods.append(request.method))
    page.reload()
    assert methods[0] == "GET"
    assert secret not in page.content()
    page.get_by_role("link", name="API keys").click()
    page.go_back()
    page.go_back()
    page.wait_for_load_state()
    assert secret not in page.content()
    tab = page.context.new_page()
    tab.goto(page.url)
    assert secret not in tab.content()
    assert asked == ["beforeunload"]
    kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert secret[36:] not in kept


def test_a2_create_rotate_and_delete_by_keyboard_alone(visit: Callable[..., Visit], house: House) -> None:
    page = visit().go("/console/keys")
    keyboard = page.keyboard

    def tab_to(name: str, role: str = "link", key: str = "Enter") -> None:
        wanted = page.get_by_role(role, name=name, exact=True)
        page.wait_for_load_state()  # its script too
        for _ in range(120):
            keyboard.press("Tab")
            if wanted.evaluate_all("(all) => all.includes(document.activeElement)"):
                ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                label = page.evaluate(
                    "getComputedStyle(document.activeElement.closest('label') ?? document.body).outlineStyle"
                )
                assert "solid" in (ring, label), name
                keyboard.press(key)
                return
        raise AssertionError(f"{name} cannot be reached")

    tab_to("Create key")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Name", exact=True)).to_be_focused()
    keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("link", name="Create key")).to_be_focused()
    keyboard.press("Enter")
    keyboard.type("by keyboard")
    keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("by keyboard is ready")
    tab_to("Copy key", "button")
    expect(page.locator("#said")).to_have_text("Copied")
    tab_to("I have stored the key")
    expect(page.get_by_role("heading", level=1)).to_have_text("by keyboard")
    tab_to("Rotate")
    expect(page.get_by_role("dialog")).to_be_visible()
    tab_to("Rotate", "button")
    expect(page.get_by_role("heading", level=1)).to_have_text("by keyboard has a new secret")
    tab_to("Copy key", "button")
    tab_to("I have stored the key")
    expect(page.get_by_role("heading", level=1)).to_have_text("by keyboard")
    tab_to("Delete")
    expect(page.get_by_role("heading", level=1)).to_have_text("Delete by keyboard?")
    tab_to("Delete", "button")
    expect(page.get_by_text("by keyboard is deleted.")).to_be_visible()
    page.wait_for_load_state()
    keyboard.press("Control+k")
    expect(page.get_by_role("searchbox")).to_be_focused()
    tab_to("alice", "button")
    tab_to("Sign out", "button")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Keyhook")


def test_a3_without_a_script_everything_works(visit: Callable[..., Visit], house: House) -> None:
    opened = visit(None, java_script_enabled=False)
    page = opened.go("/console/keys")
    page.get_by_label("Token").fill(house.server.token())
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("searchbox").fill("grafana")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    opened.go("/console/keys")
    page.get_by_role("link", name=re.compile("^Disabled")).click()
    expect(page.locator("tbody tr")).to_have_count(1)
    opened.go("/console/keys")
    page.get_by_role("link", name="Name").click()
    assert page.locator("th[aria-sort=ascending]").inner_text().strip() == "Name"
    page.get_by_role("link", name="Create key").click()
    page.get_by_label("Name", exact=True).fill("frigate")
    page.get_by_text("photos:read", exact=True).click()
    page.get_by_role("button", name="Create key").click()
    assert "already a key with this name" in page.get_by_role("alert").inner_text()
    page.get_by_label("Name", exact=True).fill("no script")
    page.get_by_role("button", name="Create key").click()
    key = page.get_by_role("status", name="The key").inner_text()
    assert house.server.call("GET", "/v0/auth?scope=photos:read", by=key).status_code == 200
    assert page.locator("[data-copy]:visible").count() == 0
    page.get_by_text("curl", exact=True).click()
    assert page.locator(".is-curl").is_visible()
    page.get_by_role("link", name="I have stored the key").click()
    page.get_by_role("link", name="Rotate").click()
    page.get_by_text("No time", exact=True).click()
    page.get_by_role("button", name="Rotate").click()
    assert house.server.call("GET", "/v0/auth", by=key).status_code == 401
    page.get_by_role("link", name="I have stored the key").click()
    page.get_by_role("button", name="Disable").click()
    assert "This key is disabled" in page.locator("main").inner_text()
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Description optional").fill("changed")
    page.get_by_role("button", name="Save").click()
    assert "Saved." in page.locator("main").inner_text()
    page.get_by_role("button", name="alice").click()
    page.get_by_role("button", name="Dark").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    assert "no script is deleted." in page.locator("main").inner_text()
    page.get_by_role("link", name="Audit").click()
    assert "deleted no script" in page.locator("main").inner_text()
    page.get_by_role("button", name="alice").click()
    page.get_by_role("button", name="Sign out").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Sign in to Keyhook"


def test_searching_while_typing_keeps_the_focus_and_tells_the_number(visit: Callable[..., Visit]) -> None:
    opened = visit()
    page = opened.go("/console/keys")
    page.keyboard.press("Control+k")
    page.keyboard.type("photos-backup", delay=5)
    expect(page.locator("tbody tr")).to_have_count(4)
    expect(page.locator("#said")).to_have_text("4 keys")
    expect(page.get_by_role("searchbox")).to_be_focused()
    assert page.url.endswith("/console/keys?q=photos-backup")
    page.get_by_role("button", name="Actions for photos-backup-raw").click()  # what was swapped in works
    expect(page.locator(".menu:popover-open")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("searchbox").fill("<img src=x>")
    expect(page.get_by_text("No key matches")).to_be_visible()


def test_k11_a_key_that_is_pasted_into_the_search_is_not_sent(visit: Callable[..., Visit], house: House) -> None:
    key = house.server.mint("found somewhere")
    opened = visit()
    page = opened.go("/console/keys")
    page.get_by_role("searchbox").fill(f"KEY={key}")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody")).to_contain_text("found somewhere")
    assert not [url for url in opened.requested if key[36:60] in url]


def test_a5_dark_by_the_system_and_by_choice(visit: Callable[..., Visit]) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    dark, light = "rgb(15, 20, 18)", "rgb(245, 246, 244)"
    assert visit(color_scheme="dark").go("/console/keys").evaluate(ground) == dark
    opened = visit(color_scheme="light")
    page = opened.go("/console/keys")
    assert page.evaluate(ground) == light
    page.get_by_role("button", name="alice").click()
    page.get_by_role("button", name="Dark").click()
    page.wait_for_url("**/console/keys")
    assert page.evaluate(ground) == dark
    assert opened.go("/console/audit").evaluate(ground) == dark


def test_times_are_in_the_zone_of_the_browser(visit: Callable[..., Visit]) -> None:
    opened = visit(timezone_id="Asia/Tokyo")
    opened.go("/console/keys")
    assert "times in Asia/Tokyo" in opened.go("/console/audit").locator("main").inner_text()


def test_the_end_of_the_session_is_announced(visit: Callable[..., Visit], house: House) -> None:
    opened = visit()
    soon = "2026-01-01T00:00:00.000000Z"
    assert sql(house.server.data_dir, "SELECT count(*) FROM sessions WHERE ends_at < :soon", soon=soon) == [(0,)]
    page = opened.page
    page.clock.install()
    opened.go("/console/keys")
    page.clock.fast_forward(int(timedelta(minutes=56).total_seconds() * 1000))
    expect(page.locator("#said")).to_have_text("Your session ends in five minutes. Save what you have begun.")


def test_a_link_to_the_console_from_elsewhere_finds_the_session(visit: Callable[..., Visit], tmp_path: Path) -> None:
    """The cookie is `SameSite=Lax`: a mail or a wiki may link to a page."""
    opened = visit()
    opened.page.set_content(f'<a href="{opened.house.url}/console/audit">the audit</a>')
    opened.page.get_by_role("link").click()
    expect(opened.page.get_by_role("heading", level=1)).to_have_text("Audit")
