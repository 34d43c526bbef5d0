"""The part of the stand-in provider at which people sign in and a client gets their tokens."""

import base64
import hashlib
import json
import secrets
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from tests.oidc.issuer import TOKEN, USERINFO, Issuer, send

CLIENT, SECRET = "the console", "a secret: with%odd+signs"

Answer = dict[str, str]


def query(address: str) -> dict[str, str]:
    """The parameters of an address, each of which stands once."""
    pairs = parse_qsl(urlsplit(address).query, keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


class Door:
    """Gives a code for a request to sign in, and tokens for the code, as strictly as a good provider does.

    `id_claims` change the claims of the ID token (`...` leaves one out), and `id_token` stands in its place.
    """

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.asked: dict[str, dict[str, str]] = {}  # by code
        self.id_claims: dict[str, Any] = {}
        self.id_token: Any = None
        self.userinfo: dict[str, Any] = {"sub": "alice"}
        self.authentication = "client_secret_basic"
        issuer.answers[TOKEN] = self._redeem
        issuer.answers[USERINFO] = self._tell

    def agree(self, address: str) -> Answer:
        """What the browser brings back when a person has signed in at the address."""
        asked = query(address)
        assert address.startswith(f"{self.issuer.name}/authorization?")
        assert (asked["response_type"], asked["code_challenge_method"], asked["client_id"]) == ("code", "S256", CLIENT)
        code = "code-" + secrets.token_urlsafe(32)
        self.asked[code] = asked
        return {"code": code, "state": asked["state"]}

    def _redeem(self, request: BaseHTTPRequestHandler) -> None:
        form = dict(parse_qsl(request.rfile.read(int(request.headers["Content-Length"])).decode()))
        asked = self.asked.pop(form["code"], None)
        if not self._knows(request, form):
            return send(request, b'{"error": "invalid_client"}', 401)
        if asked is None or not fits(form, asked):
            return send(request, b'{"error": "invalid_grant"}', 400)
        token = self.id_token or self.id_token_for(asked)
        tokens = {"access_token": f"access-{asked['state']}", "token_type": "Bearer", "id_token": token}
        return send(request, json.dumps(tokens).encode())

    def id_token_for(self, asked: dict[str, str], **changes: Any) -> str:
        claims = {"aud": CLIENT, "azp": ..., "nonce": asked["nonce"], **self.id_claims, **changes}
        return self.issuer.token(**claims)

    def _knows(self, request: BaseHTTPRequestHandler, form: dict[str, str]) -> bool:
        """Whether it is the client, by the way that is expected of it alone."""
        given = request.headers.get("Authorization", "")
        if self.authentication == "client_secret_basic":
            named = base64.b64decode(given.removeprefix("Basic ")).decode()
            return [unquote_plus(part) for part in named.split(":")] == [CLIENT, SECRET] and "client_id" not in form
        secret = SECRET if self.authentication == "client_secret_post" else None
        return not given and (form["client_id"], form.get("client_secret")) == (CLIENT, secret)

    def _tell(self, request: BaseHTTPRequestHandler) -> None:
        assert request.headers["Authorization"].startswith("Bearer access-")
        send(request, json.dumps(self.userinfo).encode())


def fits(form: dict[str, str], asked: dict[str, str]) -> bool:
    """Whether a code is redeemed by whoever asked for it (RFC 7636 section 4.6)."""
    digest = hashlib.sha256(form["code_verifier"].encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return (challenge, form["redirect_uri"]) == (asked["code_challenge"], asked["redirect_uri"])
