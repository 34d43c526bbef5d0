"""Runs the migrations on the connection of a starting service, or on a scratch file for `make migration`."""

from alembic import context
from sqlalchemy import Connection, create_engine

from models import db


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=db.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with create_engine("sqlite:///scratch.db").connect() as scratch:
        run(scratch)
