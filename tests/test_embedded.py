"""Inside another program: its routes, hooks and logging work as users of Flask expect."""

import errno
import functools
import io
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import pytest
import requests
from flask import Blueprint, Flask, Response, after_this_request, request, url_for
from flask.testing import FlaskClient
from flask.views import View
from sqlalchemy import func, select
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from api import openapi
from auth import public, requires
from formats import api_key
from keys import verification
from models import api_keys, db
from observability import logs
from tests.servers import SERVE, Server


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


def test_the_bare_view_under_a_guarded_one_answers_nothing(app: Flask, client: FlaskClient) -> None:
    def view() -> str:
        return "secret"

    guarded = requires("read")(view)
    app.add_url_rule("/bare", "bare", view)
    app.add_url_rule("/guarded", "guarded", guarded)
    app.add_url_rule("/wrapped", "wrapped", functools.wraps(guarded)(lambda: guarded()))
    assert [client.get(path).status_code for path in ("/bare", "/guarded", "/wrapped")] == [500, 401, 401]


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


def test_a_hook_may_answer_that_nothing_has_changed(app: Flask, call: Callable[..., Any]) -> None:
    @app.after_request
    def conditional(response: Response) -> Response:
        response.add_etag()
        response.make_conditional(request)
        return response

    first = call("GET", "/v0/api_keys")
    again = call("GET", "/v0/api_keys", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, first.text) == (200, "[]")
    assert (again.status_code, again.text, again.headers.get("Content-Type")) == (304, "", None)


def test_a_hook_may_answer_in_parts(app: Flask, call: Callable[..., Any]) -> None:
    @app.after_request
    def in_parts(response: Response) -> Response:
        response.response = (part for part in ["[", "]"])
        return response

    assert call("GET", "/v0/api_keys").text == "[]"


def test_the_host_of_the_request_is_known_and_may_be_limited(app: Flask, client: FlaskClient) -> None:
    @app.get("/link")
    @public
    def link() -> str:
        return url_for("link", _external=True)

    assert client.get("/link", headers={"Host": "keys.example.org"}).text == "http://keys.example.org/link"
    app.config["TRUSTED_HOSTS"] = ["keys.example.org"]
    assert client.get("/link", headers={"Host": "keys.example.org"}).status_code == 200
    assert client.get("/link", headers={"Host": "evil.example.org"}).status_code == 400


@pytest.mark.parametrize("mount", ["/keys", "/my keys"])
def test_the_addresses_in_an_answer_begin_with_where_it_is_mounted(
    app: Flask, token: Callable[..., str], mount: str
) -> None:
    client, headers = Client(DispatcherMiddleware(NotFound(), {mount: app})), {"Authorization": f"Bearer {token()}"}
    for name in ("a", "b"):
        made = client.post(f"{mount}/v0/api_keys", json={"name": name}, headers=headers)
        assert made.headers["Location"] == f"{quote(mount)}/v0/api_keys/{name}"
    for page in ("api_keys", "audit"):
        link = client.get(f"{mount}/v0/{page}?limit=1", headers=headers).headers["Link"]
        assert link.startswith(f"<{quote(mount)}/v0/{page}?limit=1&")
        assert client.get(link[1:].partition(">")[0], headers=headers).status_code == 200


def test_the_document_names_each_mount_as_its_server(app: Flask) -> None:
    inner = DispatcherMiddleware(NotFound(), {"/b c": app})
    client = Client(DispatcherMiddleware(app, {"/keys": app, "/a": inner}))
    for mount, server in {"/keys": "/keys", "": "/", "/a/b c": "/a/b%20c", "/a/b%20c": "/a/b%20c"}.items():
        document: Any = client.get(f"{mount}/openapi.json").json
        assert document["servers"] == [{"url": server}]
        assert client.get(f"{server.rstrip('/')}/healthz").status_code == 200
        assert document["paths"]["/healthz"]


