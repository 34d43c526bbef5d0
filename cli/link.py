"""The link that opens the console, with a code that works once."""

from datetime import timedelta

from runtime.state import service

SESSION = timedelta(hours=12)  # unless the command says otherwise


def link(address: str, owner: str, role: str, tenant: str, lifetime: timedelta) -> str:
    """The code stands behind the `#`, which browsers send to nobody. Raises DatabaseUnavailable."""
    code = service().sessions.invite(owner, role, tenant, lifetime)
    return f"{address.rstrip('/')}/console/sign-in#{code}"
