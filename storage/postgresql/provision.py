"""Before the first request: a database that answers, of the newest schema; or a StartupError.

Any number of processes may start at once. The schema is made or changed in one transaction, under a lock: each of them
finds it whole.
"""

from errors import StartupError
from storage.postgresql import schema
from storage.postgresql.address import Address


def provision(address: Address, *, required: bool) -> bool:
    """Makes the tables or brings them up to date; returns whether they are new. Raises StartupError.

    `required`: the tables have to be there.
    """
    try:
        with schema.connection_to(address) as connection:
            if schema.is_newest(connection):
                return False
            connection.rollback()
            found = schema.lock(connection)
            if found is None and required:
                raise StartupError("KEYHOOK_REQUIRE_DATABASE is 1, but the database has no tables of this service")
            schema.bring_up_to_date(connection, found)
            connection.commit()
            return found is None
    except schema.Unfit as unfit:
        raise StartupError(f"KEYHOOK_DATABASE_URL names {unfit}") from None
