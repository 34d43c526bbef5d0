"""Fixtures: `app, client, runner, mint` in this process, `serve` for a real server in its own process."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner

from app import create_app
from identity.tokens import make_token
from tests.commands import LONG
from tests.postgresql import DATABASES, Cluster, cluster, new_database
from tests.routes import compile_once
from tests.servers import AFRESH, Server, start_server
from tests.statements import PREFIX, Statements, logged, traced

# database_of(data_dir): the settings by which an application with that directory finds its database.
DatabaseOf = Callable[[Path], dict[str, str]]

REAL_SERVERS = {"serve", "server"}  # the fixtures that start one

# Before any module is collected, some of which make an application: what the caller's shell exports is not under test.
for exported in [name for name in os.environ if name.startswith("KEYHOOK_") or name == "COLUMNS"]:
    del os.environ[exported]

compile_once()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=["sqlite", "postgresql"], default="sqlite", help="the database of the tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests that start servers. What only SQLite has is not looked for in PostgreSQL."""
    for item in items:
        if isinstance(item, pytest.Function) and REAL_SERVERS.intersection(item.fixturenames):
            item.add_marker("processes")
    if config.getoption("--engine") != "sqlite":
        left_out = [item for item in items if item.get_closest_marker("sqlite")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def server_of_postgresql() -> Iterator[Cluster]:
    """A server whose database `keyhook` is as the first start leaves it."""
    with cluster(log_line_prefix=PREFIX) as made:
        given = {"KEYHOOK_DATABASE_URL": made.url(), "KEYHOOK_SECRET_KEY": LONG}
        create_app(given).extensions["keyhook"].close()
        yield made


@pytest.fixture
def database_of(request: pytest.FixtureRequest) -> Iterator[DatabaseOf]:
    with databases(request) as find:
        yield find


@pytest.fixture(scope="module")
def database_of_module(request: pytest.FixtureRequest) -> Iterator[DatabaseOf]:
    """The same, for a server that several tests share."""
    with databases(request) as find:
        yield find


@contextmanager
def databases(request: pytest.FixtureRequest) -> Iterator[DatabaseOf]:
    """On PostgreSQL each data directory has a database that stands for its file, until the end."""
    if request.config.getoption("--engine") == "sqlite":
        yield lambda data_dir: {}
        return
    server: Cluster = request.getfixturevalue("server_of_postgresql")
    with ExitStack() as stack:

        def find(data_dir: Path) -> dict[str, str]:
            if data_dir not in DATABASES:
                DATABASES[data_dir] = server.url(stack.enter_context(new_database(server)))
                stack.callback(DATABASES.pop, data_dir)
            return {"KEYHOOK_DATABASE_URL": DATABASES[data_dir], "KEYHOOK_SECRET_KEY": LONG}

        yield find


@pytest.fixture(scope="module")
def afresh(request: pytest.FixtureRequest) -> Iterator[None]:
    """For a module that looks at starts, limits or memory: its servers import all for themselves."""
    AFRESH.append(request.module.__name__)
    yield
    AFRESH.clear()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def make_app(database_of: DatabaseOf) -> Iterator[Callable[..., Flask]]:
    """Makes applications and closes their databases at the end."""
    with ExitStack() as stack:

        def make(data_dir: Path, **config: Any) -> Flask:
            app = create_app({"KEYHOOK_DATA_DIR": data_dir, **database_of(data_dir), **config})
            stack.callback(app.extensions["keyhook"].close)
            return app

        yield make


@pytest.fixture
def statements(request: pytest.FixtureRequest, data_dir: Path, database_of: DatabaseOf) -> Iterator[Statements]:
    """statements(): those that reached the database since the last call. A test asks for this fixture before `app`."""
    if database_of(data_dir):
        name = DATABASES[data_dir].rpartition("/")[2]
        yield logged(request.getfixturevalue("server_of_postgresql"), name)
    else:
        with traced() as drain:
            yield drain


@pytest.fixture(scope="session")
def after_first_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory as the first start leaves it. A start on a copy of it takes a tenth of the time."""
    data_dir = tmp_path_factory.mktemp("first-start") / "data"
    create_app({"KEYHOOK_DATA_DIR": data_dir}).extensions["keyhook"].close()
    return data_dir


@pytest.fixture
def app(make_app: Callable[..., Flask], after_first_start: Path, data_dir: Path) -> Flask:
    shutil.copytree(after_first_start, data_dir)
    return make_app(data_dir)


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


@pytest.fixture
def token(app: Flask) -> Callable[..., str]:
    """Makes a JWT: token(role="admin", tenant="default", owner="alice")."""

    def make(role: str = "admin", tenant: str = "default", owner: str = "alice", lifetime: float = 3600) -> str:
        secret = app.extensions["keyhook"].settings.secret_key
        return make_token(secret, owner, role, tenant, timedelta(seconds=lifetime))

    return make


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def call(client: FlaskClient, token: Callable[..., str]) -> Callable[..., Any]:
    """call("POST", "/v0/api_keys", json=..., by=<credential>): a request, by default from an admin of `default`."""

    def send(method: str, path: str, by: str | None = "", headers: dict[str, str] | None = None, **kwargs: Any) -> Any:
        sent = dict(headers or {})
        if by is not None:
            sent["Authorization"] = f"Bearer {by or token()}"
        return client.open(path, method=method, headers=sent, **kwargs)

    return send


@pytest.fixture
def mint(call: Callable[..., Any]) -> Callable[..., str]:
    """mint("name", by=<credential>, scopes=[...]): the secret of a new key."""

    def make(name: str = "laptop", by: str = "", **members: Any) -> str:
        response = call("POST", "/v0/api_keys", json={"name": name, **members}, by=by)
        assert response.status_code == 201, response.text
        return str(response.json["api_key"])

    return make


@pytest.fixture
def serve(tmp_path: Path, data_dir: Path, database_of: DatabaseOf) -> Iterator[Callable[..., Server]]:
    """serve(): a real `flask run` on the test's data directory; serve(SERVE) another server. Stopped at the end."""
    with ExitStack() as stack:

        def start(command: list[str] | None = None, **environment: Any) -> Server:
            place = environment.pop("data_dir", data_dir)
            server = start_server(place, tmp_path / "server.log", command, **{**database_of(place), **environment})
            stack.callback(server.stop)
            return server

        yield start
