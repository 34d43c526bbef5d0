"""Where a PostgreSQL database is: a URI as libpq reads it, which usually holds a password."""

from dataclasses import dataclass, field

from psycopg import Error
from psycopg.conninfo import conninfo_to_dict, make_conninfo

CONNECT_TIMEOUT = 2  # seconds for each host
DEFAULTS: dict[str, str | int | None] = {
    "connect_timeout": CONNECT_TIMEOUT,
    "target_session_attrs": "read-write",
    "application_name": "keyhook",
}
SHOWN = {"host", "hostaddr", "port", "dbname", *DEFAULTS}


@dataclass(frozen=True)
class Address:
    text: str = field(repr=False)  # may be given to libpq

    def hide(self, message: str) -> str:
        """The first line of a message of libpq, without anything of the address that may be secret."""
        line = message.strip().partition("\n")[0]
        for name, value in conninfo_to_dict(self.text).items():
            if value and name not in SHOWN:
                line = line.replace(str(value), "***")
        return line


def read_address(uri: str) -> Address:
    """Raises ValueError, which says nothing of the URI, where libpq cannot read it or would read it in two ways.

    Only a server that takes writes is connected to, so that after a failover it is the right one.
    """
    authority = uri.partition("://")[2].partition("/")[0].partition("?")[0]
    if authority.count("@") > 1 or "#" in uri:
        raise ValueError
    try:
        given = conninfo_to_dict(uri)
        if not given.get("dbname"):
            raise ValueError
        return Address(make_conninfo("", **{**DEFAULTS, **given}))
    except Error:
        raise ValueError from None
