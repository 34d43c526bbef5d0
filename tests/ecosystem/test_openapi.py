"""The document in the tools of others: a fuzzer and generators of clients, against the running service."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.machine import ROOT, missing
from tests.servers import Server

pytestmark = pytest.mark.ecosystem

BIN = Path(sys.executable).parent
HERE = ROOT / "tests" / "ecosystem"
FUZZING = 90  # seconds

# Makes, lists, rotates and deletes a key, with nothing but the generated client.
USAGE = """
import sys
from client import AuthenticatedClient
from client.api.gate import auth
from client.api.keys import create_api_key, delete_api_key, get_api_key, list_api_keys, rotate_api_key
from client.models import CreateKey, Error, RotateKey

url, token = sys.argv[1:]
admin = AuthenticatedClient(base_url=url, token=token)
minted = create_api_key.sync(client=admin, body=CreateKey(name="a laptop", scopes=["photos:read", "photos:write"]))
taken = create_api_key.sync(client=admin, body=CreateKey(name="a laptop"))
assert isinstance(taken, Error) and taken.error_code == "DuplicateName" and taken.details is None
assert [key.name for key in list_api_keys.sync(client=admin, limit=10)] == ["a laptop"]

rotated = rotate_api_key.sync("a laptop", client=admin, body=RotateKey())
assert rotated.id == minted.id and rotated.api_key != minted.api_key
old, new = (AuthenticatedClient(base_url=url, token=key.api_key) for key in (minted, rotated))
assert auth.sync(client=old).error_code == "AuthenticationFailed"
identity = auth.sync(client=new, scope=["photos:read", "photos:write"])
assert (identity.key_name, identity.expires_at, identity.scopes) == ("a laptop", None, ["photos:read", "photos:write"])
by_header = AuthenticatedClient(base_url=url, token=rotated.api_key, prefix="", auth_header_name="X-API-Key")
assert auth.sync(client=by_header) == auth.sync(client=new)

assert delete_api_key.sync_detailed("a laptop", client=admin, cascade=True).status_code == 204
assert get_api_key.sync("a laptop", client=admin).details.additional_properties == {"name": "a laptop"}
assert list_api_keys.sync(client=admin) == []
"""


def run(command: list[Any], cwd: Path, timeout: float = 120, **environment: str) -> str:
    """The output of a program, which must end with status 0."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, "PATH": path, "NO_COLOR": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def document(serve: Callable[..., Server], tmp_path: Path) -> tuple[Server, Path]:
    """A live server, and the file of its document."""
    server = serve()
    file = tmp_path / "openapi.json"
    file.write_bytes(server.call("GET", "/openapi.json", by=None).content)
    return server, file


def test_a_fuzzer_finds_no_difference_between_document_and_service(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve()
    command = [
        *[BIN / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run", f"{server.url}/openapi.json"],
        *["--header", f"Authorization: Bearer {server.token()}", "--checks", "all", "--mode", "all"],
        *["--phases", "examples,coverage,fuzzing,stateful", "--seed", "1", "--max-time", FUZZING],
    ]
    hooks = {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE), "FUZZING_TOKEN": server.token()}
    told = run(command, tmp_path, FUZZING + 120, **hooks)
    assert "No issues found" in told
    assert "unhandled error" not in server.log.read_text()


def test_a_validator_accepts_the_document(document: tuple[Server, Path], tmp_path: Path) -> None:
    _, file = document
    assert "OK" in run([BIN / "openapi-spec-validator", file], tmp_path)


def test_a_generated_python_client_works(document: tuple[Server, Path], tmp_path: Path) -> None:
    server, file = document
    generate = [BIN / "openapi-python-client", "generate", "--meta", "none", "--fail-on-warning"]
    run([*generate, "--path", file, "--output-path", tmp_path / "client"], tmp_path)
    run([sys.executable, "-W", "error", "-c", USAGE, server.url, server.token()], tmp_path)


def test_generated_typescript_types_compile(document: tuple[Server, Path], tmp_path: Path) -> None:
    if not shutil.which("npm"):
        missing("npm", "apt install npm")
    _, file = document
    for name in ("package.json", "package-lock.json", "usage.ts"):
        shutil.copy(HERE / "npm" / name, tmp_path)
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], tmp_path)
    told = run(["node_modules/.bin/openapi-typescript", file, "--output", "api.d.ts"], tmp_path)
    assert "warn" not in told.lower()
    run(["node_modules/.bin/tsc", "--noEmit", "--strict", "usage.ts", "api.d.ts"], tmp_path)
