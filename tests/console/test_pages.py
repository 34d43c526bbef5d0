"""The pages as HTML: whole, named, without anything in line, and with every text of a user's as a text."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from console import files
from console.words import relative, short, span
from tests.console.conftest import Visitor
from tests.console.pages import Page
from tests.console.test_keys import HOSTILE, address, ahead
from tests.machine import ROOT
from tests.rows import ago, move

TEMPLATES = sorted((ROOT / "console" / "templates").rglob("*.html"))


def every_page(alice: Visitor, call: Callable[..., Any], name: str) -> dict[str, Page]:
    page = address(call, name)
    return {
        path: alice.get(path)
        for path in (
            *("/console/keys", "/console/keys?q=nothing", "/console/keys/new", "/console/audit", "/console/sign-in"),
            *(page, f"{page}/edit", f"{page}/rotate", f"{page}/delete", f"{page}/x", "/console/nothing"),
        )
    }


def test_a6_every_page_is_whole_and_everything_on_it_has_a_name(
    alice: Visitor, mint: Callable[..., str], call: Callable[..., Any], app: Flask
) -> None:
    mint("child", by=mint("parent", scopes=["a:b", "c:d", "e:f"]))
    move(app, "parent", expires_at=ahead(days=3), last_used_at=ago(hours=1), last_used_ip="192.0.2.7")
    alice.submit(f"{address(call, 'parent')}/rotate")
    pages = every_page(alice, call, "parent")
    pages["created"] = alice.post("/console/keys", name="made")
    pages["wrong"] = alice.post("/console/keys", name="made")
    pages["foreign"] = alice.post("/console/keys", headers={})
    pages["refused"] = alice.post("/console/sign-in", token="x")
    assert {path: page.faults() for path, page in pages.items() if page.faults()} == {}
    titles = [
        page.all("title")[0].text
        for path, page in pages.items()
        if path not in ("/console/keys?q=nothing", "/console/nothing")
    ]
    assert len(titles) == len(set(titles))
    assert all(page.one("html").attributes["lang"] == "en" for page in pages.values())


@pytest.mark.parametrize("name", HOSTILE)
def test_c4_a_hostile_text_is_shown_as_a_text(
    alice: Visitor, call: Callable[..., Any], mint: Callable[..., str], name: str
) -> None:
    key = call("POST", "/v0/api_keys", json={"name": name, "description": name, "role": "write"}).json
    mint("child", by=key["api_key"])
    page = f"/console/keys/{key['id']}"
    for path in ("/console/keys", page, f"{page}/edit", f"{page}/rotate", f"{page}/delete", "/console/audit"):
        found = alice.get(path)
        assert found.faults() == []
        assert not found.all("img")
        assert not [element for element in found.all("b") if element.text == "bold"]
        assert any(element.text == name for element in found.all("bdi")) or path.endswith("edit"), path
    assert alice.get(f"{page}/edit").one("input", name="name").attributes["value"] == name
    searched = alice.get("/console/keys", query_string={"q": name})
    assert searched.one("input", name="q").attributes["value"] == name
    assert searched.faults() == []


def test_c4_a_hostile_owner_and_tenant_are_shown_as_texts(sign_in: Callable[..., Visitor]) -> None:
    visitor = sign_in(owner="<b>bold</b>", tenant='"><img src=x>')
    visitor.post("/console/keys", name="laptop")
    for path in ("/console/keys", "/console/audit"):
        page = visitor.get(path)
        assert page.faults() == []
        assert [element.text for element in page.all("bdi")].count("<b>bold</b>") >= 2


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_a_style_or_a_script_in_it(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"\sstyle=|\son[a-z]+=|javascript:|\|safe|<style|autoescape", text)
    assert re.findall(r"<script(?![^>]*src=)", text) == []
    assert re.findall(r"https?://", text) == []


def test_p5_every_file_is_our_own() -> None:
    assert {path.name for path in files.HERE.iterdir()} == set(files.FILES)
    for path in files.HERE.iterdir():
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|copyright|licen[cs]e|@import", path.read_text(), re.I)


def test_a5_the_theme_is_in_the_first_byte_and_stays(alice: Visitor) -> None:
    assert alice.get("/console/keys").one("html").attributes["data-theme"] == "system"
    assert alice.post("/console/theme", theme="dark", back="/console/audit").location == "/console/audit"
    assert alice.get("/console/keys").one("html").attributes["data-theme"] == "dark"
    [pressed] = [
        button for button in alice.get("/console/keys").all("button") if button.attributes.get("aria-pressed") == "true"
    ]
    assert pressed.text == "Dark"
    alice.post("/console/theme", theme="<x>")
    assert alice.get("/console/keys").one("html").attributes["data-theme"] == "dark"


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "Nowhere/Land", "../../etc/passwd", "/etc/passwd", "x" * 3000, "é", ""]
)
def test_times_are_the_readers_own(alice: Visitor, mint: Callable[..., str], zone: str) -> None:
    mint("laptop")
    alice.client.set_cookie("keyhook_zone", zone, path="/console")
    page = alice.get("/console/audit")
    assert page.status == 200
    assert f"times in {zone if zone == 'Europe/Berlin' else 'UTC'}" in page.words


def test_under_a_mount_path_every_address_begins_with_it(app: Flask, token: Callable[..., str]) -> None:
    visitor = Visitor(app.test_client())
    around = {"SCRIPT_NAME": "/keys"}
    door = Page(visitor.client.get("/console/keys", environ_overrides=around))
    assert door.location.startswith("/keys/console/sign-in?next=")
    answer = visitor.client.post(
        "/console/sign-in",
        data={"token": token(), "next": "/console/audit"},
        headers={"Origin": "http://localhost"},
        environ_overrides=around,
    )
    assert answer.headers["Location"] == "/keys/console/audit"
    page = Page(visitor.client.get("/console/keys", environ_overrides=around))
    links = [
        element.attributes[name]
        for element in page.reader.elements
        for name in ("href", "action", "src")
        if name in element.attributes
    ]
    assert [link for link in links if not link.startswith(("/keys/", "?", "#"))] == []


def test_spans_and_numbers_in_words() -> None:
    assert [relative(ahead(seconds=s)) for s in (10, 61, 3700, 86500, 3 * 86400 + 60)] == [
        "in a moment", "in 1 minute", "in 1 hour", "in 1 day", "in 3 days",
    ]  # fmt: skip
    assert [relative(ago(seconds=s)) for s in (1, 65, 7300, 400 * 86400)] == [
        "just now", "1 minute ago", "2 hours ago", "1 year ago",
    ]  # fmt: skip
    assert [short(n) for n in (0, 9999, 12_345, 1_234_567)] == ["0", "9,999", "12k", "1.2M"]
    assert [span(s) for s in (1, 90, 3600, 86_400, 604_800, 3660)] == [
        "1 second", "90 seconds", "1 hour", "24 hours", "7 days", "61 minutes",
    ]  # fmt: skip
