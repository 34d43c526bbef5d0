"""Facts about a request beside its answer, for the headers of the answer and the line in the log."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

ENVIRON_KEY = "keyhook.request"
OTHER = "other"  # stands for the route of paths without one
API_POLICY = "default-src 'none'; frame-ancestors 'none'"


class Refusals(Protocol):
    """Counts the refusals of keys."""

    def refuse(self, key_id: str, *, noted: bool = False) -> None: ...


@dataclass(slots=True)
class RequestInfo:
    """The middleware makes it, the application fills it, and the middleware reads it when the answer begins."""

    id: str | None = None
    who: str = "-"  # the caller, as `<kind>:<name>`
    acting_key: str | None = None  # the id of the caller's own API key
    refusals: Refusals | None = None  # which count it if it is not good enough
    refused_key: str | None = None  # the id of the API key that was refused
    reason: str | None = None  # why the request was refused; for the log alone
    route: str = OTHER  # the rule of the route, for the figures
    check: str | None = None  # the outcome of a check (metrics.REASONS), unless the route and the status tell it
    database_failed: bool = False
    headers: list[tuple[str, str]] = field(default_factory=list)  # of any answer
    policy: str = API_POLICY  # the Content-Security-Policy of the answer
    referrer: str = "no-referrer"  # its Referrer-Policy


def request_info(environ: "WSGIEnvironment") -> RequestInfo:
    """The RequestInfo of a request; a new one if no middleware made it, as in a test's request context."""
    info: RequestInfo | None = environ.get(ENVIRON_KEY)
    if info is None:
        info = environ[ENVIRON_KEY] = RequestInfo()
    return info
