"""The files in deploy/: the proxy's question to the gate, one for each request."""

import re
from collections.abc import Iterator

import pytest

from tests.proxies.installed import CLIENT, HOST, PROXIES, Front, connected, name_of, proxied, read_final_status

pytestmark = pytest.mark.ecosystem


@pytest.fixture(scope="module", params=PROXIES, ids=name_of)
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with proxied(request.param, tmp_path_factory.mktemp("proxy")) as front:
        yield front


# What Keyhook reads, what a proxy says by itself, and what says nothing of a body, a connection or a condition.
FOR_THE_GATE = {
    *("host", "x-api-key", "authorization", "x-request-id", "origin", "access-control-request-method"),
    *("x-forwarded-for", "x-forwarded-host", "x-forwarded-method", "x-forwarded-proto", "x-forwarded-uri"),
    *("x-original-uri", "user-agent", "accept", "accept-encoding"),
}
OF_NO_CONCERN = {
    **{"Expect": "100-continue", "Connection": "Upgrade, TE", "Upgrade": "photos", "TE": "trailers"},
    **{"Range": "bytes=0-1", "If-Match": "*", "If-None-Match": '"a"', "If-Range": '"a"', "Trailer": "X-Sum"},
    **{"If-Modified-Since": "Wed, 25 Nov 2026 00:00:00 GMT", "Content-Type": "image/png", "Content-Encoding": "gzip"},
    "Content-Range": "bytes 0-5/6",
}


@pytest.mark.parametrize("path", ["/up", "/photos/up"])
@pytest.mark.parametrize(
    "framing", [{"Content-Length": "6"}, {"Transfer-Encoding": "chunked"}], ids=["length", "chunked"]
)
def test_the_gate_hears_nothing_of_body_connection_or_condition(
    front: Front, framing: dict[str, str], path: str
) -> None:
    headers = {**OF_NO_CONCERN, **framing, "X-API-Key": front.key(scopes=["photos:read"])}
    front.tap.heard = b""
    with connected(front, "PUT", path, headers) as connection:
        connection.sendall(b"6\r\nphoto\n\r\n0\r\n\r\n" if "Transfer-Encoding" in framing else b"photo\n")
        read_final_status(connection)
    [request] = front.tap.gate_requests()
    line, *fields = request.split("\r\n")
    assert re.fullmatch(r"(GET|PUT) /v0/auth\?tenant=default(&limited=403)?(&scope=photos:read)? HTTP/1\.1", line)
    assert {field.lower().partition(": ")[0] for field in fields} <= FOR_THE_GATE


@pytest.mark.parametrize("path", ["/up?a=b", "/photos/up?a=b"])
def test_the_gate_learns_address_method_host_and_uri_whatever_the_client_claims(front: Front, path: str) -> None:
    names = ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Method", "X-Forwarded-Uri", "X-Original-Uri"]
    names += ["X_Forwarded_Method", "X_Forwarded_Host"]
    front.tap.heard = b""
    front.ask(path, key=front.key(), method="PATCH", headers=dict.fromkeys(names, "203.0.113.66"))
    [request] = front.tap.gate_requests()
    told = dict(field.lower().split(": ", 1) for field in request.split("\r\n")[1:])
    uri = "x-original-uri" if front.proxy == "nginx" else "x-forwarded-uri"
    assert told["x-forwarded-for"] == CLIENT
    assert told["x-forwarded-host"] == HOST
    assert told["x-forwarded-method"] == "patch"
    assert told[uri] == path
    assert [name for name, value in told.items() if "203.0.113.66" in value] == []
