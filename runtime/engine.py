"""Which database the settings name: the one place that chooses between SQLite and PostgreSQL.

What PostgreSQL needs is imported only where it is chosen.
"""

from typing import Any

from sqlalchemy import URL, Engine

from runtime.settings import Settings
from storage.database import Storage
from storage.source import Source


def flask_config(settings: Settings) -> dict[str, Any]:
    """For Flask-SQLAlchemy."""
    if settings.postgresql:
        from storage.postgresql.database import reader_options

        options = reader_options(settings.postgresql)
        return {"SQLALCHEMY_DATABASE_URI": "postgresql+psycopg://", "SQLALCHEMY_ENGINE_OPTIONS": options}
    from storage.sqlite.connection import engine_options

    url = URL.create("sqlite", database=str(settings.database))
    return {"SQLALCHEMY_DATABASE_URI": url, "SQLALCHEMY_ENGINE_OPTIONS": engine_options(settings.database)}


def provision(settings: Settings) -> bool:
    """Makes the database or brings it up to date; returns whether it is new. Raises StartupError."""
    if settings.postgresql:
        from storage.postgresql import provision as postgresql

        return postgresql.provision(settings.postgresql, required=settings.require_database)
    from storage.sqlite import provision as sqlite

    return sqlite.provision(settings.database, settings.secret_file)


def open_storage(engine: Engine, settings: Settings) -> Storage:
    """The database, once it is provisioned. Raises DatabaseUnavailable."""
    if settings.postgresql:
        from storage.postgresql.database import PostgresStorage

        return PostgresStorage(engine, settings.postgresql)
    from storage.sqlite.database import SqliteStorage

    return SqliteStorage(engine, settings.database)


def source_of_copy(settings: Settings) -> Source:
    """The database as one that is copied into another."""
    if settings.postgresql:
        from storage.postgresql.copy_source import PostgresSource

        return PostgresSource(settings.postgresql)
    from storage.sqlite.copy_source import SqliteSource

    return SqliteSource(settings.database)
