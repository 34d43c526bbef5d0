"""A person at the forms of a real provider, and programs at its token endpoint: the flows that end with tokens."""

import base64
import hashlib
import html
import http.cookiejar
import json
import re
import secrets
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, Request, build_opener

Tokens = dict[str, Any]


class Stay(HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


class Browser:
    """Keeps cookies, and goes nowhere by itself."""

    def __init__(self) -> None:
        self._opener = build_opener(Stay, HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def send(self, url: str, form: dict[str, str] | None = None, **headers: str) -> tuple[int, Any, str]:
        body = urlencode(form).encode() if form is not None else None
        try:
            answer: Any = self._opener.open(Request(url, body, headers), timeout=10)
        except HTTPError as refused:
            answer = refused
        with answer:
            return answer.status, answer.headers, answer.read().decode()

    def follow(self, url: str, until: str, name: str) -> str:
        """Goes where it is sent and fills in every form as `name`, up to an address that begins so or a last page."""
        status, headers, body = self.send(url)
        for _ in range(20):
            if status in (302, 303):
                url = urljoin(url, headers["Location"])
                if url.startswith(until):
                    return url
                status, headers, body = self.send(url)
            elif form := re.search(r'<form[^>]*action="([^"]+)"', body):
                fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', body))
                url = urljoin(url, html.unescape(form[1]))
                status, headers, body = self.send(url, {**fields, "login": name, "password": "x"})
            else:
                return body
        raise AssertionError("sent around in a circle")


def metadata(issuer: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(Browser().send(f"{issuer}/.well-known/openid-configuration")[2])
    return found


def grant(meta: dict[str, str], client: str, secret: str | None = None, **form: str) -> Tokens:
    """What the token endpoint answers to a client with a secret, or to a public one."""
    headers = {}
    if secret is None:
        form["client_id"] = client
    else:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()
    answer: Tokens = json.loads(Browser().send(meta["token_endpoint"], form, **headers)[2])
    return answer


def code_flow(meta: dict[str, str], client: str, secret: str, redirect: str, name: str) -> Tokens:
    """Authorization code with PKCE."""
    verifier, state = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code", "client_id": client, "redirect_uri": redirect, "state": state, "nonce": "n" * 20,
        "scope": "openid profile email groups", "code_challenge": challenge, "code_challenge_method": "S256",
    }  # fmt: skip
    back = Browser().follow(f"{meta['authorization_endpoint']}?{urlencode(asked)}", redirect, name)
    got = {member: values[0] for member, values in parse_qs(urlsplit(back).query).items()}
    assert got["state"] == state
    form = {"grant_type": "authorization_code", "redirect_uri": redirect, "code_verifier": verifier}
    return grant(meta, client, secret, code=got["code"], **form)


def device_flow(meta: dict[str, str], client: str, name: str) -> Tokens:
    """A device without a keyboard (RFC 8628)."""
    asked = {"client_id": client, "scope": "openid groups keyhook"}
    told = json.loads(Browser().send(meta["device_authorization_endpoint"], asked)[2])
    Browser().follow(told["verification_uri_complete"], "nowhere", name)
    kind = "urn:ietf:params:oauth:grant-type:device_code"
    return grant(meta, client, grant_type=kind, device_code=told["device_code"])
