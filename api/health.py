"""/healthz: whether the database answers."""

from api.resource import Resource, Tag
from auth import public
from errors import DatabaseUnavailable
from runtime.state import service
from schemas import (
    Health,
    NoParameters,
)
from web.contract import answers, fails, takes_query

bp = Resource("health", __name__, Tag.SERVICE)


@bp.get("/healthz")
@public
@takes_query(NoParameters)
@answers(200, Health)
@fails(DatabaseUnavailable)
def healthz() -> dict[str, str]:
    """Say whether the database answers."""
    service().storage.ping()
    service().keys.last_use.flush()
    return {"status": "ok"}
