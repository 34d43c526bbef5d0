"""Credentials at the gate from clients that cannot send a bearer; and preflights, which carry none."""

import logging
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.servers import FLASK_RUN, SERVE, Server

IDENTITY = ("Remote-User", "Remote-Groups", "Keyhook-Key-Id", "Keyhook-Key-Name", "Keyhook-Role", "Keyhook-Tenant")
BEARER = 'Bearer realm="keyhook"'
BASIC = 'Basic realm="keyhook", charset="UTF-8"'
INVALID = f'{BEARER}, error="invalid_token", error_description="The credential is not valid"'
PREFLIGHT = {
    "X-Forwarded-Method": "OPTIONS",
    "Origin": "https://dash.example.com",
    "Access-Control-Request-Method": "GET",
}

Call = Callable[..., Any]


@pytest.fixture
def ask(call: Call) -> Call:
    """ask({header: value}, "query"): the gate's answer to a request without another bearer."""
    return lambda headers, query="": call("GET", f"/v0/auth?{query}", by=None, headers=headers)


def basic(pair: str | bytes, scheme: str = "Basic") -> dict[str, str]:
    raw = pair.encode() if isinstance(pair, str) else pair
    return {"Authorization": f"{scheme} {b64encode(raw).decode()}"}


# Basic


@pytest.mark.parametrize(
    "pair", ["alice:{}", ":{}", "{}:", "ключ:{}", "alice:{}\n", "alice:\t{} ", "{}\r\n:", "{}: ", "a b:{}"]
)
@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "Basic  "])
def test_the_password_is_the_credential_or_the_user_name_beside_none(
    ask: Call, mint: Call, pair: str, scheme: str
) -> None:
    assert ask(basic(pair.format(mint()), scheme)).json["key_name"] == "laptop"


def test_a_token_may_be_the_password(ask: Call, token: Call) -> None:
    assert ask(basic(f"alice:{token()}")).json["kind"] == "jwt"


def test_the_password_counts_and_not_the_user_name(ask: Call, mint: Call) -> None:
    good, other = mint("good"), mint("other")
    assert ask(basic(f"{other}:{good}")).json["key_name"] == "good"
    assert ask(basic(f"{good}:hunter2")).status_code == 401
    assert ask(basic(f"alice:{good}:x")).status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        "Basic !", "Basic a", "Basic YTpi YTpi", "Basic YTpi=", "Basic é", "Basic YWJj",
        *(basic(raw)["Authorization"] for raw in (b"a:\xff", b"\xff:", b"alice:hunter2", b"\x00:\x00", b"no colon")),
        "Basic " + "A" * 40_000, basic("x" * 9000 + ":")["Authorization"],
    ],
    ids=lambda header: header[:20],
)  # fmt: skip
def test_a_basic_without_a_good_credential_looks_like_every_bad_one(ask: Call, header: str) -> None:
    answer, bad = ask({"Authorization": header}), ask({"X-API-Key": "bad"})
    assert (answer.status_code, answer.json) == (401, bad.json)
    assert answer.headers.getlist("WWW-Authenticate") == [INVALID]


def test_a_key_in_malformed_base64_is_malformed(ask: Call, mint: Call) -> None:
    good = basic(f":{mint()}")["Authorization"]
    for spoilt in (good + "!", good.replace("Basic ", "Basic -"), good[:-4] + "\n" + good[-4:], good + "===="):
        assert ask({"Authorization": spoilt.replace("\n", " ")}).status_code == 401


@pytest.mark.parametrize("nothing", ["Basic", "Basic ", basic(":")["Authorization"], basic(" : ")["Authorization"]])
def test_an_empty_basic_counts_as_absent(ask: Call, mint: Call, nothing: str) -> None:
    answer = ask({"Authorization": nothing})
    assert answer.headers.getlist("WWW-Authenticate") == [BEARER]
    uri = {"Authorization": nothing, "X-Forwarded-Uri": f"/?k={mint()}"}
    assert ask(uri, "key_param=k").status_code == 200


