"""The demands of a proxy at the gate; an unknown demand lets nobody in."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from marshmallow import fields

from api import demands
from schemas import AuthQuery

Call = Callable[..., Any]

MISSPELT = [
    "scopes=a", "Scope=a", "SCOPE=a", "scope%5B%5D=a", "scope[]=a", "scope[0]=a", "scope;=a", "scope =a", "+scope=a",
    "%20scope=a", "%2573cope=a", "required_scope=a", "roles=admin", "Role=read", "tenants=default", "Tenant=default",
    "key-param=k", "keyparam=k", "preflights=pass", "challenges=basic", "limit=403", "scope%00=a", "sc%C3%B6pe=a",
    "=", "=a", "%FF=1", "a=b;scope=x", "unknown", "_=1", "scope%3Da",
]  # fmt: skip
NONSENSE = [
    "challenge=digest", "challenge=", "challenge", "challenge=Basic", "challenge=basic&challenge=basic",
    "preflight=yes", "preflight=", "preflight=PASS", "preflight=pass&preflight=pass", "key_param=", "key_param",
    "key_param=k&key_param=k", "key_param=%FF", "tenant=", "tenant", "tenant=default&tenant=", "tenant=%FF",
    "limited=429", "limited=", "limited", "limited=403&limited=403",
]  # fmt: skip


def refused(answer: Any) -> Any:
    """The details of a refused demand; the refusal says nothing about a credential."""
    assert (answer.status_code, answer.json["error_code"]) == (403, "UnknownDemand")
    assert "WWW-Authenticate" not in answer.headers
    assert "Keyhook-Key-Expires" not in answer.headers
    return answer.json["details"]


@pytest.mark.parametrize("by", ["good", "jwt", "bad", "none"])
@pytest.mark.parametrize("query", MISSPELT + NONSENSE)
def test_what_the_gate_does_not_know_lets_nobody_in(call: Call, mint: Call, query: str, by: str) -> None:
    credential = {"good": mint(scopes=["a"], expires_at="2099-01-01T00:00:00Z"), "jwt": "", "bad": "x", "none": None}
    for asked in (query, f"scope=a&{query}", f"{query}&scope=a"):
        assert set(refused(call("GET", f"/v0/auth?{asked}", by=credential[by]))) == {"parameter"}


@pytest.mark.parametrize("query", NONSENSE)
def test_a_value_that_makes_no_sense_is_told_by_its_parameter(call: Call, query: str) -> None:
    assert refused(call("GET", f"/v0/auth?{query}")) == {"parameter": query.partition("=")[0]}


@pytest.mark.parametrize(
    ("name", "told"),
    [("scope%5B%5D", "scope[]"), ("%2573cope", "%73cope"), ("a+b", "a b"), ("", ""), ("%FF", "\ufffd")],
)
def test_a_parameter_is_told_as_it_is_read(call: Call, name: str, told: str) -> None:
    assert refused(call("GET", f"/v0/auth?{name}=a", by=None)) == {"parameter": told}


@pytest.mark.parametrize("name", ["x" * 5000, "%FF" * 3000, "é" * 3000], ids=["ascii", "bytes", "text"])
def test_a_long_parameter_is_told_in_part(call: Call, name: str) -> None:
    assert len(refused(call("GET", f"/v0/auth?{name}"))["parameter"]) <= demands.MAX_TOLD


def test_a_credential_as_a_parameter_is_not_told(
    call: Call, mint: Call, token: Call, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("keyhook").propagate = True
    key, jwt = mint(), token()
    names = [key, key[:-8], f"{'x' * 100}{key}", jwt, "".join(f"%25{ord(letter):02x}" for letter in key)]
    for name in names:
        answer = call("GET", f"/v0/auth?{name}=1")
        assert set(refused(answer)) == {"parameter"}
        for secret in (key[36:60], jwt.split(".")[1][:40]):
            assert secret not in answer.text + str(answer.headers) + caplog.text
    assert 'reason="unknown demand"' in caplog.text


def test_route_and_method_come_before_what_is_asked(call: Call) -> None:
    assert call("TRACE", "/v0/auth?scopes=a").status_code == 405
    assert call("GET", "/v0/auth/?scopes=a").status_code == 404


@pytest.mark.parametrize(
    "query", ["%73cope=a", "scop%65=%61", "&&scope=a&", "role=read&role=write", "tenant=default&tenant=default"]
)
def test_a_parameter_is_what_it_decodes_to(call: Call, mint: Call, query: str) -> None:
    assert call("GET", f"/v0/auth?{query}", by=mint(scopes=["a"])).status_code == 200


def test_a_parameter_that_decodes_to_ours_asks(call: Call, mint: Call) -> None:
    assert call("GET", "/v0/auth?%73cope=b", by=mint(scopes=["a"])).json["error_code"] == "InsufficientScope"


def test_every_demand_is_documented() -> None:
    documented = AuthQuery().fields
    assert set(documented) == set(demands.REPEATABLE + demands.ONCE)
    assert all(type(documented[name]) is fields.String for name in demands.ONCE)
    for name, word in demands.WORDS.items():
        assert documented[name].validators[0].choices == [word]  # type: ignore[attr-defined]


def test_what_is_remembered_of_queries_is_short_and_few(call: Call) -> None:
    assert call("GET", "/v0/auth?tenant=default&tenant=" + "x" * 5000).status_code == 200
    for number in range(300):
        assert call("GET", f"/v0/auth?tenant=default&tenant={number}").status_code == 200
    assert demands._remembered.cache_info().currsize <= 128


# Tenants


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("tenant=lab", 200),
        ("tenant=default&tenant=lab", 200),
        ("tenant=lab&tenant=default", 200),
        ("tenant=l%61b", 200),
        ("tenant=default", 403),
        ("tenant=default&tenant=home", 403),
        ("tenant=Lab", 403),
        ("tenant=lab%20", 403),
        ("tenant=lab,default", 403),
        ("tenant=lab%00", 403),
    ],
)
def test_only_credentials_of_the_tenants_are_good(call: Call, mint: Call, token: Call, query: str, status: int) -> None:
    person = token(tenant="lab")
    for credential in (person, mint(by=person)):
        answer = call("GET", f"/v0/auth?{query}", by=credential)
        assert answer.status_code == status
        if status == 200:
            assert answer.headers["Keyhook-Tenant"] == "lab"
        else:
            assert (answer.json["error_code"], answer.json["details"]) == ("TenantNotAllowed", {"tenant": "lab"})
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="keyhook", error="insufficient_scope"'
            assert "Remote-User" not in answer.headers


def test_a_refused_tenant_learns_of_no_other(call: Call, token: Call) -> None:
    answer = call("GET", "/v0/auth?tenant=secret-project", by=token(tenant="lab"))
    assert "secret-project" not in answer.text + str(answer.headers)


def test_a_tenant_in_which_a_credential_stands_is_not_told(call: Call, mint: Call, token: Call) -> None:
    key = mint()
    answer = call("GET", "/v0/auth?tenant=default", by=token(tenant=key))
    assert answer.json["error_code"] == "TenantNotAllowed"
    assert key[36:] not in answer.text


@pytest.mark.parametrize("by", ["x", None], ids=["bad", "none"])
def test_a_bad_credential_is_a_401_whatever_is_asked(call: Call, by: str | None) -> None:
    assert call("GET", "/v0/auth?tenant=lab&scope=a&role=admin", by=by).status_code == 401


def test_a_tenant_comes_before_a_role_and_a_scope(call: Call, token: Call) -> None:
    answer = call("GET", "/v0/auth?scope=a&role=admin&tenant=default", by=token("read", tenant="lab"))
    assert answer.json["error_code"] == "TenantNotAllowed"


def test_elsewhere_a_parameter_that_is_not_listed_stays_a_400(client: FlaskClient) -> None:
    assert client.get("/healthz?tenant=default").json["error_code"] == "ValidationError"  # type: ignore[index]
