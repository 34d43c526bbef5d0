"""Tokens as the providers write them, made after their documents and sources; none was recorded from them."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from errors import AuthenticationFailed
from oidc.claims import Rules, find, groups_of, owner_of, role_of, tenant_of
from tests.oidc.issuer import Issuer

CLIENT = "0b5c1e6a"
GUID = "6f2c0d6e-8f0b-4b44-9c8d-1d5f2a6f9a01"
ROLES_OF_ZITADEL = "urn:zitadel:iam:org:project:roles"
KEYCLOAK = {"typ": "Bearer", "azp": "robot", "scope": "profile email", "realm_access": {"roles": ["admins", "x"]}}
AUTHENTIK = {"aud": CLIENT, "azp": CLIENT, "uid": "u", "nonce": "n", "groups": ["admins", "staff"]}
DEX = {"aud": CLIENT, "azp": ..., "at_hash": "h", "nonce": "n", "groups": ["org:admins"], "email_verified": True}
ENTRA = {"aud": GUID, "azp": GUID, "scp": "access", "oid": GUID, "tid": GUID, "ver": "2.0"}
GOOGLE = {"aud": CLIENT, "azp": CLIENT, "at_hash": "h", "hd": "example.com", "email": "a@example.com", "groups": ...}

# The settings, the header, the claims, and the status and role, which None stands for at a refusal.
Shape = tuple[dict[str, str], dict[str, Any], dict[str, Any], int, str | None]
OF_KEYCLOAK = {"GROUPS_CLAIM": "realm_access.roles"}
OF_CLIENT = {"AUDIENCE": CLIENT}
OF_ENTRA = {"AUDIENCE": GUID, "GROUPS_CLAIM": "roles"}
OF_DEX = {"AUDIENCE": CLIENT, "ADMIN_GROUPS": "org:admins"}
OF_GOOGLE = {"AUDIENCE": CLIENT, "GROUPS_CLAIM": "hd", "WRITE_GROUPS": "example.com"}
TAKING_ID = {"ID_TOKENS": "accept"}

SHAPES: dict[str, Shape] = {
    "Keycloak, fresh realm": (OF_KEYCLOAK, {}, {**KEYCLOAK, "aud": "account"}, 401, None),
    "Keycloak, no audience": (OF_KEYCLOAK, {}, {**KEYCLOAK, "aud": ...}, 401, None),
    "Keycloak, audience mapper": (OF_KEYCLOAK, {}, {**KEYCLOAK, "aud": ["account", "keyhook"]}, 200, "admin"),
    "Keycloak, RFC 9068": (OF_KEYCLOAK, {"typ": "at+jwt"}, KEYCLOAK, 200, "admin"),
    "Keycloak, groups as paths": ({"ADMIN_GROUPS": "/admins"}, {}, {**KEYCLOAK, "groups": ["/admins"]}, 200, "admin"),
    "Keycloak, ID token": (OF_KEYCLOAK, {}, {**KEYCLOAK, "typ": "ID"}, 401, None),
    "Keycloak, ID token accepted": ({**OF_KEYCLOAK, **TAKING_ID}, {}, {**KEYCLOAK, "typ": "ID"}, 200, "admin"),
    "Keycloak, refresh token": ({**OF_KEYCLOAK, **TAKING_ID}, {}, {**KEYCLOAK, "typ": "Refresh"}, 401, None),
    "authentik, access token": (OF_CLIENT, {}, AUTHENTIK, 200, "admin"),
    "authentik, ID token": (OF_CLIENT, {}, {**AUTHENTIK, "azp": ..., "at_hash": "h"}, 401, None),
    "Authelia, RFC 9068": ({}, {"typ": "at+jwt"}, {"client_id": "robot", "scope": "groups"}, 200, "read"),
    "Authelia, ID token without groups": (TAKING_ID, {}, {"groups": ..., "at_hash": "h"}, 403, None),
    "Pocket ID, access token": ({}, {}, {"aud": ["https://id.example.com", "keyhook"], "scp": ["groups"]}, 200, "read"),
    "Zitadel, roles as an object": (
        {"AUDIENCE": "project", "GROUPS_CLAIM": ROLES_OF_ZITADEL}, {},
        {"aud": [CLIENT, "project"], ROLES_OF_ZITADEL: {"admins": {"1": "example.com"}}}, 200, "admin",
    ),
    "Kanidm, one text": (OF_CLIENT, {}, {"aud": CLIENT, "groups": "admins"}, 200, "admin"),
    "Dex refused": (OF_DEX, {}, DEX, 401, None),
    "Dex accepted": ({**OF_DEX, **TAKING_ID}, {}, DEX, 200, "admin"),
    "Entra, app roles": (OF_ENTRA, {}, {**ENTRA, "roles": ["admins"]}, 200, "admin"),
    "Entra, over 200 groups": (
        {"AUDIENCE": GUID}, {},
        {**ENTRA, "groups": ..., "_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "x"}}},
        403, None,
    ),
    "Google, ID token of a domain": ({**OF_GOOGLE, **TAKING_ID}, {}, GOOGLE, 200, "write"),
    "Google, ID token elsewhere": ({**OF_GOOGLE, **TAKING_ID}, {}, {**GOOGLE, "hd": "example.org"}, 403, None),
    "Canaille, no audience": ({}, {}, {"aud": []}, 401, None),
    "Glewlwyd, scopes as audience": ({"AUDIENCE": "keyhook"}, {"typ": "at+jwt"}, {"aud": "openid"}, 401, None),
    "everybody may read": ({"READ_GROUPS": "*"}, {}, {"groups": ...}, 200, "read"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "header", "claims", "status", "role"), SHAPES.values(), ids=SHAPES.keys())
def test_a_shape_means_what_the_page_says(
    issuer: Issuer,
    provided: Callable[..., Flask],
    settings: dict[str, str],
    header: dict[str, Any],
    claims: dict[str, Any],
    status: int,
    role: str | None,
) -> None:
    bearer = f"Bearer {issuer.token(header=header, **claims)}"
    answer: Any = provided(**settings).test_client().get("/v0/auth", headers={"Authorization": bearer})
    assert (answer.status_code, answer.json.get("role")) == (status, role)


GROUPS: list[tuple[Any, str, list[str]]] = [
    (["a", "b c"], "groups", ["a", "b c"]),
    ({"a": {}, "b": 1}, "groups", ["a", "b"]),
    ("Domain Admins", "groups", ["Domain Admins"]),
    ("a,b", "groups", ["a,b"]),
    ("a b", "scope", ["a", "b"]),
    ("a b", "scp", ["a", "b"]),
    (["a", 7, None, {"b": 1}, ["c"]], "groups", ["a"]),
    (7, "groups", []),
    (True, "groups", []),
    (None, "groups", []),
    ([], "groups", []),
]


@pytest.mark.parametrize(("value", "name", "groups"), GROUPS)
def test_groups_are_read_in_every_shape_that_there_is(value: Any, name: str, groups: list[str]) -> None:
    assert list(groups_of({name: value}, name)) == groups


def rules(**changes: Any) -> Rules:
    groups: dict[str, tuple[str, ...]] = {"admin": ("Admins",), "write": ("staff",), "read": ()}
    usual: dict[str, Any] = {"groups_claim": "groups", "owner_claim": "sub", "tenant_claim": None, "id_tokens": False}
    return Rules(**{"audience": ("keyhook",), "groups": groups, **usual, **changes})


def test_the_highest_role_wins_and_a_part_of_a_name_gives_none() -> None:
    assert role_of({"groups": ["staff", "Admins"]}, rules()) == "admin"
    others: list[Any] = ["Domain Admins", "admins", ["ADMINS"], "Admins staff", "*", ["*"], {}, 1, None]
    for groups in others:
        assert role_of({"groups": groups}, rules()) is None


def test_a_claim_is_found_by_its_whole_name_first() -> None:
    claims = {"a.b": 1, "a": {"b": 2, "c": {"d": 3}}, "t": "text"}
    assert [find(claims, name) for name in ("a.b", "a.c.d", "a.x", "t.x", "")] == [1, 3, None, None, None]


def test_an_email_counts_only_when_it_is_verified() -> None:
    by_mail = rules(owner_claim="email", groups_claim="email", groups={"admin": ("a@b.c",)})
    good = {"email": "a@b.c", "email_verified": True}
    assert (owner_of(good, by_mail), role_of(good, by_mail)) == ("a@b.c", "admin")
    for verified in (False, None, "true", 1):
        doubtful = {**good, "email_verified": verified}
        assert role_of(doubtful, by_mail) is None
        with pytest.raises(AuthenticationFailed):
            owner_of(doubtful, by_mail)


@pytest.mark.parametrize("value", ["", None, 7, ["a"], {"a": 1}, "a\0b", True])
@pytest.mark.parametrize(("setting", "read"), [("owner_claim", owner_of), ("tenant_claim", tenant_of)])
def test_nothing_stands_in_for_a_claim_that_is_no_text(
    setting: str, read: Callable[[dict[str, Any], Rules], str], value: Any
) -> None:
    claims = {"sub": "alice", "tenant": "default", "chosen": value}
    with pytest.raises(AuthenticationFailed):
        read(claims, rules(**{setting: "chosen"}))
    assert read({**claims, "chosen": "lab"}, rules(**{setting: "chosen"})) == "lab"


def test_a_long_life_is_cut_to_a_day(issuer: Issuer, call: Callable[..., Any]) -> None:
    now = int(time.time())
    for issued, active in ((now - 60, True), (now - 86_500, False)):
        token = issuer.token(iat=issued, exp=issued + 864_000)
        answer = call("POST", "/v0/introspect", data={"token": token}).json
        assert (answer["active"], answer.get("exp", issued + 86_400)) == (active, issued + 86_400)
