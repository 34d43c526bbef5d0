"""deploy/Caddyfile.nodes: a node dies, freezes and comes back, and whoever asks whether a key is good learns it."""

import signal
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import requests

from tests.postgresql import Cluster, cluster, until
from tests.proxies.installed import AND_README, CLIENT, Proxy, in_front_of, name_of
from tests.proxies.nodes import Nodes, balanced

pytestmark = pytest.mark.ecosystem

CLIENTS = 6


@pytest.fixture(scope="module")
def database() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@pytest.fixture
def nodes(database: Cluster, tmp_path: Path) -> Iterator[Nodes]:
    name = f"test_{uuid.uuid4().hex}"
    database.sql(f"CREATE DATABASE {name} OWNER keyhook")
    with balanced(database, database.url(name), tmp_path) as nodes:
        yield nodes


class Load:
    """Clients that ask at the gate without a pause, each with a good key and a bad one in turn."""

    def __init__(self, nodes: Nodes, good: str, bad: str) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self._url = f"http://127.0.0.1:{nodes.port}/v0/auth"
        self._keys = {"good": good, "bad": bad}
        self._lock = threading.Lock()
        self._done = threading.Event()

    def ask(self) -> None:
        with requests.Session() as session:
            while not self._done.is_set():
                for what, key in self._keys.items():
                    status = session.get(self._url, headers={"X-API-Key": key}, timeout=30).status_code
                    with self._lock:
                        self.answers[what, status] += 1

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(self.ask) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                self._done.set()
        for client in clients:
            client.result()

    def go_on(self, answers: int = 200) -> None:
        """Waits for so many more."""
        enough = self.answers.total() + answers
        until(lambda: self.answers.total() >= enough)


def minted(nodes: Nodes, name: str) -> str:
    answer = nodes.call("POST", "/v0/api_keys", json={"name": name})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["api_key"])


def names(nodes: Nodes) -> list[str]:
    return [entry["key_name"] for entry in nodes.call("GET", "/v0/audit").json() if entry["action"] == "key.created"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_node_that_goes_is_not_noticed_by_a_check_and_comes_back(nodes: Nodes, how: signal.Signals) -> None:
    good, bad = minted(nodes, "good"), minted(nodes, "bad")
    assert nodes.call("DELETE", "/v0/api_keys/bad").status_code == 204
    load = Load(nodes, good, bad)
    with load.running():
        until(lambda: all("GET /v0/auth" in nodes.log(name) for name in nodes.by_name))
        load.go_on()
        port = nodes.by_name["one"].port
        nodes.by_name["one"].stop(how)
        load.go_on()
        before = len(nodes.log("one"))
        nodes.start("one", port)
        until(lambda: "GET /v0/auth" in nodes.log("one")[before:])
        load.go_on()
    assert load.answers.keys() == {("good", 200), ("bad", 401)}
    assert not any(key in nodes.said_by_caddy() for key in (good, bad, "Bearer"))


def test_a_node_that_freezes_delays_a_check_and_refuses_none(nodes: Nodes) -> None:
    key = minted(nodes, "good")
    node = nodes.by_name["one"].process
    node.send_signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(lambda _: nodes.call("GET", "/v0/auth", key).status_code, range(3 * CLIENTS)))
        assert set(answers) == {200}
    finally:
        node.send_signal(signal.SIGCONT)


