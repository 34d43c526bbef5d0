"""A real provider, certified by the OpenID Foundation: npm oidc-provider, with the people of npm/idp.mjs."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.installed_once import installed_once
from tests.machine import missing
from tests.oidc.person import Browser, Tokens, grant, metadata
from tests.servers import free_port

HERE = Path(__file__).parent / "npm"
FILES = ("package.json", "package-lock.json", "idp.mjs")
GROUPS = {"ADMIN_GROUPS": "keyhook-admins", "WRITE_GROUPS": "keyhook-writers", "READ_GROUPS": "keyhook-readers"}
REDIRECT = "http://127.0.0.1:5000/console/callback"
SECRET = "{}-client-secret-of-the-tests"


def packages(config: pytest.Config) -> Path:
    """The directory of the provider with its packages."""
    if not shutil.which("npm"):
        missing("npm", "apt install npm")
    return installed_once(config, "provider", [HERE / name for name in FILES], _install)


def _install(place: Path) -> None:
    for name in FILES:
        shutil.copy(HERE / name, place)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@contextmanager
def running(place: Path, port: int = 0, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The issuer and its process. IDP_ALG is its algorithm; IDP_KEY, a private JWK, a key that outlives the process."""
    command = ["node", "idp.mjs", str(port or free_port())]
    environ = {**os.environ, "IDP_REDIRECT": REDIRECT, **environment}
    with (place / "log").open("a") as log:
        process = subprocess.Popen(command, cwd=place, env=environ, stdout=subprocess.PIPE, stderr=log, text=True)
    with process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["issuer"], process
        finally:
            process.kill()


def robot(issuer: str) -> Tokens:
    """What a machine is given, whose role is `write`."""
    more = {"grant_type": "client_credentials", "scope": "keyhook"}
    return grant(metadata(issuer), "robot", SECRET.format("robot"), **more)


def fetches(issuer: str) -> int:
    """How often its keys were asked for since its start."""
    return int(json.loads(Browser().send(f"{issuer}/_test/seen")[2]).get("/jwks", 0))
