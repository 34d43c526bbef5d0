"""Inside another program: its routes, its hooks and its logging, as Flask's users expect them to work."""

import errno
import io
import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, after_this_request
from flask.testing import FlaskClient

import envelope
from auth import public


def by_route(app: Flask) -> None:
    @app.route("/open")
    @app.route("/again")
    def view() -> str:
        return "secret"


def by_rule(app: Flask) -> None:
    app.add_url_rule("/open", "open", lambda: "secret")


def by_endpoint(app: Flask) -> None:
    app.add_url_rule("/open", "open")

    @app.endpoint("open")
    def view() -> str:
        return "secret"


def by_hand(app: Flask) -> None:
    app.add_url_rule("/open", "open")
    app.view_functions["open"] = lambda: "secret"


@pytest.mark.parametrize("add", [by_route, by_rule, by_endpoint, by_hand])
def test_a_view_that_states_no_access_answers_nothing(
    app: Flask, client: FlaskClient, add: Callable[[Flask], None]
) -> None:
    add(app)
    response = client.get("/open")
    assert response.status_code == 500
    assert "secret" not in response.text


def test_a_view_may_say_how_long_to_keep_it_and_hooks_run(app: Flask, client: FlaskClient) -> None:
    seen: list[str] = []
    app.before_request(lambda: seen.append("before"))

    @app.get("/status")
    @public
    def status() -> Response:
        @after_this_request
        def note(response: Response) -> Response:
            response.call_on_close(lambda: seen.append("closed"))
            return response

        return Response("fine", headers={"Cache-Control": "max-age=60"})

    with client.get("/status") as response:
        assert (response.status_code, response.headers.get_all("Cache-Control")) == (200, ["max-age=60"])
    assert seen == ["before", "closed"]


def test_our_own_answers_say_when_they_are_sent(app: Flask, call: Callable[..., Any]) -> None:
    seen: list[str] = []

    @app.after_request
    def note(response: Response) -> Response:
        response.call_on_close(lambda: seen.append("closed"))
        return response

    with call("GET", "/v0/auth") as response:
        assert response.status_code == 200
        assert response.json["owner"] == "alice"
    assert seen == ["closed"]


def our_terminal(monkeypatch: pytest.MonkeyPatch) -> envelope.Terminal:
    """Our own handler alone, as where nobody has configured the logger; asked for in a test, or pytest adds its own."""
    handler = envelope.Terminal()
    monkeypatch.setattr(envelope.log, "handlers", [handler])
    monkeypatch.setattr(envelope.log, "propagate", False)
    monkeypatch.setattr(envelope.log, "filters", [])
    return handler


def test_an_access_line_looks_like_a_record(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = our_terminal(monkeypatch)
    call("GET", "/v0/auth")
    straight = capsys.readouterr().err
    terminal.addFilter(lambda record: True)  # from now on through a record
    call("GET", "/v0/auth")
    words = [line.split() for line in (straight, capsys.readouterr().err)]
    assert words[0][1:5] + words[0][6:7] == ["INFO", "GET", "/v0/auth", "200", "who=jwt:alice"]
    assert words[1][1:5] + words[1][6:7] == words[0][1:5] + words[0][6:7]
    assert len(words[0]) == len(words[1]) == 8


def test_what_is_configured_afterwards_counts(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = our_terminal(monkeypatch)
    changes: list[Callable[[], Any]] = [
        lambda: terminal.addFilter(lambda record: False),
        lambda: envelope.log.addFilter(lambda record: False),
        lambda: terminal.setLevel(logging.ERROR),
    ]
    for change in changes:
        change()
        call("GET", "/v0/auth")
        assert capsys.readouterr().err == ""
        terminal.filters, envelope.log.filters = [], []
    terminal.setLevel(logging.NOTSET)
    terminal.setFormatter(logging.Formatter("mine: %(message)s"))
    call("GET", "/v0/auth")
    assert capsys.readouterr().err.startswith("mine: GET /v0/auth 200")


def test_a_log_that_cannot_be_written_refuses_nothing(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = our_terminal(monkeypatch)
    for stream in (None, io.StringIO(), Full()):
        terminal.stream = stream  # type: ignore[assignment]
        if type(stream) is io.StringIO:
            stream.close()
        assert call("GET", "/v0/auth").status_code == 200


class Full(io.StringIO):
    """What a file on a full disk does."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")
