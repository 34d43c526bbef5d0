"""Fixtures of the tests that break a server."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.faults.load import send_all
from tests.postgresql import Cluster, new_database


@pytest.fixture
def url(server_of_postgresql: Cluster) -> Iterator[str]:
    """That of a new database of PostgreSQL."""
    with new_database(server_of_postgresql) as name:
        yield server_of_postgresql.url(name)


@pytest.fixture
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """A separate process for the load, so that its cost does not disturb the measurement."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(send_all, 0, []).result()  # it imports all that it needs now
        yield pool
