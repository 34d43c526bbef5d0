"""The files of deploy/ in the real Prometheus: it scrapes the service, its alerts are raised, every panel has data."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.figures import shown
from tests.machine import missing
from tests.proxies.installed import DEPLOY, as_shipped, copy, proxy_process
from tests.rows import ago
from tests.servers import SERVE, Server, free_port

pytestmark = pytest.mark.ecosystem

HERE = Path(__file__).parent
BEARER = "a-token-of-a-file"
PATIENCE = 40  # seconds until every query has data: rates need several scrapes
DASHBOARD = json.loads((DEPLOY / "grafana.json").read_text())
QUERIES = {
    f"{panel['title']}-{target['refId']}": str(target["expr"])
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
VARIABLES = {"$__rate_interval": "10s", "$instance": ".*"}  # as Grafana fills them in


def installed(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing(name, "apt install prometheus")
    return found


@dataclass
class Prometheus:
    port: int

    def get(self, path: str, **parameters: str) -> Any:
        answer = requests.get(f"http://127.0.0.1:{self.port}/api/v1/{path}", params=parameters, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def result(self, query: str) -> list[Any]:
        """The numbers that a query finds now; one that is none, as of no requests, is no data."""
        found = self.get("query", query=query)["result"]
        return [one for one in found if one["value"][1] != "NaN"]


@pytest.fixture
def service(serve: Callable[..., Server], tmp_path: Path) -> Server:
    (tmp_path / "keyhook-token").write_text(f"{BEARER}\n")
    return serve(SERVE, KEYHOOK_METRICS_TOKEN_FILE=tmp_path / "keyhook-token")


@pytest.fixture
def prometheus(service: Server, tmp_path: Path) -> Iterator[Prometheus]:
    """The real one with the files of deploy/, but for places and times."""
    port, place = free_port(), tmp_path
    changes = {
        "/etc/prometheus/keyhook-token": str(place / "keyhook-token"),
        "127.0.0.1:5000": f"127.0.0.1:{service.port}",
        "scrape_interval: 15s": "scrape_interval: 1s",
        "evaluation_interval: 15s": "evaluation_interval: 1s",
    }
    copy(DEPLOY / "prometheus.yml", place / "prometheus.yml", changes, as_shipped)
    shutil.copy(DEPLOY / "alerts.yml", place)
    options = [f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/tsdb"]
    command = [installed("prometheus"), *options, f"--web.listen-address=127.0.0.1:{port}"]
    with proxy_process(command, place, place / "prometheus.log"):
        yield Prometheus(port)


def wait_for(what: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if what():
                return
        except (requests.ConnectionError, AssertionError):  # it has not started yet
            pass
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def test_it_scrapes_with_the_bearer_and_every_panel_has_data(
    service: Server, prometheus: Prometheus, tmp_path: Path
) -> None:
    key = service.mint("laptop", expires_at=ago(hours=-5))
    queries = dict(QUERIES)

    def have_all() -> bool:
        for credential in (key, "x"):
            service.call("GET", "/v0/auth", by=credential)
        for title, query in list(queries.items()):
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            assert "$" not in query
            if prometheus.result(query):
                del queries[title]
        return not queries

    try:
        wait_for(have_all, tmp_path / "prometheus.log")
    finally:
        assert queries == {}
    assert [one["value"][1] for one in prometheus.result('up{job="keyhook"}')] == ["1"]
    checked = prometheus.result('keyhook_checks_total{result="refused", reason="malformed"}')
    assert float(checked[0]["value"][1]) > 0
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    wait_for(lambda: alerts(prometheus) == {"KeyhookKeysEnd"}, tmp_path / "prometheus.log")


def alerts(prometheus: Prometheus) -> set[str]:
    """Those that are raised, or will be if it stays as it is."""
    return {alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"]}


def test_without_its_bearer_it_says_that_the_service_is_down(prometheus: Prometheus, tmp_path: Path) -> None:
    (tmp_path / "keyhook-token").write_text("b-token-of-a-file\n")
    wait_for(lambda: alerts(prometheus) == {"KeyhookDown"}, tmp_path / "prometheus.log")


def test_each_alert_is_raised_where_it_should_be(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "alerts.yml", tmp_path)
    shutil.copy(HERE / "alerts.yml", tmp_path / "tests.yml")
    for words in (["check", "rules", "alerts.yml"], ["test", "rules", "tests.yml"]):
        done = subprocess.run([installed("promtool"), *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    tried = (HERE / "alerts.yml").read_text()
    for line in (DEPLOY / "alerts.yml").read_text().splitlines():
        if "- alert: " in line:
            assert line.partition("- alert: ")[2] in tried


def test_the_configuration_is_one(tmp_path: Path) -> None:
    changes = {"/etc/prometheus/keyhook-token": str(tmp_path / "keyhook-token")}
    copy(DEPLOY / "prometheus.yml", tmp_path / "prometheus.yml", changes, as_shipped)
    shutil.copy(DEPLOY / "alerts.yml", tmp_path)
    (tmp_path / "keyhook-token").write_text(BEARER)
    command = [installed("promtool"), "check", "config", "prometheus.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_text_is_as_prometheus_likes_it(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    call("GET", "/v0/auth", by=mint("laptop"))
    command = [installed("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=shown(call), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_panels_do_not_overlap() -> None:
    taken = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
