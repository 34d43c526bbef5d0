"""The figures that a service shows, read as Prometheus reads them."""

from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]


def parse(text: str) -> dict[str, dict[Labels, float]]:
    """By name and labels; none may be there twice."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            of_name = found.setdefault(sample.name, {})
            assert labels not in of_name, (sample.name, labels)
            of_name[labels] = sample.value
    return found


def figure(text: str, name: str, **labels: str) -> float:
    """0 if there is none."""
    return parse(text).get(name, {}).get(tuple(sorted(labels.items())), 0)


def checks(text: str) -> dict[str, float]:
    """The checks by reason, without those that there were none of."""
    counted = parse(text)["keyhook_checks_total"]
    for labels in map(dict, counted):
        assert labels["result"] == ("good" if labels["reason"] == "none" else "refused")
    return {dict(labels)["reason"]: value for labels, value in counted.items() if value}


def requests_by_route(text: str) -> dict[tuple[str, str], float]:
    counted = parse(text).get("keyhook_request_duration_seconds_count", {})
    return {(dict(labels)["route"], dict(labels)["status"]): value for labels, value in counted.items()}


def shown(call: Callable[..., Any]) -> str:
    """The text that a service shows to an admin."""
    response = call("GET", "/metrics")
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return str(response.text)