@contextmanager
def locked(nodes: Nodes) -> Iterator[None]:
    """No statement on keys ends meanwhile."""
    with psycopg.connect(nodes.url) as connection:
        connection.execute("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        yield


def killed_at_work(nodes: Nodes, call: Callable[[], requests.Response]) -> requests.Response:
    """The answer to a call whose node dies while the database makes it wait."""
    with ThreadPoolExecutor(1) as pool:
        with locked(nodes):
            answer: Future[requests.Response] = pool.submit(call)
            until(lambda: bool(nodes.at_work()))
            [name] = nodes.at_work()
            nodes.by_name[name].stop(signal.SIGKILL)
        return answer.result(30)


def test_a_check_at_a_node_that_dies_is_answered_by_the_other(nodes: Nodes) -> None:
    key = minted(nodes, "good")
    assert killed_at_work(nodes, lambda: nodes.call("GET", "/v0/auth", key)).status_code == 200


def test_a_creation_at_a_node_that_dies_is_not_repeated(nodes: Nodes) -> None:
    minted(nodes, "first")
    answer = killed_at_work(nodes, lambda: nodes.call("POST", "/v0/api_keys", json={"name": "second"}))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["error_code"] == "DatabaseUnavailable"
    sent = [line for name in nodes.by_name for line in nodes.log(name).splitlines() if "POST /v0/api_keys" in line]
    assert len(sent) == 1, sent  # the first; the node that died with the second wrote none
    assert names(nodes) == ["first"]
    until(lambda: nodes.call("POST", "/v0/api_keys", json={"name": "second"}).status_code == 201)


def test_a_change_meets_a_dead_node_until_that_is_noticed(nodes: Nodes) -> None:
    """Each that is answered with a 201 is there, once, and no other."""
    nodes.by_name["one"].stop(signal.SIGKILL)
    answers: dict[str, int] = {}

    def create() -> int:
        name = f"key {len(answers)}"
        answers[name] = nodes.call("POST", "/v0/api_keys", json={"name": name}).status_code
        return answers[name]

    until(lambda: [create() for _ in range(4)] == [201] * 4)
    assert sorted(names(nodes)) == sorted(name for name, status in answers.items() if status == 201)
    assert set(answers.values()) <= {201, 503}


def test_requests_that_break_off_take_no_node_away(nodes: Nodes) -> None:
    key, done = minted(nodes, "good"), threading.Event()
    head = "POST /v0/revoke HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"

    def break_off() -> set[bytes]:
        answers = set()
        while not done.is_set():
            with socket.create_connection(("127.0.0.1", nodes.port), timeout=20) as client:
                client.sendall(head.encode() + b"no number\r\n")
                answers.add(client.recv(12))
        return answers

    with ThreadPoolExecutor(1) as pool:
        broken = pool.submit(break_off)
        try:
            assert {nodes.call("GET", "/v0/auth", key).status_code for _ in range(20)} == {200}
        finally:
            done.set()
        assert broken.result() == {b"HTTP/1.1 503"}


def test_a_database_that_is_away_is_a_503_and_afterwards_all_is_well(nodes: Nodes, database: Cluster) -> None:
    key = minted(nodes, "good")
    database.stop("immediate")
    try:
        for _ in range(20):
            answer = nodes.call("GET", "/v0/auth", key)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert answer.json()["error_code"] == "DatabaseUnavailable"
    finally:
        database.start()
    until(lambda: nodes.call("GET", "/v0/auth", key).status_code == 200)


@pytest.mark.parametrize("host", ["app.example.com", "keys.example.com:443", "127.0.0.1", "localhost"])
def test_no_host_opens_the_gate(nodes: Nodes, host: str) -> None:
    for path in ("/v0/auth", "/v0/auth?tenant=default", "//v0/auth"):
        answer = requests.get(f"http://127.0.0.1:{nodes.port}{path}", headers={"Host": host}, timeout=30)
        assert answer.status_code in (401, 404), (path, answer.text)


def test_without_a_node_the_gate_stays_shut(nodes: Nodes) -> None:
    key = minted(nodes, "good")
    for node in nodes.by_name.values():
        node.stop(signal.SIGKILL)
    assert {nodes.call("GET", "/v0/auth", key).status_code for _ in range(2)} == {503}


@pytest.mark.parametrize("proxy", AND_README, ids=name_of)
def test_each_proxy_asks_the_nodes_and_they_learn_the_address_of_the_client(
    nodes: Nodes, proxy: Proxy, tmp_path: Path
) -> None:
    place = tmp_path / "front"
    place.mkdir()
    key = minted(nodes, "good")
    with in_front_of(nodes.any, nodes.port, proxy, place) as front:
        spoofed = {"X-Forwarded-For": "192.0.2.7, 192.0.2.8"}
        answers = [front.ask(key=key, headers=headers) for headers in ({}, spoofed) for _ in range(8)]
        assert {answer.status_code for answer in answers} == {200}
        assert front.ask(key=key[:-1]).status_code == 401
    lines = [line for name in nodes.by_name for line in nodes.log(name).splitlines() if "GET /v0/auth" in line]
    asked = [line for line in lines if " 200 " in line]
    assert len(asked) == len(answers)
    assert all(f"ip={CLIENT}" in line for line in asked), asked
