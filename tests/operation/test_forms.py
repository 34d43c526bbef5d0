"""Each form of each command in the table, with each of its options: it prints what the right column says.

Those that need a process of their own, or another server, are in test_programs.py.
"""

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient

from tests.operation.table import command, filled, rows
from tests.rows import ago, move

ELSEWHERE = {"flask restore", "flask copy-database", "flask oidc check", "flask serve"}
LINES = [(line, row.prints) for row in rows() for line in row.lines() if not ELSEWHERE & row.options.keys()]
KEY = re.compile(r"kh_[0-9a-f]{32}_[0-9A-Za-z]{51}\n")


@dataclass(frozen=True)
class Scene:
    """Keys of alice: `laptop`, its `child`, and `off`, which is disabled; `old` of bob ended 40 days ago."""

    app: Flask
    laptop: str
    off: str
    declared: Path
    copy: Path

    def invoke(self, *words: str, stdin: str = "") -> Result:
        return self.app.test_cli_runner().invoke(args=list(words), input=stdin)

    def status(self, credential: str) -> int:
        client: FlaskClient = self.app.test_client()
        return client.get("/v0/auth", headers={"Authorization": f"Bearer {credential.strip()}"}).status_code

    def names(self) -> list[str]:
        return [key["name"] for key in json.loads(self.invoke("keys", "list", "--json").stdout)]


@pytest.fixture
def scene(app: Flask, mint: Callable[..., str], token: Callable[..., str], tmp_path: Path) -> Scene:
    runner = app.test_cli_runner()
    made = [
        runner.invoke(args=["keys", "create", name, "--owner", "alice"]).stdout.strip() for name in ("laptop", "off")
    ]
    assert runner.invoke(args=["keys", "disable", "off"]).exit_code == 0
    mint("child", by=made[0])
    mint("old", by=token(owner="bob"))
    move(app, "old", expires_at=ago(days=40))
    declared = tmp_path / "keys.toml"
    declared.write_text(runner.invoke(args=["keys", "generate", "nas"]).stderr)
    return Scene(app, made[0], made[1], declared, tmp_path / "copy.db")


def a_token(said: Result, words: list[str], scene: Scene) -> None:
    assert scene.status(said.stdout) == 200


def a_link(said: Result, words: list[str], scene: Scene) -> None:
    if "--end-all" in words:
        assert said.stdout == ""
    else:
        start = words[words.index("--url") + 1] if "--url" in words else "http://127.0.0.1:5000"
        assert re.fullmatch(re.escape(f"{start}/console/sign-in#") + r"\S+\n", said.stdout)


def a_key(said: Result, words: list[str], scene: Scene) -> None:
    assert KEY.fullmatch(said.stdout)
    assert scene.status(said.stdout) == 200


def a_table(said: Result, words: list[str], scene: Scene) -> None:
    assert said.exit_code == (3 if "--check" in words and found(said) else 0)


def found(said: Result) -> bool:
    """Whether the list names a key."""
    return bool(json.loads(said.stdout)) if said.stdout.startswith("[") else said.stdout.count("\n") > 1


def disabled(said: Result, words: list[str], scene: Scene) -> None:
    assert said.stdout == ("laptop\nchild\n" if "--owner" in words else "")
    assert scene.status(scene.laptop) == 401


def enabled(said: Result, words: list[str], scene: Scene) -> None:
    assert said.stdout == ""
    assert scene.status(scene.off) == 200


def deleted(said: Result, words: list[str], scene: Scene) -> None:
    assert said.stdout == ""
    gone = {"laptop", "child"} if "--cascade" in words else {"laptop"}
    assert gone.isdisjoint(scene.names()) == ("--yes" in words)
    if "--yes" not in words:
        assert said.stderr == "Error: there is no terminal to ask on: say --yes\n"


def pruned(said: Result, words: list[str], scene: Scene) -> None:
    assert said.stdout == "old\n"
    assert ("old" in scene.names()) == ("--dry-run" in words)


def inspected(said: Result, words: list[str], scene: Scene) -> None:
    assert said.stdout.startswith("laptop: active, ")


def generated(said: Result, words: list[str], scene: Scene) -> None:
    assert KEY.fullmatch(said.stdout)
    scene.declared.write_text(said.stderr)
    assert scene.invoke("keys", "apply", str(scene.declared)).stdout == "created new\n"
    assert scene.status(said.stdout) == 200


def applied(said: Result, words: list[str], scene: Scene) -> None:
    assert said.stdout == "created nas\n"
    assert ("nas" in scene.names()) == ("--dry-run" not in words)


def copied(said: Result, words: list[str], scene: Scene) -> None:
    assert said.stdout == ""
    with closing(sqlite3.connect(scene.copy)) as copy:
        assert copy.execute("SELECT count(*) FROM api_keys").fetchone() == (4,)


CHECKS: dict[str, Callable[[Result, list[str], Scene], None]] = {
    "flask token": a_token,
    "flask console": a_link,
    "flask keys create": a_key,
    "flask keys list": a_table,
    "flask keys rotate": a_key,
    "flask keys disable": disabled,
    "flask keys enable": enabled,
    "flask keys delete": deleted,
    "flask keys prune": pruned,
    "flask keys inspect": inspected,
    "flask keys generate": generated,
    "flask keys apply": applied,
    "flask backup": copied,
}
NAMES = {"flask keys create": "new", "flask keys generate": "new", "flask keys enable": "off"}  # else `laptop`
STATUS = {"flask keys delete": lambda words: 0 if "--yes" in words else 1}


@pytest.mark.parametrize(("line", "prints"), LINES, ids=[" ".join(line) for line, _ in LINES])
def test_it_prints_what_the_page_says(scene: Scene, line: list[str], prints: str) -> None:
    name = command(" ".join(line))
    file = scene.copy if name == "flask backup" else scene.declared
    key_id = json.loads(scene.invoke("keys", "list", "--json").stdout)[0]["id"]
    words = filled(line, NAME=NAMES.get(name, "laptop"), FILE=str(file), ID=key_id)
    said = scene.invoke(*words, stdin=scene.laptop)
    if name != "flask keys list":
        assert said.exit_code == STATUS.get(name, lambda words: 0)(words), said.output
    if prints.startswith("nothing") and "--owner" not in words:
        assert said.stdout == ""
    if prints.startswith(("the key", "the new key", "a key")):
        assert KEY.fullmatch(said.stdout)
    CHECKS[name](said, words, scene)


def test_a_list_has_the_keys_that_meet_the_demand(scene: Scene) -> None:
    move(scene.app, "child", expires_at=ago(days=-10), created_at=ago(days=100))
    wanted = {"--owner alice": 3, "--status disabled": 1, "--unused 90d": 1, "--expiring 14d": 1, "": 4}
    for demand, count in wanted.items():
        listed = scene.invoke("keys", "list", *demand.split(), "--json", "--check")
        assert (len(json.loads(listed.stdout)), listed.exit_code) == (count, 3), demand
        assert scene.invoke("keys", "list", *demand.split()).stdout.count("\n") == count + 1
    assert scene.invoke("keys", "list", "--owner", "nobody", "--check").exit_code == 0
