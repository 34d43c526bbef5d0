"""Keys that a file declares: what the file says holds, a mistake changes nothing, and nothing else changes them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from cli import keys_file
from errors import StartupError
from tests.commands import CREATE, run
from tests.rows import ago, everything, move, sql

Call = Callable[..., Any]
Mint = Callable[..., str]
FIRST = "0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11"
HASH = "$2b$04$" + "a" * 53


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


@pytest.fixture
def generate(runner: FlaskCliRunner) -> Callable[..., tuple[str, str]]:
    """generate("nas", ...): the key and its table."""

    def make(*words: str) -> tuple[str, str]:
        done = runner.invoke(args=["keys", "generate", *words])
        assert done.exit_code == 0, done.stderr
        return done.stdout.strip(), done.stderr

    return make


@pytest.fixture
def apply(runner: FlaskCliRunner, file: Path) -> Callable[..., Any]:
    """apply(text, ...): what the command prints."""

    def run(text: str, *words: str, status: int = 0) -> str:
        file.write_text(text)
        done = runner.invoke(args=["keys", "apply", str(file), *words])
        assert done.exit_code == status, done.output
        return done.stdout if status == 0 else done.stderr

    return run


def table(**members: Any) -> str:
    """A table with a good key of its own, and these members; ... leaves one out."""
    whole = {"name": "nas", "id": FIRST, "prefix": "kh", "hint": "00aa", "secret_hash": HASH, **members}
    lines = [f"{name} = {written(value)}" for name, value in whole.items() if value is not ...]
    return "\n".join(["[[api_keys]]", *lines, ""])


def written(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {written(one)}" for name, one in value.items()) + " }"
    return value[1:] if isinstance(value, str) and value.startswith("=") else json.dumps(value, ensure_ascii=False)


def shown(call: Call, name: str = "nas") -> Any:
    return call("GET", f"/v0/api_keys/{name}").json


# Generate


def test_a_generated_key_works_once_its_table_is_applied(call: Call, generate: Any, apply: Any) -> None:
    key, text = generate("nas", "--scope", "photos:read", "--role", "check")
    assert call("GET", "/v0/auth", by=key).status_code == 401
    assert apply(text) == "created nas\n"
    answer = call("GET", "/v0/auth?scope=photos:read", by=key)
    assert (answer.status_code, answer.json["role"], answer.json["key_name"]) == (200, "check", "nas")
    assert (shown(call)["declared"], shown(call)["hint"]) == (True, f"…{key[-4:]}")
    assert key not in text
    assert key.split("_")[2][:43] not in text


@pytest.mark.processes
def test_generating_needs_no_database(tmp_path: Path) -> None:
    command = [*CREATE[:-1], "generate", "nas"]
    made = run(command, KEYHOOK_DATA_DIR=tmp_path / "none")
    assert (made.returncode, made.stdout[:3]) == (0, "kh_"), made.stderr
    assert list(tmp_path.iterdir()) == []


# Reconcile


def test_every_field_of_a_key_may_be_declared(call: Call, apply: Any) -> None:
    apply(
        table(
            role="read", scopes=["a", "b"], description="the NAS", owner="alice", hosts=["*.example.com"],
            networks=["192.0.2.0/24"], rate_limit={"requests": 10, "seconds": 60}, metadata={"team": "home"},
            expires_at="=2099-01-01T00:00:00Z",
        )
    )  # fmt: skip
    key = shown(call)
    assert {name: key[name] for name in ("id", "role", "scopes", "description", "owner", "hosts", "networks")} == {
        "id": FIRST, "role": "read", "scopes": ["a", "b"], "description": "the NAS", "owner": "alice",
        "hosts": ["*.example.com"], "networks": ["192.0.2.0/24"],
    }  # fmt: skip
    assert (key["rate_limit"], key["metadata"]) == ({"requests": 10, "seconds": 60}, {"team": "home"})
    assert (key["expires_at"], key["created_by_key"]) == ("2099-01-01T00:00:00Z", None)


def test_what_the_file_no_more_says_has_its_default(call: Call, apply: Any) -> None:
    apply(table(role="read", scopes=["a"], description="x", hosts=["a.com"], owner="alice"))
    assert apply(table()) == "changed nas\n"
    key = shown(call)
    assert (key["role"], key["scopes"], key["description"], key["hosts"], key["owner"]) == ("write", [], "", [], "file")
    assert apply(table()) == ""
    assert len(call("GET", "/v0/audit").json) == 2


def test_the_audit_tells_the_file(call: Call, apply: Any) -> None:
    apply(table())
    apply(table(scopes=["a"]))
    newer, older = call("GET", "/v0/audit").json
    assert (newer["action"], older["action"]) == ("key.updated", "key.created")
    assert newer["details"] == {"scopes": {"from": [], "to": ["a"]}}
    owners = [entry["actor"]["owner"] for entry in (newer, older)]
    assert [owner.split()[0] for owner in owners] == ["keys.toml", "keys.toml"]
    assert len(set(owners)) == 2  # two files of one name are told apart
    assert newer["actor"]["kind"] == "file"
    assert (newer["ip"], newer["request_id"]) == (None, None)


def test_a_new_hash_is_a_rotation(call: Call, generate: Any, apply: Any) -> None:
    old, text = generate("nas")
    apply(text)
    new, other = generate("nas")
    key_id = next(line for line in text.splitlines() if line.startswith("id"))
    assert call("GET", "/v0/auth", by=old).status_code == 200
    apply("\n".join(key_id if line.startswith("id") else line for line in other.splitlines()))
    assert call("GET", "/v0/auth", by=old).status_code == 401
    assert [entry["action"] for entry in call("GET", "/v0/audit").json] == ["key.rotated", "key.created"]
    del new  # its text names another id, so it is no key


def test_names_may_be_exchanged(call: Call, apply: Any) -> None:
    second = FIRST[:-1] + "2"
    apply(table(name="a") + table(name="b", id=second))
    assert apply(table(name="b") + table(name="a", id=second)) == "changed b\nchanged a\n"
    assert (shown(call, "a")["id"], shown(call, "b")["id"]) == (second, FIRST)


def test_tenants_come_together(call: Call, apply: Any, token: Callable[..., str]) -> None:
    text = table() + table(tenant="lab", id=FIRST[:-1] + "2")
    assert apply(text) == "created nas\ncreated nas of lab\n"
    assert call("GET", "/v0/api_keys/nas", by=token(tenant="lab")).json["declared"] is True


def test_what_the_file_has_no_more_is_left_or_pruned(call: Call, apply: Any, mint: Mint) -> None:
    mint("other")
    apply(table() + table(name="b", id=FIRST[:-1] + "2"))
    child_of_nothing = apply(table(), "--dry-run", "--prune")
    assert child_of_nothing == "deleted b\n"
    assert shown(call, "b")["declared"] is True
    assert apply(table()) == ""
    assert apply(table(), "--prune") == "deleted b\n"
    assert [key["name"] for key in call("GET", "/v0/api_keys").json] == ["other", "nas"]


def test_a_dry_run_changes_nothing(app: Flask, apply: Any) -> None:
    before = everything(app)
    assert apply(table(), "--dry-run") == "created nas\n"
    assert everything(app) == before


def test_a_key_that_was_minted_may_be_declared(call: Call, mint: Mint, apply: Any, app: Flask) -> None:
    key = mint("nas")
    [(key_id, secret_hash)] = sql(app, "SELECT id, secret_hash FROM api_keys")
    assert apply(table(id=key_id, secret_hash=secret_hash, hint=key[-4:])) == "changed nas\n"
    assert call("GET", "/v0/auth", by=key).status_code == 200
    assert shown(call)["declared"] is True
    assert call("GET", "/v0/audit").json[0]["details"]["declared"] == {"from": False, "to": True}


def test_an_end_may_have_passed(call: Call, apply: Any) -> None:
    apply(table(expires_at="=2020-01-01T00:00:00Z"))
    assert shown(call)["status"] == "expired"


def test_a_thousand_keys_are_applied_together(apply: Any) -> None:
    text = "".join(table(name=f"k{number}", id=f"0b8f7a52-7f55-4d0c-9b0a-{number:012d}") for number in range(1000))
    assert len(apply(text).splitlines()) == 1000
    assert apply(text) == ""


# Only the file changes them.


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/v0/api_keys/nas", {"description": "x"}),
        ("PATCH", "/v0/api_keys/nas", {"disabled": True, "description": "x"}),
        ("PATCH", "/v0/api_keys/nas", {"disabled": False}),
        ("POST", "/v0/api_keys/nas/rotate", {}),
        ("DELETE", "/v0/api_keys/nas", None),
        ("DELETE", "/v0/api_keys/nas?cascade=true", None),
        ("DELETE", f"/v0/api_keys?id={FIRST}", None),
    ],
)
def test_others_are_refused(app: Flask, call: Call, apply: Any, method: str, path: str, body: Any) -> None:
    apply(table())
    before = everything(app)
    refused = call(method, path, json=body)
    assert (refused.status_code, refused.json["error_code"]) == (409, "DeclaredKey")
    assert refused.json["details"] == {"name": "nas"}
    assert everything(app) == before


def test_the_command_line_is_refused_too_but_for_enabling(call: Call, apply: Any, runner: FlaskCliRunner) -> None:
    apply(table())
    for words in (["rotate", "nas"], ["delete", "nas", "--yes"]):
        assert runner.invoke(args=["keys", *words]).exit_code == 1
    assert runner.invoke(args=["keys", "disable", "nas"]).exit_code == 0
    assert runner.invoke(args=["keys", "enable", "nas"]).exit_code == 0
    assert shown(call)["disabled"] is False


def test_whoever_disables_one_is_heeded_at_the_next_start(call: Call, generate: Any, apply: Any) -> None:
    key, text = generate("nas")
    apply(text)
    assert call("PATCH", "/v0/api_keys/nas", json={"disabled": True}).status_code == 200
    assert apply(text) == ""
    assert apply(text + "disabled = false\n") == ""
    assert call("GET", "/v0/auth", by=key).status_code == 401


def test_the_file_enables_what_it_disabled(call: Call, generate: Any, apply: Any) -> None:
    key, text = generate("nas")
    apply(text + "disabled = true\n")
    assert call("GET", "/v0/auth", by=key).status_code == 401
    apply(text)
    assert call("GET", "/v0/auth", by=key).status_code == 200


def test_its_holder_may_end_it(call: Call, generate: Any, apply: Any) -> None:
    key, text = generate("nas")
    apply(text)
    assert call("POST", "/v0/revoke", by=None, data={"token": key}).status_code == 200
    apply(text)
    assert call("GET", "/v0/auth", by=key).status_code == 401


def test_expired_ones_are_not_pruned_away(apply: Any, runner: FlaskCliRunner) -> None:
    apply(table(expires_at="=2020-01-01T00:00:00Z"))
    assert runner.invoke(args=["keys", "prune", "--expired", "30d"]).stdout == ""


def test_what_it_minted_draws_from_its_rate(call: Call, generate: Any, apply: Any, mint: Mint) -> None:
    key, text = generate("nas")
    apply(text + "rate_limit = { requests = 2, seconds = 3600 }\n")
    mint("child", by=key)
    apply(text + "rate_limit = { requests = 5, seconds = 3600 }\n")
    assert shown(call, "child")["rate_limit"] == {"requests": 5, "seconds": 3600}


# A mistake is one line, and changes nothing.

MISTAKES: dict[str, tuple[str, str]] = {
    "no TOML": ("[[api_keys]\nname = 1", "is no TOML: at line 1, column 11"),
    "a value of no kind": ("[[api_keys]]\nname = secret!", "is no TOML: at line 2"),
    "something else": ("[keys]\n", "holds something other than tables [[api_keys]]"),
    "no list": ("api_keys = 1", "holds something other than tables [[api_keys]]"),
    "no table": ("api_keys = [1]", "holds something other than tables [[api_keys]]"),
    "no name": (table(name=...), "number 1, field name: Missing data for required field."),
    "no id": (table(id=...), "number 1 (nas), field id: Missing data for required field."),
    "no hash": (table(secret_hash=...), "number 1 (nas), field secret_hash: Missing data for required field."),
    "no prefix": (table(prefix=...), "number 1 (nas), field prefix: Missing data for required field."),
    "a bad hash": (table(secret_hash="x"), "number 1 (nas), field secret_hash: Not a bcrypt hash."),
    "a bad id": (table(id="x"), "number 1 (nas), field id: Not a valid UUID."),
    "a bad prefix": (table(prefix="K"), "number 1 (nas), field prefix: Not a prefix."),
    "a bad hint": (table(hint="x"), "number 1 (nas), field hint: Not a hint."),
    "a bad scope": (table(scopes=["a", "a b"]), "number 1 (nas), field scopes: 1: Not a valid scope."),
    "a bad role": (table(role="admin"), "number 1 (nas), field role: Must be one of: check, read, write."),
    "a bad host": (table(hosts=["A.com"]), "number 1 (nas), field hosts: 0: Not a valid host name in lower case."),
    "a bad rate": (table(rate_limit={"requests": 1}), "field rate_limit: seconds: Missing data for required field."),
    "a bad note": (table(metadata={"A": "x"}), "number 1 (nas), field metadata: A: a name is 1 to 40 of a-z"),
    "a local time": (table(expires_at="=2099-01-01T00:00:00"), "field expires_at: Not a valid RFC 3339 timestamp"),
    "a date": (table(expires_at="=2099-01-01"), "field expires_at: Not a valid RFC 3339 timestamp"),
    "an unknown field": (table(scope="a"), "number 1 (nas), field scope: Unknown field."),
    "an empty owner": (table(owner=" "), "number 1 (nas), field owner: Must be printable and not empty."),
    "a secret": (table(secret="x"), "number 1 (nas), field secret: a file never holds a key itself: write its"),
    "a key as its hash": (table(secret_hash="KEY"), "field secret_hash: a file never holds a key itself"),
    "a key as its description": (table(description="KEY"), "field description: a file never holds a key itself"),
    "a key in a note": (table(metadata={"note": "KEY"}), "field metadata: a file never holds a key itself"),
    "a key as a field": (table() + '"KEY" = 1\n', "number 1 (nas), field "),
    "a line end in a name": (table() + 'metadata = { "a\\nb" = "x" }\n', "field metadata: a\ufffdb: a name is 1 to 40"),
    "a number without end": ("x = " + "9" * 5000, "is no TOML that can be read"),
    "too deep": ("x = " + "[" * 5000 + "]" * 5000, "is no TOML that can be read"),
    "one id twice": (table() + table(name="b"), "number 1 (nas), field id: two tables have this id"),
    "one name twice": (table() + table(id=FIRST[:-1] + "2"), "field name: two tables of this tenant have this name"),
    "the second": (table() + table(name="b", id="x"), "number 2 (b), field id: Not a valid UUID."),
    "a taken name": (table(name="taken"), "number 1 (taken), field name: another key of this tenant has this name"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_one_line_and_changes_nothing(app: Flask, apply: Any, mint: Mint, kind: str) -> None:
    key = mint("taken")
    before = everything(app)
    text, told = MISTAKES[kind]
    said = apply(text.replace("KEY", key), status=1)
    assert told in said
    assert len(said.splitlines()) == 1
    assert key not in said
    assert everything(app) == before


@pytest.mark.parametrize("kind", MISTAKES)
def test_and_stops_the_start(
    app: Flask, make_app: Callable[..., Flask], mint: Mint, data_dir: Path, file: Path, kind: str
) -> None:
    key = mint("taken")
    before = everything(app)
    text, told = MISTAKES[kind]
    file.write_text(text.replace("KEY", key))
    with pytest.raises(StartupError) as refused:
        make_app(data_dir, KEYHOOK_KEYS_FILE=file)
    said = str(refused.value.code)
    assert said.startswith("KEYHOOK_KEYS_FILE: keys.toml: ")
    assert told in said
    assert said.isprintable()
    assert everything(app) == before


def test_a_key_of_another_tenant_keeps_its_id(app: Flask, apply: Any, mint: Mint) -> None:
    mint("taken")
    [(key_id,)] = sql(app, "SELECT id FROM api_keys")
    assert "field tenant: a key of another tenant has this id" in apply(table(id=key_id, tenant="lab"), status=1)


@pytest.mark.parametrize("raw", [b"\xff", None], ids=["no text", "no file"])
def test_a_file_that_cannot_be_read_is_a_mistake(runner: FlaskCliRunner, file: Path, raw: bytes | None) -> None:
    if raw is not None:
        file.write_bytes(raw)
    assert runner.invoke(args=["keys", "apply", str(file)]).exit_code == 1


def test_too_long_a_life_is_one(make_app: Callable[..., Flask], app: Flask, data_dir: Path, file: Path) -> None:
    file.write_text(table())
    with pytest.raises(StartupError, match=r"field expires_at: Must be at most 30d from now\."):
        make_app(data_dir, KEYHOOK_KEYS_FILE=file, KEYHOOK_MAX_LIFETIME="30d")


# At the start


def test_the_start_applies_the_file(
    app: Flask, make_app: Callable[..., Flask], data_dir: Path, file: Path, generate: Any, call: Call
) -> None:
    key, text = generate("nas")
    file.write_text(text)
    make_app(data_dir, KEYHOOK_KEYS_FILE=file)
    assert call("GET", "/v0/auth", by=key).status_code == 200
    move(app, "nas", last_used_at=ago(days=1))
    make_app(data_dir, KEYHOOK_KEYS_FILE=file)
    assert [entry["action"] for entry in call("GET", "/v0/audit").json] == ["key.created"]


def test_the_name_in_the_audit_follows_the_content(file: Path) -> None:
    file.write_text(table())
    first = keys_file.read_keys_file(file).name
    file.write_text(table() + "\n")
    assert keys_file.read_keys_file(file).name != first


def test_a_person_who_leaves_takes_it_along(call: Call, generate: Any, apply: Any) -> None:
    key, text = generate("nas")
    apply(text + 'owner = "bob"\n')
    assert [one["name"] for one in call("PATCH", "/v0/api_keys?owner=bob", json={"disabled": True}).json] == ["nas"]
    apply(text + 'owner = "bob"\n')
    assert call("GET", "/v0/auth", by=key).status_code == 401
