"""Names: of all scripts, in one form whatever was sent, and no place for a secret."""

import unicodedata
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

NAMES = [
    "a",
    "a" * 100,
    "日本語",
    "Ключ",
    "مفتاح",
    "ключ-1_2.3~",
    "with space",
    "emoji 🔑",
    "50% off?#&=+",
    "...",
    ".a",
    "rotate",
    '"quotes"\\',
    "<script>",
    "क्षि",
    "한국어",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_of_all_scripts_are_kept_in_nfc_and_found_in_any_form(
    call: Callable[..., Any], name: str, form: Any
) -> None:
    written = unicodedata.normalize(form, name)
    response = call("POST", "/v0/api_keys", json={"name": written})
    assert (response.status_code, response.json["name"]) == (201, unicodedata.normalize("NFC", name))
    for found in (form, "NFC"):
        path = f"/v0/api_keys/{quote(unicodedata.normalize(found, name), safe='')}"
        assert call("GET", path).json["name"] == unicodedata.normalize("NFC", name)
    other: Any = "NFD" if form == "NFC" else "NFC"
    again = call("POST", "/v0/api_keys", json={"name": unicodedata.normalize(other, name)})
    assert again.status_code == 409


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [("PATCH", "", {"description": "x"}, 200), ("POST", "/rotate", {}, 201), ("DELETE", "", None, 204)],
)
def test_a_key_is_changed_under_a_name_in_any_form(
    call: Callable[..., Any], mint: Callable[..., str], method: str, path: str, body: Any, status: int
) -> None:
    mint(unicodedata.normalize("NFC", "größe"))
    name = quote(unicodedata.normalize("NFD", "größe"))
    change = {} if body is None else {"json": body}
    assert call(method, f"/v0/api_keys/{name}{path}", **change).status_code == status


def test_a_name_is_measured_after_composition(call: Callable[..., Any]) -> None:
    assert call("POST", "/v0/api_keys", json={"name": "e\u0301" * 100}).status_code == 201


def test_names_differ_by_case(mint: Callable[..., str]) -> None:
    mint("laptop")
    mint("Laptop")


@pytest.mark.parametrize("name", [f"{'a1' * 16}_{'b2' * 16}", f"{'0' * 32}_duplicate", "eyJustAName1.secondpart1"])
def test_a_name_that_only_resembles_a_credential_is_a_name(call: Callable[..., Any], name: str) -> None:
    assert call("POST", "/v0/api_keys", json={"name": name}).status_code == 201
    assert call("GET", f"/v0/api_keys/{name}").json["name"] == name


def test_a_name_is_no_place_for_a_secret_though_its_checksum_is_cut(call: Callable[..., Any], mint: Any) -> None:
    key = mint("laptop")
    for name in (key, key[:-1], key[:-8], key[1:], f"my {key[:-3]}"):
        assert call("POST", "/v0/api_keys", json={"name": name}).status_code == 400
        assert call("PATCH", "/v0/api_keys/laptop", json={"name": name}).status_code == 400


def test_bytes_that_are_no_text_name_no_key(call: Callable[..., Any]) -> None:
    assert call("POST", "/v0/api_keys", json={"name": "\ufffd"}).status_code == 201
    assert call("GET", "/v0/api_keys/%EF%BF%BD").status_code == 200
    raw = {"environ_overrides": {"PATH_INFO": "/v0/api_keys/\xff"}}
    assert call("GET", "/v0/api_keys/x", **raw).status_code == 404
    assert call("DELETE", "/v0/api_keys/x", **raw).status_code == 404
