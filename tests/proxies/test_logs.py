"""The files in deploy/: no log has a credential, even on errors; each file passes the proxy's own check."""

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.proxies.installed import (
    PROXIES,
    Edit,
    Front,
    Proxy,
    as_shipped,
    caddy,
    name_of,
    nginx,
    proxied,
    traefik,
    with_examples,
    with_preflight,
)

pytestmark = pytest.mark.ecosystem

EDITS: list[Edit] = [as_shipped, with_examples, with_preflight]


def sent_everywhere(front: Front, path: str, secret: str) -> Iterator[requests.Response]:
    """Sends a request for each place where a client may put a credential."""
    basic = {kind: base64.b64encode(text.encode()).decode() for kind, text in forms(secret).items()}
    for headers in (
        {"X-API-Key": secret},
        {"Authorization": f"Bearer {secret}"},
        {"Authorization": f"Token {secret}"},
        {"Authorization": f"Basic {basic['password']}"},
        {"Authorization": f"Basic {basic['user name']}"},
        {"X-API-Key": secret, "Authorization": f"Bearer {secret}"},
        {"X-API-Key": secret, "Referer": f"http://app.example.com/?key={secret}"},
        {"X-API-Key": secret, "Cookie": f"session={secret}", "User-Agent": "reader/1"},
        {
            "X-API-Key": secret,
            "Forwarded": f"for={secret}",
            "X-Forwarded-For": secret,
            "X-Forwarded-Uri": f"/?{secret}",
        },
        {"X-Request-ID": secret, "Proxy-Authorization": f"Bearer {secret}"},
    ):
        yield front.ask(path, headers=headers)
    for query in (f"?key={secret}", f"?a=b&token={secret}", f"?%6bey={secret}&x", f"?{secret}"):
        yield front.ask(path + query)
        yield front.ask(path + query, key=secret)


def forms(secret: str) -> dict[str, str]:
    return {"password": f"x:{secret}", "user name": f"{secret}:"}


def found(secret: str, log: str) -> list[str]:
    """The parts of the credential in the log: whole, its second half, or either in the form of Basic."""
    marks = [secret, secret[-51:], *(base64.b64encode(text.encode()).decode()[:40] for text in forms(secret).values())]
    return [mark for mark in marks if mark in log]


@pytest.mark.parametrize("edit", [as_shipped, with_examples], ids=["shipped", "examples"])
@pytest.mark.parametrize("proxy", PROXIES, ids=name_of)
def test_without_keyhook_or_application_nothing_passes_and_no_log_has_a_key(
    proxy: Proxy, edit: Edit, tmp_path: Path
) -> None:
    paths = ["/marker", "/photos"] if edit is as_shipped else ["/marker", "/git/x", "/feed"]
    with proxied(proxy, tmp_path, edit) as front:
        secrets = [front.key(scopes=["feed:read"]), front.keyhook.token()]
        everything = [(path, secret) for path in paths for secret in secrets]
        for path, secret in everything:
            assert {answer.status_code for answer in sent_everywhere(front, path, secret)} <= {200, 401, 403, 404}
        front.application.shutdown()
        front.application.server_close()
        assert front.ask(key=secrets[0]).status_code == 502
        for path, secret in everything:
            assert 200 not in {answer.status_code for answer in sent_everywhere(front, path, secret)}
        front.keyhook.stop()
        front.tap.shutdown()
        front.tap.server_close()
        for path, secret in everything:
            assert {answer.status_code for answer in sent_everywhere(front, path, secret)} <= {500, 502, 503}
    told = front.told()
    assert "/marker" in told
    for secret in secrets:
        assert found(secret, told) == []
        assert found(secret, (tmp_path / "keyhook.log").read_text()) == []


@pytest.mark.parametrize("proxy", [nginx, caddy], ids=name_of)
def test_a_key_in_a_path_is_not_in_the_log(proxy: Proxy, tmp_path: Path) -> None:
    with proxied(proxy, tmp_path) as front:
        key = front.key()
        assert front.ask(f"/marker/{key}/photo", key=key).status_code == 200
        assert front.ask("/last").status_code == 401
    assert "/last" in front.told()
    assert found(key, front.told()) == []


def test_the_log_of_nginx_has_what_an_operator_looks_for(tmp_path: Path) -> None:
    with proxied(nginx, tmp_path) as front:
        assert front.ask("/marker?a=b", key=front.key("logged")).status_code == 200
        shown = front.keyhook.call("GET", "/v0/api_keys/logged-1").json()
    [line] = [line for line in front.told().splitlines() if "/marker" in line]
    assert line.startswith("127.0.0.9 [")
    assert "] GET /marker HTTP/1.1 200 " in line
    assert shown["id"] in line
    assert "a=b" not in line


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
@pytest.mark.parametrize(
    ("proxy", "check"), [(nginx, ["-t"]), (caddy, ["validate", "--config"])], ids=["nginx", "caddy"]
)
def test_the_file_passes_the_proxys_own_check(proxy: Proxy, check: list[str], edit: Edit, tmp_path: Path) -> None:
    command, _ = proxy(tmp_path, 1, "127.0.0.1:2", "127.0.0.1:3", edit)
    command = [*command, "-t"] if proxy is nginx else [*command[: command.index("run")], *check, command[-1]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_traefik_starts_without_a_complaint(edit: Edit, tmp_path: Path) -> None:
    with proxied(traefik, tmp_path, edit) as front:
        front.ask()
    assert [line for line in front.told().splitlines() if " ERR " in line or " WRN " in line] == []
