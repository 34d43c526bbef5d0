"""Authentication: a table of mangled keys and a table of hostile tokens, all refused alike."""

import base64
import hmac
import json
import string
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from flask import Flask

from tests.bad_keys import GENERIC, checksummed, other_secret
from tests.outage import take_away
from tests.tokens import claims

MANGLED: dict[str, Callable[[str], str]] = {
    "last character lost": lambda key: key[:-1],
    "first character lost": lambda key: key[1:],
    "character in the middle lost": lambda key: key[:50] + key[51:],
    "one more": lambda key: key + "0",
    "one character changed": lambda key: key[:50] + ("a" if key[50] != "a" else "b") + key[51:],
    "two characters swapped": lambda key: key[:50] + key[51] + key[50] + key[52:] if key[50] != key[51] else key[:-1],
    "checksum alone changed": lambda key: key[:-8] + f"{int(key[-8:], 16) ^ 1:08x}",
    "upper-case checksum": lambda key: key[:-8] + "ABCDEF12",
    "upper case": str.upper,
    "lower case": lambda key: key.lower() if key.lower() != key else key[:-1],
    "twice": lambda key: key + key,
    "with a space": lambda key: key[:40] + " " + key[40:],
    "in quotes": lambda key: f'"{key}"',
    "with dashes": lambda key: checksummed(f"kh_{key[3:11]}-{key[11:-8]}"),
    "other secret, right checksum": other_secret,
    "other id, right checksum": lambda key: checksummed(f"kh_{'0' * 32}_{key[36:-8]}"),
    "other prefix, old checksum": lambda key: "ab" + key[2:],
    "id alone": lambda key: key[:35],
    "prefix alone": lambda key: "kh_",
    "no prefix": lambda key: checksummed(key[2:-8]),
    "another separator": lambda key: checksummed(key[:-8].replace("_", "-")),
    "not ASCII": lambda key: key[:50] + "é" + key[51:],
    "digits of another script": lambda key: key[:50] + "٣" + key[51:],
    "very long": lambda key: key + "0" * 20_000,
}


@pytest.mark.parametrize("mangle", MANGLED.values(), ids=MANGLED.keys())
@pytest.mark.parametrize("path", ["/v0/api_keys", "/v0/auth"])
def test_a_mangled_key_is_refused_like_any_other(
    call: Callable[..., Any], mint: Callable[..., str], path: str, mangle: Callable[[str], str]
) -> None:
    bad = mangle(mint())
    response = call("GET", path, by=bad.encode().decode("latin-1"))
    assert (response.status_code, response.json["error_code"]) == (401, "AuthenticationFailed")
    assert response.json["message"] == "The credential is not valid"
    assert response.json["details"] is None
    assert response.headers["WWW-Authenticate"] == GENERIC


def test_a_mistyped_key_is_refused_before_the_database_is_asked(
    call: Callable[..., Any], mint: Callable[..., str], data_dir: Path
) -> None:
    key = mint()
    mistyped = MANGLED["one character changed"](key)
    take_away(data_dir)
    assert call("GET", "/v0/auth", by=key).status_code == 503
    for path in ("/v0/auth", "/v0/api_keys"):
        assert call("GET", path, by=mistyped).status_code == 401
    assert call("POST", "/v0/introspect", data={"token": mistyped}).json == {"active": False}


@pytest.mark.parametrize("header", [None, "", "Basic YTpi", "Bearer", "Bearer ", "Bearer  ", "Token abc", "bearerabc"])
def test_without_a_credential_the_challenge_says_no_more(client: Any, header: str | None) -> None:
    response = client.get("/v0/api_keys", headers={} if header is None else {"Authorization": header})
    assert (response.status_code, response.json["error_code"]) == (401, "AuthenticationFailed")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="keyhook"'


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_taken_in_any_case(client: Any, mint: Callable[..., str], scheme: str) -> None:
    assert client.get("/v0/api_keys", headers={"Authorization": f"{scheme} {mint()}"}).status_code == 200


def test_a_key_under_an_earlier_prefix_goes_on_working(make_app: Callable[..., Flask], data_dir: Any) -> None:
    def mint_with(prefix: str, rounds: int, name: str) -> tuple[Any, str]:
        app = make_app(data_dir, KEYHOOK_KEY_PREFIX=prefix, KEYHOOK_BCRYPT_ROUNDS=rounds)
        made = app.test_cli_runner().invoke(args=["keys", "create", name])
        return app.test_client(), made.stdout.strip()

    _, old = mint_with("kh", 4, "old")
    client, new = mint_with("team2", 5, "new")
    assert (old[:3], new[:6]) == ("kh_", "team2_")
    for key in (old, new):
        assert client.get("/v0/auth", headers={"Authorization": f"Bearer {key}"}).status_code == 200


