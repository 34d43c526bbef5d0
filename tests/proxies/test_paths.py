"""The files in deploy/: the path for which a proxy requires a scope is the path that the application serves."""

from collections.abc import Iterator

import pytest

from tests.proxies.installed import HOST, PROXIES, Front, name_of, proxied, seen

pytestmark = pytest.mark.ecosystem


@pytest.fixture(scope="module", params=PROXIES, ids=name_of)
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with proxied(request.param, tmp_path_factory.mktemp("proxy")) as front:
        yield front


@pytest.fixture(scope="module")
def small(front: Front) -> str:
    """A key without the scope."""
    return front.key("small", scopes=["music"])


@pytest.fixture(scope="module")
def right(front: Front) -> str:
    return front.key("right", scopes=["photos:read"])


@pytest.mark.parametrize(
    "path", ["/photos", "/photos/1", "//photos/1", "/./photos/1", "/x/../photos/1", "/%70hotos/1", "/PHOTOS/1"]
)
def test_a_missing_scope_is_a_403_by_every_way_to_the_path(front: Front, small: str, right: str, path: str) -> None:
    assert front.ask_raw(path, small)[0] == 403
    assert front.ask_raw(path, right)[0] == 200


ODD = [
    *("/%2fphotos/1", "/%2F%2Fphotos/1", "/%2f/photos/1", "/photos%2f1", "/x%2f..%2fphotos", "/x/..%2fphotos"),
    *("/photos%2f..%2f1", "/photos/..%2f1", "/photos%2f../1", "/photos/../100%25", "/photos/%2e%2e/100%25"),
    *("/photos/..#", "/photos%00/../1", "/x%2f/../photos"),
    *("///photos/1", "/x//../photos", "/x/..//photos/1", "/y/../photos//../1", "/photos//../1", "/..//photos"),
    *("/%2e/photos", "/x/%2e%2e/photos", "/x/.%2E/photos", "/x%2f%2e%2e%2fphotos", "/%70hotos/../1", "/photos/../1"),
    *("/photos/%2e%2e/1", "/./photos/%252e%252e/1", "/x/../photos%3f", "/./photos/%25%32%65%25%32%65/1"),
    *("/..;/photos", "/x/..;/photos", "/x/..;a=b/photos", "/;a=b/photos", "/.;/photos", "/x/%2e%2e;/photos"),
    *("/x/..%3b/photos", "/;/photos", "/%3B/photos", "/photos;a=b/1", "/x;a=b/../photos"),
    *("/\\photos", "/x\\..\\photos", "\\photos", "/x/..\\photos", "/%5cphotos", "/x%5c..%5Cphotos", "/x/..%5cphotos"),
    *("/Photos", "/pHOTOS/1", "/%50HOTOS/1", "/%00/photos", "/photos%00", "/x%00/../photos"),
    *("/%c0%afphotos", "/x/..%c0%afphotos", "/%e0%80%afphotos", "/%252fphotos", "/x/..%252fphotos", "/%25%32%66photos"),
    *("/#/../photos/1", "/x#/../photos", "/x/../photos#y", "/photos#/../x", "/x/%23/../../photos", "#/photos"),
    *(f"http://{HOST}/photos/1", f"http://{HOST}/x/../photos", f"http://{HOST}//photos", f"HTTP://{HOST}/%2fphotos"),
    *(f"http://{HOST}#/photos", f"http://{HOST}/%2e/photos", "/%", "/%2", "/%zzphotos", "photos/1", "*"),
    *(
        "/x?/../photos",
        "/%3f/../photos",
        "/x%3F/../photos",
        "/photos?",
        "/./photos?a=/../../x",
        "/ photos",
        "/\tphotos",
    ),
]


@pytest.mark.parametrize("path", ODD)
def test_no_other_spelling_brings_a_small_key_to_the_path(front: Front, small: str, path: str) -> None:
    status, told = front.ask_raw(path, small)
    assert status in (200, 400, 403, 404), status
    if status == 200:
        assert [reading for reading in told["readings"] if reading.startswith("/photos")] == [], told["path"]


@pytest.mark.parametrize("path", ["/x%2fy", "/x%2Fy?a=b", "/photos%2f1", "/x%5cy", "/x%5Cy", "/x%00y"])
def test_an_encoded_slash_is_refused_whoever_asks(front: Front, right: str, path: str) -> None:
    assert front.ask_raw(path, right)[0] == 400


PLAIN = [
    *("/.well-known/x", "/a..b/..c", "/a%20b%25c%3Fd", "/a;b=c/d", "/%C3%BC", "/a+b%2Bc", "/a//b", "/a/b.photos/"),
    *("/x?next=%2fphotos%2f..%2f\\", "/x?next=http://h/../photos#", "/a%3Bb", "/a%23b", "/~u/(1)/$&'*,=:@!"),
]


@pytest.mark.parametrize("path", PLAIN)
def test_a_plain_path_and_its_query_arrive_as_they_are(front: Front, small: str, path: str) -> None:
    status, told = front.ask_raw(path, small)
    assert status == 200
    expected = path.replace("//", "/") if front.proxy == "traefik" and "?" not in path else path
    assert told["path"] == expected


@pytest.mark.parametrize("path", ["/x/../a%20b%23c?d=%2f..", "/a%20b%23c/./?d=%2f..", "/photos/../a%20b%23c?d=%2f.."])
def test_a_path_with_dots_goes_on_as_it_was_looked_at(front: Front, small: str, path: str) -> None:
    status, told = front.ask_raw(path, small)
    assert status == 200
    assert told["path"].replace("c/?", "c?") == "/a%20b%23c?d=%2f.."


@pytest.mark.parametrize("plain", ["/100%25", "/a%2520b", "/a%3Fb", "/photos%3F"])
def test_a_path_with_dots_and_a_percent_sign_is_not_decoded_twice(front: Front, right: str, plain: str) -> None:
    status, told = front.ask_raw(f"/x/..{plain}", right)
    assert status == 400 or told["path"].upper() == plain.upper()


def test_the_query_of_the_request_asks_for_nothing(front: Front, small: str) -> None:
    answer = front.ask("/?scope=photos:read&role=admin", key=small)
    assert answer.status_code == 200
    assert answer.json()["path"] == "/?scope=photos:read&role=admin"


def test_the_internal_locations_answer_nobody(front: Front, small: str) -> None:
    for path in ("/_keyhook", "/_keyhook/photos", "/v0/auth"):
        answer = front.ask(path, key=small)
        assert answer.status_code == 404 or answer.json()["path"] == path, "Keyhook itself answered"


@pytest.mark.parametrize("upgrade", ["h2c", "H2C", "websocket, h2c"])
def test_another_upgrade_is_no_way_round_the_gate(front: Front, small: str, upgrade: str) -> None:
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": upgrade, "HTTP2-Settings": "AAMAAABk"}
    assert seen(front.ask(key=small, headers=headers), "Upgrade") == []
