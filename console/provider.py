"""Signing in at the page of the OpenID provider, and back.

Both addresses are links and no forms: a browser applies the policy of forms to where they lead in the end.
"""

from typing import TYPE_CHECKING

from flask import request
from werkzeug.wrappers import Response as AnyResponse

from auth import public
from console import cookies
from console.addresses import own_page
from console.pages import bp, go_to
from console.sign_in import end_session
from errors import NotFound, SignInFailed
from runtime.state import service

if TYPE_CHECKING:
    from oidc.sign_in import SignIn


@bp.get("/login")
@public
def login() -> AnyResponse:
    flow, tls = _flow()
    browser = cookies.away(tls)
    response = go_to(flow.begin(request.args.get("next", ""), browser))
    cookies.keep_away(response, browser, tls)
    return response


@bp.get("/callback")
@public
def callback() -> AnyResponse:
    flow, tls = _flow()
    arrival = flow.finish(_answer(), cookies.away(tls))
    opened = service().sessions.open(arrival.person)
    end_session()
    response = go_to(own_page(arrival.target))
    cookies.keep(response, opened, tls)
    return response


def _flow() -> "tuple[SignIn, bool]":
    """The sign-in, and whether browsers speak TLS to the public URL. Raises NotFound if there is none."""
    flow = service().sign_in
    if flow is None:
        raise NotFound
    return flow, (service().settings.public_url or "").startswith("https:")


def _answer() -> dict[str, str]:
    """What the browser brought from the provider. Raises SignInFailed for a parameter that stands twice."""
    given = request.args.to_dict(flat=False)
    if any(len(values) > 1 for values in given.values()):
        raise SignInFailed("a parameter stands twice")
    return {name: values[0] for name, values in given.items()}
