"""Deletion by id, also of a deleted key; dry runs; and how long a deletion holds the write lock."""

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import insert

from formats.times import now
from identity.principal import Principal, RequestOrigin
from models import api_keys, lineage
from tests.rows import links, names, sql, transaction, url_of
from tests.statements import Statements, plan

NOBODY = "0b8f7a52-7f55-4d0c-9b0a-3f6f0f6f2a11"


def id_of(key: str) -> str:
    return str(uuid.UUID(key.split("_")[1]))


@pytest.fixture
def family(mint: Callable[..., str]) -> dict[str, str]:
    """The ids: a minted b, b minted c, c minted d; b minted e; x stands alone and minted y."""
    keys = {"a": mint("a"), "x": mint("x")}
    for parent, child in ("ab", "bc", "cd", "be", "xy"):
        keys[child] = mint(child, by=keys[parent])
    return {name: id_of(key) for name, key in keys.items()}


@pytest.mark.parametrize(
    ("gone", "target", "left"),
    [
        ("", "a", "x y"),
        ("a", "a", "x y"),
        ("b", "b", "a x y"),
        ("c", "c", "a x b e y"),
        ("a b", "a", "x y"),
        ("a b", "b", "x y"),
        ("b c", "a", "x y"),
        ("a b c", "c", "x e y"),
        ("x", "x", "a b c d e"),
    ],
)
def test_a_cascade_by_id_reaches_the_offspring_of_a_key_that_is_gone(
    call: Callable[..., Any], family: dict[str, str], gone: str, target: str, left: str
) -> None:
    for name in gone.split():
        assert call("DELETE", f"/v0/api_keys/{name}").status_code == 204
    answer = call("DELETE", f"/v0/api_keys?id={family[target]}&cascade=true")
    assert (answer.status_code, answer.data, "Content-Type" in answer.headers) == (204, b"", False)
    assert names(call) == left
    again = call("DELETE", f"/v0/api_keys?id={family[target]}&cascade=true")
    assert (again.status_code, again.json["error_code"]) == (404, "UnknownApiKey")


def test_a_leaked_key_that_deletes_itself_saves_nothing_of_its_own(
    call: Callable[..., Any], mint: Callable[..., str]
) -> None:
    leaked = mint("leaked")
    child = mint("child", by=leaked)
    assert call("DELETE", "/v0/api_keys/leaked", by=leaked).status_code == 204
    mint("leaked")  # nor does a new one of that name hide them
    assert call("DELETE", f"/v0/api_keys?id={id_of(leaked)}&cascade=true").status_code == 204
    assert call("GET", "/v0/auth", by=child).status_code == 401
    assert names(call) == "leaked"


@pytest.mark.parametrize("order", ["a b c d", "b c a", "c b a d", "d c b a", "a"])
def test_nothing_of_the_lineage_is_left_after_a_cascade_by_id(
    call: Callable[..., Any], family: dict[str, str], app: Flask, order: str
) -> None:
    for name in order.split():
        assert call("DELETE", f"/v0/api_keys/{name}").status_code == 204
    for name in "ax":
        assert call("DELETE", f"/v0/api_keys?id={family[name]}&cascade=true").status_code == 204
    assert (names(call), links(app)) == ("", 0)


def test_by_its_id_alone_a_key_that_lives_goes_alone(call: Callable[..., Any], family: dict[str, str]) -> None:
    assert call("DELETE", f"/v0/api_keys?id={family['b'].upper()}").status_code == 204
    assert names(call) == "a x c d e y"
    assert call("DELETE", f"/v0/api_keys?id={family['b']}").status_code == 404
    assert call("DELETE", f"/v0/api_keys?id={family['b']}&cascade=false").status_code == 404
    assert names(call) == "a x c d e y"


