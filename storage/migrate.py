"""The versions of the schema: Alembic on a connection."""

from pathlib import Path

from sqlalchemy import Connection

from models import SCHEMA

MIGRATIONS = Path(__file__).parent.parent / "migrations"


def is_newest(version: str) -> bool:
    return version == SCHEMA


def is_known(version: str) -> bool:
    """Whether this service can bring a database of this version up to date."""
    return version in {SCHEMA, *(file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))}


def bring_up_to_date(connection: Connection) -> None:
    """Runs the missing migrations in the caller's transaction. Raises DBAPIError."""
    # Imported here because most starts find the newest schema and do not need it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
