"""The gate in front of Flask and the plain view of its route give the same answers and lines in the log."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response
from werkzeug.test import TestResponse

from api import gate
from auth import public
from formats import api_key

NOBODY = api_key.write_key("kh", "0" * 32, "0" * 43)
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade"}
PREFLIGHT = {"X-Forwarded-Method": "OPTIONS", "Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}

# A question: its method, its query, its credential ("key", "token", another text, or none) and its other headers.
QUESTIONS: dict[str, tuple[str, str, str | None, dict[str, str]]] = {
    "key": ("GET", "", "key", {}),
    "token": ("GET", "", "token", {}),
    "head": ("HEAD", "", "key", {}),
    "post": ("POST", "", "key", {}),
    "unheard-of method": ("BREW", "", "key", {}),
    "small letters": ("get", "", "key", {}),
    "trace": ("TRACE", "", "key", {}),
    "nothing": ("GET", "", None, {}),
    "refused head": ("HEAD", "", None, {}),
    "unknown key": ("GET", "", NOBODY, {}),
    "no credential at all": ("GET", "", "x" * 9000, {}),
    "basic": ("GET", "challenge=basic", None, {}),
    "malformed basic": ("GET", "challenge=basic", None, {"Authorization": "Basic ?"}),
    "own header": ("GET", "", None, {"X-API-Key": NOBODY}),
    "scope": ("GET", "scope=a&scope=b", "key", {}),
    "missing scope": ("GET", "scope=z", "key", {}),
    "role": ("GET", "role=admin", "key", {}),
    "tenant": ("GET", "tenant=lab", "key", {}),
    "misspelt": ("GET", "scopes=a", "key", {}),
    "bytes": ("GET", "scope=%FF", "key", {}),
    "preflight": ("GET", "preflight=pass", None, PREFLIGHT),
    "websocket": ("GET", "", "key", UPGRADE),
    "strange host": ("GET", "", "key", {"Host": "a b"}),
}


@pytest.fixture
def front(app: Flask) -> Flask:
    return app


@pytest.fixture
def plain(make_app: Callable[..., Flask], data_dir: Path) -> Flask:
    """The same service inside a program with a hook on answers, so that the plain view answers."""
    app = make_app(data_dir)
    app.after_request(lambda response: response)
    return app


@pytest.fixture
def ask(mint: Callable[..., str], token: Callable[..., str]) -> Callable[..., TestResponse]:
    credentials: dict[str | None, str] = {
        "key": mint("größe", scopes=["a", "b"], expires_at="2099-01-01T00:00:00Z"),
        "token": token(),
    }

    def send(app: Flask, method: str, query: str, credential: str | None, headers: dict[str, str]) -> TestResponse:
        sent = {"X-Request-ID": "same", **headers}
        if credential:
            sent["Authorization"] = f"Bearer {credentials.get(credential, credential)}"
        return app.test_client().open("/v0/auth", method=method, query_string=query, headers=sent)

    return send


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
def test_the_gate_answers_as_the_view_does(
    front: Flask,
    plain: Flask,
    ask: Callable[..., TestResponse],
    question: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("keyhook"), "propagate", True)
    answers, lines = [], []
    for app in (front, plain):
        caplog.clear()
        response = ask(app, *question)
        answers.append((response.status, sorted(response.headers), response.data))
        lines.append([record.getMessage().split("ms ")[1] for record in caplog.records])
    assert answers[0] == answers[1]
    assert lines[0] == lines[1] != []


def test_flask_sees_no_question_unless_it_is_asked_to(front: Flask, plain: Flask, ask: Callable[..., Any]) -> None:
    seen: list[str] = []
    for name, app in {"front": front, "plain": plain}.items():

        def note(name: str = name) -> Response:
            seen.append(name)
            return Response("the view")

        app.view_functions["gate.auth"] = public(note)
    assert ask(front, "GET", "", "key", {}).json["key_name"] == "größe"
    assert ask(plain, "GET", "", "key", {}).text == "the view"
    assert seen == ["plain"]


@pytest.mark.parametrize("hook", ["before_request", "after_request", "teardown_request"])
def test_hooks_of_the_program_around_see_each_question(app: Flask, ask: Callable[..., Any], hook: str) -> None:
    seen: list[Any] = []
    ask(app, "GET", "", "key", {})

    def note(response: Response | None = None) -> Response | None:
        seen.append(hook)
        return response

    getattr(app, f"{hook}_funcs").setdefault(None, []).append(note if hook != "teardown_request" else seen.append)
    assert ask(app, "GET", "", "key", {}).status_code == 200
    assert len(seen) == 1


def test_a_fault_at_the_gate_is_an_answer(app: Flask, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "state_of", None)
    answer = ask(app, "GET", "", "key", {})
    assert (answer.status_code, answer.json["error_code"]) == (500, "InternalServerError")
