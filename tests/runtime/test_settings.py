"""Settings that nobody meant: text for a shell, a weak secret, a missing disk."""

import os
import re
import secrets
import shutil
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app import DEFAULTS, create_app
from cli import first_key
from errors import StartupError
from runtime.settings import ROWS, load
from runtime.signing_secret import GUESSABLE, is_guessable
from tests.commands import BACKUP, CREATE, LONG, TOKEN, assert_refused, run

GOOD = {
    **{name: str(default) for name, default in DEFAULTS.items() if default is not None},
    "KEYHOOK_DATA_DIR": "{tmp}/data",
    "KEYHOOK_DATABASE_URL": "sqlite:///{tmp}/data/keys.db",
    "KEYHOOK_SECRET_KEY": LONG,
    "KEYHOOK_LIMITS_URL": "redis://127.0.0.1/0",
    "KEYHOOK_KEYS_FILE": "{tmp}/keys.toml",
    "KEYHOOK_DEFAULT_LIFETIME": "90d",
    "KEYHOOK_MAX_LIFETIME": "52w",
    "KEYHOOK_METRICS_TOKEN_FILE": "{tmp}/scraper",
    "KEYHOOK_OIDC_ISSUER": "https://id.example.com/realms/home",
    "KEYHOOK_OIDC_ADMIN_GROUPS": "/admins",
    "KEYHOOK_OIDC_WRITE_GROUPS": "staff, Domain Users",
    "KEYHOOK_OIDC_READ_GROUPS": "*",
    "KEYHOOK_OIDC_TENANT_CLAIM": "tenant",
    "KEYHOOK_OIDC_CLIENT_ID": "keyhook",
    "KEYHOOK_OIDC_CLIENT_SECRET": "what-the-provider-has-chosen",
    "KEYHOOK_OIDC_SCOPES": "openid groups",
    "KEYHOOK_PUBLIC_URL": "https://keys.example.com/hook",
}
UNTOUCHED_BY_A_SHELL = [
    '"{}"',
    "'{}'",
    '"{}',
    "{}'",
    "~{}",
    "~/{}",
    "$HOME/{}",
    "{}$",
    "{}${{X}}",
    " {}",
    "{} ",
    "{}\t",
    "{}\n",
    "{}\r",
    "{}\u00a0",
]


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(StartupError) as refused:
        create_app(values)
    assert isinstance(refused.value.code, str)
    assert refused.value.code.isprintable()
    return refused.value.code


@pytest.mark.parametrize("form", UNTOUCHED_BY_A_SHELL)
@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.parametrize("how", ["environment", "argument"])
def test_what_a_shell_would_have_changed_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, form: str, how: str
) -> None:
    monkeypatch.chdir(tmp_path)
    value = form.format(GOOD[name].format(tmp=tmp_path))
    given: dict[str, Any] = {"KEYHOOK_DATA_DIR": tmp_path / "data"}
    if how == "environment":
        given = {} if name == "KEYHOOK_DATA_DIR" else given
        monkeypatch.setenv(name, value)
    else:
        given[name] = value
    assert refusal(given).startswith(f"{name} ")
    assert os.listdir(tmp_path) == []


def test_good_values_are_taken(tmp_path: Path) -> None:
    (tmp_path / "scraper").write_text("a-token-of-a-file\n")
    chosen = load({name: value.format(tmp=tmp_path) for name, value in GOOD.items()})
    assert chosen.data_dir == tmp_path / "data"
    assert chosen.database == tmp_path / "data" / "keys.db"
    assert chosen.secret_key == LONG.encode()
    assert chosen.metrics_token == b"a-token-of-a-file"


def test_none_stands_for_the_default() -> None:
    assert load(dict.fromkeys(DEFAULTS)) == load(DEFAULTS) == load({})


