"""Nothing escalates: every parent tries every change of a child, a sibling and itself."""

from collections.abc import Callable
from typing import Any

import pytest

NEAR, FAR = "2050-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
SOON = "2040-01-01T00:00:00Z"

# What a key may have, as (scopes, expires_at).
SIZES: dict[str, tuple[list[str], str | None]] = {
    "none, near": ([], NEAR),
    "a, near": (["a"], NEAR),
    "ab, near": (["a", "b"], NEAR),
    "a, soon": (["a"], SOON),
    "a, far": (["a"], FAR),
    "a, never": (["a"], None),
    "b, near": (["b"], NEAR),
    "ab, never": (["b", "a"], None),
}


def refusal(actor: tuple[list[str], str | None], size: tuple[list[str], str | None]) -> str | None:
    """The rule in a second, independent form: the refusal when a key gives this size, or touches a key of this size."""
    if set(size[0]) - set(actor[0]):
        return "ScopeExceedsCreator"
    ends, limit = size[1] or "9999", actor[1] or "9999"
    return "ExpiryExceedsCreator" if ends > limit else None


def mint_size(mint: Callable[..., str], name: str, size: tuple[list[str], str | None]) -> str:
    return mint(name, scopes=size[0], expires_at=size[1])


def check(response: Any, expected: str | None, fine: int) -> None:
    if expected is None:
        assert response.status_code == fine, response.text
    else:
        assert (response.status_code, response.json["error_code"]) == (403, expected)
        assert set(response.json["details"]) == {"requested", "creator"}


@pytest.mark.parametrize("actor", SIZES)
@pytest.mark.parametrize("wanted", SIZES)
def test_a_child(call: Callable[..., Any], mint: Callable[..., str], actor: str, wanted: str) -> None:
    parent = mint_size(mint, "parent", SIZES[actor])
    body = {"name": "child", "scopes": SIZES[wanted][0], "expires_at": SIZES[wanted][1]}
    check(call("POST", "/v0/api_keys", by=parent, json=body), refusal(SIZES[actor], SIZES[wanted]), 201)


@pytest.mark.parametrize("actor", SIZES)
def test_a_child_takes_the_expiry_of_its_parent(call: Callable[..., Any], mint: Callable[..., str], actor: str) -> None:
    mint("child", by=mint_size(mint, "parent", SIZES[actor]))
    assert call("GET", "/v0/api_keys/child").json["expires_at"] == SIZES[actor][1]


@pytest.mark.parametrize("actor", SIZES)
@pytest.mark.parametrize("target", SIZES)
def test_a_rotation(call: Callable[..., Any], mint: Callable[..., str], actor: str, target: str) -> None:
    by = mint_size(mint, "actor", SIZES[actor])
    old = mint_size(mint, "target", SIZES[target])
    expected = refusal(SIZES[actor], SIZES[target])
    response = call("POST", "/v0/api_keys/target/rotate", by=by, json={})
    check(response, expected, 201)
    if expected == "ScopeExceedsCreator":
        assert response.json["details"] == {"requested": SIZES[target][0], "creator": sorted(SIZES[actor][0])}
    if expected == "ExpiryExceedsCreator":
        assert response.json["details"] == {"requested": SIZES[target][1], "creator": SIZES[actor][1]}
    assert call("GET", "/v0/auth", by=old).status_code == (200 if expected else 401)