@pytest.mark.parametrize("cascade", ["", "&cascade=true", "&dry_run=true", "&cascade=true&dry_run=true"])
@pytest.mark.parametrize("whose", ["nobody's", "a living one", "one that is gone"])
def test_an_id_of_another_tenant_is_one_that_nobody_has(
    call: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str], whose: str, cascade: str
) -> None:
    theirs = token(tenant="theirs")
    root = mint("root", by=theirs)
    child = mint("child", by=root)
    if whose == "one that is gone":
        call("DELETE", "/v0/api_keys/root", by=theirs)
    key_id = NOBODY if whose == "nobody's" else id_of(root)
    answer = call("DELETE", f"/v0/api_keys?id={key_id}{cascade}")
    assert (answer.status_code, answer.json) == (
        404,
        {
            "message": "No API key has this id, nor was any that is there minted with it",
            "error_code": "UnknownApiKey",
            "details": {"name": key_id},
        },
    )
    assert call("GET", "/v0/auth", by=child).status_code == 200
    if whose == "one that is gone":
        assert call("DELETE", f"/v0/api_keys?id={key_id}&cascade=true", by=theirs).status_code == 204


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("", "id"),
        ("?cascade=true", "id"),
        ("?id=", "id"),
        ("?id=laptop", "id"),
        (f"?id={NOBODY[:-1]}", "id"),
        (f"?id={NOBODY}0", "id"),
        (f"?id={NOBODY.replace('-', '')}", "id"),
        (f"?id=%7B{NOBODY}%7D", "id"),
        (f"?id={NOBODY}%0A", "id"),
        (f"?id={NOBODY}&id={NOBODY}", "id"),
        (f"?id={NOBODY}&name=laptop", "name"),
        (f"?id={NOBODY}&casacde=true", "casacde"),
        (f"?id={NOBODY}&cascade=1", "cascade"),
        (f"?id={NOBODY}&dry_run=yes", "dry_run"),
        (f"/laptop?id={NOBODY}", "id"),
        ("/laptop?dryrun=true", "dryrun"),
        ("/laptop?dry_run=", "dry_run"),
    ],
)
def test_what_is_misspelt_deletes_nothing(
    call: Callable[..., Any], mint: Callable[..., str], query: str, wrong: str
) -> None:
    mint("laptop")
    answer = call("DELETE", f"/v0/api_keys{query}")
    assert (answer.status_code, answer.json["error_code"]) == (400, "ValidationError")
    assert list(answer.json["details"]) == [wrong]
    assert names(call) == "laptop"


@pytest.mark.parametrize("query", ["?cascade=true", "?dry_run=true", "?id"])
def test_it_needs_the_role_write(
    call: Callable[..., Any], mint: Callable[..., str], token: Callable[..., str], query: str
) -> None:
    key = mint("laptop")
    path = f"/v0/api_keys?id={id_of(key)}" if query == "?id" else f"/v0/api_keys/laptop{query}"
    for caller in (token(role="read"), mint("reader", role="read")):
        answer = call("DELETE", path, by=caller)
        assert (answer.status_code, answer.json["details"]) == (403, {"required": "write", "actual": "read"})
    assert call("DELETE", path, by=mint("writer")).status_code in (200, 204)


@pytest.mark.parametrize(
    ("path", "doomed"),
    [
        ("/b?", "b"),
        ("/b?cascade=false&", "b"),
        ("/b?cascade=true&", "b c d e"),
        ("/d?cascade=true&", "d"),
        ("?id={b}&", "b"),
        ("?id={b}&cascade=true&", "b c d e"),
        ("?id={gone}&cascade=true&", "z"),
    ],
)
def test_a_dry_run_shows_what_would_go_and_changes_nothing(
    call: Callable[..., Any], mint: Callable[..., str], family: dict[str, str], path: str, doomed: str
) -> None:
    gone = mint("gone")
    mint("z", by=gone)
    call("DELETE", "/v0/api_keys/gone")
    path = f"/v0/api_keys{path.format(**family, gone=id_of(gone))}"
    before = call("GET", "/v0/api_keys").json, call("GET", "/v0/audit").json
    answer = call("DELETE", f"{path}dry_run=true")
    assert answer.status_code == 200
    assert answer.json == [key for key in before[0] if key["name"] in doomed.split()]
    assert (call("GET", "/v0/api_keys").json, call("GET", "/v0/audit").json) == before
    assert call("DELETE", f"{path}dry_run=false").status_code == 204
    assert names(call) == " ".join(key["name"] for key in before[0] if key not in answer.json)


