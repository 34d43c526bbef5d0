"""Basic in real clients: a browser, which answers a challenge, and nginx, which forwards one."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.machine import missing
from tests.servers import SERVE, Server, free_port

pytestmark = pytest.mark.ecosystem

BASIC = 'Basic realm="keyhook", charset="UTF-8"'
CHROMIUM = "/usr/bin/chromium"
NGINX = """
daemon off; master_process off; worker_processes 1; pid {place}/nginx.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ auth_request /gate; proxy_pass {keyhook}/healthz; }}
        location = /gate {{
            internal;
            proxy_pass {keyhook}/v0/auth?challenge=basic&tenant=default;
            proxy_pass_request_body off; proxy_set_header Content-Length "";
        }}
    }}
}}
"""


@pytest.fixture
def keyhook(serve: Callable[..., Server]) -> Server:
    return serve(SERVE)


@pytest.fixture
def nginx(keyhook: Server, tmp_path: Path) -> Iterator[str]:
    """The address of an application behind nginx that asks for Basic."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not program:
        missing("nginx", "apt install nginx-light")
    port, conf = free_port(), tmp_path / "nginx.conf"
    conf.write_text(NGINX.format(place=tmp_path, port=port, keyhook=keyhook.url))
    process = subprocess.Popen([program, "-c", str(conf), "-p", str(tmp_path)], stderr=subprocess.DEVNULL)
    try:
        await_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def await_port(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nginx did not start")


def test_nginx_hands_the_challenge_on(keyhook: Server, nginx: str) -> None:
    asked = requests.get(nginx, timeout=20)
    assert asked.status_code == 401
    assert BASIC in asked.raw.headers.getlist("WWW-Authenticate")
    assert requests.get(nginx, auth=("alice", keyhook.mint("laptop")), timeout=20).status_code == 200
    assert requests.get(nginx, auth=("alice", "hunter2"), timeout=20).status_code == 401


def test_curl_sends_nothing_before_it_is_asked(keyhook: Server, nginx: str) -> None:
    if not shutil.which("curl"):
        missing("curl", "apt install curl")
    user = f"alice:{keyhook.mint('laptop')}"

    def curl(url: str) -> str:
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--anyauth", "-u", user, url]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    assert curl(nginx) == "200"
    assert curl(f"{keyhook.url}/v0/auth?challenge=basic") == "200"
    assert curl(f"{keyhook.url}/v0/auth") == "401"


def test_a_browser_answers_the_challenge(keyhook: Server) -> None:
    if not shutil.which(CHROMIUM):
        missing("Chromium", "apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(http_credentials={"username": "alice", "password": keyhook.mint("laptop")})
        for query, status in (("?challenge=basic", 200), ("?challenge=basic&scope=x", 403)):
            answer = page.goto(f"{keyhook.url}/v0/auth{query}")
            assert answer is not None
            assert answer.status == status
        browser.close()
