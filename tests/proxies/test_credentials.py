"""The files in deploy/: every form of credential ends at the gate; the application's own is forwarded."""

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.proxies.installed import (
    AND_README,
    HOST,
    PROXIES,
    Front,
    Proxy,
    caddy,
    name_of,
    nginx,
    proxied,
    seen,
    tool,
    with_examples,
    with_preflight,
)

pytestmark = pytest.mark.ecosystem

JWT_OF_ANOTHER = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl"
OWN = [JWT_OF_ANOTHER, "Basic dTpw", "Digest username=bob", "Negotiate YII=", "Token abc", "AWS4-HMAC-SHA256 x/y_z, a"]
PREFLIGHT = {"Origin": "https://dash.example.com", "Access-Control-Request-Method": "PUT"}
EXAMPLES: list[Proxy] = [nginx, caddy]  # those whose files have one for a key in the query


@pytest.fixture(scope="module", params=AND_README, ids=name_of)
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with proxied(request.param, tmp_path_factory.mktemp("proxy")) as front:
        yield front


@pytest.fixture(scope="module", params=PROXIES, ids=name_of)
def examples(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with proxied(request.param, tmp_path_factory.mktemp("proxy"), with_examples) as front:
        yield front


@pytest.fixture(scope="module", params=EXAMPLES, ids=name_of)
def feed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with proxied(request.param, tmp_path_factory.mktemp("proxy"), with_examples) as front:
        yield front


@pytest.fixture(scope="module", params=PROXIES, ids=name_of)
def preflight(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with proxied(request.param, tmp_path_factory.mktemp("proxy"), with_preflight) as front:
        yield front


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def written(front: Front, way: str) -> dict[str, str | bytes]:
    """The headers with a good credential in one form that the gate reads."""
    secret = front.keyhook.token() if way == "JWT" else front.key(scopes=["photos:read"])
    ways: dict[str, dict[str, str | bytes]] = {
        "X-API-Key": {"X-API-Key": secret},
        "Bearer": {"Authorization": f"Bearer {secret}"},
        "bearer": {"Authorization": f"bearer   {secret}"},
        "ApiKey": {"Authorization": f"ApiKey {secret}"},
        "Token": {"Authorization": f"token {secret}"},
        "JWT": {"Authorization": f"Bearer {secret}"},
        "password": {"Authorization": basic("x", secret)},
        "user name": {"Authorization": basic(secret, "")},
        "empty X-API-Key": {"X-API-Key": "", "Authorization": f"Bearer {secret}"},
        "blank X-API-Key": {"X-API-Key": b"\xa0", "Authorization": basic("x", secret)},  # white space, to Python
    }
    return ways[way]


# The first has no scope.
WAYS = ["JWT", "X-API-Key", "Bearer", "bearer", "ApiKey", "Token", "password", "user name"]
WAYS += ["empty X-API-Key", "blank X-API-Key"]


@pytest.mark.parametrize(("path", "way"), [*[("/", way) for way in WAYS], *[("/photos", way) for way in WAYS[1:]]])
def test_a_used_credential_goes_no_further(front: Front, way: str, path: str) -> None:
    answer = front.ask(path, headers=written(front, way))
    assert seen(answer, "Authorization") == seen(answer, "X-API-Key") == []
    assert seen(answer, "Remote-User") == ["alice"]


@pytest.mark.parametrize("path", ["/", "/photos"])
@pytest.mark.parametrize("own", OWN)
def test_beside_x_api_key_the_applications_own_authorization_goes_on(front: Front, own: str, path: str) -> None:
    answer = front.ask(path, key=front.key(scopes=["photos:read"]), headers={"Authorization": own})
    assert seen(answer, "Authorization") == [own]
    assert seen(answer, "X-API-Key") == []


@pytest.mark.parametrize("prefix", ["kh", "ab", "a123456789"])
@pytest.mark.parametrize("scheme", ["Bearer {}", "bearer {}", "Token {}", "ApiKey {}", "{}", 'Key token="{}"'])
def test_beside_x_api_key_a_key_in_authorization_ends_as_well(front: Front, scheme: str, prefix: str) -> None:
    key = front.key()
    other = prefix + front.key().removeprefix("kh")
    answer = front.ask(key=key, headers={"Authorization": scheme.format(other)})
    assert seen(answer, "Authorization") == seen(answer, "X-API-Key") == []


@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
@pytest.mark.parametrize("path", ["/", "/photos"])
def test_a_key_of_another_tenant_is_a_403_and_reaches_nothing(front: Front, path: str, header: str) -> None:
    key = front.key(by=front.keyhook.token(tenant="other"), scopes=["photos:read"])
    answer = front.ask(path, headers={header: key if header == "X-API-Key" else f"Bearer {key}"})
    assert answer.status_code == 403
    if front.proxy != "nginx":  # which answers with a page of its own
        assert answer.json()["error_code"] == "TenantNotAllowed"


@pytest.mark.parametrize("path", ["/", "/photos"])
def test_a_preflight_passes_where_it_is_asked_for_and_is_nobody(preflight: Front, path: str) -> None:
    answer = preflight.ask(path, method="OPTIONS", headers={**PREFLIGHT, "Remote-User": "evil"})
    assert answer.json()["method"] == "OPTIONS"
    assert "".join(seen(answer, "Remote-User")) == "".join(seen(answer, "Keyhook-Role")) == ""
    assert seen(answer, "Origin") == [PREFLIGHT["Origin"]]


NO_PREFLIGHT: dict[str, tuple[str, dict[str, str]]] = {
    "no origin": ("OPTIONS", {"Access-Control-Request-Method": "PUT"}),
    "no method asked for": ("OPTIONS", {"Origin": "https://dash.example.com"}),
    "neither": ("OPTIONS", {}),
    "GET": ("GET", PREFLIGHT),
    "GET that says it was OPTIONS": ("GET", {**PREFLIGHT, "X-Forwarded-Method": "OPTIONS"}),
    "PUT that says so in other words": ("PUT", {**PREFLIGHT, "X_Forwarded_Method": "OPTIONS"}),
    "POST that overrides": ("POST", {**PREFLIGHT, "X-HTTP-Method-Override": "OPTIONS"}),
}


@pytest.mark.parametrize("case", NO_PREFLIGHT)
def test_nothing_else_passes_for_a_preflight(preflight: Front, case: str) -> None:
    method, headers = NO_PREFLIGHT[case]
    assert preflight.ask(method=method, headers=headers).status_code == 401


def test_a_preflight_is_a_401_as_shipped(front: Front) -> None:
    assert front.ask(method="OPTIONS", headers=PREFLIGHT).status_code == 401


def test_basic_is_asked_for_on_its_path_alone(examples: Front) -> None:
    challenges = [examples.ask(path).headers["WWW-Authenticate"] for path in ("/git/x", "/x")]
    assert ["Basic" in challenge for challenge in challenges] == [True, False]


def test_curl_passes_with_the_key_as_password(examples: Front) -> None:
    url = f"http://127.0.0.1:{examples.port}/git/hello"
    examples.application.files["hello"] = b"hello"
    curl = [tool("curl"), "-sS", "--anyauth", "-H", f"Host: {HOST}", "-u", f"x:{examples.key()}", url]
    assert subprocess.run(curl, capture_output=True, text=True, timeout=60, check=True).stdout == "hello"


def test_git_clones_with_the_key_as_password(examples: Front, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    git(tmp_path, "init", "-q", str(source))
    (source / "photo").write_text("a photo")
    git(source, "add", "photo")
    git(source, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "Add a photo")
    git(source, "update-server-info")
    files = [path for path in (source / ".git").rglob("*") if path.is_file()]
    examples.application.files.update({str(path.relative_to(source / ".git")): path.read_bytes() for path in files})
    hosts = ["-c", f"http.extraHeader=Host: {HOST}"]
    git(tmp_path, *hosts, "clone", "-q", f"http://x:{examples.key()}@127.0.0.1:{examples.port}/git/", str(target))
    assert (target / "photo").read_text() == "a photo"


def git(place: Path, *words: str) -> None:
    environment = {"HOME": str(place), "PATH": "/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run([tool("git"), *words], cwd=place, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def ask_feed(feed: Front, query: str, **headers: str) -> Any:
    return feed.ask(f"/feed/a%20b%25c{query}", headers=headers)


@pytest.mark.parametrize(
    "query", ["?key={}", "?page=3&key={}", "?key={}&page=3", "?%6bey={}&x=1", "?x=1&key=%6b%68{2}"]
)
def test_a_key_in_the_query_passes_on_its_path_and_ends_there(feed: Front, query: str) -> None:
    key = feed.key(scopes=["feed:read"])
    answer = ask_feed(feed, query.format(key, "", key.removeprefix("kh")))
    assert answer.status_code == 200
    assert answer.json()["path"] == "/feed/a%20b%25c?page=" + ("3" if "page=3" in query else "")
    assert key.removeprefix("kh") not in answer.text
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("query", ["?key=", "?key=kh_nonsense", "?KEY={}", "?key={}&key={}", "?token={}", ""])
def test_another_query_is_no_key(feed: Front, query: str) -> None:
    assert ask_feed(feed, query.replace("{}", feed.key(scopes=["feed:read"]))).status_code == 401


def test_a_key_in_the_query_needs_the_scope_and_the_path(feed: Front) -> None:
    assert ask_feed(feed, f"?key={feed.key()}").status_code == 403
    assert feed.ask(f"/x?key={feed.key(scopes=['feed:read'])}").status_code == 401


def test_a_header_on_that_path_passes_and_ends_as_well(feed: Front) -> None:
    key = feed.key(scopes=["feed:read"])
    for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
        answer = ask_feed(feed, "?page=1", **headers)
        assert seen(answer, "Authorization") == seen(answer, "X-API-Key") == []


def test_a_header_does_not_pass_for_the_uri(feed: Front) -> None:
    uri = f"/feed?key={feed.key(scopes=['feed:read'])}"
    assert ask_feed(feed, "", **{"X-Original-URI": uri, "X-Forwarded-Uri": uri}).status_code == 401