@pytest.mark.processes
@pytest.mark.parametrize("value", ['"{tmp}/data"', "~/keyhook", "$HOME/keyhook", "{tmp}/data "])
def test_it_is_one_line_at_servers_and_commands(tmp_path: Path, value: str) -> None:
    given = value.format(tmp=tmp_path)
    assert_refused("KEYHOOK_DATA_DIR ", KEYHOOK_DATA_DIR=given)
    done = run(TOKEN, KEYHOOK_DATA_DIR=given)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch("KEYHOOK_DATA_DIR .*\n", done.stderr)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["~/keys.db", "~root/keys.db"])
def test_a_home_within_a_url_is_not_replaced_either(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal({"KEYHOOK_DATABASE_URL": f"sqlite:///{path}"}).startswith("KEYHOOK_DATABASE_URL ")
    assert os.listdir(tmp_path) == []


def test_a_path_of_the_program_around_is_what_it_is(tmp_path: Path) -> None:
    """No shell was meant to change a Path. The default is one: the path of a checkout may hold any character."""
    assert load({**DEFAULTS, "KEYHOOK_DATA_DIR": tmp_path / "$x '"}).data_dir == tmp_path / "$x '"


@pytest.mark.parametrize("name", ["KEYHOOK_DATA_DIR", "KEYHOOK_KEYS_FILE"])
def test_a_path_is_no_url_whose_password_would_be_shown(name: str) -> None:
    assert refusal({name: "https://alice:hunter2@example.com/keys"}) == f"{name} must be a path, not a URL"


WEAK = [
    "s" * 32,
    "ab" * 40,
    "passwordpasswordpasswordpassword",
    "0123456789" * 4,
    "changemechangemechangemechangeme",
    "1111111111111111111111111111abcd",
    "x" * 500,
    "abcdefghijklmno" * 3,
]


@pytest.mark.processes
@pytest.mark.parametrize("secret", WEAK)
@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_secret_of_little_variety_is_said(after_first_start: Path, data_dir: Path, secret: str, place: str) -> None:
    shutil.copytree(after_first_start, data_dir)
    if place == "file":
        (data_dir / "secret_key").write_text(secret)
    given: dict[str, Any] = {"KEYHOOK_SECRET_KEY": secret} if place == "environment" else {}
    done = run(TOKEN, KEYHOOK_DATA_DIR=data_dir, **given)
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "easily guessed" in line] == [GUESSABLE]


def test_a_random_secret_is_not_guessable() -> None:
    for _ in range(5000):
        for made in (
            secrets.token_hex(32),
            secrets.token_hex(16),
            secrets.token_urlsafe(32),
            secrets.token_urlsafe(24),
        ):
            assert not is_guessable(made.encode())
        assert not is_guessable(b64encode(secrets.token_bytes(24)))


@pytest.mark.parametrize("value", ["", "yes", "true", "2", "01", "-1", "1.0", "on"])
def test_require_database_is_0_or_1(data_dir: Path, value: str) -> None:
    given = {"KEYHOOK_DATA_DIR": data_dir, "KEYHOOK_REQUIRE_DATABASE": value}
    assert refusal(given).startswith("KEYHOOK_REQUIRE_DATABASE ")
    assert not data_dir.exists()


@pytest.mark.processes
@pytest.mark.parametrize("there", [False, True], ids=["no directory", "empty directory"])
def test_an_empty_data_directory_where_a_database_is_required(data_dir: Path, there: bool) -> None:
    if there:
        data_dir.mkdir()
    assert_refused("KEYHOOK_REQUIRE_DATABASE ", KEYHOOK_DATA_DIR=data_dir, KEYHOOK_REQUIRE_DATABASE=1)
    for command in (TOKEN, [*CREATE, "k"], [*BACKUP, str(data_dir / "b")]):
        done = run(command, KEYHOOK_DATA_DIR=data_dir, KEYHOOK_REQUIRE_DATABASE=1)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch("KEYHOOK_REQUIRE_DATABASE .*\n", done.stderr)
    assert (list(data_dir.iterdir()) == []) if there else not data_dir.exists()


