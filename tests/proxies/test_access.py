"""The files in deploy/: who passes, and which identity the application gets."""

from collections.abc import Iterator

import pytest

from tests.proxies.installed import AND_README, CLIENT, HOST, IDENTITY, Front, identity, name_of, proxied, seen

pytestmark = pytest.mark.ecosystem


@pytest.fixture(scope="module", params=AND_README, ids=name_of)
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with proxied(request.param, tmp_path_factory.mktemp("proxy")) as front:
        yield front


# What a client may try under a header's name: as it is, and as what CGI, WSGI or PHP would fold into the same variable.
DISGUISES = ["{}", "_", ".", "~"]


@pytest.fixture(params=DISGUISES)
def forged(request: pytest.FixtureRequest) -> dict[str, str]:
    names = [name if request.param == "{}" else name.replace("-", request.param) for name in IDENTITY]
    return dict.fromkeys(names, "evil")


def test_no_key_is_a_401_with_its_challenge(front: Front) -> None:
    answer = front.ask()
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="keyhook"'


@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
def test_a_bad_key_is_a_401_that_says_so(front: Front, header: str) -> None:
    answer = front.ask(headers={header: "kh_nonsense" if header == "X-API-Key" else "Bearer kh_nonsense"})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_the_application_learns_who_it_is(front: Front) -> None:
    name = front.fresh("who")
    key = front.keyhook.mint(name, scopes=["photos:read", "music"])
    shown = front.keyhook.call("GET", f"/v0/api_keys/{name}").json()
    assert identity(front.ask(key=key)) == {
        "Remote-User": "alice",
        "Remote-Groups": "photos:read,music",
        "Keyhook-Key-Id": shown["id"],
        "Keyhook-Key-Name": shown["name"],
        "Keyhook-Role": "write",
        "Keyhook-Tenant": "default",
    }


def test_forged_identity_is_replaced(front: Front, forged: dict[str, str]) -> None:
    key = front.key("real", scopes=["music"])
    honest = identity(front.ask(key=key))
    assert identity(front.ask(key=key, headers=forged)) == honest
    assert honest["Remote-Groups"] == "music"


def test_forged_identity_is_removed_where_a_key_has_nothing(front: Front, forged: dict[str, str]) -> None:
    key = front.key("plain")
    assert identity(front.ask(key=key, headers=forged))["Remote-Groups"] == ""


def test_forged_identity_is_removed_where_a_person_has_nothing(front: Front, forged: dict[str, str]) -> None:
    headers = {**forged, "Authorization": f"Bearer {front.keyhook.token()}"}
    assert identity(front.ask(headers=headers)) == {
        "Remote-User": "alice",
        "Remote-Groups": "",
        "Keyhook-Key-Id": "",
        "Keyhook-Key-Name": "",
        "Keyhook-Role": "admin",
        "Keyhook-Tenant": "default",
    }


def test_identity_cannot_be_declared_hop_by_hop(front: Front) -> None:
    key = front.key("hop")
    answer = front.ask(key=key, headers={"Connection": "close, Remote-User, Keyhook-Role", "Remote-User": "evil"})
    assert identity(answer)["Remote-User"] == "alice"
    assert identity(answer)["Keyhook-Role"] == "write"


def test_the_application_learns_host_and_address_whatever_the_client_claims(front: Front) -> None:
    claims = ["X-Forwarded-For", "X_Forwarded_For", "X_API_Key"]
    answer = front.ask(key=front.key("host"), headers=dict.fromkeys(claims, "203.0.113.66"))
    assert seen(answer, "Host") == [HOST]
    assert seen(answer, "X-Forwarded-For") == [CLIENT]
    assert seen(answer, "X-API-Key") == []


@pytest.mark.parametrize("change", ["disabled", "deleted", "rotated"])
def test_a_key_that_ended_a_moment_ago_is_refused_on_the_next_request(front: Front, change: str) -> None:
    name = front.fresh("ended")
    key = front.keyhook.mint(name)
    assert front.ask(key=key).status_code == 200
    path = f"/v0/api_keys/{name}"
    if change == "disabled":
        front.keyhook.call("PATCH", path, json={"disabled": True})
    elif change == "deleted":
        front.keyhook.call("DELETE", path)
    else:
        front.keyhook.call("POST", f"{path}/rotate", json={})
    assert front.ask(key=key).status_code == 401


NAMES = {
    "Küche 100%": "K%C3%BCche 100%25",
    "鍵🔑": "%E9%8D%B5%F0%9F%94%91",
    'a,b;c="d" $host {env.HOME} \\': 'a,b;c="d" $host {env.HOME} \\',
}


@pytest.mark.parametrize("name", NAMES)
def test_names_arrive_as_one_safe_line(front: Front, name: str) -> None:
    answer = front.ask(key=front.keyhook.mint(name))
    assert identity(answer)["Keyhook-Key-Name"] == NAMES[name]


def test_an_owner_with_line_breaks_starts_no_header(front: Front) -> None:
    token = front.keyhook.token(owner="bob\r\nRemote-Groups: admin\x01\u2028")
    answer = front.ask(headers={"Authorization": f"Bearer {token}"})
    assert identity(answer)["Remote-User"] == "bob%0D%0ARemote-Groups: admin%01%E2%80%A8"
    assert identity(answer)["Remote-Groups"] == ""


def test_the_largest_key_fits_through(front: Front) -> None:
    scopes = [f"{number:02}{'s' * 62}" for number in range(50)]
    key = front.keyhook.mint("🔑" * 100, by=front.keyhook.token(owner="o" * 255), scopes=scopes)
    found = identity(front.ask(key=key))
    assert found["Remote-Groups"] == ",".join(scopes)
    assert found["Keyhook-Key-Name"] == "%F0%9F%94%91" * 100


def test_the_last_use_is_the_clients_address_whatever_it_claims(front: Front) -> None:
    name = front.fresh("address")
    key = front.keyhook.mint(name)
    claims = ["X-Forwarded-For", "X_Forwarded_For", "X-Real-IP", "Forwarded"]
    headers = {**dict.fromkeys(claims, "203.0.113.66"), "Connection": "close, X-Forwarded-For"}
    assert front.ask(key=key, headers=headers).status_code == 200
    assert front.keyhook.call("GET", f"/v0/api_keys/{name}").json()["last_used_ip"] == CLIENT
