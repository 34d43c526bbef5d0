"""A real provider, certified by the OpenID Foundation: each of its flows, and what becomes of its keys."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.machine import missing
from tests.oidc.conftest import Clock, provider_of, settled
from tests.oidc.person import Browser, Tokens, code_flow, device_flow, grant, metadata
from tests.servers import free_port

pytestmark = pytest.mark.ecosystem

HERE = Path(__file__).parent / "npm"
GROUPS = {"ADMIN_GROUPS": "keyhook-admins", "WRITE_GROUPS": "keyhook-writers", "READ_GROUPS": "keyhook-readers"}
REDIRECT = "http://127.0.0.1:5000/console/callback"
SECRET = "{}-client-secret-of-the-tests"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The provider with its packages, in a directory of its own."""
    if not shutil.which("npm"):
        missing("npm", "apt install npm")
    place = tmp_path_factory.mktemp("provider")
    for name in ("package.json", "package-lock.json", "idp.mjs"):
        shutil.copy(HERE / name, place)
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(install, cwd=place, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return place


@contextmanager
def started(place: Path, alg: str) -> Iterator[str]:
    """The issuer, while it runs."""
    command = ["node", "idp.mjs", str(free_port())]
    environ = {**os.environ, "IDP_ALG": alg, "IDP_REDIRECT": REDIRECT}
    with (place / "log").open("w") as log:
        running = subprocess.Popen(command, cwd=place, env=environ, stdout=subprocess.PIPE, stderr=log, text=True)
    with running:
        try:
            assert running.stdout is not None
            yield json.loads(running.stdout.readline())["issuer"]
        finally:
            running.kill()


@pytest.fixture(scope="module", params=["RS256", "ES256", "EdDSA"])
def issuer(installed: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    with started(installed, request.param) as url:
        yield url


@pytest.fixture
def service(make_app: Callable[..., Flask], data_dir: Path, issuer: str, clock: Clock) -> Flask:
    given = {"ISSUER": issuer, "OWNER_CLAIM": "sub", **GROUPS}
    app = make_app(data_dir, **{f"KEYHOOK_OIDC_{name}": value for name, value in given.items()})
    provider_of(app).clock = clock
    return app


def asked(service: Flask, token: str) -> Any:
    return service.test_client().get("/v0/auth", headers={"Authorization": f"Bearer {token}"})


def robot(issuer: str) -> Tokens:
    more = {"grant_type": "client_credentials", "scope": "keyhook"}
    return grant(metadata(issuer), "robot", SECRET.format("robot"), **more)


FLOWS: dict[str, tuple[Callable[[dict[str, str]], Tokens], str, str]] = {
    "client credentials": (
        lambda meta: grant(meta, "robot", SECRET.format("robot"), grant_type="client_credentials", scope="keyhook"),
        "robot",
        "write",
    ),
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
