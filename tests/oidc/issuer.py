"""A stand-in for an OpenID provider: real HTTP in a thread, real keys, and any answer that a test wants."""

import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

REALM = "/realms/home"
METADATA, JWKS, TOKEN, USERINFO = (
    REALM + path for path in ("/.well-known/openid-configuration", "/jwks", "/token", "/userinfo")
)
CURVES: dict[str, Callable[[], ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}

Answer = Callable[[BaseHTTPRequestHandler], None]


def private_key(algorithm: str, which: str = "") -> Any:
    """A key for the algorithm; another `which` is another key."""
    return _made(algorithm, which)


@cache
def _made(algorithm: str, which: str) -> Any:
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm]())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 1024 if which == "short" else 2048)


def public_jwk(algorithm: str, kid: str | None = None, which: str = "", **changes: Any) -> dict[str, Any]:
    """The key as a set of keys shows it; a change to `...` leaves a member out."""
    made: Any = get_default_algorithms()[algorithm].to_jwk(private_key(algorithm, which).public_key(), as_dict=True)
    named = {"kid": kid or algorithm, "use": "sig", "alg": algorithm}
    whole = {**made, **named, **changes}
    whole.pop("key_ops", None) if "key_ops" not in changes else None
    return {member: value for member, value in whole.items() if value is not ...}


class Issuer:
    """`answers` has what stands at a path instead of the usual; `asked` counts the requests by path."""

    def __init__(self, origin: str) -> None:
        self.name = f"{origin}{REALM}"
        self.keys = [public_jwk("RS256")]
        self.answers: dict[str, Answer] = {}
        self.asked: Counter[str] = Counter()

    @property
    def metadata(self) -> dict[str, Any]:
        supported = ["none", "HS256", "RS256"]  # which nobody must believe
        places = {"jwks_uri": "jwks"} | {
            f"{name}_endpoint": name for name in ("authorization", "token", "userinfo", "end_session")
        }
        addresses = {member: f"{self.name}/{path}" for member, path in places.items()}
        return {"issuer": self.name, **addresses, "id_token_signing_alg_values_supported": supported}

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked[request.path] += 1
        usual = {METADATA: self.metadata, JWKS: {"keys": self.keys}}
        if request.path in self.answers:
            self.answers[request.path](request)
        elif request.path in usual:
            send(request, json.dumps(usual[request.path]).encode())
        else:
            send(request, b"no", 404)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a good access token, with the changes; `...` leaves a claim out."""
        now = int(time.time())
        whole = {
            "iss": self.name, "aud": "keyhook", "sub": "alice", "azp": "robot", "iat": now, "exp": now + 300,
            "groups": ["staff"], **changes,
        }  # fmt: skip
        return {claim: value for claim, value in whole.items() if value is not ...}

    def token(self, algorithm: str = "RS256", header: dict[str, Any] | None = None, which: str = "", **c: Any) -> str:
        """Such a token, signed with the key of the algorithm."""
        headers = {"kid": algorithm, **(header or {})}
        return jwt.encode(self.claims(**c), private_key(algorithm, which), algorithm, headers)


def send(request: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    request.send_response(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A client that does not like the certificate is no news."""


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[Issuer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                issuer.answer(self)
            except OSError:
                self.close_connection = True  # the client has given up

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    issuer = Issuer(f"https://localhost:{server.server_port}" if tls else f"http://127.0.0.1:{server.server_port}")
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
