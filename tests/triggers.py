"""Statements of the service that fail on purpose, by a trigger in its database."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask

from tests.rows import sql, url_of

POSTGRESQL = [
    "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql "
    "AS $$ BEGIN RAISE EXCEPTION 'on purpose'; END $$",
    "CREATE {kind} fail {moment} {change} {late} FOR EACH ROW {condition} EXECUTE FUNCTION fail()",
]
SQLITE = ["CREATE TRIGGER fail BEFORE {change} {condition} BEGIN SELECT RAISE(FAIL, 'on purpose'); END"]
# SQLite has no late trigger: a foreign key that it checks at the commit takes its place.
LATE_SQLITE = [
    "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
    "CREATE TABLE child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TRIGGER fail AFTER {change} {condition} BEGIN INSERT INTO child VALUES (1); END",
]


@contextmanager
def failing(place: Flask | Path, fault: str, *, at_commit: bool = False) -> Iterator[None]:
    """failing(app, "INSERT ON audit_entries WHEN NEW.key_name = 'k'"): such a statement fails, or the commit after."""
    change, _, condition = fault.partition(" WHEN ")
    words = {"change": change, "condition": f"WHEN ({condition})" if condition else ""}
    if url_of(place):
        early = {"kind": "TRIGGER", "moment": "BEFORE", "late": ""}
        late = {"kind": "CONSTRAINT TRIGGER", "moment": "AFTER", "late": "DEFERRABLE INITIALLY DEFERRED"}
        made, words = POSTGRESQL, {**words, **(late if at_commit else early)}
    else:
        made = LATE_SQLITE if at_commit else SQLITE
    for statement in made:
        sql(place, statement.format(**words))
    yield
    sql(place, f"DROP TRIGGER fail{' ON ' + change.split()[-1] if url_of(place) else ''}")
