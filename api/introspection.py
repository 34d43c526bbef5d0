"""/v0/introspect: the meaning of a token, for resource servers (RFC 7662)."""

from datetime import datetime
from typing import Any

from flask import g, request

from api.outcomes import outcome
from api.resource import Resource, Tag
from auth import client_address, requires
from errors import (
    AuthenticationFailed,
    InsufficientPermissions,
    InvalidRequest,
)
from identity.principal import Principal
from identity.tokens import ISSUER
from observability.metrics import GOOD
from observability.request_info import request_info
from runtime.state import service
from schemas import Introspection, IntrospectionRequest
from web.contract import answers, fails, takes_form

bp = Resource("introspection", __name__, Tag.GATE)


@bp.post("/v0/introspect")
@requires("read")
@takes_form(IntrospectionRequest)
@answers(200, Introspection)
@fails(InvalidRequest)
def introspect(form: dict[str, str]) -> dict[str, Any]:
    """Say what a token stands for (RFC 7662).

    The answer is only `{"active": false}` for a token that is not good, of another tenant, or of a person
    without a role.
    """
    info = request_info(request.environ)
    try:
        principal = service().authenticator.authenticate(form["token"], client_address, g.principal.tenant)
    except (AuthenticationFailed, InsufficientPermissions) as refusal:
        refusal.note(info)
        info.check = outcome(refusal)
        return {"active": False}
    info.check = GOOD
    return _described(principal)


def _described(principal: Principal) -> dict[str, Any]:
    described = {
        "active": True,
        "scope": " ".join(principal.scopes) or None,
        "client_id": principal.key_id or principal.client,
        "username": principal.owner,
        "token_type": "Bearer",
        "exp": _seconds(principal.expires_at),
        "iat": _seconds(principal.issued_at),
        "sub": principal.owner,
        "iss": principal.issuer or ISSUER,
        "jti": principal.key_id,
        "tenant": principal.tenant,
        "role": principal.role,
        "key_name": principal.key_name,
    }
    return {member: value for member, value in described.items() if value is not None}


def _seconds(moment: str | None) -> int | None:
    return int(datetime.fromisoformat(moment).timestamp()) if moment else None
