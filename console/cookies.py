"""The cookie of a session. Over TLS it is `__Host-…; Secure`; over plain HTTP in a LAN a browser keeps no such one.

It depends on what the browser speaks, and on no setting: a wrong one would make a sign-in that never sticks.
"""

from datetime import UTC, datetime

from flask import request
from werkzeug.wrappers import Response

from runtime.sessions import Opened
from web.same_origin import speaks_tls

OVER_TLS = "__Host-keyhook"
PLAIN = "keyhook_session"


def session_cookie() -> str:
    """The text of the cookie; empty without one."""
    return request.cookies.get(OVER_TLS) or request.cookies.get(PLAIN, "")


def is_over_tls() -> bool:
    """Whether the browser of a session speaks TLS: only over TLS does it keep that cookie."""
    return request.is_secure or OVER_TLS in request.cookies


def keep(response: Response, opened: Opened) -> None:
    """The browser keeps the cookie until the end of the session."""
    tls = speaks_tls(request.environ)
    ends = datetime.fromisoformat(opened.ends_at)
    response.set_cookie(
        OVER_TLS if tls else PLAIN,
        opened.cookie,
        max_age=max(0, int((ends - datetime.now(UTC)).total_seconds())),
        path="/",
        secure=tls,
        httponly=True,
        samesite="Lax",
    )


def forget(response: Response) -> None:
    for name, tls in ((OVER_TLS, True), (PLAIN, False)):
        if name in request.cookies:
            response.delete_cookie(name, path="/", secure=tls, httponly=True, samesite="Lax")
