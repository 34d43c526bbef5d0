"""A key that one process ends is refused by the next request to another process, a hundred times."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import requests

from tests.rows import ago, move
from tests.servers import FLASK_RUN, SERVE, Server

ROUNDS = 25  # for each of the four ways to end


class Side:
    """One process, with connections that stay open."""

    def __init__(self, server: Server) -> None:
        self.data_dir = server.data_dir
        self._url = server.url
        self._people = requests.Session()
        self._people.headers["Authorization"] = f"Bearer {server.token()}"
        self._keys = requests.Session()

    def close(self) -> None:
        self._people.close()
        self._keys.close()

    def change(self, method: str, path: str, body: object = None) -> requests.Response:
        response = self._people.request(method, f"{self._url}/v0/api_keys{path}", json=body, timeout=20)
        assert response.ok, response.text
        return response

    def mint(self, name: str) -> str:
        return str(self.change("POST", "", {"name": name}).json()["api_key"])

    def status(self, key: str) -> int:
        return self._keys.get(f"{self._url}/v0/auth", headers={"X-API-Key": key}, timeout=20).status_code

    def introspected(self, key: str) -> bool:
        response = self._people.post(f"{self._url}/v0/introspect", data={"token": key}, timeout=20)
        return bool(response.json()["active"])


def disable(side: Side, name: str) -> None:
    side.change("PATCH", f"/{name}", {"disabled": True})


def delete(side: Side, name: str) -> None:
    side.change("DELETE", f"/{name}")


def expire(side: Side, name: str) -> None:
    """Moves the end of the key into the past."""
    move(side.data_dir, name, expires_at=ago(days=1))


def rotate(side: Side, name: str) -> None:
    side.change("POST", f"/{name}/rotate", {})


@pytest.fixture
def sides(serve: Callable[..., Server]) -> Iterator[list[Side]]:
    """Two processes on one database, with different kinds of servers."""
    with ExitStack() as stack:
        sides = [Side(serve(command)) for command in (SERVE, FLASK_RUN)]
        for side in sides:
            stack.callback(side.close)
        yield sides


@pytest.mark.parametrize("end", [disable, delete, expire, rotate])
def test_the_very_next_request_to_the_other_process_is_refused(
    sides: list[Side], end: Callable[[Side, str], None]
) -> None:
    for number in range(ROUNDS):
        here, there = sides[number % 2], sides[1 - number % 2]
        name = f"key-{number}"
        key = here.mint(name)
        assert [side.status(key) for side in (here, there, here, there)] == [200] * 4  # both have it in memory
        end(here, name)
        assert there.status(key) == 401
        assert here.status(key) == 401
        assert not there.introspected(key)


def test_what_is_undone_in_one_process_holds_in_the_other_at_once(sides: list[Side]) -> None:
    here, there = sides
    key = here.mint("back")
    for _ in range(ROUNDS):
        disable(here, "back")
        assert there.status(key) == 401
        there.change("PATCH", "/back", {"disabled": False})
        assert here.status(key) == 200
        here, there = there, here
