"""Where a provider's tokens come in: the gate, the API, introspection, and what is remembered of them."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from flask import Flask

from tests.machine import ROOT
from tests.oidc.conftest import Clock, provider_of, settled
from tests.oidc.issuer import JWKS, METADATA, Issuer, public_jwk, send

Gate = Callable[[str], Any]
UNAVAILABLE = (503, "IdentityProviderUnavailable")


def said(response: Any) -> tuple[int, str]:
    return response.status_code, response.json.get("error_code", response.json.get("role"))


def test_a_token_mints_a_key_and_passes_the_gate(issuer: Issuer, call: Callable[..., Any], gate: Gate) -> None:
    token = issuer.token(groups=["admins"], sub="bob")
    assert call("POST", "/v0/api_keys", json={"name": "laptop"}, by=token).status_code == 201
    assert call("GET", "/v0/api_keys/laptop").json["owner"] == "bob"
    answer = gate(token)
    assert (answer.status_code, answer.headers["Remote-User"], answer.headers["Keyhook-Role"]) == (200, "bob", "admin")
    assert answer.json["kind"] == "jwt"


def test_our_own_tokens_work_on_beside_it(call: Callable[..., Any], token: Callable[..., str], issuer: Issuer) -> None:
    issuer.answers[METADATA] = lambda request: send(request, b"", 503)
    assert call("GET", "/v0/auth", by=token()).status_code == 200


def test_introspection_names_the_provider_and_its_client(issuer: Issuer, call: Callable[..., Any]) -> None:
    answer = call("POST", "/v0/introspect", data={"token": issuer.token()}).json
    assert (answer["active"], answer["iss"], answer["client_id"]) == (True, issuer.name, "robot")
    assert (answer["sub"], answer["role"], "jti" in answer) == ("alice", "read", False)


def test_nobody_has_a_role_without_a_group_of_ours(issuer: Issuer, call: Callable[..., Any], gate: Gate) -> None:
    token = issuer.token(groups=["guests"])
    for answer in (gate(token), call("GET", "/v0/api_keys", by=token)):
        assert said(answer) == (403, "InsufficientPermissions")
        assert answer.json["details"] == {"required": "read", "actual": None}
    assert call("POST", "/v0/introspect", data={"token": token}).json == {"active": False}


def test_the_console_opens_for_a_token_that_is_pasted(issuer: Issuer, app: Flask) -> None:
    def paste(token: str) -> Any:
        return app.test_client().post(
            "/console/sign-in", data={"token": token}, headers={"Sec-Fetch-Site": "same-origin"}
        )

    assert paste(issuer.token()).status_code == 303
    refused = paste(issuer.token(groups=[]))
    assert (refused.status_code, "no group in it has a role here" in refused.text) == (403, True)


def test_a_token_of_nobody_we_know_is_refused_without_a_fetch(issuer: Issuer, gate: Gate, app: Flask) -> None:
    settled(provider_of(app))
    before = issuer.asked.total()
    for iss in ("https://elsewhere.example.com", f"{issuer.name}/", issuer.name.upper(), "keyhook", 7, [issuer.name]):
        assert said(gate(jwt_with(issuer, iss=iss))) == (401, "AuthenticationFailed")
    assert issuer.asked.total() == before


def jwt_with(issuer: Issuer, **claims: Any) -> str:
    """A token with claims that the library would not write."""
    from tests.oidc.issuer import private_key

    text = json.dumps(issuer.claims(**claims)).encode()
    return jwt.PyJWS().encode(text, private_key("RS256"), "RS256", {"kid": "RS256", "typ": "JWT"})


def test_a_token_that_is_remembered_ends_on_time(issuer: Issuer, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    token = issuer.token(exp=int(time.time()) + 2)
    assert gate(token).status_code == 200
    monkeypatch.setattr("models.now", lambda: "2099-01-01T00:00:00.000000Z")
    answer = gate(token)
    assert answer.status_code == 401
    assert "The token has expired" in answer.headers["WWW-Authenticate"]


def test_a_token_that_is_remembered_costs_no_second_check(
    issuer: Issuer, gate: Gate, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issuer.token()
    assert gate(token).status_code == 200
    monkeypatch.setattr(app.extensions["keyhook"].bearers, "read", None)
    assert gate(token).status_code == 200


def test_a_withdrawn_key_ends_what_is_remembered(issuer: Issuer, gate: Gate, app: Flask, clock: Clock) -> None:
    token = issuer.token()
    assert gate(token).status_code == 200
    issuer.keys = [public_jwk("ES256")]
    clock.moved += 601
    assert gate(token).status_code == 200  # nobody waits for the provider
    settled(provider_of(app))
    assert said(gate(token)) == (401, "AuthenticationFailed")
    assert gate(issuer.token("ES256")).status_code == 200


def test_an_added_key_ends_nothing(
    issuer: Issuer, gate: Gate, app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issuer.token()
    assert gate(token).status_code == 200
    issuer.keys = [public_jwk("ES256"), *issuer.keys]
    clock.moved += 601
    gate(token)
    settled(provider_of(app))
    monkeypatch.setattr(app.extensions["keyhook"].bearers, "read", None)
    assert gate(token).status_code == 200


def test_an_outage_lets_tokens_pass_for_a_day(issuer: Issuer, gate: Gate, app: Flask, clock: Clock) -> None:
    known = issuer.token()
    assert gate(known).status_code == 200
    issuer.answers[JWKS] = lambda request: send(request, b"", 503)
    clock.moved += 3600
    assert gate(issuer.token(jti="1")).status_code == 200
    settled(provider_of(app))
    clock.moved += 24 * 3600
    for token in (known, issuer.token(jti="2")):
        answer = gate(token)
        assert (*said(answer), answer.headers["Retry-After"]) == (*UNAVAILABLE, "30")
    assert said(gate(jwt_with(issuer, iss="https://elsewhere.example.com"))) == (401, "AuthenticationFailed")
    del issuer.answers[JWKS]
    clock.moved += 31
    assert gate(known).status_code == 200


def test_a_provider_that_is_down_at_the_start_stops_nothing(
    issuer: Issuer, provided: Callable[..., Flask], clock: Clock
) -> None:
    issuer.answers[METADATA] = lambda request: send(request, b"", 502)
    app = provided()
    client, bearer = app.test_client(), {"Authorization": f"Bearer {issuer.token()}"}
    assert said(client.get("/v0/auth", headers=bearer)) == UNAVAILABLE
    assert client.get("/healthz").status_code == 200
    issuer.answers.clear()
    clock.moved += 31
    assert client.get("/v0/auth", headers=bearer).status_code == 200


def test_nothing_of_it_is_imported_while_there_is_no_issuer(tmp_path: Path) -> None:
    look = (
        "import sys; from app import create_app; create_app({'KEYHOOK_DATA_DIR': sys.argv[1]}); "
        "print([name for name in sys.modules if name.partition('.')[0] in ('oidc', 'urllib3', 'requests')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", look, tmp_path / "data"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
