"""/metrics: the figures of the service, for Prometheus.

It answers without the database too, or nobody would learn that it fails: then the numbers of keys are left out.
"""

import hmac
from platform import python_version

from flask import Response, current_app, request

from api.resource import Resource, Tag
from auth import bearer, requires
from errors import DatabaseUnavailable
from keys.census import Numbers
from models import SCHEMA
from observability.build import version
from observability.metrics import EXTENSION
from observability.request_info import request_info
from runtime.state import service
from schemas import NoParameters
from web.contract import documents_text, takes_query

bp = Resource("metrics", __name__, Tag.SERVICE)

MEDIA_TYPE = "text/plain"


def is_scraper() -> bool:
    """Whether the bearer is the one of KEYHOOK_METRICS_TOKEN_FILE, which needs no database."""
    expected, given = service().settings.metrics_token, bearer(request.environ) or ""
    if not expected or not hmac.compare_digest(given.encode("latin-1", "replace"), expected):
        return False
    request_info(request.environ).who = "scraper"
    return True


@bp.get("/metrics")
@requires("read", unless=is_scraper)
@takes_query(NoParameters)
@documents_text(200, MEDIA_TYPE)
def metrics() -> Response:
    """Show the figures of the service, in the text format of Prometheus.

    The bearer may also be the content of the file that `KEYHOOK_METRICS_TOKEN_FILE` names.
    """
    from observability import exposition  # after the start, which it would slow down

    families = []
    if numbers := _numbers():
        families = [
            exposition.gauge("keyhook_keys", "Keys of all tenants.", ["status"], _labelled(numbers.by_status)),
            exposition.gauge(
                "keyhook_keys_expiring",
                "Active keys that end within this time.",
                ["within"],
                _labelled(numbers.expiring),
            ),
        ]
    text = exposition.exposition(current_app.extensions[EXTENSION].totals(), _build(), families)
    return Response(text, content_type=exposition.MEDIA_TYPE)


def _numbers() -> Numbers | None:
    """The numbers of keys; None while the database does not answer, which then counts as its failure."""
    try:
        return service().census.numbers()
    except DatabaseUnavailable as error:
        error.note(info := request_info(request.environ))
        info.database_failed = True
        return None


def _labelled(numbers: dict[str, int]) -> dict[tuple[str, ...], float]:
    return {(name,): number for name, number in numbers.items()}


def _build() -> dict[str, str]:
    database = "postgresql" if service().settings.postgresql else "sqlite"
    return {"version": version(), "python": python_version(), "schema": SCHEMA, "database": database}
