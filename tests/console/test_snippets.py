"""The texts to paste, pasted as they say: into real proxies, a shell and Python, in front of a real Keyhook."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

import pytest

import console.snippets
from console.snippets import snippets
from tests.console.elsewhere import Terminator
from tests.proxies.installed import (
    CADDY,
    DEPLOY,
    HOST,
    IDENTITY,
    Command,
    Edit,
    Front,
    caddy_command,
    identity,
    in_front_of,
    nginx_command,
    seen,
    serve_threaded,
    tool,
    traefik_command,
)
from tests.servers import SERVE, Server, running

pytestmark = pytest.mark.ecosystem

SCOPES = ["photos:read", "a.b_c/d-e:"]  # every character that a scope may have
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
HOSTILE = "a\";}\n}{$HOME} {env.HOME} {{1}} `id` $(id) ${host} 'é\\ # %41 /?&role=admin;tenant=b +\t%"

Paste = Callable[[Path, int, str, str], list[str]]  # puts the two parts where they say, and tells how to start it


class Pasted(NamedTuple):
    front: Front
    tenant: str
    scopes: list[str]

    def key(self, scopes: list[str], tenant: str = "") -> str:
        return self.front.key(
            str(self.front.port), by=self.front.keyhook.token(tenant=tenant or self.tenant), scopes=scopes
        )


def paste_nginx(place: Path, port: int, once: str, inside: str) -> list[str]:
    server = f"server {{\nlisten 127.0.0.1:{port};\nserver_name {HOST};\naccess_log off;\n{inside}\n}}\n"
    (place / "app.conf").write_text(once + server)
    return nginx_command(place)


def paste_caddy(place: Path, port: int, options: str, site: str) -> list[str]:
    assert f"\n{HOST} {{\n" in site
    named = site.replace(HOST, f"http://{HOST}:{port}")
    (place / "Caddyfile").write_text(f"{{\n{CADDY}{options}}}\n{named}\n")
    return caddy_command(place)


def paste_traefik(place: Path, port: int, start: str, dynamic: str) -> list[str]:
    assert '":80"' in start
    provider = f"providers:\n  file:\n    filename: {place}/dynamic.yml\n"
    (place / "traefik.yml").write_text(start.replace('":80"', f'"127.0.0.1:{port}"') + provider)
    (place / "dynamic.yml").write_text(dynamic)
    return traefik_command(place)


PASTES: dict[str, Paste] = {"nginx": paste_nginx, "caddy": paste_caddy, "traefik": paste_traefik}
HARD = [f"{proxy}-hard" for proxy in PASTES]


def texts(address: str, tenant: str, scopes: list[str], key: str = "kh_…") -> dict[str, str]:
    return {snippet.name: snippet.text for snippet in snippets(address, tenant, scopes, key)}


@pytest.fixture(scope="module")
def keyhook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Keyhook, under /keys as well."""
    place, command = tmp_path_factory.mktemp("keyhook"), [*SERVE, "--url-prefix=/keys"]
    with running(place / "data", place / "keyhook.log", command, KEYHOOK_TRUSTED_PROXIES=1) as server:
        yield server


@pytest.fixture(scope="module")
def tls(keyhook: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminator]:
    with ExitStack() as stack:
        terminator = Terminator(tmp_path_factory.mktemp("tls"), keyhook.port)
        serve_threaded(stack, terminator)
        yield terminator


@pytest.fixture(scope="module", params=[*PASTES, *HARD])
def pasted(
    request: pytest.FixtureRequest, keyhook: Server, tls: Terminator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pasted]:
    """A proxy that asks for the tenant alone; or one for which all is hard: TLS, a mount path, hostile texts."""
    proxy, _, hard = request.param.partition("-")
    tenant, scopes = (HOSTILE, SCOPES) if hard else ("default", [])

    def paste(place: Path, port: int, gate: str, application: str, edit: Edit) -> Command:
        text = texts(f"{tls.address}/keys" if hard else f"http://{gate}", tenant, scopes)[proxy]
        text = text.replace("127.0.0.1:8080", application).replace(AUTHORITIES, str(tls.certificate))
        first, second = re.split("^(?=# 2)", text, flags=re.MULTILINE)
        return ["env", f"SSL_CERT_FILE={tls.certificate}", *PASTES[proxy](place, port, first, second)], []

    with in_front_of(keyhook, keyhook.port, paste, tmp_path_factory.mktemp("pasted")) as front:
        yield Pasted(front, tenant, scopes)


