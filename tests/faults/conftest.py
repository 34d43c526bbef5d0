"""Fixtures of the tests that break a server."""

import uuid
from collections.abc import Iterator

import pytest

from tests.postgresql import Cluster


@pytest.fixture
def url(server_of_postgresql: Cluster) -> Iterator[str]:
    """That of a new database of PostgreSQL."""
    name = f"test_{uuid.uuid4().hex}"
    server_of_postgresql.sql(f"CREATE DATABASE {name} TEMPLATE keyhook OWNER keyhook")
    yield server_of_postgresql.url(name)
    server_of_postgresql.sql(f"DROP DATABASE {name} (FORCE)")