def test_under_a_prefix_every_address_in_an_answer_leads_somewhere(serve: Callable[..., Server]) -> None:
    server = serve([*SERVE, "--url-prefix=/keyhook"])
    for name in ("a", "b"):
        made = server.call("POST", "/keyhook/v0/api_keys", json={"name": name})
        assert server.call("GET", made.headers["Location"]).json()["name"] == name
    rotated = server.call("POST", "/keyhook/v0/api_keys/a/rotate", json={})
    assert server.call("GET", rotated.headers["Location"]).json()["name"] == "a"
    for page in ("api_keys", "audit"):
        link = server.call("GET", f"/keyhook/v0/{page}?limit=1").links["next"]["url"]
        assert len(server.call("GET", link.removeprefix(server.url)).json()) == 1
    (base,) = server.call("GET", "/keyhook/openapi.json", by=None).json()["servers"]
    assert server.call("GET", f"{base['url']}/v0/auth").json()["owner"] == "alice"
    docs = server.call("GET", "/keyhook/docs", by=None)
    for address in re.findall(r'(?:href|src)="([^"]+)"', docs.text):
        assert requests.get(urljoin(docs.url, address), timeout=20).status_code == 200


def test_views_of_the_program_around_stay_out_of_the_document(app: Flask, client: FlaskClient, tmp_path: Path) -> None:
    page: Any = type("Page", (View,), {"dispatch_request": lambda self: "a page"})
    before = openapi.document(app)["paths"]
    app.add_url_rule("/page", view_func=public(page.as_view("page")))
    app.add_url_rule("/mine/<int:number>/<path:rest>", "mine", requires("read")(lambda number, rest: "mine"))
    app.add_url_rule("/unstated", "unstated", lambda: "secret")
    app.add_url_rule("/nowhere", "nowhere")
    app.register_blueprint(Blueprint("assets", __name__, static_folder=tmp_path, static_url_path="/assets"))
    assert client.get("/page").text == "a page"
    assert client.get("/mine/1/a/b").status_code == 401
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json["paths"] == before  # type: ignore[index]
    assert client.get("/unstated").status_code == 500


