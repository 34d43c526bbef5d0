"""The settings of an OpenID provider: each mistake stops the start with one line."""

import pytest

from errors import StartupError
from runtime import provider_parsers
from runtime.settings import Settings, load

ISSUER = "https://id.example.com/realms/home"
LEAST = {"KEYHOOK_OIDC_ISSUER": ISSUER, "KEYHOOK_OIDC_ADMIN_GROUPS": "/admins"}
REFUSED = {
    "http elsewhere": {"ISSUER": "http://id.example.com"},
    "another scheme": {"ISSUER": "file:///etc/passwd"},
    "no host": {"ISSUER": "https:///realms/home"},
    "a name that looks like loopback": {"ISSUER": "http://localhost.example.com"},
    "a password": {"ISSUER": "https://user:hunter2@id.example.com"},
    "a query": {"ISSUER": "https://id.example.com/?realm=home"},
    "an empty query": {"ISSUER": "https://id.example.com/?"},
    "a fragment": {"ISSUER": "https://id.example.com/#home"},
    "a host that no header holds": {"ISSUER": "https://例え.jp"},
    "no port": {"ISSUER": "https://id.example.com:0/"},
    "a bad port": {"ISSUER": "https://id.example.com:99999/"},
    "half an address": {"ISSUER": "https://[::1"},
    "the metadata": {"ISSUER": f"{ISSUER}/.well-known/openid-configuration"},
    "everybody an admin": {"ADMIN_GROUPS": "/admins,*"},
    "an empty group": {"READ_GROUPS": "staff,,guests"},
    "a comma at the end": {"WRITE_GROUPS": "staff,"},
    "the issuer as audience": {"AUDIENCE": f"keyhook, {ISSUER}"},
    "an empty audience": {"AUDIENCE": ","},
    "a line end": {"GROUPS_CLAIM": "realm\naccess"},
    "another word": {"ID_TOKENS": "yes"},
    "a client without a public URL": {"CLIENT_ID": "keyhook"},
    "a secret without a client": {"CLIENT_SECRET": "hunter2"},
    "scopes without openid": {"SCOPES": "profile groups"},
    "scopes with commas": {"SCOPES": "openid,groups"},
    "scopes with a quote": {"SCOPES": 'openid "groups'},
    "scopes with two spaces": {"SCOPES": "openid  groups"},
}


def provided(**values: str) -> Settings:
    return load({**LEAST, **{f"KEYHOOK_OIDC_{name}": value for name, value in values.items()}})


@pytest.mark.parametrize("values", REFUSED.values(), ids=REFUSED.keys())
def test_a_mistake_stops_the_start(values: dict[str, str]) -> None:
    with pytest.raises(StartupError) as refused:
        provided(**values)
    assert str(refused.value.code).startswith(f"KEYHOOK_OIDC_{next(iter(values))} ")
    assert str(refused.value.code).isprintable()
    assert "hunter2" not in str(refused.value.code)


def test_the_least_is_an_issuer_and_a_group() -> None:
    chosen = provided()
    assert chosen.oidc_issuer == ISSUER
    assert chosen.oidc_audience == ("keyhook",)
    assert chosen.oidc_admin_groups == ("/admins",)
    assert not chosen.oidc_id_tokens


@pytest.mark.parametrize("issuer", ["http://localhost:8080", "http://127.0.0.1:1/a/", "http://[::1]:9/x"])
def test_this_machine_needs_no_tls(issuer: str) -> None:
    assert provided(ISSUER=issuer).oidc_issuer == issuer


def test_a_provider_that_gives_nobody_a_role_stops_the_start() -> None:
    with pytest.raises(StartupError, match="KEYHOOK_OIDC_ISSUER needs KEYHOOK_OIDC_ADMIN_GROUPS"):
        load({"KEYHOOK_OIDC_ISSUER": ISSUER})


def test_white_space_around_a_comma_is_no_part_of_a_name() -> None:
    assert provided(WRITE_GROUPS="Domain Users , staff").oidc_write_groups == ("Domain Users", "staff")


def test_without_an_issuer_the_rest_means_nothing() -> None:
    assert load({"KEYHOOK_OIDC_AUDIENCE": ISSUER}).oidc_issuer is None


def test_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_parsers, "find_spec", lambda package: None)
    with pytest.raises(StartupError) as refused:
        provided()
    assert refused.value.code == "KEYHOOK_OIDC_ISSUER needs cryptography: `pip install -r requirements-oidc.txt`"


@pytest.mark.parametrize(
    "url",
    [
        *("http://keys.example.com", "keys.example.com", "https://", "https://keys.example.com/?x", "https://a b"),
        *("https://keys.example.com/#x", "https://user:hunter2@keys.example.com", "https://keys.example.com//x"),
        *("https://keys.example.com;x", "https://keys.example.com/x;y", "javascript:alert(1)", "https://a:0"),
        "https://例え.jp",
    ],
)
def test_a_public_url_is_one_that_a_browser_shows(url: str) -> None:
    with pytest.raises(StartupError, match=r"^KEYHOOK_PUBLIC_URL must be https") as refused:
        load({"KEYHOOK_PUBLIC_URL": url})
    assert "hunter2" not in str(refused.value.code)


@pytest.mark.parametrize("url", ["https://keys.example.com", "http://localhost:5000", "https://a.example/keys/hook"])
def test_a_slash_at_its_end_makes_no_difference(url: str) -> None:
    assert {load({"KEYHOOK_PUBLIC_URL": given}).public_url for given in (url, f"{url}/")} == {url}
