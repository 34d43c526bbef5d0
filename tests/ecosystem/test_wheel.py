"""`pip install .` and `pipx install .`: the command `keyhook` with all that it needs, and the checkout no more."""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import pytest
import requests

import bench.server
from observability.build import version
from tests.machine import ROOT, missing

pytestmark = [pytest.mark.ecosystem, pytest.mark.processes]

INSTALLER = "an environment for a wheel", "let pip reach an index"


class Person:
    """Somebody without a Keyhook so far, in a directory whose files look like parts of it."""

    def __init__(self, place: Path) -> None:
        self.home, self.here = place / "home", place / "here"
        self.data = self.home / ".local" / "share" / "keyhook"
        self.home.mkdir()
        self.here.mkdir()
        for name in ("app.py", "keys.py", "web.py"):
            (self.here / name).write_text("raise SystemExit('a file of somebody else')")
        (self.here / ".flaskenv").write_text("FLASK_APP=app")
        kept = {name: os.environ[name] for name in os.environ if not name.startswith(("XDG_", "PYTHON", "FLASK_"))}
        self.environment = {**kept, "HOME": str(self.home), "FLASK_APP": "app", "PYTHONPATH": str(self.here)}

    def run(self, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in words],
            cwd=self.here,
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def start(self, words: list[str], environment: dict[str, str], output: BinaryIO) -> bench.server.Process:
        return subprocess.Popen(
            words,
            cwd=self.here,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


@pytest.fixture
def serve(person: Person, tmp_path: Path) -> Iterator[Callable[..., bench.server.Server]]:
    """serve(keyhook, "run"): a server of an installed wheel."""
    with ExitStack() as stack:

        def start(*words: str) -> bench.server.Server:
            command, log = [*map(str, words), "--port={port}"], tmp_path / "server.log"
            server = bench.server.start(command, log, {}, path="/healthz", spawn=person.start)
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git has: no file that merely lies about can be of help."""
    place = tmp_path_factory.mktemp("wheel") / "checkout"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.rstrip("\0").split("\0"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / name)
    return place


@pytest.fixture(scope="module")
def environment(checkout: Path) -> Path:
    """An empty environment with the wheel and what it needs."""
    place = checkout.with_name("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True, timeout=60)
    before = contents(checkout)
    install = [sys.executable, "-m", "pip", f"--python={place / 'bin' / 'python'}", "install", "--quiet", "."]
    alone = {**os.environ, "PYTHONPATH": ""}  # or pip would count what lies there as installed
    if subprocess.run(install, cwd=checkout, env=alone, timeout=300).returncode:
        missing(*INSTALLER)
    assert contents(checkout) == before
    return place


def contents(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_it_puts_one_name_among_the_packages_of_others(environment: Path) -> None:
    [record] = environment.glob("lib/*/site-packages/keyhook-*.dist-info/RECORD")
    names = {line.split(",")[0].partition("/")[0] for line in record.read_text().splitlines()}
    assert names == {"..", "keyhook", record.parent.name}  # `..`: bin/keyhook
    inside = {path.name for path in record.parent.with_name("keyhook").iterdir()}
    assert not {"tests", "bench", "docs", "instance"} & inside
    assert {"app.py", "migrations", "deploy", "pyproject.toml"} <= inside


def test_the_commands_use_the_directory_of_the_platform(environment: Path, person: Person) -> None:
    keyhook = environment / "bin" / "keyhook"
    assert person.run(keyhook, "--version").stdout == f"keyhook {version()}\n"
    assert not person.data.exists()
    made = person.run(keyhook, "keys", "create", "laptop")
    assert (
        made.stderr == f"made a new database at {person.data}/keyhook.db and a new secret at {person.data}/secret_key\n"
    )
    assert (made.returncode, made.stdout[:3]) == (0, "kh_")
    assert stat.S_IMODE(person.data.stat().st_mode) == 0o700
    assert person.run(keyhook, "keys", "list").stdout.count("laptop") == 1
    assert len(person.run(keyhook, "token").stdout.split(".")) == 3
    needs = person.run(keyhook, "token", KEYHOOK_LIMITS_URL="redis://127.0.0.1")
    assert needs.stderr == "KEYHOOK_LIMITS_URL names Redis, which needs `pip install '.[redis]'`\n"
    assert len(list(person.here.iterdir())) == 4


@pytest.mark.parametrize("command", ["run", "serve"])
def test_it_serves_everything(
    environment: Path, person: Person, serve: Callable[..., bench.server.Server], command: str
) -> None:
    keyhook = environment / "bin" / "keyhook"
    server = serve(keyhook, command)
    said = server.log.read_text()
    assert f"  {keyhook} keys create laptop\n" in said
    browser = requests.Session()
    browser.headers["Origin"] = server.url

    def get(path: str) -> str:
        answer = browser.get(server.url + path, timeout=20)
        assert answer.status_code == 200, path
        return answer.text

    key = person.run(keyhook, "keys", "create", "laptop").stdout.strip()
    gate = requests.get(f"{server.url}/v0/auth", headers={"X-API-Key": key}, timeout=20)
    assert gate.json()["key_name"] == "laptop"
    for path in ("/healthz", "/docs", "/openapi.json", "/console/static/console.js"):
        get(path)
    assert "keyhook console" in get("/console/sign-in")
    [code] = re.findall(r"/console/sign-in#(\S+)", said)
    browser.post(f"{server.url}/console/sign-in", data={"token": code}, timeout=20)
    [page] = set(re.findall(r'"(/console/keys/[0-9a-f-]{36})"', get("/console/keys")))
    assert "forward_auth" in get(page)  # out of deploy/Caddyfile


def test_pipx_installs_it_with_an_extra(
    checkout: Path, person: Person, tmp_path: Path, serve: Callable[..., bench.server.Server]
) -> None:
    pipx = shutil.which("pipx", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not pipx:
        missing("pipx", "make .venv/development")
    places = {f"PIPX_{name}": tmp_path / name for name in ("HOME", "BIN_DIR", "MAN_DIR")}
    paths = {name: str(place) for name, place in places.items()}
    person.environment |= {**paths, "PATH": f"{paths['PIPX_BIN_DIR']}:{os.environ['PATH']}"}
    if person.run(pipx, "install", f"{checkout}[oidc]", PYTHONPATH="").returncode:
        missing(*INSTALLER)
    assert [path.name for path in places["PIPX_BIN_DIR"].iterdir()] == ["keyhook"]
    assert "\n  keyhook keys create laptop\n" in serve("keyhook", "serve").log.read_text()
    provider = {"KEYHOOK_OIDC_ISSUER": "https://id.example.com", "KEYHOOK_OIDC_READ_GROUPS": "*"}
    assert person.run("keyhook", "token", **provider).returncode == 0
    assert person.data.exists()