@pytest.mark.parametrize(
    ("state", "message"),
    [("disabled", "The API key is disabled"), ("expired", "The API key has expired")],
)
def test_only_the_holder_of_the_right_secret_learns_why(
    app: Flask, call: Callable[..., Any], mint: Callable[..., str], state: str, message: str
) -> None:
    key = mint("k")
    change = {"disabled": True} if state == "disabled" else {"expires_at": "2020-01-01T00:00:00.000000Z"}
    with app.extensions["keyhook"].storage.write() as tx:
        from models import api_keys

        tx.execute(api_keys.update().values(change))
    holder, guesser = call("GET", "/v0/auth", by=key), call("GET", "/v0/auth", by=other_secret(key))
    assert holder.status_code == guesser.status_code == 401
    assert holder.json["message"] == message
    assert message in holder.headers["WWW-Authenticate"]
    assert guesser.headers["WWW-Authenticate"] == GENERIC
    assert call("GET", "/v0/api_keys/k").json["status"] == state


def encode(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(secret: bytes, header: Any, payload: Any, digest: str = "sha256") -> str:
    head = f"{encode(header)}.{encode(payload)}"
    return f"{head}.{encode(hmac.new(secret, head.encode(), digest).digest())}"


HS256 = {"alg": "HS256", "typ": "JWT"}
DEEP = b'{"alg":"HS256","x":' + b"[" * 3000 + b"]" * 3000 + b"}"

ODD_CLAIMS: dict[str, list[Any]] = {
    "iss": [..., None, "", "Keyhook", "other", 5, ["keyhook"], {}],
    "aud": [..., None, "", "other", 5, ["other"], [], {"keyhook": 1}],
    "sub": [..., None, "", 5, ["alice"], "\ud800", "\0", "ali\0ce", "alice\0"],
    "iat": [..., None, "now", "1", True, [], 10**12, 1e308],
    "exp": [
        ...,
        None,
        0,
        -1,
        1,
        "tomorrow",
        "4102444800",
        True,
        [],
        {},
        1e308,
        10**30,
        10**17,
        2**62,
        float("nan"),
        float("inf"),
    ],
    "nbf": ["x", 10**12],
    "role": [..., None, "", "root", "Admin", 5, ["admin"]],
    "tenant": [None, "", 5, ["default"], {}, "\udc00", "\0", "default\0"],
    "x": ["\ud800", float("nan"), {"y": float("inf")}],
}


def doubled(name: str, first: str, last: str) -> bytes:
    """Claims with one member twice."""
    return json.dumps(claims(**{name: "?"})).encode().replace(b'"?"', f'"{first}", "{name}": "{last}"'.encode())


def spelt_anew(token: str) -> list[str]:
    """Other spellings of a token: unused bits of the last character, padding, and characters that decoders skip."""
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    last = letters.index(token[-1])
    return [
        *(token[:-1] + letters[last ^ bits] for bits in (1, 2, 3)),
        *(token + more for more in ("=", "==", "====", "!", "\n=", ".", "é")),
        token.replace(".", "=.", 1), token.replace(".", "==.", 1), token.replace(".", ".=", 1),
        token[:-10] + "!" + token[-10:], token[:-10] + " " + token[-10:], token[:-10] + "\n" + token[-10:],
        token.replace("-", "+").replace("_", "/") if {"-", "_"} & set(token) else token + "+",
    ]  # fmt: skip


TOKENS: dict[str, Callable[[bytes], str]] = {
    **{
        f"alg {alg!r}": lambda secret, alg=alg: f"{encode({'alg': alg})}.{encode(claims())}."  # type: ignore[misc]
        for alg in ("none", "None", "NONE", "nOnE", "", None, 5, ["HS256"], {"a": 1})
    },
    **{
        f"alg {alg!r}, signed": lambda secret, alg=alg: signed(secret, {"alg": alg}, claims())  # type: ignore[misc]
        for alg in ("none", "hs256", "HS384", "RS256", "ES256", "EdDSA", "", None)
    },
    "no alg": lambda secret: signed(secret, {"typ": "JWT"}, claims()),
    "HS384": lambda secret: signed(secret, {"alg": "HS384"}, claims(), "sha384"),
    "HS512": lambda secret: signed(secret, {"alg": "HS512"}, claims(), "sha512"),
    "another secret": lambda secret: signed(b"x" * 32, HS256, claims()),
    "empty secret": lambda secret: signed(b"", HS256, claims()),
    "no signature": lambda secret: signed(secret, HS256, claims()).rpartition(".")[0] + ".",
    "signature cut": lambda secret: signed(secret, HS256, claims())[:-2],
    "payload changed": lambda secret: "{0}.{2}.{1}".format(
        *[part for n, part in enumerate(signed(secret, HS256, claims()).split(".")) if n != 1],
        encode(claims(sub="mallory")),
    ),
    "one segment": lambda secret: "abc",
    "two segments": lambda secret: signed(secret, HS256, claims()).rpartition(".")[0],
    "four segments": lambda secret: signed(secret, HS256, claims()) + ".x",
    "five segments": lambda secret: "a.b.c.d.e",
    "dots": lambda secret: "..",
    "header no object": lambda secret: signed(secret, ["HS256"], claims()),
    "header not JSON": lambda secret: signed(secret, b"{", claims()),
    "header nested too deep": lambda secret: signed(secret, DEEP, claims()),
    "payload no object": lambda secret: signed(secret, HS256, [1]),
    "payload not JSON": lambda secret: signed(secret, HS256, b"x"),
    "payload not UTF-8": lambda secret: signed(secret, HS256, b"\xff"),
    "payload nested too deep": lambda secret: signed(secret, HS256, b'{"x":' + b"[" * 2500 + b"]" * 2500 + b"}"),
    "oversized": lambda secret: signed(secret, HS256, claims(x="x" * 10_000)),
    **{
        f"typ {typ!r}": lambda secret, typ=typ: signed(secret, {**HS256, "typ": typ}, claims())  # type: ignore[misc]
        for typ in ("at+jwt", "JWE", "logout+jwt", "", None, 5, ["JWT"], "JWT ", "application/jwt")
    },
    "alg twice": lambda secret: signed(secret, b'{"alg":"none","alg":"HS256"}', claims()),
    "sub twice": lambda secret: signed(secret, HS256, doubled("sub", "mallory", "alice")),
    "role twice": lambda secret: signed(secret, HS256, doubled("role", "read", "admin")),
    "sub twice, once escaped": lambda secret: signed(
        secret, HS256, doubled("sub", "x", "y").replace(b'"sub": "y"', rb'"\u0073ub": "y"')
    ),
    "a claim within twice": lambda secret: signed(
        secret, HS256, json.dumps(claims(x="?")).encode().replace(b'"?"', b'{"y": 1, "y": 2}')
    ),
    "header in UTF-16": lambda secret: signed(secret, json.dumps(HS256).encode("utf-16"), claims()),
    "payload in UTF-16": lambda secret: signed(secret, HS256, json.dumps(claims()).encode("utf-16-le")),
    "payload with a BOM": lambda secret: signed(secret, HS256, json.dumps(claims()).encode("utf-8-sig")),
    "critical extension": lambda secret: signed(secret, {**HS256, "crit": ["x"], "x": 1}, claims()),
    "jwk of its own": lambda secret: signed(
        b"k" * 32, {**HS256, "jwk": {"kty": "oct", "k": encode(b"k" * 32)}}, claims()
    ),
    "jku": lambda secret: signed(b"k" * 32, {**HS256, "jku": "http://127.0.0.1:9/jwks.json"}, claims()),
    "x5u": lambda secret: signed(b"k" * 32, {**HS256, "x5u": "http://127.0.0.1:9/x.pem"}, claims()),
    "kid of a file": lambda secret: signed(b"", {**HS256, "kid": "../../dev/null"}, claims()),
    "kid no string": lambda secret: signed(b"k" * 32, {**HS256, "kid": {"a": 1}}, claims()),
    **{
        f"{claim} {value!r}": lambda secret, claim=claim, value=value: signed(secret, HS256, claims(**{claim: value}))  # type: ignore[misc]
        for claim, values in ODD_CLAIMS.items()
        for value in values
    },
    "expired an hour ago": lambda secret: signed(secret, HS256, claims(exp=int(time.time()) - 3600)),
    "expired a second ago": lambda secret: signed(secret, HS256, claims(exp=time.time() - 1)),
    "from the future": lambda secret: signed(secret, HS256, claims(iat=int(time.time()) + 65)),
    "not yet": lambda secret: signed(secret, HS256, claims(nbf=int(time.time()) + 65)),
}


@pytest.mark.parametrize("path", ["/v0/api_keys", "/v0/auth"])
def test_a_token_has_one_text(app: Flask, call: Callable[..., Any], path: str) -> None:
    secret = app.extensions["keyhook"].settings.secret_key
    for number in range(8):
        good = signed(secret, HS256, claims(sub=f"alice{number}"))
        for other in spelt_anew(good):
            environ = {"HTTP_AUTHORIZATION": f"Bearer {other}"}
            if other.strip() != good:
                assert call("GET", path, by=None, environ_overrides=environ).status_code == 401, other
        assert call("GET", path, by=good).status_code == 200


@pytest.mark.parametrize("header", [{"alg": "HS256"}, {**HS256, "typ": "jwt"}, {**HS256, "typ": "Jwt"}])
def test_the_type_may_be_absent_and_is_read_in_any_case(
    app: Flask, call: Callable[..., Any], header: dict[str, str]
) -> None:
    secret = app.extensions["keyhook"].settings.secret_key
    assert call("GET", "/v0/api_keys", by=signed(secret, header, claims())).status_code == 200


@pytest.mark.parametrize("make", TOKENS.values(), ids=TOKENS.keys())
@pytest.mark.parametrize("path", ["/v0/api_keys", "/v0/auth"])
def test_a_hostile_token_is_refused(
    app: Flask, call: Callable[..., Any], path: str, make: Callable[[bytes], str]
) -> None:
    response = call("GET", path, by=make(app.extensions["keyhook"].settings.secret_key))
    assert (response.status_code, response.json["error_code"]) == (401, "AuthenticationFailed")
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


GOOD: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": lambda: {},
    "tenant": lambda: {"tenant": "team"},
    "unknown claims": lambda: {"x": 1, "scope": "a b"},
    "aud in a list": lambda: {"aud": ["other", "keyhook"]},
    "a clock a little ahead": lambda: {"iat": int(time.time()) + 55},
    "good in a little while": lambda: {"nbf": int(time.time()) + 55},
    "fraction": lambda: {"exp": time.time() + 3600.5},
    "read": lambda: {"role": "read"},
    "sub of all scripts": lambda: {"sub": "Zoë 日本 🔑"},
}


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD.keys())
def test_a_good_token(app: Flask, call: Callable[..., Any], changes: Callable[[], dict[str, Any]]) -> None:
    good = signed(app.extensions["keyhook"].settings.secret_key, HS256, claims(**changes()))
    assert call("GET", "/v0/api_keys", by=good).status_code == 200


