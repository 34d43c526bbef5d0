"""Sign-in to the console at a provider: the way in, every way it goes wrong, and the way out."""

import json
import logging
import re
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from threading import Event, Thread, Timer
from typing import Any

import jwt
import pytest
from flask import Flask

from oidc import binding
from oidc.client import AT_ONCE
from tests.console.conftest import OWN, Visitor
from tests.oidc.conftest import Clock
from tests.oidc.door import CLIENT, SECRET, Answer, Door, query
from tests.oidc.issuer import METADATA, TOKEN, USERINFO, Issuer, private_key, send
from tests.outage import away
from tests.rows import sql

Opened = Callable[..., Flask]
FAILED = "The sign-in failed"
SESSIONS = "SELECT owner, role, tenant, issuer FROM sessions"


class Browser(Visitor):
    """A person's browser, on the way to the provider and back."""

    def __init__(self, app: Flask, base_url: str = "http://localhost") -> None:
        super().__init__(app.test_client())
        self.base_url = base_url

    def get(self, path: str, **more: Any) -> Any:
        return super().get(path, base_url=self.base_url, **more)

    def away(self, target: str = "") -> str:
        """Where the page of the sign-in leads."""
        [link] = [each for each in self.get(f"/console/sign-in{target}").all("a") if "Continue with" in each.text]
        address = link.attributes["href"]
        assert address.startswith(f"{self.base_url}/console/login")
        return str(self.get(address.removeprefix(self.base_url)).location)

    def back(self, answer: Answer | list[tuple[str, str]]) -> Any:
        return self.get("/console/callback", query_string=answer)

    def enter(self, door: Door, target: str = "") -> Any:
        return self.back(door.agree(self.away(target)))


@pytest.fixture
def app(opened: Opened) -> Flask:
    return opened()


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app)


def test_the_way_in(browser: Browser, door: Door, app: Flask, issuer: Issuer) -> None:
    door.id_claims = {"groups": ["admins"]}
    page = browser.enter(door, "?next=/console/audit")
    assert (page.status, page.location) == (303, "/console/audit")
    [cookie] = [each for each in page.headers.getlist("Set-Cookie") if each.startswith("keyhook_session=")]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Lax", "Path=/"))
    assert "Domain" not in cookie
    assert re.search("Max-Age=3(600|59[0-9])", cookie)
    assert "alice" in browser.get("/console/audit").html
    assert sql(app, SESSIONS) == [("alice", "admin", "default", issuer.name)]
    [(ends,)] = sql(app, "SELECT ends_at FROM sessions")
    assert datetime.fromisoformat(ends) - datetime.now(UTC) <= timedelta(hours=1)


def test_what_is_asked_for(browser: Browser, issuer: Issuer) -> None:
    asked = query(browser.away())
    assert asked["redirect_uri"] == "http://localhost/console/callback"
    assert asked["scope"] == "openid profile email groups"
    assert set(asked) == {
        *("response_type", "client_id", "redirect_uri", "scope", "state", "nonce"),
        *("code_challenge", "code_challenge_method"),
    }
    again = query(browser.away())
    assert all(again[name] != asked[name] for name in ("state", "nonce", "code_challenge"))


@pytest.mark.parametrize(
    ("supported", "configured", "asked"),
    [
        (["openid", "email"], None, "openid email"),
        (["email"], None, "openid email"),
        ("openid", None, "openid profile email groups"),
        (["openid"], "openid roles", "openid roles"),
    ],
)
def test_no_scope_that_the_provider_does_not_know(
    opened: Opened, issuer: Issuer, supported: Any, configured: str | None, asked: str
) -> None:
    told = {**issuer.metadata, "scopes_supported": supported}
    issuer.answers[METADATA] = lambda request: send(request, as_json(told))
    assert query(Browser(opened(SCOPES=configured)).away())["scope"] == asked


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("way", ["client_secret_basic", "client_secret_post", "none"])
def test_how_the_client_says_who_it_is(opened: Opened, door: Door, issuer: Issuer, way: str) -> None:
    door.authentication = way
    told = {**issuer.metadata, "token_endpoint_auth_methods_supported": [way]}
    issuer.answers[METADATA] = lambda request: send(request, as_json(told))
    app = opened(CLIENT_SECRET=None if way == "none" else SECRET)
    assert Browser(app).enter(door).status == 303