def test_folders_of_static_files_are_public(app: Flask, client: FlaskClient, tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text("body {}")
    (tmp_path.parent / "outside.css").write_text("secret")
    inner = Blueprint("inner", __name__, static_folder=tmp_path, static_url_path="/static")
    outer = Blueprint("outer", __name__, static_folder=tmp_path, static_url_path="/static", url_prefix="/outer")
    outer.register_blueprint(inner, url_prefix="/inner")
    app.register_blueprint(outer)
    app.static_folder = str(tmp_path)
    app.add_url_rule("/static/<path:filename>", endpoint="static", view_func=app.send_static_file)
    for folder in ("/outer/static", "/outer/inner/static", "/static"):
        with client.get(f"{folder}/style.css") as response:
            assert (response.status_code, response.data) == (200, b"body {}")
        for other in ("none.css", "../outside.css", "%2e%2e/outside.css"):
            assert client.get(f"{folder}/{other}").json["error_code"] == "NotFound"  # type: ignore[index]


def test_a_view_that_only_looks_like_static_files_answers_nothing(app: Flask, client: FlaskClient) -> None:
    class Files:
        def send_static_file(self, filename: str) -> str:
            return "secret"

    def send_static_file(filename: str) -> str:
        return "secret"

    app.add_url_rule("/a/<filename>", "a/static", send_static_file)
    app.add_url_rule("/b/<filename>", "b/static", Files().send_static_file)
    assert [client.get(path).status_code for path in ("/a/x", "/b/x")] == [500, 500]


def test_a_request_context_is_enough(app: Flask, token: Callable[..., str]) -> None:
    with app.test_request_context("/v0/api_keys", headers={"Authorization": f"Bearer {token()}"}):
        assert app.full_dispatch_request().status_code == 200


def test_sessions_of_the_program_around_end_with_the_request(app: Flask, client: FlaskClient) -> None:
    @app.get("/count")
    @public
    def count() -> str:
        return str(db.session.execute(select(func.count()).select_from(api_keys)).scalar())

    assert [client.get("/count").text for _ in range(3)] == ["0"] * 3
    assert len(db.session.registry.registry) == 0


def test_a_forked_process_serves_nothing(app: Flask, call: Callable[..., Any]) -> None:
    """SQLite's locks are not inherited, and writes without them can be lost."""
    assert call("POST", "/v0/api_keys", json={"name": "parent"}).status_code == 201
    child = os.fork()
    if child == 0:
        found = {call("GET", "/v0/api_keys").status_code, call("POST", "/v0/api_keys", json={"name": "x"}).status_code}
        os._exit(0 if found == {503} else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [key["name"] for key in call("GET", "/v0/api_keys").json] == ["parent"]


def our_terminal(monkeypatch: pytest.MonkeyPatch) -> logs.Terminal:
    """Our handler alone, as without configured logging. A test must ask for it, or pytest adds its own handler."""
    handler = logs.Terminal()
    monkeypatch.setattr(logs.log, "handlers", [handler])
    monkeypatch.setattr(logs.log, "propagate", False)
    return handler


def test_an_access_line_looks_like_a_record(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    our_terminal(monkeypatch)
    call("GET", "/v0/auth")
    straight = capsys.readouterr().err
    logs.access.info(straight.partition("INFO ")[2].rstrip())
    words = [line.split() for line in (straight, capsys.readouterr().err)]
    assert words[0][1:5] + words[0][6:7] == ["INFO", "GET", "/v0/auth", "200", "who=jwt:alice"]
    assert words[1][1:5] + words[1][6:7] == words[0][1:5] + words[0][6:7]
    assert len(words[0]) == len(words[1]) == 9


def test_a_trace_on_the_terminal_holds_no_credential(
    app: Flask,
    call: Callable[..., Any],
    mint: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    @app.get("/crash")
    @public
    def crash() -> str:
        raise RuntimeError(request.headers["Authorization"])

    key = mint()
    our_terminal(monkeypatch)
    assert call("GET", "/crash", by=key).status_code == 500
    trace = capsys.readouterr().err
    assert f"RuntimeError: Bearer {key[:35]}" in trace
    assert key[36:] not in trace


class Everything(logging.Handler):
    """A handler that keeps every part of its records."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(f"{logging.Formatter().format(record)} {vars(record)!r} {record.exc_info}")


@pytest.mark.parametrize("where", ["view", "hook", "record", "arguments", "stack"])
def test_no_handler_of_the_program_around_sees_a_credential(
    app: Flask, call: Callable[..., Any], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = Everything()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    key = api_key.write_key("kh", verification.new_id(), api_key.new_secret())

    def fail(*_: Any) -> Any:
        raise RuntimeError(f"trouble with {key}")

    if where == "view":
        app.get("/boom")(public(fail))
        assert call("GET", "/boom").status_code == 500
    elif where == "hook":
        app.after_request(fail)
        assert call("GET", f"/healthz/{key}").status_code == 500
    elif where == "record":
        logs.log.error("trouble with %s and %(x)s", key)
    elif where == "arguments":
        logs.log.error("trouble with %s", {"key": [key]})
    else:
        logs.log.error(f"trouble with {key}", stack_info=True)
    text = "\n".join(handler.seen)
    assert "trouble with" in text
    assert key[:35] in text
    assert key[36:] not in text


CONFIGURED: dict[str, tuple[Callable[[logs.Terminal], Any], str]] = {
    "filter of the handler": (lambda terminal: terminal.addFilter(lambda record: False), ""),
    "filter of the logger": (lambda terminal: logs.access.addFilter(lambda record: False), ""),
    "level of the handler": (lambda terminal: terminal.setLevel(logging.ERROR), ""),
    "level of the logger": (lambda terminal: logs.access.setLevel(logging.ERROR), ""),
    "formatter": (lambda terminal: terminal.setFormatter(logging.Formatter("mine: %(message)s")), "mine: GET /v0/auth"),
    "handler": (lambda terminal: logs.access.addHandler(logging.StreamHandler(sys.stdout)), "20"),
}


@pytest.mark.parametrize(("configure", "begins"), CONFIGURED.values(), ids=CONFIGURED.keys())
def test_what_is_configured_before_the_first_request_counts(
    call: Callable[..., Any],
    configure: Callable[[logs.Terminal], Any],
    begins: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal = our_terminal(monkeypatch)
    for name in ("handlers", "filters"):
        monkeypatch.setattr(logs.access, name, [*getattr(logs.access, name)])
    monkeypatch.setattr(logs.access, "level", logs.access.level)
    logs.access.manager._clear_cache()  # type: ignore[attr-defined]
    configure(terminal)
    call("GET", "/v0/auth")
    written = capsys.readouterr()
    assert written.err.startswith(begins)
    assert bool(written.err) == bool(begins)
    assert written.out.startswith("GET /v0/auth 200") == (begins == "20")


def test_every_record_comes_from_the_factory_of_the_program_around(
    call: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = logging.LogRecord(*args, **kwargs)
        record.trace = "abc"
        return record

    logging.setLogRecordFactory(factory)
    try:
        with caplog.at_level(logging.INFO):
            call("GET", "/v0/auth")
    finally:
        logging.setLogRecordFactory(logging.LogRecord)
    assert [(record.name, vars(record).get("trace")) for record in caplog.records] == [("keyhook.access", "abc")]


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
    """A file on a full disk."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")