SCOPE, EXPIRY = "ScopeExceedsCreator", "ExpiryExceedsCreator"
# Who acts, on what, with which change, and the refusal or None.
CHANGES: list[tuple[str, str, dict[str, Any], str | None]] = [
    # The target fits before and after.
    ("a, near", "a, near", {"description": "x"}, None),
    ("a, near", "a, soon", {"name": "renamed"}, None),
    ("a, never", "a, far", {"role": "read"}, None),
    ("ab, near", "a, near", {"role": "write"}, None),
    ("ab, near", "a, near", {"disabled": False}, None),
    ("ab, never", "b, near", {"disabled": True, "description": "x"}, None),
    ("a, near", "none, near", {"scopes": ["a"]}, None),
    ("ab, near", "none, near", {"scopes": ["a", "b"]}, None),
    ("none, near", "none, near", {"scopes": []}, None),
    ("a, near", "a, near", {"expires_at": SOON}, None),
    ("a, far", "a, near", {"expires_at": FAR}, None),
    ("a, never", "a, soon", {"expires_at": None}, None),
    ("ab, never", "ab, never", {"scopes": [], "expires_at": SOON}, None),
    # It has a scope that the actor lacks: whatever the change is, also one that would take that scope away.
    ("a, near", "b, near", {"description": "x"}, SCOPE),
    ("a, near", "ab, near", {"name": "renamed"}, SCOPE),
    ("none, near", "a, near", {"role": "read"}, SCOPE),
    ("none, near", "a, soon", {"role": "write"}, SCOPE),
    ("a, near", "b, near", {"disabled": False}, SCOPE),
    ("a, never", "ab, never", {"disabled": True, "description": "x"}, SCOPE),
    ("none, near", "a, near", {"scopes": []}, SCOPE),
    ("a, near", "ab, near", {"scopes": ["a"]}, SCOPE),
    ("a, near", "b, near", {"scopes": [], "expires_at": SOON}, SCOPE),
    # It outlives the actor: whatever the change is, also one that would shorten its life.
    ("a, soon", "a, near", {"description": "x"}, EXPIRY),
    ("a, near", "a, far", {"name": "renamed"}, EXPIRY),
    ("a, far", "a, never", {"role": "read"}, EXPIRY),
    ("a, near", "a, never", {"role": "write"}, EXPIRY),
    ("a, near", "a, far", {"disabled": False}, EXPIRY),
    ("a, far", "a, never", {"disabled": True, "description": "x"}, EXPIRY),
    ("a, near", "a, far", {"expires_at": SOON}, EXPIRY),
    ("a, near", "a, never", {"expires_at": SOON}, EXPIRY),
    ("ab, near", "ab, never", {"scopes": [], "expires_at": SOON}, EXPIRY),
    # It would have a scope that the actor lacks, or outlive it.
    ("a, near", "a, near", {"scopes": ["a", "b"]}, SCOPE),
    ("none, near", "none, near", {"scopes": ["a"]}, SCOPE),
    ("b, near", "b, near", {"scopes": ["a"]}, SCOPE),
    ("a, near", "a, near", {"expires_at": FAR}, EXPIRY),
    ("a, near", "a, soon", {"expires_at": None}, EXPIRY),
    ("a, far", "a, far", {"expires_at": None}, EXPIRY),
    ("ab, near", "none, near", {"expires_at": FAR}, EXPIRY),
    # Both: the scope is told first.
    ("a, near", "ab, never", {"description": "x"}, SCOPE),
    ("a, soon", "a, soon", {"scopes": ["a", "b"], "expires_at": None}, SCOPE),
]


@pytest.mark.parametrize(("actor", "target", "change", "expected"), CHANGES)
def test_a_change_is_within_the_limits_before_and_after(
    call: Callable[..., Any],
    mint: Callable[..., str],
    actor: str,
    target: str,
    change: dict[str, Any],
    expected: str | None,
) -> None:
    by = mint_size(mint, "actor", SIZES[actor])
    mint_size(mint, "target", SIZES[target])
    before = call("GET", "/v0/api_keys/target").json
    check(call("PATCH", "/v0/api_keys/target", by=by, json=change), expected, 200)
    if expected:
        assert call("GET", "/v0/api_keys/target").json == before


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"scopes": ["a", "b", "c"]}, True),
        ({"scopes": []}, False),
        ({"expires_at": SOON}, False),
        ({"role": "read"}, False),
        ({"name": "renamed"}, False),
        ({}, False),
    ],
)
def test_a_key_can_lower_itself_and_not_raise_itself(
    call: Callable[..., Any], mint: Callable[..., str], size: str, change: dict[str, Any], refused: bool
) -> None:
    key = mint_size(mint, "self", SIZES[size])
    response = call("PATCH", "/v0/api_keys/self", by=key, json=change)
    assert response.status_code == (403 if refused else 200)