def test_an_address_of_the_provider_may_have_a_query(opened: Opened, issuer: Issuer) -> None:
    told = {**issuer.metadata, "authorization_endpoint": f"{issuer.name}/authorization?flow=x"}
    issuer.answers[METADATA] = lambda request: send(request, as_json(told))
    assert query(Browser(opened()).away())["flow"] == "x"


def test_two_tabs_at_once(browser: Browser, door: Door) -> None:
    first, second = browser.away("?next=/console/audit"), browser.away()
    door.id_claims = {"groups": ["admins"]}
    assert browser.back(door.agree(second)).location == "/console/keys"
    assert browser.back(door.agree(first)).location == "/console/audit"


@pytest.mark.parametrize(
    "target",
    [
        *("https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/console/../x"),
        *("/%0d%0aX:y", "/console/\0", "/v0/auth", "/console/keys?q=" + "x" * 2000),
        "/console/keys?q=kh_" + "0" * 32 + "_" + "a" * 51,
    ],
)
def test_it_leads_nowhere_else(browser: Browser, door: Door, target: str) -> None:
    address = browser.get("/console/login", query_string={"next": target}).location
    page = browser.back(door.agree(address))
    assert (page.status, page.location) == (303, "/console/keys")
    assert len(address) < 3000


def test_a_planted_session_ends(browser: Browser, door: Door, app: Flask) -> None:
    planted = app.extensions["keyhook"].sessions.invite("mallory", "admin", "default", timedelta(hours=1))
    assert browser.post("/console/sign-in", token=planted).status == 303
    before = browser.client.get_cookie("keyhook_session")
    assert browser.enter(door).status == 303
    after = browser.client.get_cookie("keyhook_session")
    assert before
    assert after
    assert before.value != after.value
    assert [owner for owner, *_ in sql(app, SESSIONS)] == ["alice"]


def changed(**changes: str) -> Callable[[Answer, Door], Any]:
    return lambda answer, door: {**answer, **changes}


def without(name: str) -> Callable[[Answer, Door], Any]:
    return lambda answer, door: {key: value for key, value in answer.items() if key != name}


def twice(name: str) -> Callable[[Answer, Door], Any]:
    return lambda answer, door: [*answer.items(), (name, answer[name])]


def claiming(**changes: Any) -> Callable[[Answer, Door], Answer]:
    def change(answer: Answer, door: Door) -> Answer:
        door.id_claims = changes
        return answer

    return change


def with_token(make: Callable[[Door, dict[str, str]], Any]) -> Callable[[Answer, Door], Answer]:
    def change(answer: Answer, door: Door) -> Answer:
        door.id_token = make(door, door.asked[answer["code"]])
        return answer

    return change


def unsigned(door: Door, asked: dict[str, str]) -> str:
    return jwt.encode(door.issuer.claims(aud=CLIENT, nonce=asked["nonce"]), "", "none", {"kid": "RS256"})


def by_our_secret(door: Door, asked: dict[str, str]) -> str:
    return jwt.encode(door.issuer.claims(aud=CLIENT, nonce=asked["nonce"]), SECRET * 2, "HS256", {"kid": "RS256"})


def by_another_key(door: Door, asked: dict[str, str]) -> str:
    claims = door.issuer.claims(aud=CLIENT, nonce=asked["nonce"])
    return jwt.encode(claims, private_key("RS256", "mallory"), "RS256", {"kid": "RS256"})


