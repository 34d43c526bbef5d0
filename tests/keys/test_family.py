"""What was minted with a key: the list of it, nearest first."""

from collections.abc import Callable
from typing import Any

import pytest

Call = Callable[..., Any]
Mint = Callable[..., str]


def listed(call: Call, name: str) -> list[str]:
    response = call("GET", f"/v0/api_keys/{name}/offspring")
    assert response.status_code == 200, response.text
    return [key["name"] for key in response.json]


@pytest.fixture
def tree(mint: Mint, call: Call) -> None:
    """root minted a and b; a minted aa, which minted aaa; b minted ba."""
    root = mint("root")
    a = mint("a", by=root)
    aa = mint("aa", by=a)
    mint("aaa", by=aa)
    b = mint("b", by=root)
    mint("ba", by=b)
    mint("alone")


def test_the_nearest_come_first(tree: None, call: Call) -> None:
    assert listed(call, "root") == ["a", "b", "aa", "ba", "aaa"]
    assert listed(call, "a") == ["aa", "aaa"]
    assert listed(call, "alone") == []


def test_each_names_its_parent(tree: None, call: Call) -> None:
    ids = {key["name"]: key["id"] for key in call("GET", "/v0/api_keys").json}
    parents = {key["name"]: key["parent"] for key in call("GET", "/v0/api_keys/root/offspring").json}
    assert parents == {
        name: ids[parent] for name, parent in zip(parents, ["root", "root", "a", "b", "aa"], strict=True)
    }


def test_a_key_between_may_be_gone(tree: None, call: Call) -> None:
    gone = call("GET", "/v0/api_keys/a").json["id"]
    call("DELETE", "/v0/api_keys/a")
    assert listed(call, "root") == ["b", "aa", "ba", "aaa"]
    [grandchild] = [key for key in call("GET", "/v0/api_keys/root/offspring").json if key["name"] == "aa"]
    assert grandchild["parent"] == grandchild["created_by_key"] == gone


def test_an_unknown_key_has_none(tree: None, call: Call, token: Callable[..., str]) -> None:
    assert call("GET", "/v0/api_keys/nobody/offspring").json["error_code"] == "UnknownApiKey"
    elsewhere = call("GET", "/v0/api_keys/root/offspring", by=token(tenant="lab"))
    assert elsewhere.json["error_code"] == "UnknownApiKey"
