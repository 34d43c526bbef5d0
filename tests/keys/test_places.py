"""Where a key is good: its hosts at the gate, its networks at every route."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from identity import places

Call = Callable[..., Any]
Mint = Callable[..., str]


@pytest.fixture
def behind(app: Flask, make_app: Callable[..., Flask], data_dir: Path) -> FlaskClient:
    """A client of the same service behind one proxy."""
    return make_app(data_dir, KEYHOOK_TRUSTED_PROXIES=1).test_client()


def ask(client: FlaskClient, key: str, host: str | None = None, address: str | None = None, path: str = "") -> Any:
    told = {"X-Forwarded-Host": host, "X-Forwarded-For": address}
    headers = {"X-API-Key": key, "Authorization": f"Bearer {key}", **{n: v for n, v in told.items() if v is not None}}
    return client.get(path or "/v0/auth", headers=headers)


# Hosts


@pytest.mark.parametrize(
    ("hosts", "asked", "good"),
    [
        (["photos.example.com"], "photos.example.com", True),
        (["photos.example.com"], "photos.example.com:8443", True),
        (["photos.example.com"], "PHOTOS.Example.com.", True),
        (["photos.example.com"], "example.com", False),
        (["photos.example.com"], "xphotos.example.com", False),
        (["photos.example.com"], "photos.example.com.evil.org", False),
        (["photos.example.com"], "evil.org, photos.example.com", False),
        (["photos.example.com"], "photos.example.com, evil.org", False),
        (["photos.example.com"], "photos.example.com:x", False),
        (["photos.example.com"], "", False),
        (["photos.example.com"], None, False),
        (["*.example.com"], "photos.example.com", True),
        (["*.example.com"], "example.com", False),
        (["*.example.com"], "a.photos.example.com", False),
        (["*.example.com"], ".example.com", False),
        (["*.example.com"], "*.example.com", False),
        (["a.example.com", "b.example.com"], "b.example.com", True),
        (["192.0.2.7"], "192.0.2.7:80", True),
        ([], "anything.example.org", True),
        ([], None, True),
    ],
)
def test_a_key_is_good_for_its_hosts(
    behind: FlaskClient, mint: Mint, hosts: list[str], asked: str | None, good: bool
) -> None:
    answer = ask(behind, mint("laptop", hosts=hosts), asked)
    assert answer.status_code == (200 if good else 403), answer.json
    if not good:
        assert answer.json["error_code"] == "HostNotAllowed"
        assert set(answer.json["details"]) == {"host"}


def test_the_refusal_names_the_host(behind: FlaskClient, mint: Mint) -> None:
    key = mint("laptop", hosts=["photos.example.com"])
    assert ask(behind, key, "Wiki.example.com:80").json["details"] == {"host": "wiki.example.com"}
    assert ask(behind, key).json["details"] == {"host": None}
    assert ask(behind, key, f"{key}.example.com").json["details"] != {"host": f"{key}.example.com"}


def test_without_a_trusted_proxy_nobody_says_which_host_it_is(client: FlaskClient, mint: Mint) -> None:
    answer = ask(client, mint("laptop", hosts=["photos.example.com"]), "photos.example.com")
    assert (answer.status_code, answer.json["details"]) == (403, {"host": None})


def test_elsewhere_than_at_the_gate_hosts_mean_nothing(call: Call, mint: Mint) -> None:
    key = mint("laptop", hosts=["photos.example.com"])
    assert call("GET", "/v0/api_keys", by=key).status_code == 200
    assert call("POST", "/v0/introspect", data={"token": key}).json["active"] is True


@pytest.mark.parametrize(
    "host",
    [
        *["", "*", "*.", "Photos.example.com", "photos..example.com", ".example.com", "example.com.", "a b", "a/b"],
        *["a.*.com", "**.com", "*example.com", "-a.com", "a-.com", "a" * 64, "http://a.com", "a.com:80", "ü.de"],
        *[".".join(["a" * 60] * 5), 5, None],
    ],
)
def test_what_is_no_host_is_refused(call: Call, host: Any) -> None:
    response = call("POST", "/v0/api_keys", json={"name": "x", "hosts": ["a.com", host]})
    assert response.json["error_code"] == "ValidationError"
    assert [text[:3] for text in response.json["details"]["hosts"]] == ["1: "]


def test_there_are_bounds(call: Call) -> None:
    many = {"hosts": ["a.com"] * 21, "networks": ["192.0.2.0/24"] * 51}
    for member, value in many.items():
        response = call("POST", "/v0/api_keys", json={"name": "x", member: value})
        assert response.json["details"][member] == [f"Longer than maximum length {len(value) - 1}."]
        assert call("POST", "/v0/api_keys", json={"name": member, member: value[1:]}).status_code == 201


# Networks


@pytest.mark.parametrize(
    ("networks", "address", "good"),
    [
        (["192.0.2.0/24"], "192.0.2.7", True),
        (["192.0.2.0/24"], "192.0.3.7", False),
        (["192.0.2.7"], "192.0.2.7", True),
        (["192.0.2.7/32"], "192.0.2.8", False),
        (["2001:db8::/32"], "2001:db8::7", True),
        (["2001:db8::/32"], "[2001:db8::7]:443", True),
        (["2001:db8::/32"], "2001:db9::7", False),
        (["192.0.2.0/24"], "::ffff:192.0.2.7", True),
        (["192.0.2.0/24"], "::192.0.2.7", False),
        (["0.0.0.0/0"], "2001:db8::7", False),
        (["10.0.0.0/8", "192.0.2.0/24"], "192.0.2.7", True),
        (["192.0.2.0/24"], "nonsense", False),  # the proxy's own address counts
        (["127.0.0.0/8"], "nonsense", True),
        ([], "203.0.113.9", True),
    ],
)
def test_a_key_is_good_from_its_networks(
    behind: FlaskClient, mint: Mint, networks: list[str], address: str, good: bool
) -> None:
    key = mint("laptop", networks=networks)
    for path in ("/v0/auth", "/v0/api_keys"):
        answer = ask(behind, key, address=address, path=path)
        assert answer.status_code == (200 if good else 403), answer.json
        if not good:
            assert answer.json["error_code"] == "AddressNotAllowed"
            assert set(answer.json["details"]) == {"address"}


def test_the_address_of_the_client_is_that_of_the_peer_without_a_proxy(client: FlaskClient, mint: Mint) -> None:
    key = mint("laptop", networks=["192.0.2.0/24"])
    answer = ask(client, key, address="192.0.2.7")
    assert (answer.status_code, answer.json["details"]) == (403, {"address": "127.0.0.1"})


def test_introspection_is_asked_from_elsewhere_and_a_holder_may_revoke_from_anywhere(call: Call, mint: Mint) -> None:
    key = mint("laptop", networks=["192.0.2.0/24"])
    assert call("POST", "/v0/introspect", data={"token": key}).json["active"] is True
    assert call("POST", "/v0/revoke", by=None, data={"token": key}).status_code == 200
    assert call("GET", "/v0/api_keys/laptop").json["disabled"] is True


def test_a_bad_key_is_told_nothing_of_networks(call: Call, mint: Mint) -> None:
    key = mint("laptop", networks=["192.0.2.0/24"])
    call("PATCH", "/v0/api_keys/laptop", json={"disabled": True})
    assert call("GET", "/v0/auth", by=key).status_code == 401


@pytest.mark.parametrize(
    "network", ["", "192.0.2.0/33", "192.0.2.7/24", "192.0.2", "a", "2001:db8::1/32", 5, None, "fe80::1%eth0/128"]
)
def test_what_is_no_network_is_refused(call: Call, network: Any) -> None:
    response = call("POST", "/v0/api_keys", json={"name": "x", "networks": [network]})
    assert response.json["error_code"] == "ValidationError"
    assert list(response.json["details"]) == ["networks"]


def test_networks_are_shown_in_one_form(call: Call, mint: Mint) -> None:
    mint("laptop", networks=["192.0.2.7", "2001:DB8:0::/32"])
    assert call("GET", "/v0/api_keys/laptop").json["networks"] == ["192.0.2.7/32", "2001:db8::/32"]


# Changes


def test_a_change_acts_at_once(behind: FlaskClient, call: Call, mint: Mint) -> None:
    key = mint("laptop")
    assert ask(behind, key, "a.com", "192.0.2.7").status_code == 200
    assert call("PATCH", "/v0/api_keys/laptop", json={"hosts": ["b.com"]}).json["hosts"] == ["b.com"]
    assert ask(behind, key, "a.com", "192.0.2.7").json["error_code"] == "HostNotAllowed"
    call("PATCH", "/v0/api_keys/laptop", json={"hosts": [], "networks": ["10.0.0.0/8"]})
    assert ask(behind, key, "a.com", "192.0.2.7").json["error_code"] == "AddressNotAllowed"
    entries = call("GET", "/v0/audit").json
    assert entries[0]["details"] == {
        "hosts": {"from": ["b.com"], "to": []},
        "networks": {"from": [], "to": ["10.0.0.0/8"]},
    }


def test_covered_in_the_same_way_as_matched() -> None:
    assert places.is_host("*.example.com", ["*.example.com"])
    assert not places.is_host("*.example.com", ["photos.example.com"])
    assert not places.is_host("*.a.example.com", ["*.example.com"])
    assert places.covers(["192.0.2.0/24", "2001:db8::/32"], "192.0.2.128/25")
    assert not places.covers(["192.0.2.0/25"], "192.0.2.0/24")
    assert not places.covers(["0.0.0.0/0"], "::/0")