WRONG: dict[str, tuple[Callable[[Answer, Door], Any], str]] = {
    "no state": (without("state"), "the state"),
    "a state of nobody": (changed(state="x.y.z"), "the state"),
    "a state twice": (twice("state"), "stands twice"),
    "no code": (without("code"), "no code"),
    "a code of nobody": (changed(code="mallory"), "invalid_grant"),
    "a code twice": (twice("code"), "stands twice"),
    "a refusal": (changed(error="access_denied"), "refused: access_denied"),
    "a refusal in many words": (changed(error="<b>kh_ you</b>"), "without a name"),
    "another issuer": (changed(iss="https://evil.example"), "another issuer"),
    "the nonce of another": (claiming(nonce="x" * 43), "of another sign-in"),
    "no nonce": (claiming(nonce=...), "of another sign-in"),
    "a nonce that is no text": (claiming(nonce=["x"]), "of another sign-in"),
    "for another client": (claiming(azp="another"), "for another client"),
    "of another audience": (claiming(aud="another"), "its aud is"),
    "for the API": (claiming(aud="keyhook"), "its aud is"),
    "no audience": (claiming(aud=...), "MissingRequiredClaim"),
    "of another issuer": (claiming(iss="https://evil.example"), "another issuer"),
    "ended": (claiming(iat=1, exp=2), "expired"),
    "without a subject": (claiming(sub=...), "MissingRequiredClaim"),
    "an event": (claiming(events={"http://schemas.openid.net/event/backchannel-logout": {}}), "event"),
    "no ID token": (with_token(lambda door, asked: ["x"]), "no ID token"),
    "an ID token that is none": (with_token(lambda door, asked: "x"), "not written like one"),
    "unsigned": (with_token(unsigned), "not written like one"),
    "said to be unsigned": (with_token(lambda door, asked: unsigned(door, asked) + "eA"), "no algorithm of ours"),
    "by the secret of the client": (with_token(by_our_secret), "no algorithm of ours"),
    "by another key": (with_token(by_another_key), "InvalidSignature"),
}


@pytest.mark.parametrize(("change", "why"), WRONG.values(), ids=WRONG.keys())
def test_nobody_gets_in_by(
    browser: Browser,
    door: Door,
    app: Flask,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Answer, Door], Any],
    why: str,
) -> None:
    answer = door.agree(browser.away())
    with caplog.at_level(logging.INFO):
        page = browser.back(change(answer, door))
    assert (page.status, FAILED in page.words) == (400, True)
    assert not [each for each in page.headers.getlist("Set-Cookie") if "session" in each]
    assert sql(app, SESSIONS) == []
    line = caplog.text.splitlines()[-1]
    assert 'reason="' in line
    assert why in line
    for secret in (*answer.values(), SECRET, "access-", "eyJ"):
        assert secret not in caplog.text
        assert secret not in page.html


def test_an_old_state(browser: Browser, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = door.agree(browser.away())
    monkeypatch.setattr(binding, "LASTS", -1)
    assert browser.back(answer).status == 400


def test_a_code_is_good_once(browser: Browser, door: Door) -> None:
    answer = door.agree(browser.away())
    assert [browser.back(answer).status for _ in range(2)] == [303, 400]
    assert "To the keys" in browser.get("/console/sign-in").words  # who is in stays so


def test_nobody_signs_another_in_as_themselves(browser: Browser, door: Door, app: Flask) -> None:
    """The code and the state of mallory, in the browser of alice, with a sign-in of her own under way or not."""
    answer = door.agree(Browser(app).away())
    assert browser.back(answer).status == 400
    browser.away()
    assert browser.back(answer).status == 400
    assert answer["code"] in door.asked  # nobody even asked for its tokens


def test_the_provider_says_who_it_is_if_it_promised_so(opened: Opened, door: Door, issuer: Issuer) -> None:
    told = {**issuer.metadata, "authorization_response_iss_parameter_supported": True}
    issuer.answers[METADATA] = lambda request: send(request, as_json(told))
    browser = Browser(opened())
    assert browser.enter(door).status == 400
    assert browser.back({**door.agree(browser.away()), "iss": issuer.name}).status == 303


def test_nobody_without_a_group_of_ours(browser: Browser, door: Door, app: Flask) -> None:
    door.id_claims = {"groups": ["guests"]}
    page = browser.enter(door)
    assert (page.status, "You have no role here" in page.words, sql(app, SESSIONS)) == (403, True, [])


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"sub": "alice", "groups": ["staff"]}, 303),
        ({"sub": "alice"}, 403),
        ({"sub": "mallory", "groups": ["admins"]}, 400),
        ({"groups": ["admins"]}, 400),
    ],
)
def test_groups_may_stand_in_userinfo_alone(browser: Browser, door: Door, told: dict[str, Any], status: int) -> None:
    door.id_claims, door.userinfo = {"groups": ...}, told
    assert browser.enter(door).status == status


