"""Tokens that somebody made to get in, and tokens of the same provider that were made for another purpose."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask

from tests.oidc.conftest import Clock, provider_of, settled
from tests.oidc.issuer import Issuer, private_key, public_jwk

Make = Callable[[Issuer], str]
GENERIC = 'Bearer realm="keyhook", error="invalid_token", error_description="The credential is not valid"'


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(issuer: Issuer, payload: bytes, algorithm: str = "RS256", **header: Any) -> str:
    """Any bytes as the payload, under a good signature."""
    return jwt.PyJWS().encode(payload, private_key(algorithm), algorithm, {"kid": algorithm, "typ": "JWT", **header})


def with_claims(**changes: Any) -> Make:
    return lambda issuer: signed(issuer, json.dumps(issuer.claims(**changes)).encode())


def with_header(**header: Any) -> Make:
    """The signature is right for the header as it stands."""

    def make(issuer: Issuer) -> str:
        whole = {"alg": "RS256", "kid": "RS256", "typ": "JWT", **header}
        head = f"{b64({name: value for name, value in whole.items() if value is not ...})}.{b64(issuer.claims())}"
        algorithm = jwt.get_algorithm_by_name("RS256")
        return f"{head}.{b64(algorithm.sign(head.encode(), private_key('RS256')))}"

    return make


def unsigned(issuer: Issuer) -> str:
    return f"{b64({'alg': 'none', 'typ': 'JWT'})}.{b64(issuer.claims())}."


def with_public_key_as_secret(issuer: Issuer) -> str:
    pem = private_key("RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = f"{b64({'alg': 'HS256', 'kid': 'RS256', 'typ': 'JWT'})}.{b64(issuer.claims())}"
    return f"{head}.{b64(hmac.digest(pem, head.encode(), 'sha256'))}"


def with_twice(issuer: Issuer) -> str:
    text = json.dumps(issuer.claims())[:-1] + ', "groups": ["admins"]}'
    return signed(issuer, text.encode())


def respelt(issuer: Issuer) -> str:
    """Another text of the same signature: the last character has bits to spare."""
    token = issuer.token()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + letters[letters.index(token[-1]) ^ 1]


NOW = int(time.time())
MALLORY: dict[str, Any] = {"which": "mallory"}
ATTACKS: dict[str, Make] = {
    "no signature": unsigned,
    "alg none with a signature": with_header(alg="none"),
    "alg in other letters": with_header(alg="rs256"),
    "alg missing": with_header(alg=...),
    "alg a list": with_header(alg=["RS256"]),
    "alg of the family, not of the key": with_header(alg="RS512"),
    "alg of another family": with_header(alg="ES256"),
    "PS256 under a key of RS256": lambda issuer: issuer.token("PS256", {"kid": "RS256"}),
    "HS256 with the public key": with_public_key_as_secret,
    "HS256 as of authentik without a key": lambda issuer: jwt.encode(issuer.claims(), "s" * 64, "HS256"),
    "our own issuer": lambda issuer: issuer.token(iss="keyhook"),
    "HS384 as of authentik without a key": lambda issuer: jwt.encode(issuer.claims(), "s" * 64, "HS384"),
    "another key under a known kid": lambda issuer: issuer.token(**MALLORY),
    "the key in the header": lambda issuer: issuer.token(header={"jwk": public_jwk("RS256", **MALLORY)}, **MALLORY),
    "the key behind an address": lambda issuer: issuer.token(header={"jku": f"{issuer.name}/mine"}, **MALLORY),
    "the key in a certificate": lambda issuer: issuer.token(header={"x5c": ["AAAA"], "x5u": "http://x"}, **MALLORY),
    "crit": with_header(crit=["exp"]),
    "b64 false": with_header(b64=False),
    "kid a list": with_header(kid=["RS256"]),
    "kid a number": with_header(kid=7),
    "kid empty": with_header(kid=""),
    "kid a path": with_header(kid="../../../../etc/passwd"),
    "kid with a line end": with_header(kid="RS256\nx"),
    "kid long": with_header(kid="k" * 3000),
    "signature changed": lambda issuer: issuer.token()[:-8] + "AAAAAAAA",
    "signature spelt otherwise": respelt,
    "signature missing": lambda issuer: issuer.token().rpartition(".")[0] + ".",
    "claims of another token": lambda issuer: ".".join(
        [issuer.token().split(".")[0], b64(issuer.claims(groups=["admins"])), issuer.token().split(".")[2]]
    ),
    "a claim twice": with_twice,
    "claims a list": lambda issuer: signed(issuer, b"[]"),
    "claims nested deep": lambda issuer: signed(issuer, b'{"a":' * 900 + b"1" + b"}" * 900),
    "claims not UTF-8": lambda issuer: signed(issuer, b'{"sub": "\xff"}'),
    "no audience": with_claims(aud=...),
    "audience empty": with_claims(aud=[]),
    "audience of another client": with_claims(aud="photos"),
    "audience account": with_claims(aud="account"),
    "audience in other letters": with_claims(aud="Keyhook"),
    "audience an object": with_claims(aud={"keyhook": 1}),
    "audience a list of lists": with_claims(aud=[["keyhook"]]),
    "no subject": with_claims(sub=...),
    "subject a number": with_claims(sub=7),
    "subject empty": with_claims(sub=""),
    "no end": with_claims(exp=...),
    "no beginning": with_claims(iat=...),
    "no issuer": with_claims(iss=...),
    "ended": with_claims(iat=NOW - 900, exp=NOW - 1),
    "end a text": with_claims(exp=str(NOW + 600)),
    "end true": with_claims(exp=True),
    "end NaN": with_claims(exp=float("nan")),
    "end far beyond": with_claims(exp=10**400),
    "end before the beginning": with_claims(iat=NOW + 50, exp=NOW + 40),
    "beginning a text": with_claims(iat=str(NOW)),
    "beginning in the future": with_claims(iat=NOW + 300, exp=NOW + 900),
    "beginning long before us": with_claims(iat=-(10**30)),
    "not yet": with_claims(nbf=NOW + 300),
    "not before a text": with_claims(nbf="0"),
    "ID token of Keycloak": with_claims(typ="ID"),
    "ID token with at_hash": with_claims(at_hash="x"),
    "ID token with c_hash": with_claims(c_hash="x"),
    "ID token with a nonce": with_claims(nonce="x", azp=...),
    "refresh token": with_claims(typ="Refresh"),
    "offline token": with_claims(typ="Offline"),
    "claims of an odd type": with_claims(typ=["Bearer"]),
    "logout token": with_header(typ="logout+jwt"),
    "logout token of the old kind": with_claims(events={"http://schemas.openid.net/event/backchannel-logout": {}}),
    "DPoP proof": with_header(typ="dpop+jwt"),
    "event token": with_header(typ="secevent+jwt"),
    "ID token by its header": with_header(typ="id_token+jwt"),
    "type a list": with_header(typ=["JWT"]),
    "bound to a key": with_claims(cnf={"jkt": "x"}),
    "oversized": with_claims(more="x" * 9000),
}


# All others have a good signature, so that nothing but the check that they are about refuses them.
FORGED = {
    "another key under a known kid", "the key in the header", "the key behind an address", "the key in a certificate",
    "signature changed", "claims of another token",
}  # fmt: skip


@pytest.mark.parametrize("make", [with_claims(), with_header(), with_header(kid=...)])
def test_the_makers_of_attacks_make_good_tokens_otherwise(
    issuer: Issuer, gate: Callable[[str], Any], make: Make
) -> None:
    assert gate(make(issuer)).status_code == 200


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_like_any_other_and_costs_a_fetch_at_most(
    issuer: Issuer, app: Flask, gate: Callable[[str], Any], caplog: pytest.LogCaptureFixture, attack: str
) -> None:
    make = ATTACKS[attack]
    settled(provider_of(app))
    for _ in range(2):
        answer = gate(make(issuer))
        assert (answer.status_code, answer.json["error_code"]) == (401, "AuthenticationFailed")
        expired = answer.headers["WWW-Authenticate"].endswith('"The token has expired"')
        assert answer.headers["WWW-Authenticate"] == GENERIC or expired
    assert ("InvalidSignatureError" in caplog.text) == (attack in FORGED)
    assert set(issuer.asked) <= {"/realms/home/.well-known/openid-configuration", "/realms/home/jwks"}
    assert issuer.asked.total() == 2
    assert gate(issuer.token()).status_code == 200


ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_of_the_list_is_good(issuer: Issuer, provided: Callable[..., Flask], algorithm: str) -> None:
    issuer.keys = [public_jwk(algorithm)]
    client = provided().test_client()
    for header in ({}, {"typ": "at+jwt"}, {"typ": "application/at+jwt"}, {"typ": "jwt"}):
        bearer = {"Authorization": f"Bearer {issuer.token(algorithm, header)}"}
        assert client.get("/v0/auth", headers=bearer).status_code == 200


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_is_good_under_a_key_that_names_none(
    issuer: Issuer, provided: Callable[..., Flask], algorithm: str
) -> None:
    """Entra and Canaille name none; Canaille signs with PS512 then."""
    issuer.keys = [public_jwk(algorithm, alg=...)]
    bearer = {"Authorization": f"Bearer {issuer.token(algorithm)}"}
    assert provided().test_client().get("/v0/auth", headers=bearer).status_code == 200


@pytest.mark.parametrize("name", ["alg of another family", "HS256 with the public key", "no signature"])
def test_a_key_that_names_no_algorithm_takes_none_of_another_kind(
    issuer: Issuer, provided: Callable[..., Flask], name: str
) -> None:
    issuer.keys = [public_jwk("RS256", alg=...)]
    bearer = {"Authorization": f"Bearer {ATTACKS[name](issuer)}"}
    assert provided().test_client().get("/v0/auth", headers=bearer).status_code == 401


def test_the_log_says_which_audience_there_was(
    issuer: Issuer, gate: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    token = issuer.token(aud=["account", "photos"])
    gate(token)
    assert "its aud is ['account', 'photos']" in caplog.text
    assert token not in caplog.text


@pytest.mark.parametrize("algorithm", ["HS256", "HS512"])
def test_the_log_says_that_the_provider_has_no_signing_key(
    issuer: Issuer, gate: Callable[[str], Any], caplog: pytest.LogCaptureFixture, algorithm: str
) -> None:
    gate(jwt.encode(issuer.claims(), "s" * 64, algorithm))
    assert "choose a signing key at the provider" in caplog.text


def test_our_secret_makes_no_token_of_the_provider(
    issuer: Issuer, app: Flask, gate: Callable[[str], Any], token: Callable[..., str]
) -> None:
    secret = app.extensions["keyhook"].settings.secret_key
    assert gate(jwt.encode(issuer.claims(role="admin"), secret, "HS256")).status_code == 401
    assert gate(token()).status_code == 200


def test_an_owner_is_encoded_in_the_header(issuer: Issuer, gate: Callable[[str], Any]) -> None:
    assert gate(issuer.token(sub="a X: é")).headers["Remote-User"] == "a X: %C3%A9"


@pytest.mark.parametrize("sub", ["a\r\nX: b", " ", " a", "a\u200b", "x" * 201])
def test_what_is_no_name_is_no_owner(issuer: Issuer, gate: Callable[[str], Any], sub: str) -> None:
    assert gate(issuer.token(sub=sub)).status_code == 401


@pytest.mark.parametrize("kid", ["../keys/1", "/etc/passwd", "..\\x", "file:///x", "https://evil.example.com/k"])
def test_an_id_like_a_path_makes_nobody_fetch(
    app: Flask, issuer: Issuer, gate: Callable[[str], Any], clock: Clock, kid: str
) -> None:
    assert gate(issuer.token()).status_code == 200
    settled(provider_of(app))
    clock.moved += 31
    before = issuer.asked.total()
    assert gate(issuer.token("RS256", {"kid": kid})).status_code == 401
    settled(provider_of(app))
    assert issuer.asked.total() == before
