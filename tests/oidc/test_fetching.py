"""A provider that lies, drips, or sends without end: the keys of before stay, and nobody hangs on it."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from jwt.algorithms import get_default_algorithms

from formats.private_url import is_private
from oidc import fetching
from oidc.fetching import FetchFailed, fetch_object
from oidc.keyset import ALGORITHMS, ALL_ALGORITHMS, MOST_KEYS, NO_KEYS, usable
from oidc.published import read_published
from tests.oidc.issuer import JWKS, METADATA, Answer, Issuer, private_key, public_jwk, send

LARGE = fetching.LARGEST + 1


def sending(body: Any, status: int = 200, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda request: send(request, raw, status, **headers)


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b" " * 65536)


def dripping_body(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b" ")
        time.sleep(0.05)


def dripping_headers(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        request.wfile.write(b"x")
        time.sleep(0.05)


def broken_off(issuer: Issuer) -> Answer:
    """What arrives would do."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "5000")
        request.end_headers()
        request.wfile.write(json.dumps(issuer.metadata).encode())
        request.close_connection = True

    return answer


def metadata(**changes: Any) -> Callable[[Issuer], Answer]:
    return lambda issuer: sending({**issuer.metadata, **changes})


def always(answer: Answer) -> Callable[[Issuer], Answer]:
    return lambda issuer: answer


def redirect(issuer: Issuer) -> Answer:
    """With an answer that would do, beside the address."""
    whole = {**issuer.metadata, "keys": issuer.keys}
    return sending(whole, 302, Location=issuer.name.replace("/realms/home", "/elsewhere"))


def padded(issuer: Issuer) -> Answer:
    return sending(json.dumps(issuer.metadata).encode() + b" " * LARGE)


def private_half() -> dict[str, Any]:
    made: Any = get_default_algorithms()["RS256"].to_jwk(private_key("RS256"), as_dict=True)
    return {**public_jwk("RS256"), **made, "key_ops": ["sign", "verify"]}


LIES: dict[str, tuple[str, Callable[[Issuer], Answer]]] = {
    "503": (METADATA, always(sending(b"", 503))),
    "503 for the keys": (JWKS, always(sending(b"", 503))),
    "204": (METADATA, always(sending(b"", 204))),
    "HTML": (METADATA, always(sending(b"<html>sign in</html>"))),
    "a list": (METADATA, always(sending([]))),
    "no UTF-8": (METADATA, always(sending(b'{"issuer": "\xff"}'))),
    "a member twice": (METADATA, always(sending(b'{"issuer": "a", "issuer": "b"}'))),
    "nested deep": (METADATA, always(sending(b'{"a":' * 50_000))),
    "large": (METADATA, always(sending(b" " * LARGE))),
    "large, and good but for that": (METADATA, padded),
    "endless": (JWKS, always(endless)),
    "dripping": (JWKS, always(dripping_body)),
    "dripping headers": (METADATA, always(dripping_headers)),
    "broken off": (METADATA, broken_off),
    "no HTTP": (METADATA, always(lambda request: None)),
    "redirect": (METADATA, redirect),
    "redirect of the keys": (JWKS, redirect),
    "of another issuer": (METADATA, metadata(issuer="https://id.example.com")),
    "of the issuer with a slash": (METADATA, lambda issuer: metadata(issuer=f"{issuer.name}/")(issuer)),
    "no jwks_uri": (METADATA, metadata(jwks_uri=None)),
    "jwks_uri a file": (METADATA, metadata(jwks_uri="file:///etc/passwd")),
    "jwks_uri a file on a host": (METADATA, metadata(jwks_uri="file://localhost/etc/passwd")),
    "jwks_uri FTP": (METADATA, metadata(jwks_uri="ftp://localhost/keys")),
    "jwks_uri without TLS": (METADATA, metadata(jwks_uri="http://192.0.2.1/keys")),
    "jwks_uri with a line end": (METADATA, metadata(jwks_uri="http://localhost/\r\nX: y")),
    "jwks_uri half an address": (METADATA, metadata(jwks_uri="https://[::1")),
    "no keys": (JWKS, always(sending({"keys": []}))),
    "keys a number": (JWKS, always(sending({"keys": 7}))),
    "no member keys": (JWKS, always(sending({}))),
}