@pytest.mark.parametrize(
    ("claim", "token", "told"),
    [
        ("groups", {"groups": None}, {"groups": ["staff"]}),
        ("realm_access.roles", {"realm_access": {}}, {"realm_access": {"roles": ["staff"]}}),
        ("realm_access.roles", {"realm_access": {"x": 1}}, {"realm_access.roles": ["staff"]}),
        ("realm_access.roles", {"realm_access": "x"}, {"realm_access": {"roles": ["staff"]}}),
    ],
)
def test_what_the_id_token_lacks_is_taken_from_userinfo(
    opened: Opened, door: Door, claim: str, token: dict[str, Any], told: dict[str, Any]
) -> None:
    door.id_claims, door.userinfo = token, {"sub": "alice", **told}
    assert Browser(opened(GROUPS_CLAIM=claim)).enter(door).status == 303


def test_userinfo_is_not_asked_without_need(browser: Browser, door: Door, issuer: Issuer) -> None:
    assert browser.enter(door).status == 303
    assert issuer.asked[USERINFO] == 0


def test_owner_and_tenant_follow_the_settings(opened: Opened, door: Door) -> None:
    app = opened(OWNER_CLAIM="preferred_username", TENANT_CLAIM="lab")
    door.id_claims, door.userinfo = {"preferred_username": "al"}, {"sub": "alice", "lab": "home"}
    assert Browser(app).enter(door).status == 303
    assert [row[:3] for row in sql(app, SESSIONS)] == [("al", "read", "home")]
    door.userinfo = {"sub": "alice"}
    assert Browser(app).enter(door).status == 400


@pytest.mark.parametrize(
    ("token", "userinfo", "status"),
    [
        ({"email": "boss@example.com"}, {"email": "al@example.com", "email_verified": True}, 400),
        ({"email_verified": True}, {"email": "boss@example.com"}, 400),
        ({"email": None, "email_verified": True}, {"email": "boss@example.com"}, 400),
        (
            {"email": "al@example.com", "email_verified": False},
            {"email": "al@example.com", "email_verified": True},
            400,
        ),
        ({"email": "al@example.com"}, {"email": "al@example.com", "email_verified": True}, 303),
        ({"email": "al@example.com", "email_verified": True}, {}, 303),
        ({"email": "al@example.com", "email_verified": True}, {"email": "boss@example.com"}, 303),
        ({}, {"email": "al@example.com", "email_verified": True}, 303),
    ],
)
def test_an_email_is_verified_by_whoever_names_it(
    opened: Opened, door: Door, token: dict[str, Any], userinfo: dict[str, Any], status: int
) -> None:
    app = opened(OWNER_CLAIM="email")
    door.id_claims = {"groups": ..., **token}
    door.userinfo = {"sub": "alice", "groups": ["staff"], **userinfo}
    assert Browser(app).enter(door).status == status
    assert [owner for owner, *_ in sql(app, SESSIONS)] == ["al@example.com"] * (status == 303)


DOWN: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "a fault": lambda request: send(request, b"", 500),
    "no JSON": lambda request: send(request, b"<html>"),
    "a redirection": lambda request: send(request, b"", 302, Location="/"),
    "too often": lambda request: send(request, b"{}", 429),
}


@pytest.mark.parametrize("place", [TOKEN, USERINFO])
@pytest.mark.parametrize("answer", DOWN.values(), ids=DOWN.keys())
def test_a_provider_that_does_not_answer_as_it_should(
    browser: Browser, door: Door, issuer: Issuer, app: Flask, place: str, answer: Callable[..., None]
) -> None:
    door.id_claims = {"groups": ...}
    issuer.answers[place] = answer
    page = browser.enter(door)
    assert (page.status, page.headers["Retry-After"], sql(app, SESSIONS)) == (503, "30", [])
    assert "The identity provider does not answer" in page.words


