"""Texts that break JSON, start lines or hide a credential, in every place that leads to the audit, the log, a header or
an error."""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from tests.leaks import DEEP, KEY, SECRET, SHAPES, TOKEN, bared, leaks
from tests.log_lines import LINE
from tests.rows import sql
from tests.servers import SERVE, Server, running

WRAPPED = [
    f"{separator!r} {where}"
    for separator in (" ", "\n", "/", "\0", "\xad")
    for where in ("before the secret", "in the secret", "in the id", "everywhere")
]
CUT = ["whole", "without its checksum", "without its end", "without its beginning"]

HOSTILE: dict[str, str] = {
    "a line and a deep encoding": f"\n{DEEP}",
    "é and a deep encoding": f"é{DEEP}",
    "quotes and backslashes": '"\\"\\\\\'\\u0022\\n',
    "control characters": "\x1b[31m\r\n\x00\x7f\t",
    "all scripts": "Zoë 日本 \u2028\u2029 🔑 \u202e\ufeff",
    "another line": '\n2026-01-01T00:00:00Z INFO GET / 200 0.1ms who=jwt:root id=1 ip=::1 reason="none"',
    "a token behind a line": f"\n{TOKEN}",
    "a token behind é": f"é{TOKEN}",
    "a key behind a quote": f'"{KEY}"',
    "a key behind a backslash": f"\\{KEY}\\",
    "a key, percent-encoded": "".join(f"%{byte:02x}" for byte in KEY.encode()),
    "a key, percent-encoded twice": quote(quote(f"\n{KEY}\n", safe="").replace("_", "%5F")),
    **{f"a key, {shape}": SHAPES[shape](KEY) for shape in CUT + WRAPPED},
}


EXACT = ("Remote-User", "Keyhook-Tenant")  # who it is, to the letter, for the application behind


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, database_of_module: Callable[[Path], dict[str, str]]
) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("hostile")
    data_dir = directory / "data"
    with running(data_dir, directory / "log", SERVE, **database_of_module(data_dir)) as server:
        server.mint("subject")
        yield server


def as_header(text: str) -> str:
    """The text as clients send it in a header, as far as a header can hold it."""
    return re.sub(r"[\x00-\x1f\x7f]", " ", text).strip().encode().decode("latin-1")


def everywhere(server: Server, text: str) -> Iterator[requests.Response]:
    """The answers to requests with the text, one for each place."""
    url, header, call = quote(text, safe=""), as_header(text), server.call
    yield call("PATCH", "/v0/api_keys/subject", json={"description": text})
    renamed = call("PATCH", "/v0/api_keys/subject", json={"name": text})
    yield renamed
    if renamed.status_code == 200:
        yield call("PATCH", f"/v0/api_keys/{url}", json={"name": "subject"})
    yield call("POST", "/v0/api_keys", json={"name": "x", "scopes": [text], "role": text, "expires_at": text})
    yield call("POST", "/v0/api_keys", json={"name": "x", text: {text: [text]}})
    yield call("POST", "/v0/introspect", data={"token": text, text: "1"})
    yield call("POST", "/v0/introspect", data=[("token", "x"), (text, text), (text, text)])
    yield call("GET", f"/v0/api_keys?{url}={url}")
    yield call("GET", f"/healthz?{url}=1&{url}=2")
    yield call("GET", f"/v0/audit?limit={url}")
    yield call("GET", f"/v0/auth?role={url}&scope={url}&scope=x:{url}")
    yield call("GET", f"/v0/auth?scope={url}&scope=x:{url}")
    yield call("GET", f"/nowhere/{url}")
    yield call("GET", f"/v0/api_keys/{url}/nowhere", headers={"X-Request-ID": header})
    yield call("GET", "/v0/auth", by=header)
    yield call("GET", "/v0/auth", by=None, headers={"X-API-Key": header, "User-Agent": header, "Referer": header})
    yield call("GET", "/v0/auth", by=None, headers={"Authorization": header, "X-Request-ID": header})
    for by in (server.token(owner=text), server.token(owner=text, tenant=text)):
        yield call("POST", "/v0/api_keys", json={"name": secrets.token_hex(8)}, by=by)
        yield call("GET", "/v0/auth", by=by)


def has_secret(text: str) -> bool:
    return leaks(text) or any(leaks(text, part) for part in TOKEN.split(".")[1:])


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_does_no_harm_wherever_it_stands(server: Server, text: str) -> None:
    before = len(server.log.read_text().splitlines())
    answers = list(everywhere(server, text))
    for answer in answers:
        assert answer.status_code < 500
        assert answer.json() is not None
        told = [value for name, value in answer.headers.items() if name not in EXACT]
        assert not any(map(has_secret, [*told, answer.text if answer.status_code >= 400 else ""]))
    lines = server.log.read_text().splitlines()[before:]
    assert len(lines) == len(answers)
    for line in lines:
        assert LINE.fullmatch(line)
        assert not has_secret(line)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_leaves_an_audit_that_can_be_read(server: Server, text: str) -> None:
    list(everywhere(server, text))
    for tenant in ("default", text):
        audit = server.call("GET", "/v0/audit?limit=8", by=server.token(tenant=tenant))
        if "\0" in tenant:  # no tenant's name, so such a token is none
            assert audit.status_code == 401
            continue
        assert audit.status_code == 200
        for entry in audit.json():
            assert "unreadable" not in (entry["details"] or {})
            assert SECRET not in bared(entry.pop("key_name"))  # a name, to the letter, that was taken for none
            assert not has_secret(json.dumps(entry, ensure_ascii=False))
    for (details,) in sql(server.data_dir, "SELECT details FROM audit_entries WHERE details IS NOT NULL"):
        assert isinstance(json.loads(details), dict)
