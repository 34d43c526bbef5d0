"""The benchmarks on PostgreSQL and of a provider run to their end. Their figures are for people: none is looked at."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import oidc, postgresql
from bench.cluster import Cluster, cluster
from bench.service import REAL_KEYS, quiet_app
from bench.sizes import by_size
from bench.tables import at_least, at_most, compared
from tests.oidc.issuer import public_jwk, running
from tests.postgresql import programs

CORES = sorted(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster(programs(), **postgresql.SAFE) as made:
        yield made


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    series = {"ours": [10.0, 30.0, 8.0], "bare": [10.0, 10.0, 10.0]}
    assert compared(series, "ours", {"ours": ("bare", at_least, 1.0)}) == ("1.00 of “bare”", "≥ 1.00: met")
    assert compared(series, "ours", {"ours": ("bare", at_most, 0.9)}) == ("1.00 of “bare”", "≤ 0.9: not met")
    assert compared(series, "bare", {"ours": ("bare", at_least, 1.0)}) == ("", "")


def test_each_commit_waits_for_the_disk(server: Cluster) -> None:
    assert re.fullmatch(r"PostgreSQL [\d.]+ with fsync on", postgresql.described(server))


@pytest.mark.processes
def test_every_table_has_its_rows(server: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = postgresql.over_http(server, tmp_path, 1, 0.2, CORES)
    postgresql.in_process(server, keys, 1, 1)
    postgresql.by_nodes(server, tmp_path, keys[0], 1, 0.2, CORES)
    rows = [line.count("|") - 1 for line in capsys.readouterr().out.splitlines() if re.search(r"\| [\d,.]+ \|", line)]
    assert rows == [7] * 8 + [2] * 2 + [4] * 4 + [3] * 2


def test_databases_of_two_sizes(server: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"KEYHOOK_DATABASE_URL": server.url("sizes"), "KEYHOOK_SECRET_KEY": postgresql.LONG}
    server.sql("CREATE DATABASE sizes OWNER keyhook")
    with quiet_app(**settings) as app:
        keys = postgresql.fill(server, "sizes", 2 * REAL_KEYS)[:10]
        assert server.sql("SELECT count(*) FROM api_keys", database="sizes") == str(2 * REAL_KEYS)
        by_size({REAL_KEYS: (app, keys), 2 * REAL_KEYS: (app, keys)}, 1)
    assert len(re.findall(r"^\| (?:check, (?:warm|cold)|creation) \| [\d,]+ \|", capsys.readouterr().out, re.M)) == 3


def test_the_tables_of_a_provider(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running() as issuer:
        issuer.keys = [public_jwk(algorithm) for algorithm in oidc.BARS]
        oidc.in_process(tmp_path, issuer, 1, 1)
        oidc.outage(tmp_path, issuer)
        oidc.entering(tmp_path, issuer, 1)
    rows = [line for line in capsys.readouterr().out.splitlines() if re.search(r"\| [\d,.]+ \|", line)]
    assert len(rows) == 8 + 2 + 1