def test_x_api_key_comes_before_every_scheme(ask: Call, mint: Call) -> None:
    good, other = mint("good"), mint("other")
    for own in (basic("alice:hunter2"), basic(f":{other}"), {"Authorization": "Token application"}):
        assert ask({**own, "X-API-Key": good}).json["key_name"] == "good"
        assert ask({**own, "X-API-Key": "bad"}).status_code == 401
    assert ask({**basic(f":{other}"), "X-API-Key": " "}).json["key_name"] == "other"


@pytest.mark.parametrize("query", ["challenge=basic", "scope=a&challenge=basic", "ch%61llenge=basic"])
def test_a_client_that_waits_to_be_asked_for_basic_is_asked(ask: Call, query: str) -> None:
    for headers, bearer in [({}, BEARER), ({"X-API-Key": "bad"}, INVALID), (basic("alice:hunter2"), INVALID)]:
        answer = ask(headers, query)
        assert answer.status_code == 401
        assert answer.headers.getlist("WWW-Authenticate") == [BASIC, bearer]


def test_basic_is_asked_for_nowhere_else(ask: Call, call: Call, mint: Call) -> None:
    assert ask({}).headers.getlist("WWW-Authenticate") == [BEARER]
    assert BASIC not in str(call("GET", "/v0/auth?challenge=basic&scope=x", by=mint()).headers)
    assert call("GET", "/v0/auth?challenge=basic", by=mint("other")).status_code == 200


# Other words than Bearer


@pytest.mark.parametrize("scheme", ["ApiKey", "apikey", "APIKEY", "Token", "token", "TOKEN", "Token  "])
def test_other_words_than_bearer_are_read(ask: Call, mint: Call, token: Call, scheme: str) -> None:
    assert ask({"Authorization": f"{scheme} {mint()}"}).json["key_name"] == "laptop"
    assert ask({"Authorization": f"{scheme} {token()}"}).json["kind"] == "jwt"
    assert ask({"Authorization": f"{scheme} bad"}).headers.getlist("WWW-Authenticate") == [INVALID]
    assert ask({"Authorization": scheme}).headers.getlist("WWW-Authenticate") == [BEARER]


@pytest.mark.parametrize("header", ["ApiKey {}", "Token {}"])
@pytest.mark.parametrize("path", ["/v0/api_keys", "/v0/audit", "/v0/api_keys/laptop"])
def test_they_are_read_at_the_gate_only(call: Call, mint: Call, header: str, path: str) -> None:
    key = mint()
    for headers in ({"Authorization": header.format(key)}, basic(f":{key}")):
        answer = call("GET", path, by=None, headers=headers)
        assert answer.status_code == 401
        assert answer.headers.getlist("WWW-Authenticate") == [BEARER]
    introspection = call("POST", "/v0/introspect", by=None, headers=basic(f":{key}"), data={"token": key})
    assert introspection.status_code == 401


# White space around a credential is no part of it


@pytest.mark.parametrize("space", [" ", "\t", "\r", "\n", "\r\n"])
def test_white_space_at_either_end_is_no_part_of_a_credential(call: Call, mint: Call, space: str) -> None:
    key = mint()
    for around in (f"{key}{space}", f"{space}{key}"):
        environ = {"HTTP_X_API_KEY": around}
        assert call("GET", "/v0/auth", by=None, environ_overrides=environ).status_code == 200
        for path in ("/v0/auth", "/v0/api_keys"):
            environ = {"HTTP_AUTHORIZATION": f"Bearer {around}"}
            assert call("GET", path, by=None, environ_overrides=environ).status_code == 200
        assert call("POST", "/v0/introspect", data={"token": around}).json["active"] is True
        uri = {"X-Forwarded-Uri": f"/?k={quote(around)}"}
        assert call("GET", "/v0/auth?key_param=k", by=None, headers=uri).status_code == 200


# A key in the original URI


