"""OpenBao, whose access tokens are opaque: its ID tokens get in where they are accepted, and only there."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.oidc.conftest import Clock, provider_of
from tests.oidc.openbao import OpenBao, program, running

pytestmark = pytest.mark.ecosystem


@pytest.fixture(scope="module", params=["RS256", "ES256", "EdDSA"])
def bao(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with running(program(request.config), tmp_path_factory.mktemp("bao"), request.param) as started:
        yield started


@pytest.fixture
def service(make_app: Callable[..., Flask], data_dir: Path, bao: OpenBao, clock: Clock) -> Callable[[str], Flask]:
    """service("accept"): an application that takes its ID tokens."""

    def make(id_tokens: str) -> Flask:
        given = {"ISSUER": bao.issuer, "AUDIENCE": bao.client, "ADMIN_GROUPS": "keyhook-admins", "ID_TOKENS": id_tokens}
        app = make_app(data_dir, **{f"KEYHOOK_OIDC_{name}": value for name, value in given.items()})
        provider_of(app).clock = clock
        return app

    return make


def asked(app: Flask, token: str) -> Any:
    return app.test_client().get("/v0/auth", headers={"Authorization": f"Bearer {token}"})


def test_its_id_tokens_get_in(service: Callable[[str], Flask], bao: OpenBao) -> None:
    app, tokens = service("accept"), bao.code_flow()
    said = asked(app, tokens["id_token"])
    assert (said.status_code, said.json["owner"], said.json["role"]) == (200, bao.alice, "admin")
    assert asked(app, tokens["access_token"]).status_code == 401
    sent = {"Authorization": f"Bearer {tokens['id_token']}"}
    made: Any = app.test_client().post("/v0/api_keys", json={"name": "laptop"}, headers=sent)
    assert (made.status_code, asked(app, made.json["api_key"]).json["owner"]) == (201, bao.alice)
    checked = app.test_cli_runner().invoke(args=["oidc", "check"], input=tokens["id_token"])
    assert (checked.exit_code, checked.stdout.splitlines()[-1]) == (0, "yes  gives a role by groups")


def test_nobody_gets_in_where_id_tokens_are_refused(service: Callable[[str], Flask], bao: OpenBao) -> None:
    app, tokens = service("refuse"), bao.code_flow()
    assert [asked(app, tokens[which]).status_code for which in ("id_token", "access_token")] == [401, 401]


def test_its_key_changes(service: Callable[[str], Flask], bao: OpenBao, clock: Clock) -> None:
    app, old = service("accept"), bao.code_flow()["id_token"]
    assert asked(app, old).status_code == 200
    bao.rotate()
    clock.moved += 31
    assert asked(app, bao.code_flow()["id_token"]).status_code == 200
    assert asked(app, old).status_code == 200
