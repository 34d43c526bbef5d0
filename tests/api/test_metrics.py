"""/metrics: who may read it, and what it says after which requests."""

import threading
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import outcomes
from errors import StartupError
from formats import api_key
from keys import census
from observability.metrics import GOOD, REASONS
from tests.bad_keys import other_secret
from tests.figures import checks, figure, parse, requests_by_route, shown
from tests.machine import ROOT
from tests.outage import away
from tests.rows import ago, move
from tests.statements import Statements
from tests.write_lock import write_lock

BEARER = "a-token-of-a-file"
NOBODY = api_key.write_key("kh", "0" * 32, "0" * 43)


@pytest.fixture
def with_file(make_app: Callable[..., Flask], tmp_path: Path) -> Flask:
    """A service with the bearer of a file."""
    (tmp_path / "scraper").write_text(f"{BEARER}\n")
    return make_app(tmp_path / "served", KEYHOOK_METRICS_TOKEN_FILE=tmp_path / "scraper")


def ask(client: FlaskClient, bearer: str, path: str = "/metrics") -> Any:
    return client.get(path, headers={"Authorization": f"Bearer {bearer}"})


def test_a_reader_may_read_it(call: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str]) -> None:
    for reader in (token("read"), mint("reader", role="read")):
        assert call("GET", "/metrics", by=reader).status_code == 200
    for nobody in (None, NOBODY, BEARER):
        assert call("GET", "/metrics", by=nobody).status_code == 401
    assert call("GET", "/metrics?x=1").status_code == 400
    assert call("POST", "/metrics").status_code == 405


def test_so_may_who_has_the_bearer_of_the_file(with_file: Flask) -> None:
    client = with_file.test_client()
    answer = ask(client, BEARER)
    assert answer.status_code == 200
    assert "Keyhook-Key-Expires" not in answer.headers
    for other in ("", BEARER[:-1], f"{BEARER}x", BEARER.upper(), "größe", f"{BEARER}\n"[:-2], "x" * 5000):
        assert ask(client, other).status_code == 401
    assert client.get("/metrics", headers={"X-API-Key": BEARER}).status_code == 401
    assert client.get("/metrics", headers={"Authorization": f"Basic {BEARER}"}).status_code == 401


def test_that_bearer_opens_nothing_else(with_file: Flask) -> None:
    for path in ("/v0/auth", "/v0/api_keys", "/v0/audit", "/v0/api_keys/laptop"):
        assert ask(with_file.test_client(), BEARER, path).status_code == 401


BAD_FILES = [b"", b"\n", b"x" * 15, b"x" * 4097, b"two words of them", b"one\nline-and-another", "größe".encode() * 4]


@pytest.mark.parametrize("held", BAD_FILES)
def test_a_file_without_a_bearer_stops_the_start(make_app: Callable[..., Flask], tmp_path: Path, held: bytes) -> None:
    file = tmp_path / "scraper"
    file.write_bytes(held)
    refuse_start(make_app, tmp_path, file)


@pytest.mark.parametrize("name", ["nothing", ".", "a-token-of-a-file-itself"])
def test_so_does_no_file(make_app: Callable[..., Flask], tmp_path: Path, name: str) -> None:
    refuse_start(make_app, tmp_path, tmp_path / name)


def refuse_start(make_app: Callable[..., Flask], tmp_path: Path, file: Path) -> None:
    with pytest.raises(StartupError) as refused:
        make_app(tmp_path / "served", KEYHOOK_METRICS_TOKEN_FILE=str(file))
    assert str(refused.value.code).startswith("KEYHOOK_METRICS_TOKEN_FILE names a file that ")
    assert str(file) not in str(refused.value.code)  # it may be a token that somebody wrote in its place
    assert str(refused.value.code).isprintable()
    assert not (tmp_path / "served").exists()


# How a check is refused: a query of the gate, and headers in which KEY stands for a good key.
REFUSED: list[tuple[str, str, dict[str, str]]] = [
    ("no_credential", "", {}),
    ("no_credential", "", {"Authorization": "Digest x"}),
    ("malformed", "", {"X-API-Key": "x"}),
    ("malformed", "", {"X-API-Key": "x" * 9000}),
    ("malformed", "", {"X-API-Key": "'KEY'"}),
    ("malformed", "", {"X-API-Key": "a.b.c"}),
    ("malformed", "", {"Authorization": "Basic ?"}),
    ("unknown", "", {"X-API-Key": NOBODY}),
    ("scope", "scope=z", {"X-API-Key": "KEY"}),
    ("role", "role=admin", {"X-API-Key": "KEY"}),
    ("tenant", "tenant=lab", {"X-API-Key": "KEY"}),
    ("demand", "scopes=z", {"X-API-Key": "KEY"}),
    ("host", "", {"X-API-Key": "OF_A_HOST"}),
    ("address", "", {"X-API-Key": "OF_A_NETWORK"}),
]