@pytest.mark.parametrize("header", ["X-Forwarded-Uri", "X-Original-URI"])
@pytest.mark.parametrize(
    "uri",
    [
        "/?k={}", "/a/b?k={}", "/?x=1&k={}", "/?k={}&x=1", "/?k={}#k=other", "https://app.example/a?k={}", "?k={}",
        "/a?b?c=1&k={}", "/?k=&k={}", "/?%6b={}", "/?k=%20{}%0A",
    ],
)  # fmt: skip
def test_the_original_uri_brings_the_credential_where_that_is_asked_for(
    ask: Call, mint: Call, header: str, uri: str
) -> None:
    headers = {header: uri.format(mint())}
    assert ask(headers, "key_param=k").json["key_name"] == "laptop"
    assert ask(headers).headers.getlist("WWW-Authenticate") == [BEARER]
    assert ask(headers, "key_param=K").headers.getlist("WWW-Authenticate") == [BEARER]


@pytest.mark.parametrize(
    "uri", ["/{}", "/k={}", "/?kk={}", "/?x=k={}", "/?x=1;k={}", "/#?k={}", "/?k[]={}", "/?{}", ""]
)
def test_no_other_place_of_the_uri_does(ask: Call, mint: Call, uri: str) -> None:
    answer = ask({"X-Forwarded-Uri": uri.format(mint())}, "key_param=k")
    assert answer.headers.getlist("WWW-Authenticate") == [BEARER]


def test_a_name_is_compared_as_it_decodes(ask: Call, mint: Call) -> None:
    headers = {"X-Forwarded-Uri": f"/?api%5Bkey%5D={mint()}"}
    assert ask(headers, "key_param=api%5bkey%5d").status_code == 200


@pytest.mark.parametrize("uri", ["/?k={0}&k={0}", "/?k={0}&k=x", "/?k=x", "/?k=" + "x" * 20_000, "/?" + "&k=1" * 9000])
def test_a_uri_with_two_or_a_bad_one_is_refused_like_every_bad_one(ask: Call, mint: Call, uri: str) -> None:
    answer = ask({"X-Original-URI": uri.format(mint())}, "key_param=k")
    assert (answer.status_code, answer.headers.getlist("WWW-Authenticate")) == (401, [INVALID])


def test_every_header_comes_before_the_uri(ask: Call, mint: Call) -> None:
    good, other = mint("good"), mint("other")
    uri = {"X-Forwarded-Uri": f"/?k={other}"}
    for headers in ({"X-API-Key": good}, {"Authorization": f"Bearer {good}"}, basic(f":{good}")):
        assert ask({**headers, **uri}, "key_param=k").json["key_name"] == "good"
    for headers in ({"X-API-Key": "bad"}, {"Authorization": "Bearer bad"}, basic("alice:hunter2")):
        assert ask({**headers, **uri}, "key_param=k").status_code == 401
    for headers in ({"X-API-Key": ""}, {"Authorization": "Bearer "}, {"Authorization": "Digest x"}):
        assert ask({**headers, **uri}, "key_param=k").json["key_name"] == "other"