@pytest.mark.parametrize("header", ["X-API-Key: ", "Authorization: Bearer "])
def test_k14_a_key_passes_and_the_service_learns_whose_it_is_and_not_the_key(pasted: Pasted, header: str) -> None:
    key = pasted.key(pasted.scopes)
    name, _, scheme = header.partition(": ")
    forged = {known.replace("-", sign): "evil" for known in IDENTITY for sign in "-_.~"}
    forged |= {"X_API_Key": "evil", "Connection": "close, Remote-User"}
    answer = pasted.front.ask(headers={**forged, name: scheme + key})
    learnt = identity(answer)
    assert (learnt["Remote-User"], learnt["Remote-Groups"]) == ("alice", ",".join(pasted.scopes))
    assert unquote(learnt["Keyhook-Tenant"]) == pasted.tenant
    assert seen(answer, "X-API-Key") == seen(answer, "Authorization") == []
    assert key not in answer.text
    assert seen(answer, "Host") == [HOST]


def test_k14_nobody_else_passes(pasted: Pasted) -> None:
    assert pasted.front.ask().status_code == 401
    assert pasted.front.ask(key="kh_nonsense").status_code == 401
    assert pasted.front.ask(key=pasted.key(pasted.scopes, tenant="another")).status_code == 403
    for lacking in pasted.scopes:
        scopes = [scope for scope in pasted.scopes if scope != lacking]
        assert pasted.front.ask(key=pasted.key(scopes)).status_code == 403


@pytest.mark.parametrize("pasted", HARD, indirect=True)
def test_a_gate_elsewhere_is_asked_by_its_name_and_believed_by_its_certificate(
    pasted: Pasted, tls: Terminator, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = pasted.key(SCOPES)
    assert pasted.front.ask(key=key).status_code == 200
    assert tls.name == "localhost"
    assert f"https://{tls.host}" == tls.address
    monkeypatch.setattr(tls, "impostor", True)
    assert pasted.front.ask(key=key).status_code >= 500


@pytest.mark.parametrize("name", ["curl", "python"])
def test_a_program_takes_the_key_from_the_environment(keyhook: Server, name: str) -> None:
    key = keyhook.mint(name, by=keyhook.token(tenant=HOSTILE), scopes=SCOPES)
    text = texts(f"{keyhook.url}/keys", HOSTILE, SCOPES, key)[name]
    command = [tool("sh"), "-c", text] if name == "curl" else [sys.executable, "-c", text]
    done = subprocess.run(
        command, env={"PATH": os.environ["PATH"], "KEYHOOK_KEY": key}, capture_output=True, text=True, timeout=60
    )
    assert json.loads(done.stdout)["key_name"] == name, done.stderr


def test_only_the_file_of_the_service_holds_the_key() -> None:
    made = texts("https://keys.example.com", "default", [], "kh_secret")
    assert made.pop("env") == "KEYHOOK_KEY=kh_secret"
    assert list(made) == ["curl", "nginx", "caddy", "traefik", "python"]
    assert "kh_secret" not in "".join(made.values())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_hostile_texts_stay_within_the_address(scheme: str) -> None:
    harmless = texts(f"{scheme}://keys.example.com", "default", ["a"])
    hostile = texts(f"{scheme}://{HOSTILE}:80/{HOSTILE}", HOSTILE, [HOSTILE])
    for name, text in hostile.items():
        assert without_words(text) == without_words(harmless[name])
    for text in [text for name, text in hostile.items() if name != "env"]:
        [query] = re.findall(r"/v0/auth\?([^\s;\"]+)", text)
        demanded = [pair for pair in parse_qsl(query) if pair != ("limited", "403")]  # which nginx alone needs
        assert demanded == [("tenant", HOSTILE), ("scope", HOSTILE)]


def without_words(text: str) -> str:
    """What is left without the words of which addresses are made; none of these characters ends one."""
    return re.sub(r"[A-Za-z0-9._~%:/\[\]?&=-]+", "", text)


def test_a_proxy_is_left_out_whose_file_is_gone_or_no_more_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.snippets, "DEPLOY", tmp_path)
    (tmp_path / "Caddyfile").write_text((DEPLOY / "Caddyfile").read_text().replace("127.0.0.1:5000", "10.0.0.1:5000"))
    shutil.copytree(DEPLOY / "traefik", tmp_path / "traefik")
    (tmp_path / "traefik" / "traefik.yml").write_text("entryPoints:\n")
    assert list(texts("https://keys.example.com", "default", [])) == ["env", "curl", "python"]
