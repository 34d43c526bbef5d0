"""`metadata`: notes of the operator, shown and never judged."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskCliRunner

Call = Callable[..., Any]
Mint = Callable[..., str]
NOTES = {"team": "home", "a.b_c-d": "ü 日本\n", "empty": ""}


def test_they_are_kept_and_shown(call: Call, mint: Mint) -> None:
    mint("laptop", metadata=NOTES)
    assert call("GET", "/v0/api_keys/laptop").json["metadata"] == NOTES
    assert call("GET", "/v0/api_keys").json[0]["metadata"] == NOTES
    changed = call("PATCH", "/v0/api_keys/laptop", json={"metadata": {"x": "y"}})
    assert changed.json["metadata"] == {"x": "y"}
    assert call("GET", "/v0/audit").json[0]["details"] == {"metadata": {"from": NOTES, "to": {"x": "y"}}}


def test_the_same_in_another_order_is_no_change(call: Call, mint: Mint) -> None:
    mint("laptop", metadata=NOTES)
    call("PATCH", "/v0/api_keys/laptop", json={"metadata": dict(reversed(NOTES.items()))})
    assert call("GET", "/v0/audit").json[0]["action"] == "key.created"


@pytest.mark.parametrize(
    "notes",
    [
        *[[], "a", None, {"A": "x"}, {"": "x"}, {"a b": "x"}, {"a" * 41: "x"}, {"a": "x" * 201}, {"a": 1}],
        *[{"a": None}, {"a": "\0"}, {"a\n": "x"}, {str(number): "x" for number in range(21)}],
    ],
)
def test_other_notes_are_refused(call: Call, notes: Any) -> None:
    response = call("POST", "/v0/api_keys", json={"name": "x", "metadata": notes})
    assert response.json["error_code"] == "ValidationError"
    assert list(response.json["details"]) == ["metadata"]


def test_a_child_has_none_of_its_parent(call: Call, mint: Mint) -> None:
    mint("child", by=mint("parent", metadata=NOTES))
    assert call("GET", "/v0/api_keys/child").json["metadata"] == {}


def test_the_command_line_gives_all_of_it(call: Call, runner: FlaskCliRunner) -> None:
    done = runner.invoke(
        args=[
            *["keys", "create", "nas", "--host", "*.example.com", "--host", "a.com", "--network", "192.0.2.0/24"],
            *["--rate-limit", "100/1m", "--metadata", "team=home", "--metadata", "url=a=b"],
        ]
    )
    assert done.exit_code == 0, done.stderr
    shown = call("GET", "/v0/api_keys/nas").json
    assert (shown["hosts"], shown["networks"]) == (["*.example.com", "a.com"], ["192.0.2.0/24"])
    assert shown["rate_limit"] == {"requests": 100, "seconds": 60}
    assert shown["metadata"] == {"team": "home", "url": "a=b"}


@pytest.mark.parametrize(
    ("option", "value", "status"),
    [
        *[("--rate-limit", "100", 2), ("--rate-limit", "x/1m", 2), ("--rate-limit", "1/1", 2), ("--metadata", "x", 2)],
        *[("--rate-limit", "0/1m", 1), ("--rate-limit", "1/2d", 1), ("--metadata", "A=b", 1), ("--host", "A.com", 1)],
        ("--network", "192.0.2.7/24", 1),
    ],
)
def test_what_makes_no_sense_is_refused_there_too(runner: FlaskCliRunner, option: str, value: str, status: int) -> None:
    assert runner.invoke(args=["keys", "create", "nas", option, value]).exit_code == status