def test_the_original_uri_is_told_to_nobody(
    ask: Call, call: Call, mint: Call, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("keyhook").propagate = True
    key = mint()
    for uri in (f"/private?k={key}", "/private?k=bad", f"/private?k={key}&k={key}", f"/private?x={key}"):
        for query in ("key_param=k", "key_param=k&scope=x", "key_param=k&tenant=lab", "key_param=k&scopes=x"):
            answer = ask({"X-Forwarded-Uri": uri, "X-Original-URI": uri}, query)
            told = answer.text + str(answer.headers) + caplog.text + call("GET", "/v0/audit").text
            assert "private" not in told
            assert key[36:] not in told
    assert "key_param" not in caplog.text


# Preflights


def test_a_preflight_passes_and_is_nobody(ask: Call) -> None:
    answer = ask(PREFLIGHT, "preflight=pass")
    assert answer.status_code == 200
    assert [answer.headers.getlist(name) for name in IDENTITY] == [[""]] * 6
    assert answer.json == {
        "kind": "preflight", "tenant": None, "owner": None, "role": None, "scopes": [],
        "key_id": None, "key_name": None, "expires_at": None,
    }  # fmt: skip
    assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
@pytest.mark.parametrize("more", ["", "&scope=a&role=admin&tenant=lab&challenge=basic&key_param=k"])
def test_a_preflight_passes_whatever_else_is_asked(call: Call, method: str, more: str) -> None:
    answer = call(method, f"/v0/auth?preflight=pass{more}", by=None, headers=PREFLIGHT)
    assert (answer.status_code, answer.headers["Remote-User"]) == (200, "")


@pytest.mark.parametrize(
    "changed",
    [
        {"X-Forwarded-Method": "GET"}, {"X-Forwarded-Method": "options"}, {"X-Forwarded-Method": "OPTIONS, GET"},
        {"X-Forwarded-Method": "OPTIONS,OPTIONS"}, {"X-Forwarded-Method": ""}, {"X-Forwarded-Method": None},
        {"Origin": ""}, {"Origin": None},
        {"Access-Control-Request-Method": ""}, {"Access-Control-Request-Method": None},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_nothing_else_passes_without_a_credential(call: Call, method: str, changed: dict[str, str | None]) -> None:
    headers = {name: value for name, value in {**PREFLIGHT, **changed}.items() if value is not None}
    answer = call(method, "/v0/auth?preflight=pass", by=None, headers=headers)
    assert answer.headers.getlist("WWW-Authenticate") == [BEARER]
    assert call(method, "/v0/auth", by=None, headers=PREFLIGHT).status_code == 401


def test_a_method_by_another_header_is_none(ask: Call) -> None:
    headers = {name: value for name, value in PREFLIGHT.items() if name != "X-Forwarded-Method"}
    for other in ("X-Original-Method", "X-HTTP-Method-Override", "X-Method"):
        assert ask({**headers, other: "OPTIONS"}, "preflight=pass").status_code == 401


def test_a_credential_in_a_preflight_is_judged_as_ever(ask: Call, mint: Call) -> None:
    key = mint()
    assert ask({**PREFLIGHT, "X-API-Key": key}, "preflight=pass").json["key_name"] == "laptop"
    assert ask({**PREFLIGHT, "X-API-Key": key}, "preflight=pass&scope=x").status_code == 403
    assert ask({**PREFLIGHT, "X-API-Key": "bad"}, "preflight=pass").status_code == 401
    assert ask({**PREFLIGHT, "X-API-Key": " "}, "preflight=pass").json["kind"] == "preflight"


def test_a_preflight_is_named_in_the_log(ask: Call, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("keyhook").propagate = True
    with caplog.at_level(logging.INFO):
        ask(PREFLIGHT, "preflight=pass")
    assert "who=preflight" in caplog.text


@pytest.mark.parametrize("command", [FLASK_RUN, SERVE], ids=["flask run", "flask serve"])
def test_real_servers_and_clients_agree(serve: Callable[..., Server], command: list[str]) -> None:
    server = serve(command)
    key = server.mint("laptop")
    assert requests.get(f"{server.url}/v0/auth", auth=("alice", key), timeout=20).json()["key_name"] == "laptop"
    assert requests.get(f"{server.url}/v0/auth", auth=(key, ""), timeout=20).json()["key_name"] == "laptop"
    asked = server.call("GET", "/v0/auth?challenge=basic", by=None)
    assert asked.raw.headers.getlist("WWW-Authenticate") == [BASIC, BEARER]
    passed = server.call("OPTIONS", "/v0/auth?preflight=pass", by=None, headers=PREFLIGHT)
    assert [passed.headers[name] for name in IDENTITY] == [""] * 6
    twice = {**PREFLIGHT, "X-Forwarded-Method": "GET", "X_Forwarded_Method": "OPTIONS"}
    assert server.call("OPTIONS", "/v0/auth?preflight=pass", by=None, headers=twice).status_code == 401
    for uri in (f"/tiles/1?k={key}", "/tiles/1"):
        answer = server.call("GET", "/v0/auth?key_param=k", by=None, headers={"X-Forwarded-Uri": uri})
        assert answer.status_code == (200 if "?" in uri else 401)
    assert "tiles" not in server.log.read_text()
