"""The pages of keys: what they show, what their forms do, and that the API agrees."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from formats import api_key
from formats.times import timestamp
from models import KeyRow
from tests.console.conftest import Visitor
from tests.console.pages import Page
from tests.outage import away
from tests.rows import ago, everything, move, sql
from tests.write_lock import write_lock

Call = Callable[..., Any]
Mint = Callable[..., str]

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><b>bold',
    "'; DROP TABLE",
    "نسخة احتياطية",
    "W" * 100,
    "🔑 key",
    "{{ 7*7 }}",
]


def ahead(**span: float) -> str:
    return timestamp(datetime.now(UTC) + timedelta(**span))


def address(call: Call, name: str) -> str:
    return f"/console/keys/{call('GET', f'/v0/api_keys/{name}').json['id']}"


def works(call: Call, key: str) -> bool:
    return bool(call("GET", "/v0/auth", by=key).status_code == 200)


def shown(page: Page) -> list[str]:
    """The names in the list."""
    cells = [cell for cell in page.all("td") if cell.attributes.get("class") == "name"]
    links = [link for link in page.all("a") if link.parent in cells]
    return [link.text for link in links]


def test_k1_the_first_key_is_made_from_the_empty_page(alice: Visitor, call: Call) -> None:
    empty = alice.get("/console/keys")
    assert "Create the first key" in empty.words
    assert "Nothing on the hook yet" in empty.words
    made = alice.submit("/console/keys", "/console/keys", name="laptop")
    assert made.status == 201
    key = made.secret()
    assert api_key.read_key(key)
    assert made.html.count(key) == 2  # once to be copied, once in the snippet of the environment
    assert works(call, key)
    assert call("GET", "/v0/auth", by=key).json["key_name"] == "laptop"


def test_k2_the_secret_is_on_no_other_page(alice: Visitor, call: Call) -> None:
    key = alice.post("/console/keys", name="laptop").secret()
    page = address(call, "laptop")
    pages = ("/console/keys", page, f"{page}/edit", f"{page}/rotate", f"{page}/delete", "/console/audit")
    assert not [path for path in pages if key[36:] in alice.get(path).html]


FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"name": "taken"}, "name", "There is already a key with this name."),
    ({"name": "a/b"}, "name", "A name has no slash"),
    ({"name": ".."}, "name", "A name has no slash"),
    ({"name": ""}, "name", "Give the key a name of at most 100 characters."),
    ({"name": " x"}, "name", "A name does not begin or end with a space."),
    ({"name": "x" * 101}, "name", "at most 100 characters"),
    ({"name": "a\tb"}, "name", "visible characters only"),
    ({"expires": "date", "date": "2020-01-01"}, "expires_at", "Choose a day in the future."),
    ({"expires": "date", "date": "tomorrow"}, "expires_at", "Choose a day."),
    ({"expires": "date", "date": ""}, "expires_at", "Choose a day."),
    ({"expires": "later"}, "expires_at", "Choose when the key ends."),
    ({"more_scopes": "photos:read !"}, "scopes", "A scope begins with a letter or digit"),
    ({"more_scopes": " ".join(f"s{n}" for n in range(51))}, "scopes", "at most 50 scopes"),
    ({"role": "admin"}, "role", "Choose what the key may do"),
    ({"description": "x" * 501}, "description", "at most 500 characters"),
]


@pytest.mark.parametrize(("given", "field", "sentence"), FIELDS)
def test_k4_what_is_wrong_is_said_at_its_field(
    alice: Visitor, mint: Mint, app: Flask, given: dict[str, Any], field: str, sentence: str
) -> None:
    mint("taken")
    before = everything(app)
    sent = {"name": "new", "description": "mine", "more_scopes": "a:b", "role": "write", "expires": "30d", **given}
    page = alice.post("/console/keys", **sent)
    assert page.status == 422
    assert page.one("title").text.startswith("Correct: ")
    [said] = [element for element in page.all("p") if element.attributes.get("id") == f"{field}-wrong"]
    assert sentence in said.text
    assert sentence in page.one("div", role="alert").text
    wrong = [element for element in page.reader.elements if element.attributes.get("aria-invalid") == "true"]
    assert wrong
    assert all(f"{field}-wrong" in element.attributes["aria-describedby"] for element in wrong)
    _, kept = page.form("/console/keys")
    for name, value in sent.items():
        assert kept.get(name) == value or (name, value) in (("expires", "later"), ("role", "admin")), name
    assert page.faults() == []
    assert everything(app) == before


def test_k4_a_form_takes_what_the_api_takes(alice: Visitor, call: Call) -> None:
    """One table, sent both ways; the names differ, since each is made twice."""
    values: list[dict[str, Any]] = [
        *(
            {"name": name}
            for name in ("a", " a", "a ", "a/b", ".", "é" * 99, "x" * 101, "a\u200bb", "", "🔑", *HOSTILE)
        ),
        *({"name": "s", "scopes": [scope]} for scope in ("photos:read", "-x", "é", "x" * 64, "x" * 65, "a/b.c_d-e")),
        *({"name": "d", "description": text} for text in ("x" * 500, "x" * 501, "a\nb", "\0", "\u2028")),
        *({"name": "r", "role": role} for role in ("read", "write", "admin", "")),
    ]
    for value in values:
        by_api = call("POST", "/v0/api_keys", json=value)
        if by_api.status_code == 201:
            call("DELETE", f"/v0/api_keys?id={by_api.json['id']}")
        form = {**value, "more_scopes": " ".join(value.get("scopes", []))}
        form.pop("scopes", None)
        page = alice.post("/console/keys", **form)
        assert (page.status, by_api.status_code) in ((201, 201), (422, 400)), value
        if page.status == 201:
            call("DELETE", f"/v0/api_keys?id={api_key.read_key(page.secret()).id}")  # type: ignore[union-attr]


def test_k5_a_key_has_what_was_chosen(alice: Visitor, call: Call) -> None:
    alice.submit("/console/keys/new", "/console/keys", name="untouched")
    alice.client.set_cookie("keyhook_zone", "Europe/Berlin", path="/console")
    tomorrow = datetime.now(UTC).date() + timedelta(days=2)
    choice: dict[str, Any] = {"role": "write", "scope": ["a:b", "c"], "more_scopes": "d, e a:b", "description": "mine"}
    alice.post("/console/keys", name="chosen", expires="date", date=tomorrow.isoformat(), **choice)
    alice.post("/console/keys", name="ever", expires="never")
    alice.post("/console/keys", name="month", expires="30d")
    untouched, chosen, ever, month = call("GET", "/v0/api_keys").json

    def days(key: dict[str, Any]) -> float:
        return (datetime.fromisoformat(key["expires_at"]) - datetime.now(UTC)).total_seconds() / 86400

    assert (untouched["role"], untouched["scopes"], untouched["description"]) == ("read", [], "")
    assert abs(days(untouched) - 90) * 86400 < 60
    assert abs(days(month) - 30) * 86400 < 60
    assert ever["expires_at"] is None
    assert (chosen["role"], chosen["scopes"], chosen["description"]) == ("write", ["a:b", "c", "d", "e"], "mine")
    assert re.fullmatch(rf"{tomorrow}T2[12]:59:59Z", chosen["expires_at"])
    assert chosen["owner"] == "alice"
    page = alice.get(address(call, "chosen"))
    for said in ("a:b", "list, create, change and delete keys", "mine", "23:59 CE", chosen["id"], chosen["hint"]):
        assert said in page.words


def test_k6_two_secrets_work_in_the_grace_and_one_form_rotates_once(alice: Visitor, mint: Mint, call: Call) -> None:
    old = mint("laptop")
    page = address(call, "laptop")
    action, fields = alice.get(f"{page}/rotate").form(f"{page}/rotate")
    assert fields["grace"] == "24"
    first = alice.post(action, **fields)
    assert first.status == 201
    assert works(call, old)
    assert works(call, first.secret())
    again = alice.post(action, **fields)
    assert (again.status, "Nothing was done" in again.words) == (409, True)
    assert [entry["action"] for entry in call("GET", "/v0/audit").json] == ["key.rotated", "key.created"]
    assert "Two secrets work" in alice.get(page).words
    assert "The old secret of laptop ends in 1 day." in alice.get("/console/keys").words
    assert "It ends with this rotation." in alice.get(f"{page}/rotate").words
    second = alice.submit(f"{page}/rotate", grace="0")
    assert [works(call, key) for key in (old, first.secret(), second.secret())] == [False, False, True]
    for bad in ("-1", "721", "x", ""):
        wrong = alice.submit(f"{page}/rotate", grace=bad)
        assert (wrong.status, "Choose a time of at most 30 days." in wrong.words) == (422, True)
    assert works(call, second.secret())


def test_k7_disabling_acts_on_the_next_check_in_another_process_too(
    alice: Visitor, mint: Mint, call: Call, make_app: Callable[..., Flask], data_dir: Path
) -> None:
    key, page, elsewhere = mint("laptop"), address(call, "laptop"), make_app(data_dir).test_client()
    for action, good, word in (
        ("disable", False, "Disabled"),
        ("disable", False, "Disabled"),
        ("enable", True, "Enabled"),
    ):
        done = alice.post(f"{page}/{action}")
        assert done.status == 303
        assert works(call, key) is good
        answer = elsewhere.get("/v0/auth", headers={"X-API-Key": key})
        assert (answer.status_code == 200) is good
        assert word in alice.get(done.location).words
    assert "Disabled." not in alice.get(f"{page}?done=disabled").words  # a link that says what is not so


def test_k7_what_a_person_disabled_no_key_enables(alice: Visitor, mint: Mint, call: Call) -> None:
    manager = mint("manager")
    mint("laptop", by=manager)
    alice.post(f"{address(call, 'laptop')}/disable")
    response = call("PATCH", "/v0/api_keys/laptop", json={"disabled": False}, by=manager)
    assert response.status_code == 403


@pytest.fixture
def offspring(mint: Mint, call: Call) -> dict[str, str]:
    """parent → (child → grandchild), (gone → orphan): the keys by name, without the one that is deleted."""
    parent = mint("parent")
    child = mint("child", by=parent)
    gone = mint("gone", by=parent)
    keys = {"parent": parent, "child": child, "grandchild": mint("grandchild", by=child)}
    keys["orphan"] = mint("orphan", by=gone)
    call("DELETE", "/v0/api_keys/gone")
    return keys


def test_k8_a_key_without_offspring_is_deleted_with_a_notice(alice: Visitor, mint: Mint, call: Call) -> None:
    key, page = mint("laptop"), address(call, "laptop")
    assert "Whoever uses this key is refused at once." in alice.get(f"{page}/delete").words
    done = alice.submit(f"{page}/delete")
    assert done.status == 303
    assert "laptop is deleted." in alice.get(done.location).words
    assert not works(call, key)
    assert alice.get(page).status == 404
    assert call("GET", "/v0/audit").json[0]["action"] == "key.deleted"


def test_k8_only_the_key_or_all_that_were_shown(alice: Visitor, call: Call, offspring: dict[str, str]) -> None:
    page = address(call, "parent")
    asked = alice.get(f"{page}/delete")
    for said in (
        "3 keys were minted with it",
        "child",
        "grandchild",
        "orphan",
        "deleted",
        "All 4 keys",
        "The 3 others",
    ):
        assert said in asked.words
    for typed in ("", "parents", "PARENT"):
        refused = alice.submit(f"{page}/delete", what="family", confirm=typed)
        assert (refused.status, "Nothing was deleted." in refused.words) == (422, True)
    assert all(works(call, key) for key in offspring.values())
    assert alice.submit(f"{page}/delete", what="family", confirm=" parent ").status == 303
    assert not any(works(call, key) for key in offspring.values())
    assert len([entry for entry in call("GET", "/v0/audit").json if entry["action"] == "key.deleted"]) == 5
    assert "and 3 keys that were minted with it" in alice.get("/console/audit").words


def test_k8_the_others_go_on_working(alice: Visitor, call: Call, offspring: dict[str, str]) -> None:
    page = address(call, "parent")
    assert "Minted with it" in alice.get(page).words
    assert alice.submit(f"{page}/delete", what="one").status == 303
    assert [works(call, key) for key in offspring.values()] == [False, True, True, True]
    assert "with a key that is deleted" in alice.get(address(call, "child")).words


@pytest.mark.parametrize("action", ["edit", "rotate", "delete"])
def test_k9_a_form_of_a_key_as_it_was_does_nothing(
    alice: Visitor, mint: Mint, call: Call, app: Flask, action: str
) -> None:
    mint("laptop")
    page = address(call, "laptop")
    target, fields = alice.get(f"{page}/{action}").form(f"{page}/{action}")
    call("PATCH", "/v0/api_keys/laptop", json={"description": "changed"})
    before = everything(app)
    stale = alice.post(target, **fields)
    assert (stale.status, "Somebody changed this key meanwhile" in stale.words) == (409, True)
    assert everything(app) == before


def test_k9_a_cascade_deletes_no_key_that_was_not_shown(alice: Visitor, call: Call, mint: Mint, offspring: Any) -> None:
    page = address(call, "parent")
    target, fields = alice.get(f"{page}/delete").form(f"{page}/delete")
    late = mint("late", by=offspring["child"])
    assert alice.post(target, **{**fields, "what": "family", "confirm": "parent"}).status == 409
    assert works(call, late)


def test_editing_changes_what_was_changed(alice: Visitor, mint: Mint, call: Call) -> None:
    ends = "2090-01-01T00:00:00Z"
    mint("laptop", scopes=["a:b"], role="write", expires_at=ends, description="old")
    mint("taken")
    page = address(call, "laptop")
    _, fields = alice.get(f"{page}/edit").form(f"{page}/edit")
    assert (fields["name"], fields["scope"], fields["role"], fields["expires"]) == ("laptop", ["a:b"], "write", "keep")
    assert alice.submit(f"{page}/edit", name="taken").status == 422
    assert alice.submit(f"{page}/edit").status == 303
    assert call("GET", "/v0/audit").json[0]["action"] == "key.created"  # nothing was changed, so nothing is told
    assert alice.submit(f"{page}/edit", name="tablet", more_scopes="c").status == 303
    key = call("GET", "/v0/api_keys/tablet").json
    assert (key["scopes"], key["expires_at"], key["description"]) == (["a:b", "c"], ends, "old")
    assert alice.submit(f"{page}/edit", expires="never").status == 303
    assert call("GET", "/v0/api_keys/tablet").json["expires_at"] is None
    _, fields = alice.get(f"{page}/edit").form(f"{page}/edit")
    assert fields["expires"] == "never"


def test_an_expired_key_gets_a_later_day_and_works_again(alice: Visitor, mint: Mint, call: Call, app: Flask) -> None:
    key = mint("laptop")
    move(app, "laptop", expires_at=ago(days=2))
    page = address(call, "laptop")
    assert "This key expired 2 days ago." in alice.get(page).words
    assert not works(call, key)
    assert alice.submit(f"{page}/edit", description="still old").status == 303
    assert alice.submit(f"{page}/edit", expires="30d").status == 303
    assert works(call, key)


def test_k10_search_filters_and_orders(alice: Visitor, mint: Mint, call: Call, app: Flask) -> None:
    for name in ("b-plain", "a-disabled", "c-expired", "d-unused", "e-soon"):
        mint(name, scopes=[f"{name[0]}:read"], description=f"About {name[2:].upper()}")
    call("PATCH", "/v0/api_keys/a-disabled", json={"disabled": True})
    move(app, "c-expired", expires_at=ago(days=1))
    move(app, "d-unused", created_at=ago(days=100))
    move(app, "e-soon", expires_at=ahead(days=3), last_used_at=ago(hours=1))

    def names(query: str) -> str:
        return "".join(name[0] for name in shown(alice.get(f"/console/keys?{query}")))

    assert names("") == "edcab"
    assert names("status=whatever&unknown=1&after=nonsense") == "edcab"
    filters = {"active": "edb", "disabled": "a", "expired": "c", "unused": "d", "expiring": "e"}
    assert {status: names(f"status={status}") for status in filters} == filters
    tabs = [link.text.strip() for link in alice.get("/console/keys").all("a") if "status=" in link.attributes["href"]]
    assert tabs == ["Active 3", "Expiring 1", "Unused 1", "Expired 1", "Disabled 1"]
    by_status = [key["status"] for key in call("GET", "/v0/api_keys").json]
    assert [by_status.count(status) for status in ("active", "expired", "disabled")] == [3, 1, 1]
    assert (names("sort=name"), names("sort=-name")) == ("abcde", "edcba")
    assert (names("sort=-used")[0], names("sort=expires")[:2], names("sort=created")) == ("e", "ce", "bacde")
    assert (names("q=SOON"), names("q=alice+d:read"), names("q=about+a"), names("q=zzz")) == ("e", "d", "edcab", "")
    key_id = call("GET", "/v0/api_keys/b-plain").json["id"]
    assert names(f"q={key_id}") == "b"
    nothing = alice.get("/console/keys?q=%3Cb%3E&status=expired").words
    assert "No key matches" in nothing
    assert "“<b>”" in nothing
    assert "Show all 5 keys" in nothing
    sorted_by = [head for head in alice.get("/console/keys?sort=-used").all("th") if head.attributes.get("aria-sort")]
    assert [(head.text.strip(), head.attributes["aria-sort"]) for head in sorted_by] == [("Last used", "descending")]


def test_k10_following_the_pages_shows_every_key_once(alice: Visitor, call: Call, app: Flask, mint: Mint) -> None:
    mint("key-000")
    row = dict(zip(*_columns(app), strict=True))
    for number in range(1, 120):
        _insert(app, {**row, "id": f"{number:08}-0000-4000-8000-000000000000", "name": f"key-{number:03}"})
    seen: list[str] = []
    page = alice.get("/console/keys?sort=name")
    assert "50 of 120" in page.words
    assert len(page.html.encode()) < 160_000
    while True:
        seen += shown(page)
        following = [link.attributes["href"] for link in page.all("a", rel="next")]
        if not following:
            break
        if len(seen) == 50:
            call("DELETE", "/v0/api_keys/key-010")
            mint("key-005b")
        page = alice.get(f"/console/keys{following[0]}")
    assert seen == [f"key-{number:03}" for number in range(120)]


def _columns(app: Flask) -> tuple[list[str], list[Any]]:
    names = [name for name in KeyRow._fields if name != "seq"]
    return names, list(sql(app, f"SELECT {', '.join(names)} FROM api_keys")[0])  # noqa: S608


def _insert(app: Flask, row: dict[str, Any]) -> None:
    sql(app, f"INSERT INTO api_keys ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})", **row)  # noqa: S608


def test_k11_a_key_in_the_search_is_cut_to_its_id(
    alice: Visitor, mint: Mint, token: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    key = mint("laptop")
    mint("other")
    for phrase in (key, f'"{key}"', f"KEY={key}"):
        answer = alice.get("/console/keys", query_string={"q": phrase, "status": "active"})
        assert answer.status == 303
        assert key[36:] not in answer.location + answer.html
        assert shown(alice.get(answer.location)) == ["laptop"]
    assert alice.get("/console/keys", query_string={"q": token()}).location == "/console/keys"
    assert key[36:] not in caplog.text


def test_k13_keys_in_use_that_end_soon_are_announced(alice: Visitor, mint: Mint, app: Flask) -> None:
    for name in ("one", "two", "idle", "later"):
        mint(name)
    for name, days, used in (("one", 3, 1), ("two", 5, 2), ("idle", 4, 30), ("later", 20, 1)):
        move(app, name, expires_at=ahead(days=days), last_used_at=ago(days=used))
    page = alice.get("/console/keys")
    assert "2 keys that are in use expire within 14 days, one in 3 days." in page.words
    [link] = [link for link in page.all("a") if "that are in use" in link.text]
    assert shown(alice.get(link.attributes["href"])) == ["one", "idle", "two"]
    move(app, "two", expires_at=None)
    assert "one is in use and expires in 3 days." in alice.get("/console/keys").words


def test_k15_the_audit_shows_every_change_once(alice: Visitor, call: Call, mint: Mint, app: Flask) -> None:
    manager = mint("manager")
    mint("laptop", by=manager, scopes=[])
    page = address(call, "laptop")
    alice.submit(f"{page}/edit", name="tablet", description="new", expires="never")
    alice.submit(f"{page}/rotate", grace="168")
    assert app.test_cli_runner().invoke(args=["keys", "disable", "tablet"]).exit_code == 0
    audit = alice.get("/console/audit")
    entries = [
        element for element in audit.all("li") if element.parent and element.parent.attributes.get("class") == "line"
    ]
    said = [re.sub(r"\s+", " ", entry.text).partition(" Ids")[0].partition(" ")[2].strip() for entry in entries]
    texts = [re.sub(r"^\d\d:\d\d ", "", text) for text in said]
    assert len(texts) == 5
    assert "on the command line changed tablet disabled: was no → yes" in texts[0]
    assert texts[1:3] == [
        "alice rotated tablet the old secret works for 7 days more",
        "alice changed tablet name: was laptop → tablet description: was nothing → new",
    ]
    assert texts[3] == "manager (a key of alice) created laptop"
    assert texts[4] == "alice with a token created manager"
    kinds = [entry["actor"]["kind"] for entry in call("GET", "/v0/audit").json]
    assert kinds == ["cli", "console", "console", "api_key", "jwt"]
    only = alice.get("/console/audit?action=key.rotated")
    assert "rotated" in only.words
    assert "disabled:" not in only.words
    of_one = alice.get(f"/console/audit?key={page.rpartition('/')[2]}")
    assert "Only what was done to tablet." in of_one.words
    assert "created manager" not in of_one.words
    assert "as alice" not in alice.get("/console/audit?before=x&action=y&key=%00").words


def test_k15_older_entries_follow(alice: Visitor, call: Call, mint: Mint) -> None:
    mint("laptop")
    for number in range(60):
        call("PATCH", "/v0/api_keys/laptop", json={"description": f"d{number}"})
    first = alice.get("/console/audit")
    [older] = [link.attributes["href"] for link in first.all("a", rel="next")]
    second = alice.get(f"/console/audit{older}")
    numbers = re.findall(r"→ d(\d+) ", first.words + " " + second.words)
    assert [int(number) for number in numbers] == list(range(59, -1, -1))
    assert "created laptop" in second.words


def test_f1_while_the_database_takes_no_writes_a_form_keeps_its_values(
    alice: Visitor, mint: Mint, call: Call, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.sqlite.write_queue.BUSY_TIMEOUT", 0.3)
    monkeypatch.setattr("storage.patience.PATIENCE", 0.8)
    key, page = mint("laptop"), address(call, "laptop")
    works(call, key)
    forms = {path: alice.get(path).form(path.removesuffix("/new")) for path in (f"{page}/edit", "/console/keys/new")}
    rotation = alice.get(f"{page}/rotate").form(f"{page}/rotate")
    with write_lock(data_dir / "keyhook.db"):
        for action, fields in forms.values():
            refused = alice.post(action, **{**fields, "name": "tablet", "description": "kept"})
            assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
            assert "The database does not answer." in refused.words
            assert refused.one("input", name="name").attributes["value"] == "tablet"
            assert refused.one("input", name="description").attributes["value"] == "kept"
        refused = alice.post(rotation[0], **{**rotation[1], "grace": "168"})
        assert (refused.status, "checked" in refused.one("input", name="grace", value="168").attributes) == (503, True)
        assert works(call, key)
    assert alice.post(rotation[0], **rotation[1]).status == 201
    assert call("GET", "/v0/api_keys").json[0]["name"] == "laptop"


def test_f1_without_a_database_a_page_says_so_and_all_is_well_afterwards(
    alice: Visitor, nobody: Visitor, app: Flask
) -> None:
    with away(app):
        for path in ("/console/keys", "/console/audit", "/console/keys/new"):
            page = alice.get(path)
            assert (page.status, page.headers["Retry-After"]) == (503, "5")
            assert "The database does not answer" in page.words
            assert page.faults() == []
        assert nobody.get("/console/sign-in").status == alice.get("/console/sign-in").status == 200
    assert alice.get("/console/keys").status == 200


def test_k12_uses_are_shown_in_the_list_and_on_the_page_of_the_key(
    alice: Visitor, mint: Mint, call: Call, app: Flask
) -> None:
    key = mint("laptop")
    mint("other")
    page = address(call, "laptop")
    assert "Not used yet." in alice.get(page).words
    for _ in range(12):
        works(call, key)
    assert "just now" in alice.get("/console/keys").words
    app.extensions["keyhook"].keys.last_use.settle()
    pictures = [svg.attributes["aria-label"] for svg in alice.get("/console/keys").all("svg", role="img")]
    assert pictures == ["0 uses in 30 days", "12 uses in 30 days"]
    shown = alice.get(page)
    assert "Uses in 30 days 12" in shown.words
    assert "From 127.0.0.1" in shown.words
    assert len(shown.all("rect")) == 30 + 2  # beside two of the icons
    assert f"{datetime.now(UTC):%d %b}: 12" in shown.words
    assert shown.faults() == []


def test_a_key_is_limited_as_it_is_filled_in(alice: Visitor, call: Call) -> None:
    limits: dict[str, Any] = {
        "hosts": "a.example.com, *.b.org",
        "networks": "192.0.2.0/24 2001:db8::1",
        "uses": "100",
        "seconds": "60",
    }
    alice.submit("/console/keys/new", "/console/keys", name="limited", **limits)
    key = call("GET", "/v0/api_keys/limited").json
    assert (key["hosts"], key["networks"]) == (["a.example.com", "*.b.org"], ["192.0.2.0/24", "2001:db8::1/128"])
    assert key["rate_limit"] == {"requests": 100, "seconds": 60}
    shown = alice.get(f"/console/keys/{key['id']}").html
    assert "*.b.org" in shown
    assert "100 uses in 60 seconds" in shown
    where = f"/console/keys/{key['id']}/edit"
    alice.submit(where, where, description="the camera")
    assert call("GET", "/v0/api_keys/limited").json | {"description": ""} == key
    alice.submit(where, where, hosts="", networks="", uses="")
    key = call("GET", "/v0/api_keys/limited").json
    assert (key["hosts"], key["networks"], key["rate_limit"]) == ([], [], None)


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({"hosts": "A.com"}, "A host is written as"),
        ({"networks": "192.0.2.7/24"}, "A network is written as"),
        ({"uses": "many"}, "Choose 1 to 1,000,000 uses"),
        ({"uses": "1", "seconds": "0"}, "Choose 1 to 1,000,000 uses"),
    ],
)
def test_limits_that_make_no_sense_come_back(alice: Visitor, sent: dict[str, Any], sentence: str) -> None:
    page = alice.post("/console/keys", name="x", **sent)
    assert page.status == 422
    assert sentence in page.one("div", role="alert").text
    assert page.faults() == []


def test_a_change_of_something_else_leaves_an_allowance_that_is_shared(alice: Visitor, call: Call, mint: Any) -> None:
    root = mint("root", rate_limit={"requests": 2, "seconds": 3600})
    child = mint("child", by=root)
    where = f"/console/keys/{call('GET', '/v0/api_keys/child').json['id']}/edit"
    alice.submit(where, where, description="x")
    answers = [call("GET", "/v0/auth", by=key).status_code for key in (root, child, child)]
    assert answers == [200, 200, 429]


def test_too_long_a_life_comes_back(alice: Visitor, app: Flask) -> None:
    state = app.extensions["keyhook"]
    state.settings = replace(state.settings, max_lifetime=timedelta(days=30))
    page = alice.post("/console/keys", name="x", expires="90d")
    assert page.status == 422
    assert "Must be at most 30d from now." in page.one("div", role="alert").text
    assert alice.post("/console/keys", name="x", expires="30d").status == 201