@pytest.mark.parametrize("head", ["{}", "HTTP/1.1 {}", "HTTP/{} 200 OK"])
def test_what_a_provider_repeats_is_not_logged(
    browser: Browser, door: Door, issuer: Issuer, caplog: pytest.LogCaptureFixture, head: str
) -> None:
    def repeat(request: BaseHTTPRequestHandler) -> None:
        form = request.rfile.read(int(request.headers["Content-Length"])).decode()
        request.wfile.write(head.format(form + request.headers["Authorization"][6:]).encode() + b"\r\n\r\n")
        request.close_connection = True

    issuer.answers[TOKEN] = repeat
    answer = door.agree(browser.away())
    assert browser.back(answer).status == 503
    assert "was asked for the code" in caplog.text
    for secret in (answer["code"], "code_verifier", b64encode(b"the+console:").decode()):
        assert secret not in caplog.text


def test_without_a_database_one_tries_again_from_the_beginning(browser: Browser, door: Door, app: Flask) -> None:
    answer = door.agree(browser.away())
    with away(app):
        page = browser.back(answer)
    assert (page.status, page.headers["Retry-After"]) == (503, "5")
    assert [each.attributes["href"] for each in page.all("a") if each.text == "Try again"] == ["/console/sign-in"]
    assert answer["code"] not in page.html
    assert browser.enter(door).status == 303


@pytest.mark.parametrize("missing", ["authorization_endpoint", "token_endpoint"])
@pytest.mark.parametrize("value", [..., 7, "ftp://localhost/x", "http://id.example.com/x", "https://x;y/"])
def test_a_provider_without_an_address_of_use(opened: Opened, issuer: Issuer, missing: str, value: Any) -> None:
    told = {**issuer.metadata, missing: value}
    issuer.answers[METADATA] = lambda r: send(r, as_json({k: v for k, v in told.items() if v is not ...}))
    assert Browser(opened()).get("/console/login").status == 503


def test_before_the_provider_ever_answered(opened: Opened, issuer: Issuer, clock: Clock, door: Door) -> None:
    issuer.answers[METADATA] = lambda request: send(request, b"", 503)
    browser = Browser(opened())
    assert browser.get("/console/login").status == 503
    assert "Continue with" in browser.get("/console/sign-in").words
    del issuer.answers[METADATA]
    clock.moved += 31
    assert browser.enter(door).status == 303


def test_a_slow_provider_holds_few_threads(app: Flask, door: Door, issuer: Issuer) -> None:
    free, held = Event(), []

    def hold(request: BaseHTTPRequestHandler) -> None:
        held.append(request)
        assert free.wait(20)
        send(request, b"", 500)

    issuer.answers[TOKEN] = hold
    browsers = [Browser(app) for _ in range(AT_ONCE)]
    threads = [Thread(target=each.enter, args=(door,)) for each in browsers]
    for thread in threads:
        thread.start()
    while len(held) < AT_ONCE:
        assert all(thread.is_alive() for thread in threads)
    late = Browser(app).enter(door)
    free.set()
    for thread in threads:
        thread.join()
    assert (late.status, len(held)) == (503, AT_ONCE)
    del issuer.answers[TOKEN]


