"""/healthz: whether the database answers."""

from flask import Blueprint

from auth import public
from runtime.state import service
from schemas import (
    Health,
    NoParameters,
)
from web.contract import answers, takes_query

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@public
@takes_query(NoParameters)
@answers(200, Health)
def healthz() -> dict[str, str]:
    """Say whether the database answers."""
    service().storage.ping()
    service().keys.last_use.flush()
    return {"status": "ok"}
