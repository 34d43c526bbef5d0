"""The life that a key gets when it names none, and the longest one that it can have."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from errors import StartupError
from formats.durations import read_duration, write_duration
from formats.times import timestamp
from identity.tokens import make_token
from runtime.settings import load

NEAR = timedelta(seconds=30)


def ends(span: timedelta) -> str:
    return timestamp(datetime.now(UTC) + span)


class Service:
    def __init__(self, app: Flask) -> None:
        self.app, self.client = app, app.test_client()
        self.token = make_token(
            app.extensions["keyhook"].settings.secret_key, "alice", "admin", "default", timedelta(1)
        )

    def ask(self, method: str, path: str, by: str = "", **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {by or self.token}"}
        return self.client.open(path, method=method, json=body or None, headers=headers)

    def mint(self, name: str = "laptop", by: str = "", **members: Any) -> str:
        made = self.ask("POST", "/v0/api_keys", by=by, name=name, **members)
        assert made.status_code == 201, made.text
        return str(made.json["api_key"])

    def end(self, name: str = "laptop") -> timedelta | None:
        shown = self.ask("GET", f"/v0/api_keys/{name}").json["expires_at"]
        return datetime.fromisoformat(shown) - datetime.now(UTC) if shown else None


@pytest.fixture
def service(app: Flask, make_app: Callable[..., Flask], data_dir: Path) -> Callable[..., Service]:
    def make(default: str | None = None, most: str | None = None) -> Service:
        return Service(make_app(data_dir, KEYHOOK_DEFAULT_LIFETIME=default, KEYHOOK_MAX_LIFETIME=most))

    return make


def about(actual: timedelta | None, wanted: timedelta) -> bool:
    return actual is not None and abs(actual - wanted) < NEAR


def test_without_settings_a_key_lives_for_ever(service: Callable[..., Service]) -> None:
    made = service()
    made.mint()
    assert made.end() is None


@pytest.mark.parametrize(
    ("default", "most", "days"), [("90d", None, 90), (None, "30d", 30), ("2w", "30d", 14), ("30d", "30d", 30)]
)
def test_a_key_that_names_no_end_gets_the_usual_one(
    service: Callable[..., Service], default: str | None, most: str | None, days: int
) -> None:
    made = service(default, most)
    made.mint()
    assert about(made.end(), timedelta(days=days))


def test_with_a_default_alone_null_is_for_ever(service: Callable[..., Service]) -> None:
    made = service("90d")
    made.mint(expires_at=None)
    assert made.end() is None


@pytest.mark.parametrize("wanted", [None, timedelta(days=31), timedelta(days=30, minutes=1)])
def test_too_long_a_life_is_refused(service: Callable[..., Service], wanted: timedelta | None) -> None:
    made = service(most="30d")
    end = ends(wanted) if wanted else None
    made.mint()
    before = made.end()
    for answer in (
        made.ask("POST", "/v0/api_keys", name="x", expires_at=end),
        made.ask("PATCH", "/v0/api_keys/laptop", expires_at=end),
    ):
        assert (answer.status_code, answer.json["error_code"]) == (400, "ValidationError")
        assert answer.json["details"] == {"expires_at": ["Must be at most 30d from now."]}
    assert before is not None
    assert about(made.end(), before)
    made.mint("y", expires_at=ends(timedelta(days=30)))


def test_a_key_of_before_is_changed_otherwise_as_it_is(service: Callable[..., Service]) -> None:
    service().mint()
    made = service(most="30d")
    assert made.ask("PATCH", "/v0/api_keys/laptop", description="x").status_code == 200
    assert made.end() is None


def test_a_child_gets_the_earlier_of_its_parents_end_and_the_usual_one(service: Callable[..., Service]) -> None:
    made = service("90d")
    short, long = made.mint("short", expires_at=ends(timedelta(days=7))), made.mint("long", expires_at=None)
    made.mint("of short", by=short)
    made.mint("of long", by=long)
    assert about(made.end("of short"), timedelta(days=7))
    assert about(made.end("of long"), timedelta(days=90))
    refused = made.ask("POST", "/v0/api_keys", by=short, name="x", expires_at=ends(timedelta(days=8)))
    assert refused.json["error_code"] == "ExpiryExceedsCreator"


def test_the_command_line_obeys(service: Callable[..., Service]) -> None:
    made = service("7d", "30d")
    runner = made.app.test_cli_runner()
    assert runner.invoke(args=["keys", "create", "a"]).exit_code == 0
    assert about(made.end("a"), timedelta(days=7))
    assert runner.invoke(args=["keys", "create", "b", "--expires-in", "30d"]).exit_code == 0
    refused = runner.invoke(args=["keys", "create", "c", "--expires-in", "31d"])
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "at most 30d from now" in refused.stderr


@pytest.mark.parametrize("name", ["KEYHOOK_DEFAULT_LIFETIME", "KEYHOOK_MAX_LIFETIME"])
@pytest.mark.parametrize("value", ["", "0d", "90", "d", "-1d", "1.5d", "90 d", "1y", "36501d", "9" * 30 + "w"])
def test_what_is_no_lifetime_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(StartupError, match=name):
        load({name: value})


def test_a_default_beyond_the_most_stops_the_start() -> None:
    with pytest.raises(StartupError, match="KEYHOOK_DEFAULT_LIFETIME must not be longer than KEYHOOK_MAX_LIFETIME"):
        load({"KEYHOOK_DEFAULT_LIFETIME": "31d", "KEYHOOK_MAX_LIFETIME": "30d"})


@pytest.mark.parametrize("text", ["1s", "90s", "1m", "90d", "36h", "2w", "15d"])
def test_a_duration_is_written_as_it_is_read(text: str) -> None:
    span = read_duration(text)
    assert span is not None
    assert write_duration(span) == text