@pytest.mark.parametrize("actor", SIZES)
@pytest.mark.parametrize("target", SIZES)
def test_disabling_and_deleting_need_only_the_role(
    call: Callable[..., Any], mint: Callable[..., str], actor: str, target: str
) -> None:
    by = mint_size(mint, "actor", SIZES[actor])
    mint_size(mint, "target", SIZES[target])
    assert call("PATCH", "/v0/api_keys/target", by=by, json={"disabled": True}).status_code == 200
    assert call("PATCH", "/v0/api_keys/target", by=by, json={}).status_code == 200
    assert call("DELETE", "/v0/api_keys/target?cascade=true", by=by).status_code == 204


def test_people_have_no_limits(call: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str]) -> None:
    by = token(role="write", lifetime=60)
    for number, (scopes, expires_at) in enumerate(SIZES.values()):
        mint(f"k{number}", by=by, scopes=scopes, expires_at=expires_at)
        assert call("POST", f"/v0/api_keys/k{number}/rotate", by=by, json={}).status_code == 201
        assert (
            call("PATCH", f"/v0/api_keys/k{number}", by=by, json={"scopes": ["z"], "expires_at": None}).status_code
            == 200
        )


def test_a_lowered_parent_leaves_what_it_minted_as_it_is(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    child = mint("child", by=mint("parent", scopes=["a"]), scopes=["a"])
    call("PATCH", "/v0/api_keys/parent", json={"scopes": [], "expires_at": SOON, "role": "read"})
    shown = call("GET", "/v0/auth?scope=a", by=child).json
    assert (shown["scopes"], shown["expires_at"], shown["role"]) == (["a"], None, "write")


@pytest.mark.parametrize("role", ["admin", "root"])
def test_admin_belongs_to_people(call: Callable[..., Any], mint: Callable[..., str], role: str) -> None:
    mint("k")
    for by in ("", mint("parent")):
        for method, path in (("POST", ""), ("PATCH", "/k")):
            response = call(method, f"/v0/api_keys{path}", by=by, json={"name": "x", "role": role})
            assert (response.status_code, response.json["error_code"]) == (400, "ValidationError")


def test_a_read_key_mints_nothing(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    response = call("POST", "/v0/api_keys", by=mint("reader", role="read"), json={"name": "x"})
    assert (response.status_code, response.json["error_code"]) == (403, "InsufficientPermissions")
    assert response.json["details"] == {"required": "write", "actual": "read"}


def test_a_secret_in_its_grace_cannot_outlive_it(call: Callable[..., Any], mint: Callable[..., str]) -> None:
    old = mint("k")
    new = call("POST", "/v0/api_keys/k/rotate", json={"grace_seconds": 3600}).json["api_key"]
    ends = call("GET", "/v0/auth", by=old).json["expires_at"]
    for path, body in (
        ("", {"name": "x", "expires_at": None}),
        ("", {"name": "x", "expires_at": FAR}),
        ("/k/rotate", {}),
    ):
        response = call("POST", f"/v0/api_keys{path}", by=old, json=body)
        assert (response.status_code, response.json["error_code"]) == (403, "ExpiryExceedsCreator")
        assert response.json["details"]["creator"] == ends
    mint("child", by=old)
    assert call("GET", "/v0/api_keys/child").json["expires_at"] == ends
    assert call("POST", "/v0/api_keys/k/rotate", by=new, json={}).status_code == 201
