"""How often a key was used and refused, by day, as programs ask for it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from formats.api_key import write_key
from keys.uses import QUEUED, today
from tests.rows import sql
from tests.statements import Statements

Call = Callable[..., Any]


def usage(call: Call, days: int = 1, name: str = "laptop") -> list[tuple[int, int]]:
    response = call("GET", f"/v0/api_keys/{name}/usage?days={days}")
    assert response.status_code == 200, response.text
    return [(day["checks"], day["refused"]) for day in response.json]


def ask(call: Call, key: str, *queries: str, status: int = 200) -> None:
    for query in queries:
        assert call("GET", f"/v0/auth{query}", by=key).status_code == status


def test_a_good_check_counts_as_one(call: Call, mint: Call) -> None:
    key = mint("laptop")
    ask(call, key, "", "", "")
    assert usage(call) == [(3, 0)]


def test_a_refusal_counts_as_one_and_not_as_a_check(call: Call, mint: Call) -> None:
    key = mint("laptop")
    ask(call, key, "")
    ask(call, key, "?scope=a", "?role=admin", "?tenant=lab", status=403)
    assert usage(call) == [(1, 3)]
    call("PATCH", "/v0/api_keys/laptop", json={"disabled": True})
    ask(call, key, "", status=401)
    assert usage(call) == [(1, 4)]


def test_a_wrong_secret_counts_for_the_key_that_it_names(call: Call, mint: Call) -> None:
    mint("laptop")
    key_id = call("GET", "/v0/api_keys/laptop").json["id"]
    ask(call, write_key("kh", key_id, "0" * 43), "", status=401)
    assert usage(call) == [(0, 1)]


def test_a_key_that_nobody_has_is_counted_nowhere(call: Call, app: Flask) -> None:
    ask(call, write_key("kh", "0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11", "0" * 43), "", status=401)
    app.extensions["keyhook"].keys.last_use.settle()
    assert sql(app, "SELECT count(*) FROM uses") == [(0,)]


def test_introspection_counts_too(call: Call, mint: Call) -> None:
    key = mint("laptop")
    call("POST", "/v0/introspect", data={"token": key})
    call("PATCH", "/v0/api_keys/laptop", json={"disabled": True})
    call("POST", "/v0/introspect", data={"token": key})
    assert usage(call) == [(1, 1)]


def test_the_api_itself_counts(call: Call, mint: Call) -> None:
    key = mint("laptop", role="read")
    assert call("GET", "/v0/api_keys", by=key).status_code == 200
    assert call("POST", "/v0/api_keys", by=key, json={"name": "x"}).status_code == 403
    assert usage(call) == [(1, 1)]


def test_what_is_written_and_what_waits_add_up(app: Flask, call: Call, mint: Call) -> None:
    key = mint("laptop")
    for _ in range(2):
        ask(call, key, "", "")
        ask(call, key, "?scope=a", status=403)
        app.extensions["keyhook"].keys.last_use.settle()
    ask(call, key, "")
    assert usage(call) == [(5, 2)]
    assert sql(app, "SELECT counts, refused FROM uses") == [("4", "2")]


def test_a_refusal_on_the_day_after_leaves_no_debt(app: Flask, call: Call, mint: Call) -> None:
    key = mint("laptop")
    ask(call, key, "?scope=a", status=403)
    app.extensions["keyhook"].keys.last_use.settle()
    assert usage(call) == [(0, 1)]
    assert sql(app, "SELECT counts, refused FROM uses") == [("0", "1")]


def test_every_day_is_there_the_oldest_first(app: Flask, call: Call, mint: Call) -> None:
    key = mint("laptop")
    ask(call, key, "", "")
    app.extensions["keyhook"].keys.last_use.settle()
    before = (today() - timedelta(days=3)).isoformat()
    sql(app, "UPDATE uses SET through = :day, refused = '4 0 7'", day=before)
    ask(call, key, "")
    assert usage(call, 7) == [(0, 0), (0, 4), (0, 0), (2, 7), (0, 0), (0, 0), (1, 0)]
    days = call("GET", "/v0/api_keys/laptop/usage").json
    assert [day["date"] for day in days] == [(today() - timedelta(days=ago)).isoformat() for ago in range(29, -1, -1)]


def test_reading_it_writes_nothing(statements: Statements, app: Flask, call: Call, mint: Call) -> None:
    key = mint("laptop")
    ask(call, key, "", "")
    statements()
    usage(call)
    assert not [text for text in statements() if text.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE"))]


@pytest.mark.parametrize("query", ["days=0", "days=91", "days=", "days=x", "day=1"])
def test_other_numbers_of_days_are_refused(call: Call, mint: Call, query: str) -> None:
    mint("laptop")
    assert call("GET", f"/v0/api_keys/laptop/usage?{query}").json["error_code"] == "ValidationError"


def test_a_key_of_another_tenant_is_unknown(call: Call, mint: Call, token: Callable[..., str]) -> None:
    mint("laptop")
    answer = call("GET", "/v0/api_keys/laptop/usage", by=token(tenant="lab"))
    assert answer.json["error_code"] == "UnknownApiKey"


def test_a_flood_of_wrong_keys_at_any_door_waits_in_no_queue(app: Flask, call: Call, mint: Call) -> None:
    mint("laptop")
    wrong = write_key("kh", call("GET", "/v0/api_keys/laptop").json["id"], "0" * 43)
    for _ in range(QUEUED):
        call("POST", "/v0/revoke", by=None, data={"token": wrong})
    assert not app.extensions["keyhook"].keys.last_use._tally._refused
    assert usage(call) == [(0, QUEUED)]