@pytest.mark.parametrize(("reason", "query", "headers"), REFUSED)
def test_a_refused_check_is_counted_by_its_reason(
    call: Callable[..., Any], mint: Callable[..., str], reason: str, query: str, headers: dict[str, str]
) -> None:
    key = mint("laptop")
    others = {
        "OF_A_HOST": mint("of a host", hosts=["a.example.com"]),
        "OF_A_NETWORK": mint("of a network", networks=["192.0.2.0/24"]),
    }
    sent = {name: others.get(value) or value.replace("KEY", key) for name, value in headers.items()}
    assert call("GET", "/v0/auth", by=None, query_string=query, headers=sent).status_code in (401, 403)
    assert checks(shown(call)) == {reason: 1}


def test_a_key_that_is_used_too_often_is_counted(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    key = mint("laptop", rate_limit={"requests": 1, "seconds": 3600})
    for query in ("", "", "?limited=403"):
        call("GET", f"/v0/auth{query}", by=key)
    assert checks(shown(call)) == {"none": 1, "rate": 2}


def test_other_refusals_and_good_checks(
    app: Flask, call: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str]
) -> None:
    disabled, expired, key = mint("disabled"), mint("expired", expires_at="2099-01-01T00:00:00Z"), mint("laptop")
    call("PATCH", "/v0/api_keys/disabled", json={"disabled": True})
    move(app, "expired", expires_at=ago(seconds=1))
    forged = token().rpartition(".")[0] + "." + "A" * 43
    for credential in (disabled, expired, key, other_secret(key), forged, token(), token(lifetime=-1)):
        call("GET", "/v0/auth", by=credential)
    call("HEAD", "/v0/auth", by=key)
    call("TRACE", "/v0/auth", by=key)
    with away(app):
        call("GET", "/v0/auth", by=key)
    expected = {"disabled": 1, "expired": 2, "none": 3, "wrong_secret": 2, "method": 1, "database": 1}
    assert checks(shown(call)) == expected


