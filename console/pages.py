"""The frame of every page: who is signed in, what is refused before a page is asked, the headers, the layout.

A page calls the functions that the API and the command line call, so no rule of keys stands here.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from flask import Blueprint, Response, current_app, g, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from auth import client_address
from console import reader
from console.addresses import here, this_page
from console.cookies import session_cookie
from errors import AuthenticationFailed, ForeignPage, SessionEnded
from formats.private_url import origin_of, site_of
from identity.principal import RequestOrigin
from keys.catalog import Catalog
from keys.tenant_keys import TenantKeys
from observability.build import COMMAND
from observability.request_info import request_info
from runtime.state import service
from web.contract import enter
from web.same_origin import is_own_page


def policy(*form_targets: str) -> str:
    """The policy of a page whose forms lead to this service, and to other origins if there are any."""
    forms = " ".join(("'self'", *form_targets))
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        f"form-action {forms}; frame-ancestors 'none'; base-uri 'none'; "
        "require-trusted-types-for 'script'; trusted-types keyhook"
    )


POLICY = policy()
# A browser's `Origin` is `null` under the policy of the API, and then no form could be told from a foreign one.
REFERRER = "same-origin"
_OFF = ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join([*(f"{feature}=()" for feature in _OFF), "clipboard-write=(self)"]),
    "X-Robots-Tag": "noindex",
}

LOADED = "keyhook-console"  # under which an application notes that its templates are compiled

P = ParamSpec("P")
Page = Callable[P, AnyResponse]

bp = Blueprint("console", __name__, url_prefix="/console", template_folder="templates")


def signed_in(role: str) -> Callable[[Page[P]], Page[P]]:
    """Makes a page require a session with at least this role. Who is signed in is in `g.principal`."""

    def decorate(page: Page[P]) -> Page[P]:
        @wraps(page)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> AnyResponse:
            try:
                recognise()
            except AuthenticationFailed as refusal:
                return _ask_to_sign_in(refusal)
            g.principal.require_role(role)
            return page(*args, **kwargs)

        enter(guarded).access = role
        return guarded

    return decorate


def recognise() -> None:
    """Raises AuthenticationFailed for a request without a living session."""
    g.principal = service().sessions.person(session_cookie())
    info = request_info(request.environ)
    info.who = f"console:{g.principal.owner}"
    if leads_to := way_out():  # by a form, and a browser applies the policy of forms to a redirection as well
        info.policy = policy(*sorted({origin_of(leads_to), origin_of(g.principal.issuer)}))


def way_out() -> str | None:
    """Where the person who is signed in ends the session at the provider too, if it came from there."""
    flow, person = service().sign_in, g.get("principal")
    return flow.way_out() if flow and person and person.issuer == flow.provider.issuer else None


def render(template: str, status: int = 200, **values: Any) -> Response:
    _load_templates()
    return make_response(render_template(f"console/{template}.html", **values), status)


def go_to(address: str) -> AnyResponse:
    """The answer to a form that was done: the browser asks for the page with a GET."""
    return redirect(address, 303)


def catalog() -> Catalog:
    return service().catalog(g.principal)


def keyring() -> TenantKeys:
    """The keys of the person's tenant, in their hands."""
    return service().keyring(g.principal, RequestOrigin(client_address(), request_info(request.environ).id))


@bp.before_request
def _guard() -> None:
    info = request_info(request.environ)
    info.policy, info.referrer = POLICY, REFERRER
    if request.method == "POST" and not is_own_page(request.environ):
        raise ForeignPage


@bp.after_request
def _add_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response


@bp.context_processor
def _shared() -> dict[str, Any]:
    """What the layout needs."""
    flow = service().sign_in
    return {
        "command": COMMAND,
        "provider": site_of(flow.provider.issuer) if flow else None,
        "login": f"{service().settings.public_url}/console/login" if flow else None,
        "person": g.get("principal"),
        "theme": reader.theme(),
        "themes": reader.THEMES,
        "zone_name": str(reader.zone()),
        "back": this_page() if request.method == "GET" else "",
        "here": here,
    }


def _load_templates() -> None:
    """Compiles all of them for the first page. Compiled one by one, in the threads of their first visitors, they would
    take 9 MB instead of 4 (`make bench ARGS=--pages`), since each thread keeps the room that it needed."""
    known = current_app.extensions
    if LOADED not in known:
        known[LOADED] = True
        templates = current_app.jinja_env
        for name in templates.list_templates(filter_func=lambda name: name.startswith("console/")):
            templates.get_template(name)


def _ask_to_sign_in(refusal: AuthenticationFailed) -> AnyResponse:
    if request.method == "POST":
        raise SessionEnded(refusal.reason)
    refusal.note(request_info(request.environ))
    return go_to(url_for("console.sign_in_page", next=this_page()))
