"""/v0/revoke: whoever holds a key may end it (RFC 7009)."""

from flask import request

from api.resource import Resource, Tag
from auth import client_address, public
from errors import AuthenticationFailed, DatabaseUnavailable
from identity.principal import RequestOrigin
from observability.request_info import request_info
from runtime.state import service
from schemas import RevocationRequest
from web.contract import answers, fails, takes_form

bp = Resource("revocation", __name__, Tag.KEYS)


@bp.post("/v0/revoke")
@public
@takes_form(RevocationRequest)
@answers(200)
@fails(DatabaseUnavailable)
def revoke(form: dict[str, str]) -> None:
    """End a key that one holds, without any other credential (RFC 7009).

    A good key is disabled at once, and only a person can enable it again. The answer is the same whatever the token
    is, so it tells nobody whether a key is good.
    """
    info = request_info(request.environ)
    try:
        holder = service().authenticator.holder_of_key(form["token"])
        info.who, info.acting_key = f"{holder.kind}:{holder.key_name}", holder.key_id
        service().keyring(holder, RequestOrigin(client_address(), info.id)).revoke()
    except AuthenticationFailed as refusal:
        refusal.note(info)