def test_a_fault_of_ours_is_one_too(
    app: Flask, call: Callable[..., Any], mint: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = mint("laptop")
    with monkeypatch.context() as patched:
        patched.setattr(app.extensions["keyhook"].authenticator, "authenticate", None)
        assert call("GET", "/v0/auth", by=key).status_code == 500
    assert checks(shown(call)) == {"fault": 1}


def test_the_plain_view_counts_the_same(app: Flask, call: Callable[..., Any], mint: Callable[..., str]) -> None:
    key = mint("laptop")
    app.after_request_funcs.setdefault(None, []).append(lambda response: response)
    for credential, status in ((key, 200), (NOBODY, 401)):
        assert call("GET", "/v0/auth", by=credential).status_code == status
    text = shown(call)
    assert checks(text) == {"none": 1, "unknown": 1}
    assert requests_by_route(text)["/v0/auth", "200"] == requests_by_route(text)["/v0/auth", "401"] == 1


def test_an_introspected_token_is_a_check(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    key = mint("laptop")
    for credential in (key, NOBODY):
        call("POST", "/v0/introspect", data={"token": credential})
    call("POST", "/v0/introspect", by=NOBODY, data={"token": key})  # no caller, so no check
    assert checks(shown(call)) == {"none": 1, "unknown": 1}


def test_each_reason_in_the_table_is_one_that_the_service_gives() -> None:
    rooms = [path for room in ("identity", "keys", "runtime") for path in (ROOT / room).glob("*.py")]
    sources = "".join(path.read_text() for path in [ROOT / "auth.py", *rooms])
    for why in outcomes.CREDENTIALS.keys() - {"bad token: InvalidSignatureError"}:
        assert f'"{why}"' in sources, why


def test_each_word_for_a_refusal_is_counted() -> None:
    assert {*outcomes.WORDS.values(), *outcomes.CREDENTIALS.values(), "malformed", "fault"} == {*REASONS} - {GOOD}


def test_a_route_is_counted_by_its_rule(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    mint("laptop")
    for path in ("/v0/api_keys/laptop", "/v0/api_keys/x", "/nowhere", "/v0/auth/", "/healthz"):
        call("GET", path)
    call("GET", "/", environ_overrides={"PATH_INFO": "//healthz"})
    call("PUT", "/v0/api_keys/laptop")
    call("GET", "/v0/auth")
    assert requests_by_route(shown(call)) == {
        ("/v0/api_keys", "201"): 1,
        ("/v0/api_keys/<name>", "200"): 1,
        ("/v0/api_keys/<name>", "404"): 1,
        ("/v0/auth", "200"): 1,
        ("/healthz", "200"): 1,
        ("other", "404"): 3,
        ("other", "405"): 1,
    }


def test_no_label_says_who_it_was(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    key = mint("secretname", scopes=["secretscope"], description="secrettext")
    call("GET", "/v0/api_keys/secretname", by=key)
    call("GET", "/v0/auth?tenant=secrettenant", by=key)
    call("GET", "/secretpath", headers={"X-Request-ID": "secretid", "User-Agent": "secretagent"})
    call("GET", "/v0/auth", by=None, headers={"Authorization": f"Basic {b64encode(b'secretuser:x').decode()}"})
    text = shown(call)
    assert "secret" not in text.replace("wrong_secret", "")
    assert not {"alice", "default"}.intersection(text.replace('"', " ").split())
    labels = {label for samples in parse(text).values() for sample in samples for label, _ in sample}
    assert labels == {
        *("result", "reason", "route", "status", "le", "within", "process"),
        *("version", "python", "schema", "database"),
    }


def test_keys_of_all_tenants_are_counted(
    app: Flask, call: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str]
) -> None:
    for name, days in {"today": 0.5, "week": 6, "fortnight": 13, "month": 20, "later": 40, "over": 20}.items():
        mint(name, by=token(tenant=name), expires_at=ago(days=-days))
    mint("endless")
    mint("off", expires_at=ago(days=-0.5))
    call("PATCH", "/v0/api_keys/off", json={"disabled": True})
    move(app, "over", expires_at=ago(seconds=1))
    found = parse(shown(call))
    assert found["keyhook_keys"] == {
        (("status", "active"),): 6,
        (("status", "expired"),): 1,
        (("status", "disabled"),): 1,
    }
    within = {dict(labels)["within"]: value for labels, value in found["keyhook_keys_expiring"].items()}
    assert within == {"1d": 1, "7d": 2, "14d": 3, "30d": 4}


def test_they_are_counted_once_in_a_while(
    statements: Statements, call: Callable[..., Any], mint: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mint("laptop")
    assert figure(shown(call), "keyhook_keys", status="active") == 1
    mint("phone")
    statements()
    assert figure(shown(call), "keyhook_keys", status="active") == 1
    assert not any("count" in one.lower() or "sum(" in one.lower() for one in statements())
    moment = time.monotonic() + census.LIFETIME
    monkeypatch.setattr(time, "monotonic", lambda: moment)
    assert figure(shown(call), "keyhook_keys", status="active") == 2


def test_it_answers_without_the_database(with_file: Flask) -> None:
    client = with_file.test_client()
    with away(with_file):
        texts = [ask(client, BEARER).text for _ in range(2)]
        assert client.get("/healthz").status_code == 503
    assert all("keyhook_keys" not in text for text in texts)
    text = ask(client, BEARER).text
    assert figure(text, "keyhook_database_errors_total") == 3
    assert figure(text, "keyhook_keys", status="active") == 0
    assert "keyhook_keys{" in text


def test_writers_that_wait_are_counted(app: Flask, call: Callable[..., Any], data_dir: Path) -> None:
    shown(call)
    with write_lock(data_dir / "keyhook.db"):
        writers = [
            threading.Thread(target=call, args=("POST", "/v0/api_keys"), kwargs={"json": {"name": f"key-{number}"}})
            for number in range(3)
        ]
        for writer in writers:
            writer.start()
        end = time.monotonic() + 3
        while figure(text := shown(call), "keyhook_write_queue_length") < 3 and time.monotonic() < end:
            time.sleep(0.02)
        assert figure(text, "keyhook_write_queue_length") == 3
    for writer in writers:
        writer.join()
    assert figure(shown(call), "keyhook_write_queue_length") == 0


def test_it_says_what_runs(call: Callable[..., Any]) -> None:
    found = parse(shown(call))
    [build] = found["keyhook_build_info"]
    assert dict(build)["version"] in (ROOT / "pyproject.toml").read_text()
    assert all(value > 0 for value in found["process_resident_memory_bytes"].values())
    assert {"process_cpu_seconds_total", "process_open_fds", "process_start_time_seconds"} <= set(found)
