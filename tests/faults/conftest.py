"""Fixtures of the tests that break a server."""

from collections.abc import Iterator

import pytest

from tests.postgresql import Cluster, new_database


@pytest.fixture
def url(server_of_postgresql: Cluster) -> Iterator[str]:
    """That of a new database of PostgreSQL."""
    with new_database(server_of_postgresql) as name:
        yield server_of_postgresql.url(name)
