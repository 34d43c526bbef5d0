"""The demands of a list of keys and of the audit: each narrows it, all must be met, and the pages keep them."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.keys.test_life import follow
from tests.rows import ago, move

Call = Callable[..., Any]
Mint = Callable[..., str]
FAR, SOON = "2098-01-01T00:00:00Z", "2097-01-01T00:00:00Z"

CHOSEN = {
    "status=active": "a b c",
    "status=disabled": "d",
    "status=expired": "e",
    "owner=alice": "a b c d e",
    "owner=ALICE": "",
    "owner=%00": "",
    "scope=photos:read": "b",
    "scope=PHOTOS:read": "",
    "scope=photos": "c",
    "search=tv%20LIVING": "b",
    "search=photos": "",
    "search=%25": "",
    "expires_before=2097-06-01T00:00:00Z": "c e",
    "unused_since=2000-01-01T00:00:00Z": "",
    "unused_since=2090-01-01T00:00:00Z&scope=photos": "c",
}


@pytest.fixture
def five(app: Flask, mint: Mint, call: Call) -> None:
    mint("a")
    mint("b", scopes=["photos:read"], description="TV in the living room", expires_at=FAR)
    mint("c", scopes=["photos"], expires_at=SOON)
    mint("d")
    call("PATCH", "/v0/api_keys/d", json={"disabled": True})
    mint("e", expires_at=SOON)
    move(app, "e", expires_at=ago(days=1))


@pytest.mark.parametrize("query", CHOSEN)
def test_each_demand_narrows_the_list(five: None, call: Call, query: str) -> None:
    response = call("GET", f"/v0/api_keys?{query}")
    assert (response.status_code, " ".join(key["name"] for key in response.json)) == (200, CHOSEN[query])


def test_a_key_is_found_by_its_whole_id(five: None, call: Call) -> None:
    key_id = call("GET", "/v0/api_keys/c").json["id"]
    assert [key["name"] for key in call("GET", f"/v0/api_keys?search={key_id}").json] == ["c"]
    assert call("GET", f"/v0/api_keys?search={key_id[:-1]}").json == []


@pytest.mark.parametrize(
    "query",
    ["status=off", "status=", "owner=", "scope=", "expires_before=soon", "unused_since=90d", "statuses=active"],
)
def test_a_demand_that_makes_no_sense_is_refused(call: Call, query: str) -> None:
    assert call("GET", f"/v0/api_keys?{query}").json["error_code"] == "ValidationError"


def test_the_pages_keep_the_demands(five: None, call: Call) -> None:
    pages = follow(call, "/v0/api_keys?status=active&owner=alice&limit=2")
    assert [[key["name"] for key in page] for page in pages] == [["a", "b"], ["c"]]


def test_the_audit_is_followed_oldest_first(five: None, call: Call) -> None:
    everything = call("GET", "/v0/audit").json[::-1]
    pages = follow(call, "/v0/audit?after=0&limit=4")
    assert [entry for page in pages for entry in page] == everything
    assert call("GET", f"/v0/audit?after={everything[-1]['id']}").json == []
    assert call("GET", "/v0/audit?after=1&before=2").json["details"] == {"after": ["Not together with before."]}


def test_each_demand_narrows_the_audit(five: None, call: Call) -> None:
    key_id = call("GET", "/v0/api_keys/d").json["id"]
    assert [entry["action"] for entry in call("GET", f"/v0/audit?key_id={key_id}").json] == [
        "key.updated",
        "key.created",
    ]
    assert [entry["key_name"] for entry in call("GET", "/v0/audit?action=key.updated&owner=alice").json] == ["d"]
    assert call("GET", "/v0/audit?owner=bob").json == []
    assert call("GET", "/v0/audit?action=key.lost").json["error_code"] == "ValidationError"
