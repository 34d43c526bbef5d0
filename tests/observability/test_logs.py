"""The log: one line a request, with the reason of a refusal, and never with a credential."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from formats import api_key
from observability.logs import loggable, one_word
from tests.log_lines import LINE
from tests.outage import take_away
from tests.rows import ago, move
from tests.servers import FLASK_RUN, SERVE


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
    take_away(data_dir)
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
        api_key.write_key("kh", "0" * 32, "0" * 43): "unknown key",
        api_key.write_key("kh", key_id, "0" * 43): "wrong secret",
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


def test_a_refusal_says_of_which_key_and_from_where(server: Any) -> None:
    """Guesses, and the use of a leaked secret, can be traced."""
    key = server.mint("k")
    other_tenant = server.mint("k", by=server.token(tenant="other"))
    server.mint("disabled")
    disabled = server.call("POST", "/v0/api_keys/disabled/rotate", json={}).json()["api_key"]
    server.call("PATCH", "/v0/api_keys/disabled", json={"disabled": True})
    expired = server.mint("expired")
    move(server.data_dir, "expired", expires_at=ago(days=1))
    unknown = api_key.write_key("kh", "0" * 32, "0" * 43)
    wrong = api_key.write_key("kh", key.split("_")[1], "0" * 43)
    reasons = {
        unknown: "unknown key",
        wrong: "wrong secret",
        disabled: "disabled key",
        expired: "expired key",
        f'"{key}"': "a key with something around it",
    }
    for refused, why in reasons.items():
        assert server.call("GET", "/v0/auth", by=refused).status_code == 401
        line = last_line(server)
        assert line["key"].replace("-", "") == refused.split("_")[1]
        assert line.group("ip", "reason") == ("127.0.0.1", f' reason="{why}"')
    for refused, why in {**reasons, other_tenant: "credential of another tenant"}.items():
        assert server.call("POST", "/v0/introspect", data={"token": refused}).json() == {"active": False}
        assert (last_line(server)["key"] or "").replace("-", "") == refused.split("_")[1]
        assert last_line(server)["reason"] == f' reason="{why}"'
    for path in ("/v0/auth?scope=missing", "/v0/auth?tenant=elsewhere", "/v0/audit"):
        assert server.call("GET", path, by=key).status_code == 403
        assert last_line(server)["key"].replace("-", "") == key.split("_")[1]
    assert server.call("GET", "/v0/auth?scope=missing").status_code == 403
    assert last_line(server)["key"] is None  # a person has none
    for other in (key, key[:-1], "x.y.z"):
        server.call("GET", "/v0/auth", by=other)
        assert last_line(server)["key"] is None


def test_the_address_is_the_clients_from_behind_the_proxies(serve: Callable[..., Any]) -> None:
    server = serve(KEYHOOK_TRUSTED_PROXIES=1)
    for forwarded, logged in [
        ("203.0.113.66, 192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("203.0.113.66, " * 500 + "192.0.2.7", "192.0.2.7"),
        ("x id=0", "127.0.0.1"),
        (None, "127.0.0.1"),
    ]:
        headers = {"X-Forwarded-For": forwarded} if forwarded else {}
        for path in ("/healthz", "/v0/auth", "/nowhere"):
            server.call("GET", path, by=None, headers=headers)
            assert last_line(server)["ip"] == logged


def test_the_reason_leads_the_right_way(server: Any) -> None:
    key = server.mint("k")
    surrounded, scheme, none = "a key with something around it", "another scheme", "no credential"
    for headers, why in [
        ({"Authorization": f"Bearer Bearer {key}"}, surrounded),
        ({"X-API-Key": f"Bearer {key}"}, surrounded),
        ({"X-API-Key": f'"{key}"'}, surrounded),
        ({"X-API-Key": f"'{key}'"}, surrounded),
        ({"X-API-Key": f"\u00ef\u00bb\u00bf{key}"}, surrounded),  # a byte order mark
        ({"X-API-Key": f"{key};"}, surrounded),
        ({"X-API-Key": f"{key}0"}, surrounded),
        ({"Authorization": f"Digest {key}"}, scheme),
        ({"Authorization": f"bearer{key}"}, scheme),
        ({"Authorization": key}, scheme),
        ({"Authorization": "Bearer"}, none),
        ({"Authorization": "Bearer  "}, none),
        ({"Cookie": f"key={key}"}, none),
    ]:
        response = server.call("GET", "/v0/auth", by=None, headers=headers)
        assert last_line(server)["reason"] == f' reason="{why}"'
        assert response.status_code == 401
        assert ("invalid_token" in response.headers["WWW-Authenticate"]) is (why == surrounded)
        told = "The credential is not valid" if why == surrounded else "A valid credential is required"
        assert response.json()["message"] == told


def test_what_is_logged_of_a_long_path_ends_with_a_mark(server: Any) -> None:
    for path, logged in [
        ("/" + "b" * 999, "/" + "b" * 999),
        ("/" + "b" * 1000, "/" + "b" * 999 + "…"),
        ("/" + "b" * 60_000, "/" + "b" * 999 + "…"),
        ("/" + "%C3%A9" * 10_000, "/" + ("%C3%A9" * 200)[:999] + "…"),
        ("/b" + "%C3%A9" * 10_000, "/b" + ("%C3%A9" * 200)[:996] + "…"),
        ("/" + "%E2%80%A6" * 9, "/" + "%E2%80%A6" * 9),  # the client's own mark is none
    ]:
        server.call("GET", path, by=None)
        assert last_line(server)["path"] == logged
    server.call("GET", "/v0/auth", by=server.token(owner="\N{KEY}" * 300))
    assert last_line(server)["who"].startswith("jwt:%F0%9F%94%91")
    assert len(last_line(server)["who"]) <= 1001


def test_the_end_of_a_long_path_cuts_no_credential_open() -> None:
    key, token = f"kh_{'0' * 32}_{'xY7' * 17}", f"eyJ{'hbG' * 12}.eyJ{'pc3' * 30}.{'Zx9' * 14}Q"
    for credential in (key, f"{key[:36]}%20{key[36:]}", quote(key.replace("_", "%5F")), token, " ".join(key)):
        for start in [*range(600, 1001, 7), *range(19_700, 20_001, 7)]:
            logged = one_word("/" + "b" * start + "/" + credential + "/b" * 9000)
            assert len(logged) <= 1001
            assert not re.search("xY7xY7|c3pc3p|Zx9Zx9|x%20Y%207", logged)


def test_the_characters_that_open_a_key_are_no_id_of_a_request(server: Any) -> None:
    for given, kept in [
        ("0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11", True),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", True),
        ("aB3" * 14, True),
        ("aB3" * 14 + "x", False),
        ("req-" + "aB3" * 14 + "x.1", False),
        ("aB3" * 42, False),
    ]:
        response = server.call("GET", "/v0/auth", by=None, headers={"X-Request-ID": given})
        assert (response.headers["X-Request-ID"] == given) is kept
        assert last_line(server)["id"] == response.headers["X-Request-ID"]


def test_no_credential_is_ever_logged_wherever_it_stood(server: Any) -> None:
    key, token = server.mint("k"), server.token()
    parsed = api_key.read_key(key)
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


@pytest.mark.parametrize("command", [FLASK_RUN, SERVE], ids=["flask run", "flask serve"])
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
