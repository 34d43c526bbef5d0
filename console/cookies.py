"""The cookie of a session. Over TLS it is `__Host-…; Secure`; over plain HTTP in a LAN a browser keeps no such one.

It depends on what the browser speaks, and on no setting: a wrong one would make a sign-in that never sticks. Only the
way back from a provider tells nothing of it; there the public URL does.

A sign-in at a provider has a cookie of its own before there is a session. Several tabs share it, so it stays until it
is old.
"""

import re
import secrets
from datetime import UTC, datetime

from flask import request
from werkzeug.wrappers import Response

from runtime.sessions import Opened
from web.same_origin import speaks_tls

OVER_TLS = "__Host-keyhook"
PLAIN = "keyhook_session"
AWAY_OVER_TLS = "__Host-keyhook_away"  # at a provider, to sign in
AWAY_PLAIN = "keyhook_away"
LONGEST_AWAY = 600  # seconds: as long as a sign-in may take, by oidc/binding.py

_BROWSER = re.compile(r"[A-Za-z0-9_-]{43}")


def session_cookie() -> str:
    """The text of the cookie; empty without one. Over TLS not the one of plain HTTP, which another host of the same
    domain can plant, so that somebody works in a session of its choice."""
    return request.cookies.get(OVER_TLS, "") if request.is_secure else next(iter(session_cookies()), "")


def session_cookies() -> list[str]:
    """That of the session first. Over TLS a browser also sends the one that it got over plain HTTP."""
    return [text for name in (OVER_TLS, PLAIN) if (text := request.cookies.get(name))]


def is_over_tls() -> bool:
    """Whether the browser of a session speaks TLS: only over TLS does it keep that cookie."""
    return request.is_secure or OVER_TLS in request.cookies


def keep(response: Response, opened: Opened, tls: bool | None = None) -> None:
    """The browser keeps the cookie until the end of the session. `tls` is for a request of no own page."""
    tls = speaks_tls(request.environ) if tls is None else tls
    ends = datetime.fromisoformat(opened.ends_at)
    lasts = max(0, int((ends - datetime.now(UTC)).total_seconds()))
    _set(response, OVER_TLS if tls else PLAIN, opened.cookie, lasts, tls)


def away(tls: bool) -> str:
    """What tells this browser from others while it signs in at a provider: new if it has none yet."""
    known = request.cookies.get(AWAY_OVER_TLS if tls else AWAY_PLAIN, "")
    return known if _BROWSER.fullmatch(known) else secrets.token_urlsafe(32)


def keep_away(response: Response, browser: str, tls: bool) -> None:
    _set(response, AWAY_OVER_TLS if tls else AWAY_PLAIN, browser, LONGEST_AWAY, tls)


def _set(response: Response, name: str, value: str, lasts: int, tls: bool) -> None:
    response.set_cookie(name, value, max_age=lasts, path="/", secure=tls, httponly=True, samesite="Lax")


def forget(response: Response) -> None:
    for name, tls in ((OVER_TLS, True), (PLAIN, False)):
        if name in request.cookies:
            response.delete_cookie(name, path="/", secure=tls, httponly=True, samesite="Lax")
