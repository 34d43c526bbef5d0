"""The tables as the migrations leave them: those of the models, and what breaks their constraints is known by name."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from sqlalchemy import UniqueConstraint, inspect, update
from sqlalchemy.exc import IntegrityError

from errors import DatabaseUnavailable
from models import SCHEMA, UNIQUE_NAME, api_keys, db
from storage.database import UniqueViolation
from tests.machine import ROOT
from tests.rows import sql, transaction


def test_models_and_migrations_agree(app: Flask) -> None:
    with transaction(app) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, db.metadata) == []
    newest = max(path.name.partition("_")[0] for path in (ROOT / "migrations" / "versions").glob("[0-9]*.py"))
    assert sql(app, "SELECT version_num FROM alembic_version") == [(newest,)] == [(SCHEMA,)]


@pytest.mark.parametrize("name", db.metadata.tables)
def test_constraints_and_indexes_have_the_names_of_the_models(app: Flask, name: str) -> None:
    table = db.metadata.tables[name]
    with transaction(app) as connection:
        found = inspect(connection)
        unique = [constraint["name"] for constraint in found.get_unique_constraints(name)]
        indexes = [index["name"] for index in found.get_indexes(name) if "duplicates_constraint" not in index]
    wanted = [constraint.name for constraint in table.constraints if isinstance(constraint, UniqueConstraint)]
    assert sorted(map(str, unique)) == sorted(map(str, wanted))
    assert sorted(map(str, indexes)) == sorted(str(index.name) for index in table.indexes)


@pytest.mark.parametrize(
    ("values", "constraint"), [({"tenant": "t", "name": "n"}, UNIQUE_NAME), ({"id": "i"}, "api_keys_id_key")]
)
def test_a_violation_tells_the_name_of_its_constraint(
    app: Flask, mint: Any, values: dict[str, str], constraint: str
) -> None:
    mint("one")
    mint("two")
    with pytest.raises(UniqueViolation) as violation, app.extensions["keyhook"].storage.write("default") as tx:
        tx.execute(update(api_keys).values(values))
    assert violation.value.constraint == constraint


def test_a_value_that_the_table_refuses_is_a_fault_of_ours_and_no_outage(app: Flask, mint: Any, call: Any) -> None:
    mint("one")
    with pytest.raises(IntegrityError) as fault, app.extensions["keyhook"].storage.write("default") as tx:
        tx.execute(update(api_keys).values(owner=None))
    assert not isinstance(fault.value, (UniqueViolation, DatabaseUnavailable))
    assert call("GET", "/v0/api_keys").json[0]["owner"] == "alice"