def test_kid_and_its_kind_are_never_followed(app: Flask, call: Callable[..., Any]) -> None:
    header = {**HS256, "kid": "x", "jku": "http://127.0.0.1:9/", "x5u": "http://127.0.0.1:9/", "jwk": {}}
    good = signed(app.extensions["keyhook"].settings.secret_key, header, claims())
    assert call("GET", "/v0/api_keys", by=good).status_code == 200


def test_an_expired_token_says_so_to_its_holder(call: Callable[..., Any], token: Callable[..., str]) -> None:
    assert call("GET", "/v0/api_keys", by=token(lifetime=-100)).json["message"] == "The token has expired"


def test_a_token_that_was_good_ends_all_the_same(app: Flask, call: Callable[..., Any]) -> None:
    end = time.time() + 3
    brief = signed(app.extensions["keyhook"].settings.secret_key, HS256, claims(exp=end))
    assert call("GET", "/v0/api_keys", by=brief).status_code == 200  # read; remembered from now on
    time.sleep(max(0, end - time.time()) + 0.1)
    assert call("GET", "/v0/api_keys", by=brief).json["message"] == "The token has expired"


def test_a_remembered_token_vouches_for_no_other(call: Callable[..., Any], token: Callable[..., str]) -> None:
    good = token()
    assert call("GET", "/v0/api_keys", by=good).status_code == 200
    head, payload, signature = good.split(".")
    other = encode(claims(sub="mallory"))
    for forged in (f"{head}.{other}.{signature}", f"{head}.{payload}.", f"{good}a", good[:-1], f"{head}.{payload}"):
        assert call("GET", "/v0/api_keys", by=forged).status_code == 401


def test_flask_token_is_what_pyjwt_reads(app: Flask, runner: Any) -> None:
    made = runner.invoke(args=["token", "--owner", "bob", "--role", "read", "--tenant", "t", "--expires-in", "2h"])
    secret = app.extensions["keyhook"].settings.secret_key
    read = jwt.decode(made.stdout.strip(), secret, algorithms=["HS256"], audience="keyhook", issuer="keyhook")
    assert (read["sub"], read["role"], read["tenant"], read["exp"] - read["iat"]) == ("bob", "read", "t", 7200)
