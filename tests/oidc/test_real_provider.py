"""A real provider, certified by the OpenID Foundation: each of its flows, and what becomes of its keys."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.oidc.certified import GROUPS, REDIRECT, SECRET, packages, robot, running
from tests.oidc.conftest import Clock, provider_of, settled
from tests.oidc.person import Browser, Tokens, code_flow, device_flow, metadata
from tests.proxies.installed import PROXIES, Proxy, as_shipped, identity, name_of, proxied

pytestmark = pytest.mark.ecosystem


@pytest.fixture(scope="module")
def installed(pytestconfig: pytest.Config) -> Path:
    return packages(pytestconfig)


@pytest.fixture(scope="module", params=["RS256", "ES256", "EdDSA"])
def issuer(installed: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    with running(installed, IDP_ALG=request.param) as (url, _):
        yield url


@pytest.fixture
def service(make_app: Callable[..., Flask], data_dir: Path, issuer: str, clock: Clock) -> Flask:
    given = {"ISSUER": issuer, "OWNER_CLAIM": "sub", **GROUPS}
    app = make_app(data_dir, **{f"KEYHOOK_OIDC_{name}": value for name, value in given.items()})
    provider_of(app).clock = clock
    return app


def asked(service: Flask, token: str) -> Any:
    return service.test_client().get("/v0/auth", headers={"Authorization": f"Bearer {token}"})


FLOWS: dict[str, tuple[Callable[[dict[str, str]], Tokens], str, str]] = {
    "client credentials": (lambda meta: robot(meta["issuer"]), "robot", "write"),
    "code": (
        lambda meta: code_flow(meta, "keyhook", SECRET.format("keyhook"), REDIRECT, "alice"),
        "alice",
        "admin",
    ),
    "device": (lambda meta: device_flow(meta, "cli", "bob"), "bob", "read"),
}


@pytest.mark.parametrize(("flow", "owner", "role"), FLOWS.values(), ids=FLOWS.keys())
def test_the_tokens_of_each_flow(
    service: Flask, issuer: str, flow: Callable[[dict[str, str]], Tokens], owner: str, role: str
) -> None:
    tokens = flow(metadata(issuer))
    said = asked(service, tokens["access_token"])
    assert (said.status_code, said.json["owner"], said.json["role"]) == (200, owner, role)
    for other in ("id_token", "refresh_token"):
        if other in tokens:
            assert asked(service, tokens[other]).status_code == 401


def test_a_person_without_a_group_of_ours(service: Flask, issuer: str) -> None:
    tokens = code_flow(metadata(issuer), "keyhook", SECRET.format("keyhook"), REDIRECT, "mallory")
    said = asked(service, tokens["access_token"])
    assert (said.status_code, said.json["details"]) == (403, {"required": "read", "actual": None})


def test_a_machine_mints_a_key_and_a_check_of_its_token_passes(service: Flask, issuer: str) -> None:
    token = robot(issuer)["access_token"]
    sent = {"Authorization": f"Bearer {token}"}
    made: Any = service.test_client().post("/v0/api_keys", json={"name": "ci"}, headers=sent)
    assert (made.status_code, asked(service, made.json["api_key"]).json["owner"]) == (201, "robot")
    checked = service.test_cli_runner().invoke(args=["oidc", "check"], input=token)
    assert (checked.exit_code, checked.stdout.splitlines()[-1]) == (0, "yes  gives a role by groups")
    assert token not in checked.stdout


def test_its_keys_change_and_go_and_it_falls_silent(service: Flask, issuer: str, clock: Clock) -> None:
    old = robot(issuer)["access_token"]
    assert asked(service, old).status_code == 200
    Browser().send(f"{issuer}/_test/rotate", {})
    clock.moved += 31
    assert asked(service, robot(issuer)["access_token"]).status_code == 200
    assert asked(service, old).status_code == 200

    Browser().send(f"{issuer}/_test/jwks?status=503", {})
    clock.moved += 3600
    assert asked(service, robot(issuer)["access_token"]).status_code == 200
    settled(provider_of(service))
    clock.moved += 25 * 3600
    assert asked(service, robot(issuer)["access_token"]).status_code == 503

    Browser().send(f"{issuer}/_test/jwks?status=200", {})
    Browser().send(f"{issuer}/_test/rotate?drop=1", {})
    clock.moved += 31
    assert asked(service, robot(issuer)["access_token"]).status_code == 200
    assert asked(service, old).status_code == 401


@pytest.mark.processes
@pytest.mark.parametrize("proxy", PROXIES, ids=name_of)
def test_a_proxy_lets_a_device_pass_as_its_person(installed: Path, tmp_path: Path, proxy: Proxy) -> None:
    """The application learns who it is from the token, and never sees the token."""
    with running(installed, IDP_ALG="RS256") as (issuer, _):
        settings = {f"KEYHOOK_OIDC_{name}": value for name, value in {"ISSUER": issuer, **GROUPS}.items()}
        tokens = device_flow(metadata(issuer), "cli", "bob")
        with proxied(proxy, tmp_path, as_shipped, **settings) as front:
            answer = front.ask(headers={"Authorization": f"Bearer {tokens['access_token']}", "Remote-User": "alice"})
            known = identity(answer)
            assert (known["Remote-User"], known["Keyhook-Role"], known["Keyhook-Key-Id"]) == ("bob", "read", "")
            assert tokens["access_token"] not in answer.text
            refused = front.ask(headers={"Authorization": f"Bearer {tokens['id_token']}"})
            assert refused.status_code == 401
            assert front.ask().status_code == 401