@pytest.mark.parametrize(("path", "lie"), LIES.values(), ids=LIES.keys())
def test_a_lie_is_no_answer(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, path: str, lie: Callable[[Issuer], Answer]
) -> None:
    monkeypatch.setattr("oidc.published.fetch_object", lambda url: fetch_object(url, whole=0.5))
    issuer.answers[path] = lie(issuer)
    began = time.monotonic()
    with pytest.raises(FetchFailed):
        read_published(issuer.name)
    assert time.monotonic() - began < 3
    assert issuer.asked.keys() <= {METADATA, JWKS}


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address where nobody takes a connection: the queue of those that wait is full."""
    with ExitStack() as stack:
        nobody = stack.enter_context(socket.socket())
        nobody.bind(("127.0.0.1", 0))
        nobody.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(nobody.getsockname())
        yield nobody.getsockname()


def addresses(*found: tuple[str, int]) -> Callable[..., Any]:
    """What a name stands for."""
    return lambda *_, **more: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in found]


def test_many_silent_addresses_take_no_longer_than_one(
    silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oidc.fetching.socket.getaddrinfo", addresses(*[silent] * 5))
    began = time.monotonic()
    with pytest.raises(FetchFailed, match="timed out"):
        fetch_object("http://localhost/x", whole=1)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("then", ["answers", "drips"])
def test_a_silent_address_leaves_time_for_the_next(
    issuer: Issuer, silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    issuer.answers["/x"] = sending({"it": "answers"}) if then == "answers" else dripping_body
    good = "127.0.0.1", int(issuer.name.split(":")[2].partition("/")[0])
    place = socket.getaddrinfo
    monkeypatch.setattr(
        "oidc.fetching.socket.getaddrinfo",
        lambda host, port, *args, **more: (
            addresses(silent, good)() if host == "localhost" else place(host, port, *args, **more)
        ),
    )
    began = time.monotonic()
    if then == "answers":
        assert fetch_object("http://localhost/x", whole=2) == {"it": "answers"}
    else:
        with pytest.raises(FetchFailed):
            fetch_object("http://localhost/x", whole=2)
    assert time.monotonic() - began < 4


def test_a_provider_that_is_not_there_is_said_in_one_line(issuer: Issuer) -> None:
    with pytest.raises(FetchFailed) as failed:
        read_published("http://localhost:9")
    assert str(failed.value).isprintable()


PRIVATE = [
    "https://id.example.com",
    "https://192.0.2.1:8443/x",
    "http://localhost",
    "http://127.0.0.1:1",
    "http://[::1]/",
]
OPEN = [
    "http://id.example.com", "http://localhost.example.com", "http://127.0.0.1.example.com", "http://127.0.0.2",
    "http://localhost@example.com", "https://a:b@id.example.com", "https://", "https:///x", "//localhost", "localhost",
    "file:///etc/passwd", "data:,x", "https://id.example.com:0", "https://id.example.com:x", "https://[::1", "",
    "http:",    "https://id.example.com/\n", "https://例え.jp", "https://bücher.example", "https://id.example.com:８０",
]  # fmt: skip


@pytest.mark.parametrize("url", PRIVATE)
def test_tls_is_private_and_so_is_this_machine(url: str) -> None:
    assert is_private(url)


@pytest.mark.parametrize("url", OPEN)
def test_nothing_else_is_private(url: str) -> None:
    assert not is_private(url)
    with pytest.raises(FetchFailed, match="an address without TLS"):
        fetch_object(url)


def test_an_issuer_with_tls_has_keys_with_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"issuer": "https://id.example.com", "jwks_uri": "http://localhost:8080/keys"}
    monkeypatch.setattr("oidc.published.fetch_object", lambda url: said)
    with pytest.raises(FetchFailed, match="without TLS"):
        read_published("https://id.example.com")


def test_a_slash_at_the_end_is_not_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(url: str) -> dict[str, Any]:
        asked.append(url)
        return {}

    monkeypatch.setattr("oidc.published.fetch_object", fetch)
    for issuer in ("https://id.example.com/o/slug/", "https://id.example.com/o/slug"):
        with pytest.raises(FetchFailed):
            read_published(issuer)
    assert asked == ["https://id.example.com/o/slug/.well-known/openid-configuration"] * 2


def test_the_proxy_of_the_environment_is_asked(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    port = issuer.name.split(":")[2].partition("/")[0]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("no_proxy", raising=False)
    issuer.answers["http://localhost:9/x"] = sending({"through": "a proxy"})
    assert fetch_object("http://localhost:9/x") == {"through": "a proxy"}


USELESS: dict[str, dict[str, Any]] = {
    "a secret": {"kty": "oct", "k": "AAAA", "alg": "HS256", "kid": "x"},
    "a secret as RS256": {"kty": "oct", "k": "AAAA", "alg": "RS256", "kid": "x"},
    "to encrypt": public_jwk("RS256", use="enc", alg="RSA-OAEP"),
    "to encrypt, alg of a signature": public_jwk("RS256", use="enc"),
    "to wrap": public_jwk("RS256", use=..., key_ops=["wrapKey"]),
    "to sign alone": public_jwk("RS256", use=..., key_ops=["sign"]),
    "operations a text": public_jwk("RS256", key_ops="verify"),
    "short": public_jwk("RS256", which="short"),
    "the private half": private_half(),
    "RSA as ES256": public_jwk("RS256", alg="ES256"),
    "RSA as HS256": public_jwk("RS256", alg="HS256"),
    "kind a list": public_jwk("RS256") | {"kty": ["RSA"]},
    "alg none": public_jwk("RS256", alg="none"),
    "alg a list": public_jwk("RS256", alg=["RS256"]),
    "an unknown curve": public_jwk("ES256", crv="secp256k1", alg="ES256K"),
    "a point on no curve": public_jwk("ES256", x="AAAA"),
    "no modulus": public_jwk("RS256", n=...),
    "a modulus that is a number": public_jwk("RS256", n=7),
    "kid a list": public_jwk("RS256") | {"kid": ["x"]},
    "kid long": public_jwk("RS256", "k" * 300),
    "an unknown kind": {"kty": "AKP", "alg": "ML-DSA-44", "kid": "x", "pub": "AAAA"},
}


@pytest.mark.parametrize("jwk", USELESS.values(), ids=USELESS.keys())
def test_a_key_that_may_not_sign_is_skipped(jwk: dict[str, Any]) -> None:
    assert usable({"keys": [jwk]}) == NO_KEYS
    beside = usable({"keys": [jwk, public_jwk("EdDSA")]})
    assert list(beside.by_id) == ["EdDSA"]


@pytest.mark.parametrize("junk", [None, 7, "x", [], [{}]])
def test_junk_beside_a_key_is_skipped(junk: Any) -> None:
    assert list(usable({"keys": [junk, public_jwk("RS256")]}).by_id) == ["RS256"]


def test_two_keys_with_one_id_are_both_skipped() -> None:
    keys = usable({"keys": [public_jwk("RS256", "x"), public_jwk("ES256", "x"), public_jwk("EdDSA")]})
    assert list(keys.by_id) == ["EdDSA"]
    assert keys.find(None) is None


def test_a_token_without_an_id_means_the_only_key() -> None:
    only = usable({"keys": [public_jwk("RS256", kid="x"), public_jwk("ES256", use="enc")]})
    assert only.find(None) is only.find("x") is not None
    nameless = usable({"keys": [public_jwk("EdDSA") | {"kid": None}]})
    assert (nameless.find("None"), nameless.find(None) is None) == (None, False)


def test_a_long_set_is_read_in_part() -> None:
    assert len(usable({"keys": [public_jwk("EdDSA", f"k{number}") for number in range(1000)]}).by_id) == MOST_KEYS


@pytest.mark.parametrize("algorithm", ALL_ALGORITHMS)
def test_a_key_signs_with_the_algorithm_that_it_names_alone(algorithm: str) -> None:
    [key] = usable({"keys": [public_jwk(algorithm)]}).by_id.values()
    assert list(key.algorithms) == [algorithm]


@pytest.mark.parametrize(("algorithm", "kind"), [("RS256", "RSA"), ("PS512", "RSA"), ("EdDSA", "OKP")])
def test_a_key_without_alg_signs_with_each_of_its_kind(algorithm: str, kind: str) -> None:
    [key] = usable({"keys": [public_jwk(algorithm, alg=..., use=...)]}).by_id.values()
    assert tuple(key.algorithms) == ALGORITHMS[kind]


@pytest.mark.parametrize("algorithm", ALGORITHMS["EC"])
def test_a_key_on_a_curve_signs_with_the_algorithm_of_the_curve(algorithm: str) -> None:
    [key] = usable({"keys": [public_jwk(algorithm, alg=..., use=...)]}).by_id.values()
    assert list(key.algorithms) == [algorithm]
