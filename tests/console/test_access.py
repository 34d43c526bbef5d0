"""Who gets in, and what comes from a foreign page: sessions, roles, tenants, cookies, headers."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from console.pages import POLICY
from identity.tokens import make_token
from observability.request_info import API_POLICY
from tests.console.conftest import OWN, Visitor
from tests.console.pages import Page
from tests.outage import away
from tests.rows import everything, sql

# Every page, and the least role that may ask for it; "" is for everybody. {id} is that of a key.
ROUTES = [
    ("GET", "/console/keys", "read"),
    ("GET", "/console/keys/{id}", "read"),
    ("GET", "/console/keys/new", "write"),
    ("GET", "/console/keys/{id}/edit", "write"),
    ("GET", "/console/keys/{id}/rotate", "write"),
    ("GET", "/console/keys/{id}/delete", "write"),
    ("POST", "/console/keys", "write"),
    ("POST", "/console/keys/{id}/edit", "write"),
    ("POST", "/console/keys/{id}/rotate", "write"),
    ("POST", "/console/keys/{id}/disable", "write"),
    ("POST", "/console/keys/{id}/enable", "write"),
    ("POST", "/console/keys/{id}/delete", "write"),
    ("GET", "/console/audit", "admin"),
    ("GET", "/console/sign-in", ""),
    ("POST", "/console/sign-in", ""),
    ("POST", "/console/sign-out", ""),
    ("POST", "/console/logout", ""),
    ("GET", "/console/login", ""),
    ("GET", "/console/callback", ""),
    ("POST", "/console/theme", ""),
    ("GET", "/console", ""),
    ("GET", "/console/", ""),
    ("GET", "/console/<path:nothing>", ""),
    ("GET", "/console/static/<file>", ""),
]
OF_KEYS = [(method, path, role) for method, path, role in ROUTES if role]
RANK = {"read": 1, "write": 2, "admin": 3}
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", **OWN},
    {"Sec-Fetch-Site": ""},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:8080"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://evil.example@localhost:x"},
    {"Origin": "null"},
    {"Origin": ""},
    {},
]
OURS = [
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://keys.example.com"},  # a proxy in front changed the Host
    {"Origin": "http://localhost"},
    {"Origin": "http://localhost:80"},
    {"Origin": "https://LOCALHOST"},
]


@pytest.fixture
def key_id(mint: Callable[..., str], app: Flask) -> str:
    mint("laptop")
    return str(sql(app, "SELECT id FROM api_keys")[0][0])


def test_every_route_is_in_the_table(app: Flask) -> None:
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("console.")]
    found = {
        (method, rule.rule.replace("<uuid:key_id>", "{id}"))
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD"}
    }
    assert found == {(method, path) for method, path, _ in ROUTES}


@pytest.mark.parametrize("role", RANK)
def test_c5_a_role_may_do_no_more_than_its_own(sign_in: Callable[..., Visitor], key_id: str, role: str) -> None:
    visitor = sign_in(role)
    for method, path, needed in OF_KEYS:
        page = Page(visitor.client.open(path.format(id=key_id), method=method, headers=OWN, data={"x": "y"}))
        refused = RANK[role] < RANK[needed]
        assert (page.status == 403) == refused, path
        if refused:
            assert f"Your role is {role}; this needs {needed}." in page.words
    shown = visitor.get("/console/keys").html + visitor.get(f"/console/keys/{key_id}").html
    for word, needed in {"/rotate": "write", "/delete": "write", "keys/new": "write", "console/audit": "admin"}.items():
        assert (word in shown) == (RANK[role] >= RANK[needed]), word


def test_c5_a_key_of_another_tenant_is_unknown(sign_in: Callable[..., Visitor], key_id: str, app: Flask) -> None:
    stranger, before = sign_in(tenant="other"), everything(app)
    for method, path, _ in OF_KEYS:
        if "{id}" in path:
            page = Page(stranger.client.open(path.format(id=key_id), method=method, headers=OWN, data={"name": "x"}))
            assert (page.status, "There is no such key" in page.words) == (404, True), path
    assert "Nothing on the hook yet" in stranger.get("/console/keys").words
    assert "laptop" not in stranger.get("/console/audit").html
    assert {name: rows for name, rows in everything(app).items() if name != "sessions"} == {
        name: rows for name, rows in before.items() if name != "sessions"
    }


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_c1_what_a_foreign_page_sends_changes_nothing(
    alice: Visitor, key_id: str, app: Flask, headers: dict[str, str]
) -> None:
    before = everything(app)
    for method, path, _ in ROUTES:
        if method == "POST":
            page = alice.post(path.format(id=key_id), headers=headers, name="x", token="x")
            assert (page.status, "did not come from Keyhook" in page.words) == (403, True), path
            assert "Set-Cookie" not in page.headers
    assert everything(app) == before


@pytest.mark.parametrize("headers", OURS, ids=str)
def test_c1_what_an_own_page_sends_is_done(alice: Visitor, key_id: str, headers: dict[str, str]) -> None:
    assert alice.post(f"/console/keys/{key_id}/disable", headers=headers).status == 303
    assert "This key is disabled" in alice.get(f"/console/keys/{key_id}").words


def test_nobody_is_led_to_the_sign_in_and_back(nobody: Visitor, key_id: str, token: Callable[..., str]) -> None:
    for method, path, _ in OF_KEYS:
        if method == "GET":
            page = nobody.get(path.format(id=key_id))
            assert (page.status, page.location.partition("?")[0]) == (303, "/console/sign-in")
    door = nobody.get(nobody.get("/console/keys?q=a%20b&status=active").location)
    action, fields = door.form("/console/sign-in")
    page = nobody.post(action, **{**fields, "token": f"  {token()}\n"})
    assert (page.status, page.location) == (303, "/console/keys?q=a+b&status=active")


def test_f2_a_form_of_an_ended_session_changes_nothing(alice: Visitor, key_id: str, app: Flask) -> None:
    app.extensions["keyhook"].sessions.end_all()
    before = everything(app)
    for method, path, _ in OF_KEYS:
        if method == "POST":
            page = alice.post(path.format(id=key_id), name="x", rev="x")
            assert (page.status, "Your session has ended. Nothing was changed." in page.words) == (401, True)
            assert page.headers["WWW-Authenticate"].startswith("Bearer ")
    assert everything(app) == before


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("/console/audit", "/console/audit"),
        ("/console/keys?q=x&status=active", "/console/keys?q=x&status=active"),
        ("/console/keys/0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11", "/console/keys/0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11"),
        ("/console/keys?q=\r\nSet-Cookie: x", "/console/keys?q=%0D%0ASet-Cookie%3A+x"),
        *(
            (bad, "/console/keys")
            for bad in (
                *(
                    "",
                    "//evil.example",
                    "/\\evil.example",
                    "https://evil.example/console/keys",
                    "/v0/auth",
                    "console/keys",
                ),
                *(
                    "/console/../v0/auth",
                    "/console//evil.example",
                    "/console/%2e%2e/x",
                    "/console/keys\n",
                    "/console/\\x",
                ),
                *("javascript:alert(1)", "/console@evil.example", "/console.evil.example/x", "//console/keys"),
            )
        ),
    ],
)
def test_s7_the_sign_in_leads_nowhere_else(
    nobody: Visitor, token: Callable[..., str], target: str, leads_to: str
) -> None:
    assert nobody.post("/console/sign-in", token=token(), next=target).location == leads_to
    assert nobody.post("/console/theme", theme="dark", back=target).location == leads_to


@pytest.mark.parametrize(
    ("origin", "scheme", "secure"),
    [
        ("http://localhost", "http", False),
        ("https://localhost", "http", True),  # behind a proxy that ends TLS
        ("https://localhost", "https", True),
    ],
)
def test_s6_the_cookie_fits_what_the_browser_speaks(
    nobody: Visitor, token: Callable[..., str], origin: str, scheme: str, secure: bool
) -> None:
    around = {"wsgi.url_scheme": scheme}
    response = nobody.client.post(
        "/console/sign-in", data={"token": token()}, headers={"Origin": origin}, environ_overrides=around
    )
    [cookie] = response.headers.getlist("Set-Cookie")
    name, _, attributes = cookie.partition("=")
    assert name == ("__Host-keyhook" if secure else "keyhook_session")
    words = set(attributes.split("; ")[1:])
    assert words >= {"HttpOnly", "SameSite=Lax", "Path=/"}
    assert ("Secure" in words) is secure
    assert not [word for word in words if word.startswith("Domain")]


def test_s3_a_token_signs_in_and_an_ended_one_does_not(nobody: Visitor, token: Callable[..., str]) -> None:
    page = nobody.post("/console/sign-in", token=token(lifetime=-1))
    assert (page.status, "This token is not valid or has expired." in page.words) == (401, True)
    assert nobody.post("/console/sign-in", token=token("read")).status == 303
    page = nobody.get("/console/keys")
    assert "role read" in page.html
    assert "You are signed in as alice" in nobody.get("/console/sign-in").words


def test_s4_a_key_signs_nobody_in(
    nobody: Visitor, mint: Callable[..., str], app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    key = mint("laptop")
    for sent in (key, f" {key}\n", f'"{key}"', f"Bearer {key}", key[:-1]):
        page = nobody.post("/console/sign-in", token=sent)
        assert (page.status, "This is an API key. Keys are for programs" in page.words) == (401, True), sent
        assert "Set-Cookie" not in page.headers
        assert key[36:60] not in page.html + caplog.text + str(page.headers)
    assert sql(app, "SELECT count(*) FROM sessions") == [(0,)]


@pytest.mark.parametrize(("cookie", "reason"), [("", "no session"), ("x", "not written like one of a session")])
def test_the_log_tells_no_cookie_from_a_bad_one(
    nobody: Visitor, caplog: pytest.LogCaptureFixture, cookie: str, reason: str
) -> None:
    nobody.client.set_cookie("keyhook_session", cookie)
    nobody.get("/console/keys")
    assert f'reason="{reason}"' in caplog.text


def test_s5_a_cookie_is_worthless_after_the_sign_out(alice: Visitor, app: Flask) -> None:
    cookie = alice.client.get_cookie("keyhook_session")
    assert cookie
    page = alice.post("/console/sign-out")
    assert (page.status, page.location) == (303, "/console/sign-in")
    assert alice.client.get_cookie("keyhook_session") is None
    assert alice.post("/console/sign-out").status == 303
    thief: FlaskClient = app.test_client()
    thief.set_cookie("keyhook_session", cookie.value)
    assert thief.get("/console/keys").status_code == 303
    assert sql(app, "SELECT count(*) FROM sessions") == [(0,)]


def test_over_tls_a_cookie_without_its_prefix_is_none(alice: Visitor) -> None:
    assert alice.get("/console/keys").status == 200
    page = alice.get("/console/keys", base_url="https://localhost")
    assert (page.status, page.location) == (303, "/console/sign-in?next=/console/keys")


def test_a_sign_out_ends_the_session_of_each_cookie(app: Flask) -> None:
    """One came over plain HTTP, before the browser spoke TLS to the same host."""
    sessions, client = app.extensions["keyhook"].sessions, app.test_client(use_cookies=False)
    cookies = [
        f"{name}={sessions.redeem(sessions.invite('alice', 'admin', 'default', timedelta(hours=1))).cookie}"
        for name in ("__Host-keyhook", "keyhook_session")
    ]
    assert [client.get("/console/keys", headers={"Cookie": each}).status_code for each in cookies] == [200, 200]
    answer = client.post("/console/sign-out", headers={**OWN, "Cookie": "; ".join(cookies)})
    assert len(answer.headers.getlist("Set-Cookie")) == 2
    assert [client.get("/console/keys", headers={"Cookie": each}).status_code for each in cookies] == [303, 303]
    assert sql(app, "SELECT id FROM sessions") == []


def test_a_new_sign_in_ends_the_session_before(alice: Visitor, token: Callable[..., str], app: Flask) -> None:
    assert alice.post("/console/sign-in", token=token(owner="bob")).status == 303
    assert sql(app, "SELECT owner FROM sessions") == [("bob",)]


def test_s2_a_link_that_was_used_says_so(nobody: Visitor, app: Flask) -> None:
    code = app.extensions["keyhook"].sessions.invite("alice", "admin", "default", timedelta(hours=1))
    assert nobody.post("/console/sign-in", token=code).status == 303
    page = nobody.post("/console/sign-in", token=code)
    assert (page.status, "This link was used already" in page.words) == (401, True)
    assert code[36:60] not in page.html


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", 303),
        ("text/html", 303),
        ("*/*", 404),
        ("application/json", 404),
        ("application/json, text/html;q=0.5", 404),
        ("", 404),
    ],
)
def test_s8_the_front_door_is_for_browsers(nobody: Visitor, accept: str, status: int) -> None:
    response = nobody.client.get("/", headers={"Accept": accept} if accept else {})
    assert response.status_code == status
    if status == 303:
        assert response.headers["Location"] == "/console/keys"
    else:
        assert (response.json or {})["error_code"] == "NotFound"
        assert response.headers["Content-Security-Policy"] == API_POLICY


def test_s8_without_the_console_nothing_of_it_is_there(
    make_app: Callable[..., Flask], tmp_path: Path, token: Callable[..., str]
) -> None:
    app = make_app(tmp_path / "off", KEYHOOK_CONSOLE="off")
    client, browser = app.test_client(), {"Accept": "text/html", **OWN}
    for method, path, _ in [("GET", "/", ""), *ROUTES]:
        response = client.open(path.format(id=0).replace("<file>", "mark.svg"), method=method, headers=browser)
        assert response.status_code == 404, path
        assert (response.json or {})["error_code"] == "NotFound"
        assert response.headers["Referrer-Policy"] == "no-referrer"
    assert (
        app.test_cli_runner().invoke(args=["console"]).output == "Error: KEYHOOK_CONSOLE is off: there is no console\n"
    )


def test_c2_every_page_has_the_same_strict_headers(
    alice: Visitor, nobody: Visitor, key_id: str, app: Flask, data_dir: Path
) -> None:
    pages = [alice.get(path.format(id=key_id)) for method, path, _ in ROUTES if method == "GET" and "<" not in path]
    pages += [alice.get("/console/nothing"), alice.get(f"/console/keys/{key_id[:-1]}0"), nobody.get("/console/keys")]
    pages += [alice.post("/console/keys", headers={}), alice.post("/console/keys"), nobody.post("/console/keys")]
    pages += [alice.post("/console/sign-in", token="x"), alice.post("/console/keys", name="x" * 70_000)]
    pages += [alice.post("/console/keys", name="new"), alice.post(f"/console/keys/{key_id}/edit", rev="x", name="y")]
    with away(app):
        pages += [alice.get("/console/keys"), alice.post("/console/keys", name="x"), nobody.get("/console/sign-in")]
    assert {page.status for page in pages} == {200, 201, 303, 401, 403, 404, 409, 413, 422, 503}
    for page in pages:
        assert page.headers.getlist("Content-Security-Policy") == [POLICY]
        assert page.headers.getlist("Referrer-Policy") == ["same-origin"]
        assert page.headers.getlist("Cache-Control") == ["no-store"]
        assert page.headers.getlist("X-Content-Type-Options") == ["nosniff"]
        assert len(page.headers.getlist("X-Request-ID")) == 1
        assert (
            page.headers["Cross-Origin-Opener-Policy"] == page.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        )
        assert page.headers["X-Robots-Tag"] == "noindex"
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert ("Retry-After" in page.headers) == (page.status == 503)


def test_a_fault_of_ours_is_json_that_says_nothing(alice: Visitor, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.keys.catalog", lambda: 1 / 0)
    page = alice.get("/console/keys")
    assert (page.status, page.headers["Content-Type"]) == (500, "application/json")
    assert page.headers["Content-Security-Policy"] == API_POLICY
    assert "division" not in page.html


def test_the_api_reference_takes_no_configuration_from_its_address(client: FlaskClient) -> None:
    """It has the origin of the console."""
    for query in ("url=//evil.example", "configUrl=//evil.example"):
        assert client.get(f"/docs?{query}").status_code == 400


def test_p4_the_files_of_a_page_are_few_and_small_and_are_sent_once(alice: Visitor) -> None:
    page, size = alice.get("/console/keys"), 0
    files = [
        element.attributes[name] for tag, name in (("link", "href"), ("script", "src")) for element in page.all(tag)
    ]
    assert len(files) <= 5
    for file in files:
        with alice.client.get(file) as first:
            size += len(first.data)
            tag = first.headers["ETag"]
        with alice.client.get(file, headers={"If-None-Match": tag}) as second:
            assert (second.status_code, second.data) == (304, b"")
    assert size <= 60_000
    assert alice.client.get("/console/static/tokens.cs").status_code == 404


def test_c6_no_credential_is_in_the_log_the_audit_or_the_database(
    alice: Visitor, nobody: Visitor, app: Flask, token: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    code = app.extensions["keyhook"].sessions.invite("bob", "admin", "default", timedelta(hours=1))
    given = token()
    nobody.post("/console/sign-in", token=code)
    nobody.post("/console/sign-in", token=given)
    secret = alice.post("/console/keys", name="laptop").secret()
    nobody.get(f"/console/keys?q={secret}")
    alice.get(f"/console/keys?q={given}")
    cookie: Any = alice.client.get_cookie("keyhook_session")
    kept = caplog.text + str(everything(app))
    for credential in (code, given, secret, cookie.value, make_token(b"x" * 32, "a", "read", "t", timedelta(1))):
        assert credential[36:79] not in kept
