"""Texts to paste that put a key to use: settings of a proxy, a command, a program.

Those of the proxies are cut out of the files in deploy/, which the tests run: no rule is written twice, and nothing
that removes a client's own identity headers is forgotten.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode

DEPLOY = Path(__file__).parent.parent / "deploy"

_SHOWN = re.compile(r"^[ \t]*# console: from here\n(.*?)^[ \t]*# console: to here\n", re.DOTALL | re.MULTILINE)
_AS_THEY_ARE = ":/"  # for scopes stay readable with them, and they end nothing in any of the texts

_CURL = """\
curl -H "X-API-Key: $KEYHOOK_KEY" \\
     "{url}"
"""
_PYTHON = """\
import os

import requests

session = requests.Session()
session.headers["X-API-Key"] = os.environ["KEYHOOK_KEY"]

# Instead of this question whether the key is good: the addresses of your service.
answer = session.get("{url}")
answer.raise_for_status()
print(answer.text)
"""
_TWO_PARTS = """\
# Your service is at 127.0.0.1:8080 here. Let only this proxy reach it, and count the proxy in KEYHOOK_TRUSTED_PROXIES.

# 1. {}
{}
# 2. {}
{}"""
# nginx by itself asks for no name, believes any certificate, so that whoever is in between could let everybody in, and
# some years ago spoke no TLS 1.3.
_TLS_OF_NGINX = """\
internal;
proxy_ssl_server_name on;
proxy_ssl_name {host};
proxy_ssl_verify on;
proxy_ssl_verify_depth 4;
proxy_ssl_protocols TLSv1.2 TLSv1.3;
proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;  # the authorities that you trust: here Debian's"""


class Snippet(NamedTuple):
    name: str
    label: str
    note: str  # one sentence, to stand above it
    text: str


class Gate(NamedTuple):
    """The question to ask, in pieces that no text reads as anything but an address."""

    scheme: str
    host: str
    port: str
    target: str  # path and query

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        usual = self.port == _usual_port(self.scheme)
        return f"{self.scheme}://{self.host if usual else self.place}{self.target}"


def snippets(address: str, tenant: str, scopes: Sequence[str], key: str = "kh_…") -> list[Snippet]:
    """The texts for a key of this tenant with these scopes; `address` is Keyhook's, without a slash at its end.

    Only `.env` holds the key. A proxy whose file in deploy/ is missing, or has lost what is replaced here, is left out.
    """
    gate = _gate(address, tenant, scopes)
    client = "Takes the key from the environment, so that it does not end up in"
    return [
        Snippet("env", ".env", "In a file that only the service can read (chmod 600).", f"KEYHOOK_KEY={key}"),
        Snippet("curl", "curl", f"{client} the shell's history.", _CURL.format(url=gate.url).rstrip()),
        *_proxies(gate, "with these scopes" if scopes else "of this tenant"),
        Snippet("python", "Python", f"{client} the source.", _PYTHON.format(url=gate.url).rstrip()),
    ]


def _proxies(gate: Gate, which: str) -> Iterator[Snippet]:
    note = f"In front of your service: lets in only keys {which}, and tells it whose they are."
    makers: dict[str, Callable[[Gate], str]] = {"nginx": _nginx, "Caddy": _caddy, "Traefik": _traefik}
    for label, make in makers.items():
        with suppress(OSError, ValueError):
            yield Snippet(label.lower(), label, note, make(gate).rstrip())


def _gate(address: str, tenant: str, scopes: Sequence[str]) -> Gate:
    """Everything is percent-encoded that is no part of an address, so that hostile texts do no harm and do not work."""
    scheme, _, rest = address.partition("://")
    netloc, slash, mount = rest.partition("/")
    scheme = "https" if scheme.lower() == "https" else "http"
    host, _, port = netloc.rpartition(":")
    if not re.fullmatch("[0-9]+", port):
        host, port = netloc, _usual_port(scheme)
    demands = [("tenant", tenant), *(("scope", scope) for scope in scopes)]
    query = urlencode(demands, safe=_AS_THEY_ARE, quote_via=quote)
    return Gate(scheme, quote(host, "[]:"), port, f"{slash}{quote(mount, '/%')}/v0/auth?{query}")


def _usual_port(scheme: str) -> str:
    return "443" if scheme == "https" else "80"


def _nginx(gate: Gate) -> str:
    once, *server = _shown("nginx.conf")
    place = {"127.0.0.1:5000": gate.place}
    changes = {**place, "http://keyhook/v0/auth?tenant=default": f"{gate.scheme}://keyhook{gate.target}"}
    if gate.scheme == "https":
        changes["internal;"] = _TLS_OF_NGINX.format(host=gate.host)
    return _TWO_PARTS.format(
        "Once, outside of every server { }: /etc/nginx/conf.d/keyhook.conf",
        _indented(_filled(once, place), "    "),
        "In the server { } of your service, instead of its location /",
        _indented(_filled("\n".join(server), changes), "    "),
    )


def _caddy(gate: Gate) -> str:
    log, asked, route, ask, rest = _shown("Caddyfile")
    changes = {
        "{$KEYHOOK:127.0.0.1:5000}": f"https://{gate.place}" if gate.scheme == "https" else gate.place,
        "{$APP:127.0.0.1:8080}": "127.0.0.1:8080",
        "/v0/auth?tenant=default": gate.target,
        "import keyhook\n": asked,
    }
    return _TWO_PARTS.format(
        "In the { } of global options, at the top of the Caddyfile",
        _indented(log, "\t"),
        "After it",
        _indented("app.example.com {\n" + _filled("\n".join([route, ask, rest]), changes) + "}\n", "\t"),
    )


def _traefik(gate: Gate) -> str:
    [entry_point] = _shown("traefik/traefik.yml")
    changes = {"http://127.0.0.1:5000/v0/auth?tenant=default": gate.url, "[app, photos]": "[app]"}
    return _TWO_PARTS.format(
        "traefik.yml, the settings at the start: for the entry point of your service",
        entry_point,
        "dynamic.yml, the file of the file provider",
        _filled("\n".join(_shown("traefik/dynamic.yml")), changes),
    )


def _shown(file: str) -> list[str]:
    """The parts of a file in deploy/ that stand between its marks."""
    return _SHOWN.findall((DEPLOY / file).read_text(encoding="utf-8"))


def _filled(text: str, changes: Mapping[str, str]) -> str:
    """Replaces all in one pass: what was filled in is not replaced again. Raises ValueError if one is not there."""
    if absent := [old for old in changes if old not in text]:
        raise ValueError(f"deploy/ has no {absent[0]!r}")
    return re.sub("|".join(map(re.escape, changes)), lambda found: changes[found[0]], text)


def _indented(text: str, step: str) -> str:
    """The lines by the depth of their braces, since they come from several depths of a file."""
    lines, depth = [], 0
    for line in map(str.strip, text.splitlines()):
        depth -= line == "}"
        lines.append(f"{step * depth if line else ''}{line}\n")
        depth += line.endswith("{")
    return "".join(lines)
