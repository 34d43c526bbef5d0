"""Lists of keys for people: search, filters, order, pages, families. Both databases give the same."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import insert

from errors import UnknownApiKeyId
from formats.times import timestamp
from identity.principal import Principal
from keys import catalog as module
from keys import search
from keys.catalog import Catalog, Query
from keys.family import Branch
from keys.sorting import ORDERS, order
from models import api_keys
from tests.rows import ago, transaction
from tests.statements import plan

Call = Callable[..., Any]
Mint = Callable[..., str]


def ahead(**span: float) -> str:
    return timestamp(datetime.now(UTC) + timedelta(**span))


@pytest.fixture
def catalog(app: Flask) -> Catalog:
    made: Catalog = app.extensions["keyhook"].catalog(Principal("jwt", "default", "alice", "read"))
    return made


def fill(app: Flask, *rows: dict[str, Any]) -> None:
    common = {"tenant": "default", "role": "read", "owner": "alice", "secret_hash": "-", "disabled": False}
    columns = dict.fromkeys(("expires_at", "last_used_at", "previous_until", "previous_hash"))
    texts = {"scopes": "", "description": "", "created_at": ago(days=1)}
    with transaction(app) as connection:
        for number, row in enumerate(rows):
            key_id = f"{number:08x}-0000-4000-8000-000000000000"
            connection.execute(insert(api_keys).values({**common, **columns, **texts, "id": key_id, **row}))


def found(catalog: Catalog, phrase: str = "", **query: Any) -> set[str]:
    return {row.name for row in catalog.find(Query(search.words(phrase), **query)).rows}


SEARCHES = {
    "": {"Grafana scraper", "100%_sure", "写真", "ÄPFEL", "other"},
    "grafana": {"Grafana scraper"},
    "SCRAPER gra": {"Grafana scraper"},
    "grafana nothing": set(),
    "monitoring": {"Grafana scraper"},
    "METRICS:read": {"Grafana scraper"},
    "bob": {"other"},
    "%": {"100%_sure"},
    "_": {"100%_sure"},
    "0%_s": {"100%_sure"},
    "/": {"other"},
    "\\": {"other"},
    "写真": {"写真"},
    "ÄPFEL": {"ÄPFEL"},
    "äpfel": set(),  # only A to Z are found in either case
    "pfel": {"ÄPFEL"},
    "00000003-0000-4000-8000-000000000000": {"ÄPFEL"},
    "\0": set(),
    "'; DROP TABLE api_keys; --": set(),
    "\u202e": set(),
    " ".join(["m"] * 5000): {"Grafana scraper"},
}


@pytest.mark.parametrize("phrase", SEARCHES)
def test_every_word_must_occur(app: Flask, catalog: Catalog, phrase: str) -> None:
    fill(
        app,
        {"name": "Grafana scraper", "scopes": "metrics:read", "description": "the monitoring VM"},
        {"name": "100%_sure", "owner": "zoe"},
        {"name": "写真", "owner": "みゆき"},
        {"name": "ÄPFEL", "owner": "zoe"},
        {"name": "other", "owner": "bob", "description": "a/b \\"},
        {"name": "Grafana of others", "tenant": "lab"},
    )
    assert found(catalog, phrase) == SEARCHES[phrase]


FILTERED: dict[str, dict[str, Any]] = {
    "forever": {},
    "long": {"expires_at": ahead(days=15), "last_used_at": ago(minutes=1)},
    "soon": {"expires_at": ahead(days=13), "last_used_at": ago(days=1)},
    "sooner": {"expires_at": ahead(days=2), "last_used_at": ago(days=1)},
    "soon, idle": {"expires_at": ahead(days=13), "last_used_at": ago(days=8)},
    "ended": {"expires_at": ago(days=1), "last_used_at": ago(days=2)},
    "off": {"disabled": True, "expires_at": ahead(days=3), "last_used_at": ago(days=1)},
    "off and ended": {"disabled": True, "expires_at": ago(days=3)},
    "idle": {"last_used_at": ago(days=91)},
    "never used": {"created_at": ago(days=91)},
    "in grace": {"previous_until": ahead(hours=2), "previous_hash": "-"},
    "after its grace": {"previous_until": ago(hours=2), "previous_hash": "-"},
}


def test_filters_agree_with_the_status_that_the_api_shows(app: Flask, catalog: Catalog, call: Call) -> None:
    fill(app, *({"name": name, **values} for name, values in FILTERED.items()), {"name": "theirs", "tenant": "lab"})
    shown = call("GET", "/v0/api_keys?limit=100").json
    by_status = {
        status: {key["name"] for key in shown if key["status"] == status}
        for status in ("active", "expired", "disabled")
    }
    wanted = {
        "": set(FILTERED),
        "no such filter": set(FILTERED),
        "expiring": {"soon", "sooner", "soon, idle"},
        "unused": {"idle", "never used"},
        **by_status,
    }
    assert {status: found(catalog, status=status) for status in wanted} == wanted
    counts = catalog.counts()
    assert counts.numbers == {status: len(names) for status, names in wanted.items() if status != "no such filter"}
    assert not counts.more
    assert catalog.counts(search.words("ended off")).numbers["disabled"] == 1


def test_keys_in_use_that_expire_soon_ask_for_attention(app: Flask, catalog: Catalog) -> None:
    assert catalog.attention() == (0, None, [])
    fill(app, *({"name": name, **values} for name, values in FILTERED.items()), {"name": "theirs", "tenant": "lab"})
    number, first, in_grace = catalog.attention()
    assert (number, first and first.name, [row.name for row in in_grace]) == (2, "sooner", ["in grace"])


def test_counts_stop_and_say_so(app: Flask, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNTED", 3)
    fill(app, *({"name": f"key {number}", "disabled": number > 3} for number in range(6)))
    assert catalog.counts() == ({"": 3, "active": 2, "expiring": 0, "unused": 0, "expired": 0, "disabled": 2}, True)
    assert not catalog.counts(("5",)).more


def pages(catalog: Catalog, query: Query) -> list[str]:
    """The names of all keys, page by page."""
    names, after = list[str](), ""
    for _ in range(100):
        listing = catalog.find(query._replace(after=after))
        names += [row.name for row in listing.rows]
        if listing.next is None:
            return names
        after = listing.next
    raise AssertionError("no last page")


@pytest.mark.parametrize("sort", [*ORDERS, "", "no such order"])
def test_following_the_next_page_shows_every_key_once(app: Flask, catalog: Catalog, sort: str) -> None:
    moments = [None, ago(days=3), ago(days=2), ahead(days=2), None, ago(days=3), None]
    rows: list[dict[str, Any]] = [
        {"name": f"{name} {number}", "expires_at": moment, "last_used_at": moment}
        for number, (name, moment) in enumerate(zip("bAzaéB写", moments, strict=True))
    ]
    fill(app, *rows, {"name": "theirs", "tenant": "lab"})
    everything = pages(catalog, Query(sort=sort, limit=100))
    assert sorted(everything) == sorted(row["name"] for row in rows)
    for limit in (1, 2, 3, 7):
        assert pages(catalog, Query(sort=sort, limit=limit)) == everything
    if sort in ORDERS and not sort.startswith("-"):
        assert pages(catalog, Query(sort=f"-{sort}")) == everything[::-1]
    firsts = {"name": "A 1", "used": "b 0", "expires": "A 1", "created": "b 0"}
    assert everything[0] == firsts.get(sort, everything[0])


def test_keys_that_come_and_go_meanwhile_make_no_key_appear_twice(catalog: Catalog, mint: Mint, call: Call) -> None:
    for name in ("a", "b", "c", "d"):
        mint(name)
    listing = catalog.find(Query(sort="name", limit=2))
    mint("aa")
    assert call("DELETE", "/v0/api_keys/b").status_code < 300
    assert [row.name for row in catalog.find(Query(sort="name", after=listing.next or "")).rows] == ["c", "d"]


def cursor(*values: Any) -> str:
    return urlsafe_b64encode(json.dumps(values).encode()).decode()


@pytest.mark.parametrize(
    "after",
    [
        *["nonsense", "=", "é", "\0", "\ud800", "W" * 5000, cursor(), cursor("name"), cursor("name", "a"), "W1tbW1tb"],
        *[cursor("used", "a", 1), cursor("name", 1, 1), cursor("name", None, 1), cursor("name", "a", "1")],
        *[cursor("name", "a", True), cursor("name", "a", 1.5), cursor("name", "a", -1), cursor("name", "a", 2**63)],
        *[cursor("name", "a\0", 1), cursor("name", "\ud800", 1), cursor(["name"], "a", 1), cursor({}, [], {})],
    ],
)
@pytest.mark.parametrize("sort", ["name", "-created"])
def test_a_cursor_that_is_none_is_the_first_page(app: Flask, catalog: Catalog, after: str, sort: str) -> None:
    fill(app, {"name": "a"}, {"name": "b"})
    assert len(catalog.find(Query(sort=sort, after=after)).rows) == 2


def test_a_key_is_found_by_its_id_in_its_own_tenant_alone(app: Flask, catalog: Catalog) -> None:
    fill(app, {"name": "mine"}, {"name": "theirs", "tenant": "lab"})
    mine = catalog.find(Query()).rows[0]
    assert catalog.by_id(mine.id) == mine
    for other in (mine.id.replace("0", "1", 1), mine.id.replace("00000000", "00000001"), "", "\0", "é", "x" * 5000):
        with pytest.raises(UnknownApiKeyId):
            catalog.by_id(other)


def test_scopes_in_use_are_the_most_frequent(app: Flask, catalog: Catalog) -> None:
    fill(
        app,
        *[{"name": f"key {number}", "scopes": f"b a scope:{number}"} for number in range(3)],
        {"name": "theirs", "scopes": "theirs", "tenant": "lab"},
    )
    assert catalog.scopes_in_use(2) == ["a", "b"]
    assert catalog.scopes_in_use() == ["a", "b", "scope:0", "scope:1", "scope:2"]


def outline(branches: Any) -> list[Any]:
    """The names of a tree; `None` for a deleted key."""

    def name(branch: Branch) -> str | None:
        return branch.row.name if branch.row else None

    return [(name(branch), outline(branch.minted)) if branch.minted else name(branch) for branch in branches]


def test_a_family_reaches_past_deleted_keys(catalog: Catalog, mint: Mint, call: Call) -> None:
    root = mint("root")
    one, two = mint("one", by=root), mint("two", by=root)
    gone = mint("gone", by=two)
    mint("below", by=gone)
    mint("too", by=gone)
    mint("last", by=one)
    mint("alone")
    assert call("DELETE", "/v0/api_keys/gone").status_code < 300
    ids = {row.name: row.id for row in catalog.find(Query()).rows}
    ours = catalog.family(ids["root"])
    assert outline(ours.branches) == [("one", ["last"]), ("two", [(None, ["below", "too"])])]
    assert set(ours.ids) == {ids[name] for name in ("one", "two", "below", "too", "last")}
    few = catalog.family(ids["root"], most=3)
    assert (outline(few.branches), len(few.ids)) == (["one", ("two", [(None, ["below"])])], 5)
    assert catalog.family(ids["alone"]) == ([], [])


def test_a_family_stays_within_its_tenant(app: Flask, mint: Mint, token: Callable[..., str]) -> None:
    root = mint("root", by=token(tenant="lab"))
    mint("child", by=root)
    ours, theirs = (
        app.extensions["keyhook"].catalog(Principal("jwt", tenant, "alice", "read")) for tenant in ("default", "lab")
    )
    key_id = next(row.id for row in theirs.find(Query()).rows if row.name == "root")
    assert len(theirs.family(key_id).ids) == 1
    assert ours.family(key_id) == ([], [])
    assert ours.history(10, key_id=key_id).rows == []


def test_the_history_of_a_key_outlives_it(catalog: Catalog, mint: Mint, call: Call) -> None:
    mint("laptop")
    mint("other")
    key_id = next(row.id for row in catalog.find(Query()).rows if row.name == "laptop")
    assert call("POST", "/v0/api_keys/laptop/rotate", json={}).status_code < 300
    assert call("DELETE", "/v0/api_keys/laptop").status_code < 300
    actions = [entry.action for entry in catalog.history(10, key_id=key_id).rows]
    assert actions == ["key.deleted", "key.rotated", "key.created"]
    assert len(catalog.history(2, key_id=key_id).rows) == 2


def test_an_order_knows_its_own_cursors_alone(app: Flask, catalog: Catalog) -> None:
    fill(app, {"name": "a"}, {"name": "b"})
    [_, last] = catalog.find(Query(sort="name")).rows
    assert catalog.find(Query(sort="name", after=order("name").cursor(last))).rows == []
    assert len(catalog.find(Query(sort="used", after=order("name").cursor(last))).rows) == 2


def test_a_search_and_its_counts_agree_however_many_keys_match(
    app: Flask, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(app, *({"name": f"{'even' if number % 2 == 0 else 'odd'} {number}"} for number in range(8)))
    for few in (10, 3):
        monkeypatch.setattr(module, "FEW", few)
        for phrase in ("even", "", "none"):
            asked = Query(search.words(phrase), "active", "name", limit=2)
            assert catalog.find_and_count(asked) == (catalog.find(asked), catalog.counts(asked.words))


def test_what_is_looked_up_by_id_does_not_read_the_keys_of_the_tenant(
    statements: Callable[[], list[str]], app: Flask, catalog: Catalog
) -> None:
    fill(app, {"name": "one"}, {"name": "two"})
    ids = [row.id for row in catalog.find(Query()).rows]
    statements()
    catalog.uses(ids)
    catalog.names(ids)
    catalog.family(ids[0])
    steps = [step for statement in statements() if "FROM api_keys" in statement for step in plan(app, statement)]
    assert steps
    assert not [step for step in steps if "tenant" in step and "ix_" in step]