@pytest.mark.parametrize("path", ["/none?dry_run=true", f"?id={NOBODY}&dry_run=true"])
def test_a_dry_run_of_nothing_is_a_404(call: Callable[..., Any], path: str) -> None:
    answer = call("DELETE", f"/v0/api_keys{path}")
    assert (answer.status_code, answer.json["error_code"]) == (404, "UnknownApiKey")


# Under the write lock

# A step of a plan that reads a whole table, or all keys of a tenant.
SCANS = re.compile("SCAN (api_keys|lineage)|.*Seq Scan on (api_keys|lineage)|.* ix_api_keys_tenant_seq")


def put(app: Flask, ids: list[str], parents: list[str | None], alive: Callable[[int], bool]) -> None:
    row = {"tenant": "default", "role": "write", "owner": "x", "created_at": now(), "secret_hash": "x"}
    keys = [{**row, "id": key_id, "name": f"k{n}"} for n, key_id in enumerate(ids) if alive(n)]
    found = [{"key_id": key_id, "parent_id": parent} for key_id, parent in zip(ids, parents, strict=True) if parent]
    with app.extensions["keyhook"].storage.write() as tx:
        tx.execute(insert(api_keys), keys)
        tx.execute(insert(lineage), found)


@pytest.fixture
def crowd(app: Flask) -> None:
    """Many more keys of the tenant, of which PostgreSQL, unlike SQLite, takes account when it plans."""
    ids = [str(uuid.uuid4()) for _ in range(2000)]
    row = {"tenant": "default", "role": "write", "owner": "x", "created_at": now(), "secret_hash": "x"}
    with transaction(app) as connection:
        connection.execute(insert(api_keys), [{**row, "id": key_id, "name": key_id} for key_id in ids])
    if url_of(app):
        sql(app, "ANALYZE")


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("by", ["name", "id"])
@pytest.mark.parametrize("alive", ["the last", "all"])
def test_a_deletion_asks_the_same_few_things_however_long_the_line(
    statements: Statements, app: Flask, crowd: None, alive: str, by: str, cascade: bool
) -> None:
    """No statement scans all keys of the tenant, or a whole table."""
    keyring = app.extensions["keyhook"].keyring(Principal("cli", "default", "x", "admin"), RequestOrigin())
    counts = []
    for length in (3, 300):
        ids = [str(uuid.uuid4()) for _ in range(length)]
        put(app, ids, [None, *ids[:-1]], lambda n, length=length: alive == "all" or n == length - 1)  # type: ignore[misc]
        target = {"name": f"k{length - 1}"} if by == "name" else {"key_id": ids[-1]}
        statements()
        keyring.delete(**target, cascade=cascade)
        asked = [text for text in statements() if re.match("(SELECT|WITH|DELETE).*(api_keys|lineage)", text)]
        counts.append(len(asked))
        steps = [step for text in asked for step in plan(app, text)]
        assert steps
        assert [step for step in steps if SCANS.match(step)] == []
        assert links(app) == (length - 2 if alive == "all" else 0)
        if alive == "all":
            keyring.delete("k0", cascade=True)
    assert counts[0] == counts[1] <= 6


def test_what_is_above_a_deleted_key_stays_while_anything_else_below_it_lives(
    app: Flask, call: Callable[..., Any]
) -> None:
    """Root, a line of 50 deleted keys, and two keys below: deleting the first removes no lineage, the second all."""
    ids = [str(uuid.uuid4()) for _ in range(53)]
    put(app, ids, [None, *ids[:50], ids[50], ids[50]], lambda n: n > 50)
    assert call("DELETE", "/v0/api_keys/k51").status_code == 204
    assert links(app) == 51
    assert call("DELETE", "/v0/api_keys/k52").status_code == 204
    assert links(app) == 0