@pytest.mark.processes
def test_where_a_database_is_required_and_there_it_serves(data_dir: Path) -> None:
    for value in ("0", "1"):
        assert run([*CREATE, f"k{value}"], KEYHOOK_DATA_DIR=data_dir, KEYHOOK_REQUIRE_DATABASE=value).returncode == 0


PASSWORD = "Open5esame"
URLS = [
    "postgresql://keyhook:{}@db.example.org/keyhook",
    "postgresql://keyhook:{}@db.example.org:port/keyhook",
    "postgresql://{}@db/keyhook",
    "postgresql://db/keyhook?password={}",
    "postgresql://db/keyhook?options=-c%20password%3D{}",
    "sqlite://keyhook:{}@/{tmp}/data/a.db",
    "sqlite://keyhook:{}@host:{}/a.db",
    "sqlite://host:{}/a.db",
    "sqlite:///{tmp}/data/a.db?password={}",
    "sqlite:///postgresql://keyhook:{}@db/keyhook",
    "sqlite+{}:///a.db",
    "mysql+pymysql://root:{}@db",
    "keyhook:{}@db/keyhook",
    "{}",
    '"postgresql://keyhook:{}@db/keyhook"',
    "postgresql://keyhook:{}@db/keyhook\n",
    "postgresql://keyhook:{}$@db/keyhook",
]


@pytest.mark.parametrize(
    ("name", "url"),
    [*[("DATABASE_URL", url) for url in URLS], *[("DATA_DIR", url) for url in URLS if "://" in url]],
)
def test_a_password_in_a_url_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path, name: str, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYHOOK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv(f"KEYHOOK_{name}", url.format(PASSWORD, PASSWORD, tmp=tmp_path))
    with pytest.raises(StartupError) as refused:
        create_app()
    said = capfd.readouterr()
    assert PASSWORD not in f"{refused.value.code}{said.out}{said.err}"
    assert os.listdir(tmp_path) == []


def test_a_url_of_a_server_is_not_in_the_hint(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], app: Flask
) -> None:
    capfd.readouterr()
    for url in URLS[:5]:
        monkeypatch.setenv("KEYHOOK_DATABASE_URL", url.format(PASSWORD, PASSWORD))
        first_key.print_first_steps(app)
        said = capfd.readouterr().err
        assert "(with the same KEYHOOK_DATABASE_URL)" in said
        assert PASSWORD not in said


def test_a_secret_is_neither_in_the_hint_nor_in_a_repr(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], app: Flask
) -> None:
    secret = [name for name, row in ROWS.items() if row.is_secret(LONG)]
    assert {name for name in ROWS if re.search("SECRET|PASSWORD|TOKEN|URL", name)} <= set(secret)
    for name in secret:
        monkeypatch.setenv(name, LONG)
    capfd.readouterr()
    first_key.print_first_steps(app)
    said = capfd.readouterr().err
    assert "(with the same KEYHOOK_DATABASE_URL and KEYHOOK_SECRET_KEY)" in said
    assert LONG not in said
    assert LONG not in repr(load({"KEYHOOK_SECRET_KEY": LONG}))


def test_the_hint_repeats_what_commands_need_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], app: Flask
) -> None:
    for name, value in {"KEY_PREFIX": "acme", "BCRYPT_ROUNDS": "5", "TRUSTED_PROXIES": "1", "OTHER": "x"}.items():
        monkeypatch.setenv(f"KEYHOOK_{name}", value)
    capfd.readouterr()
    first_key.print_first_steps(app)
    said = capfd.readouterr().err
    assert "  KEYHOOK_KEY_PREFIX=acme KEYHOOK_BCRYPT_ROUNDS=5 " in said
    assert "TRUSTED" not in said
    assert "OTHER" not in said
