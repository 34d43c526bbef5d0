"""`flask oidc check`: which checks a token passes, and nothing of what is in it."""

import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from flask import Flask

from tests.oidc.issuer import METADATA, Issuer, public_jwk, send

Check = Callable[[str], Any]


@pytest.fixture
def check(app: Flask) -> Check:
    return lambda token: app.test_cli_runner().invoke(args=["oidc", "check"], input=token)


def refused(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("no ")]


def test_a_good_token_passes_everything(issuer: Issuer, check: Check) -> None:
    done = check(issuer.token() + "\n")
    assert (done.exit_code, refused(done.output)) == (0, [])
    assert f"{issuer.name}: 1 key of use" in done.output
    assert "claims: iss, aud, sub, azp, iat, exp, groups" in done.output


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "audience": ({"aud": "photos"}, "is for an audience of KEYHOOK_OIDC_AUDIENCE"),
    "issuer": ({"iss": "https://secret.example.com"}, "names this issuer"),
    "ID token": ({"typ": "ID"}, "is an access token"),
    "ended": ({"iat": 1000, "exp": 2000}, "has not ended"),
    "owner": ({"sub": ""}, "names an owner in sub"),
    "no group": ({"groups": ["hidden"]}, "gives a role by groups"),
    "unknown key": ({"algorithm": "EdDSA"}, "is signed by a key of the provider"),
    "forged": ({"which": "mallory"}, "is signed by a key of the provider"),
}


@pytest.mark.parametrize(("changes", "what"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named_and_never_shown(
    issuer: Issuer, check: Check, changes: dict[str, Any], what: str
) -> None:
    token = issuer.token(**changes)
    done = check(token)
    assert done.exit_code == 1
    assert any(line.startswith(f"no   {what}: ") for line in refused(done.output))
    for value in ("alice", "photos", "secret", "hidden", "robot", "staff", token[:40], token[-40:]):
        assert value not in done.output


def test_all_checks_are_made(issuer: Issuer, check: Check) -> None:
    done = check(issuer.token(aud="photos", groups=[], sub=""))
    assert len(refused(done.output)) == 4  # these three, and the one that looks at all that is registered


@pytest.mark.parametrize("token", ["8xLOxBtZp8", "a.b.c", "x" * 9000, "é" * 50, "a.b.c.d.e"])
def test_what_is_no_token_is_said(check: Check, token: str) -> None:
    done = check(token)
    assert done.exit_code == 1
    assert token not in done.output


@pytest.mark.parametrize("header", [{"kid": ["x"]}, {"alg": "none"}, {"crit": ["exp"]}, {"kid": 7}])
def test_a_hostile_header_is_one_line(issuer: Issuer, check: Check, header: dict[str, Any]) -> None:
    from tests.oidc.test_attacks import with_header

    done = check(with_header(**header)(issuer))
    assert done.exit_code == 1
    assert not isinstance(done.exception, TypeError)
    assert refused(done.output)


def test_without_a_token_the_provider_alone_is_asked(issuer: Issuer, check: Check) -> None:
    issuer.keys.append(public_jwk("EdDSA"))
    done = check("")
    assert (done.exit_code, done.output) == (0, f"{issuer.name}: 2 keys of use\n")


def test_it_says_what_the_provider_has_to_know(issuer: Issuer, opened: Callable[..., Flask]) -> None:
    run = opened("https://keys.example.com").test_cli_runner().invoke
    assert run(args=["oidc", "check"], input="").output.splitlines()[1:] == [
        "sign-in: it has to know the redirect URI https://keys.example.com/console/callback",
        "sign-out: it has to know https://keys.example.com/",
    ]
    told = {name: value for name, value in issuer.metadata.items() if name != "token_endpoint"}
    issuer.answers[METADATA] = lambda request: send(request, json.dumps(told).encode())
    refused = run(args=["oidc", "check"], input="")
    assert (refused.exit_code, "names no authorization_endpoint" in refused.output) == (1, True)


def test_a_provider_that_does_not_answer_is_one_line(issuer: Issuer, check: Check) -> None:
    issuer.answers[METADATA] = lambda request: send(request, b"", 503)
    done = check(jwt.encode({}, "s" * 32))
    assert (done.exit_code, done.output) == (1, f"Error: {issuer.name}: status 503\n")


def test_without_an_issuer_there_is_nothing_to_check(make_app: Callable[..., Flask], data_dir: Any) -> None:
    done = make_app(data_dir).test_cli_runner().invoke(args=["oidc", "check"])
    assert (done.exit_code, done.output) == (1, "Error: KEYHOOK_OIDC_ISSUER is not set\n")
