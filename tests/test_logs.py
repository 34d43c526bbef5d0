"""One line a request, with why a credential was refused, and never with a credential."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from conftest import FLASK_RUN, WAITRESS

import credentials
from logs import loggable

LINE = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) INFO (?P<method>\S+) (?P<path>\S+) (?P<status>\d{3}) "
    r"(?P<ms>\d+\.\d)ms who=(?P<who>\S+) id=(?P<id>[A-Za-z0-9._-]+)(?P<reason> reason=.*)?"
)


@pytest.fixture
def server(serve: Callable[..., Any]) -> Any:
    return serve()


def last_line(server: Any) -> re.Match[str]:
    lines = server.log.read_text().splitlines()
    match = LINE.fullmatch(lines[-1])
    assert match, lines[-1]
    return match


def test_a_request_is_one_line(server: Any) -> None:
    key = server.mint("laptop")
    before = len(server.log.read_text().splitlines())
    response = server.call("GET", "/v0/auth", by=key, headers={"X-Request-ID": "abc-1"})
    line = last_line(server)
    assert len(server.log.read_text().splitlines()) == before + 1
    assert line.group("method", "path", "status", "who", "id") == ("GET", "/v0/auth", "200", "api_key:laptop", "abc-1")
    assert response.headers["X-Request-ID"] == "abc-1"
    server.call("GET", "/v0/api_keys")
    assert last_line(server)["who"] == "jwt:alice"
    server.call("GET", "/nowhere", by=None)
    assert last_line(server).group("who", "status") == ("-", "404")


def test_times_are_in_utc_wherever_the_server_stands(serve: Callable[..., Any], data_dir: Path) -> None:
    server = serve(TZ="EAST-9")
    (data_dir / "keyhook.db").rename(data_dir / "aside.db")
    assert server.call("GET", "/healthz", by=None).status_code == 503
    lines = [line.split(" ", 2) for line in server.log.read_text().splitlines()[-2:]]
    assert [level for _, level, _ in lines] == ["ERROR", "INFO"]  # a record, and the line of the request
    for moment, _, _ in lines:
        assert abs(datetime.now(UTC) - datetime.fromisoformat(moment)) < timedelta(hours=1)


def test_a_refusal_says_why_in_the_log_and_not_in_the_answer(server: Any) -> None:
    key = server.mint("k")
    disabled = server.mint("disabled")
    server.call("PATCH", "/v0/api_keys/disabled", json={"disabled": True})
    key_id = key.split("_")[1]
    reasons = {
        key[:-1] + ("0" if key[-1] != "0" else "1"): "malformed key",
        credentials.write_key("kh", "0" * 32, "0" * 43): "unknown key",
        credentials.write_key("kh", key_id, "0" * 43): "wrong secret",
        disabled: "disabled key",
        "x.y.z": "bad token: DecodeError",
        server.token()[:-4] + "AAAA": "bad token: InvalidSignatureError",
        "x" * 9000: "oversized credential",
    }
    for credential, why in reasons.items():
        response = server.call("GET", "/v0/auth", by=credential)
        assert response.status_code == 401
        assert last_line(server)["reason"] == f' reason="{why}"'
        if credential != disabled:
            assert response.json()["message"] == "The credential is not valid"
    server.call("GET", "/v0/auth", by=None)
    assert last_line(server)["reason"] == ' reason="no credential"'


def test_no_credential_is_ever_logged_wherever_it_stood(server: Any) -> None:
    key, token = server.mint("k"), server.token()
    parsed = credentials.read_key(key)
    assert parsed is not None
    for secret in (key, token):
        for path in (
            f"/{secret}", f"/v0/api_keys/{secret}", f"/v0/api_keys/{quote(quote(secret[:3] + '%'))}{secret}",
            f"/v0/api_keys?after={secret}", f"/v0/api_keys?{secret}=1", f"/v0/auth?scope={secret}",
            f"/v0/auth?role={secret}", f"/v0/api_keys/x%0A{secret}", f"/{secret[:-6]}",
            f"/x/Bearer%20{secret}", f"/%C3%A9{secret}", f"/x%20{secret}%C3%A9",
        ):  # fmt: skip
            response = server.call("GET", path, by=secret)
            if not path.startswith("/v0/api_keys/"):
                assert secret not in response.text
        server.call("GET", "/v0/auth", by=None, headers={"X-Request-ID": secret, "Authorization": secret})
        server.call("GET", "/v0/auth", by=None, headers={"X-API-Key": secret, "User-Agent": secret, "Cookie": secret})
        server.call("POST", "/v0/api_keys", json={"name": secret, secret: 1, "scopes": [secret]})
        server.call("POST", "/v0/introspect", data={"token": secret, secret: "1"})
        server.call(secret[:60].upper(), "/v0/api_keys", by=secret)
        server.call("GET", "/healthz", by=None, headers={"X-Request-ID": f"a.{secret}"})
    log = server.log.read_text()
    assert parsed.secret not in log
    assert parsed.secret[:20] not in log
    assert token.rpartition(".")[2] not in log
    assert token.split(".")[1] not in log
    assert "\nx" not in log


@pytest.mark.parametrize("member", ["query", "repeated", "body"])
def test_no_error_repeats_a_credential(call: Callable[..., Any], mint: Callable[..., str], member: str) -> None:
    key = mint()
    if member == "body":
        response = call("POST", "/v0/api_keys", json={"name": "x", key: 1})
    else:
        response = call("GET", f"/v0/api_keys?{key}=1" + (f"&{key}=2" if member == "repeated" else ""))
    assert response.status_code == 400
    assert key.split("_")[2] not in response.text


@pytest.mark.parametrize(
    ("text", "logged"),
    [
        ("/v0/api_keys/laptop", "/v0/api_keys/laptop"),
        ("a\nb", "a%0Ab"),
        ("a\x1b[31mb", "a%1B[31mb"),
        ("é", "%C3%A9"),
        ("a\u2028b", "a%E2%80%A8b"),
        (f"/kh_{'0' * 32}_{'x' * 51}", f"/kh_{'0' * 32}[redacted]"),
    ],
)
def test_what_is_logged_cannot_start_another_line(text: str, logged: str) -> None:
    assert loggable(text) == logged


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/a%20200%200.1ms%20who=jwt:root", "/a%20200%200.1ms%20who=jwt:root"),
        ("/v0/api_keys/Zo%C3%AB's%20laptop", "/v0/api_keys/Zo%C3%AB's%20laptop"),
        ("/a%0AINFO", "/a%0AINFO"),
        ("/100%25", "/100%"),
    ],
)
def test_a_path_is_one_word(server: Any, path: str, logged: str) -> None:
    server.call("GET", path, headers={"X-Request-ID": "abc-1"})
    assert last_line(server).group("path", "who", "id") == (logged, "jwt:alice" if "keys" in path else "-", "abc-1")


def test_who_it_is_is_one_word(server: Any) -> None:
    key = server.mint('k id=0 reason="expired key"')
    server.call("GET", "/v0/auth", by=key, headers={"X-Request-ID": "abc-1"})
    line = last_line(server)
    assert line.group("who", "id", "reason") == ("api_key:k%20id=0%20reason=%22expired%20key%22", "abc-1", None)
    server.call("GET", "/v0/auth", by=server.token(owner="Zoë\nINFO"))
    assert last_line(server)["who"] == "jwt:Zo%C3%AB%0AINFO"


@pytest.mark.parametrize("command", [FLASK_RUN, WAITRESS], ids=["flask run", "waitress"])
def test_the_server_itself_writes_no_line_for_a_request(serve: Callable[..., Any], command: list[str]) -> None:
    server = serve(command)
    server.call("GET", "/healthz?x=1", by=None)
    before = len(server.log.read_text().splitlines())
    with ThreadPoolExecutor(24) as callers:  # more than there are threads
        answers = list(callers.map(lambda _: server.call("GET", "/v0/api_keys?x=1").status_code, range(240)))
    assert answers == [400] * 240
    lines = server.log.read_text().splitlines()[before:]
    assert len(lines) == 240
    assert all(LINE.fullmatch(line) for line in lines)
