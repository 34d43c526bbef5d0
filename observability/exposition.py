"""The figures in the text format of Prometheus.

Imported at the first question, not at the start: the library loads an HTTP server.
"""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4 as MEDIA_TYPE
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from observability.metrics import BOUNDS, GOOD, SUM, Durations, Totals

__all__ = ["MEDIA_TYPE", "exposition", "gauge"]


def exposition(totals: Totals, build: Mapping[str, str], more: Iterable[Metric] = ()) -> bytes:
    """`more`: families that somebody else has counted."""
    families = [
        _checks(totals.checks),
        _durations(totals.durations),
        *more,
        CounterMetricFamily(
            "keyhook_database_errors", "Answers that the database failed.", value=totals.database_errors
        ),
        GaugeMetricFamily("keyhook_write_queue_length", "Writers at work or waiting.", value=totals.writers),
        gauge("keyhook_build_info", "Always 1; the labels say what runs.", [*build], {tuple(build.values()): 1}),
        *_processes(totals.processes),
    ]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(families))
    return generate_latest(registry)


def gauge(name: str, text: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for label, value in values.items():
        family.add_metric(label, value)
    return family


class _Collected:
    """What the library calls a collector, of families that are there already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _checks(counted: Mapping[str, int]) -> Metric:
    text = "Credentials that were checked, at /v0/auth and by /v0/introspect."
    family = CounterMetricFamily("keyhook_checks", text, labels=["result", "reason"])
    for reason, number in counted.items():
        family.add_metric(["good" if reason == GOOD else "refused", reason], number)
    return family


def _durations(counted: Durations) -> Metric:
    text = "From the whole request to the beginning of its answer; route: its rule, or `other`."
    family = HistogramMetricFamily("keyhook_request_duration_seconds", text, labels=["route", "status"])
    for labels, numbers in sorted(counted.items()):
        bounds = [*map(floatToGoString, BOUNDS), "+Inf"]
        buckets = list(zip(bounds, accumulate(numbers[:SUM]), strict=True))
        family.add_metric(labels, buckets, numbers[SUM])
    return family


def _processes(ids: Mapping[int, int]) -> Iterable[Metric]:
    """The library's figures of a process, for each of ours, with its number as a label."""
    families: dict[str, Metric] = {}
    for number, process in sorted(ids.items()):
        for found in ProcessCollector(pid=lambda process=process: process, registry=None).collect():  # type: ignore[misc]
            family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
            for sample in found.samples:
                family.add_sample(sample.name, {"process": str(number)}, sample.value)
    return families.values()