def test_the_log_says_what_is_wrong_with_the_id_token(
    browser: Browser, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    door.id_claims = {"aud": "photos"}
    assert browser.enter(door).status == 400
    assert "the ID token: its aud is" in caplog.text


def test_no_thread_to_be_had_is_no_fault(
    browser: Browser, door: Door, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = door.agree(browser.away())

    def refuse(timer: Timer) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Timer, "start", refuse)
        assert browser.back(answer).status == 503
    assert "no thread for the deadline" in caplog.text
    assert browser.back(answer).status == 303


def test_signing_out_ends_the_session_at_the_provider_too(
    browser: Browser, door: Door, app: Flask, issuer: Issuer
) -> None:
    browser.enter(door)
    policy = browser.get("/console/keys").headers["Content-Security-Policy"]
    origin = issuer.name.removesuffix("/realms/home")
    assert f"form-action 'self' {origin};" in policy
    page = browser.post("/console/sign-out")
    assert page.status == 303
    assert page.location.startswith(f"{issuer.name}/end_session?")
    assert query(page.location) == {"client_id": CLIENT, "post_logout_redirect_uri": "http://localhost/"}
    assert sql(app, SESSIONS) == []
    assert browser.get("/console/keys").location == "/console/sign-in?next=/console/keys"
    assert "form-action 'self';" in browser.get("/console/sign-in").headers["Content-Security-Policy"]
    assert browser.post("/console/logout").location == "/console/sign-in"


def test_other_sessions_end_here_alone(browser: Browser, issuer: Issuer, app: Flask) -> None:
    code = app.extensions["keyhook"].sessions.invite("alice", "admin", "default", timedelta(hours=1))
    for token in (code, issuer.token()):
        assert browser.post("/console/sign-in", token=token).status == 303
        assert "form-action 'self';" in browser.get("/console/keys").headers["Content-Security-Policy"]
        assert browser.post("/console/sign-out").location == "/console/sign-in"


@pytest.mark.parametrize("place", [None, "https://例え.jp/end", "http://id.example.com/end", "https://x;y/"])
def test_a_provider_without_a_way_out(opened: Opened, door: Door, issuer: Issuer, place: str | None) -> None:
    told = {**issuer.metadata, "end_session_endpoint": place}
    issuer.answers[METADATA] = lambda request: send(request, as_json(told))
    browser = Browser(opened())
    browser.enter(door)
    assert "form-action 'self';" in browser.get("/console/keys").headers["Content-Security-Policy"]
    assert browser.post("/console/sign-out").location == "/console/sign-in"


def test_over_tls_both_cookies_stay_with_this_host(opened: Opened, door: Door) -> None:
    site = "https://keys.example.com"
    browser = Browser(opened(site), site)
    address = browser.away()
    assert query(address)["redirect_uri"] == f"{site}/console/callback"
    page = browser.back(door.agree(address))
    cookies = [*browser.get("/console/login").headers.getlist("Set-Cookie"), *page.headers.getlist("Set-Cookie")]
    assert [each.partition("=")[0] for each in cookies] == ["__Host-keyhook_away", "__Host-keyhook"]
    for cookie in cookies:
        assert all(word in cookie.split("; ") for word in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"))
        assert "Domain" not in cookie


def test_behind_a_proxy_the_public_url_counts(opened: Opened, door: Door) -> None:
    """TLS ends before the service, at an address with a path, and the proxy changes the Host."""
    browser = Browser(opened("https://keys.example.com/hook"), "https://10.0.0.7:5000")
    address = browser.get("/console/login").location
    assert query(address)["redirect_uri"] == "https://keys.example.com/hook/console/callback"
    page = browser.back(door.agree(address))
    assert any(each.startswith("__Host-keyhook=") for each in page.headers.getlist("Set-Cookie"))
    [link] = [each for each in browser.get("/console/sign-in").all("a") if "Continue" in each.text]
    assert link.attributes["href"] == "https://keys.example.com/hook/console/login"


def test_the_cookie_opens_the_console_alone(browser: Browser, door: Door) -> None:
    door.id_claims = {"groups": ["admins"]}
    browser.enter(door)
    assert browser.get("/console/audit").status == 200
    for path in ("/v0/auth", "/v0/api_keys", "/v0/audit", "/metrics"):
        assert browser.get(path).status == 401
    assert browser.client.post("/v0/introspect", data={"token": "x"}, headers=OWN).status_code == 401


def test_without_a_client_there_is_no_page_of_a_provider(provided: Callable[..., Flask]) -> None:
    visitor = Visitor(provided().test_client())
    assert "Continue with" not in visitor.get("/console/sign-in").html
    for path in ("/console/login", "/console/callback?code=x&state=y"):
        assert visitor.get(path).status == 404
