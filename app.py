"""Keyhook: API keys for everything a team or a homelab runs. `flask run` is enough to start it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask, Request
from sqlalchemy import URL
from werkzeug.routing import MapAdapter

import auth
import cli
import errors
from api import audit, docs, forward_auth, health, introspection, keys, openapi
from cli import first_key
from models import db
from observability import logs
from observability.terminal import is_choosing_command, refuse_debugger
from runtime import settings, state
from serving import stopping
from storage.sqlite.connection import engine_options
from web import middleware

DEFAULTS: dict[str, Any] = {
    "KEYHOOK_DATA_DIR": Path(__file__).with_name("instance"),
    "KEYHOOK_DATABASE_URL": None,  # sqlite:///<data dir>/keyhook.db
    "KEYHOOK_SECRET_KEY": None,  # the file secret_key in the data dir
    "KEYHOOK_KEY_PREFIX": "kh",
    "KEYHOOK_BCRYPT_ROUNDS": 4,
    "KEYHOOK_TRUSTED_PROXIES": 0,
    "KEYHOOK_REQUIRE_DATABASE": 0,
}


class Keyhook(Flask):
    """Flask without what it does on every request and nothing here needs."""

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Routes by path and method alone. Flask would refuse some hosts, whereas every URL that is answered here is
        relative, take the handshake of a WebSocket for another kind of route, and overlook a second slash in front."""
        if request is None or self.config["TRUSTED_HOSTS"] is not None:
            return super().create_url_adapter(request)
        path = "/" if request.environ.get("PATH_INFO", "").startswith("//") else request.path
        host = request.environ.get("HTTP_HOST") or "localhost"
        return MapAdapter(self.url_map, host, request.root_path, "", request.scheme, path, request.method)


def _end_session(_: BaseException | None) -> None:
    """Flask-SQLAlchemy's own looks for a session of this request where nobody has any; nothing here uses one."""
    if db.session.registry.registry:
        db.session.remove()


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The service, its files made and its schema brought up to date; for a command, only once that asks for it.

    `config` comes before the environment and the defaults, under the same names. Raises StartupError.
    """
    refuse_debugger()
    app = Keyhook(__name__, static_folder=None)
    app.view_functions = auth.Views()
    app.config.from_mapping({**DEFAULTS, **settings.environment(DEFAULTS), **(config or {})})
    chosen = settings.load(app.config)
    app.config["SQLALCHEMY_DATABASE_URI"] = URL.create("sqlite", database=str(chosen.database))
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(chosen.database)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False  # or it would redirect, in HTML
    logs.set_up(app.name)
    db.init_app(app)
    app.teardown_appcontext_funcs[:] = [_end_session]
    app.extensions[state.SETTINGS] = chosen
    for part in (errors, cli):
        part.install(app)
    for blueprint in (keys.bp, forward_auth.bp, introspection.bp, audit.bp, health.bp, openapi.bp, docs.bp):
        app.register_blueprint(blueprint)
    app.wsgi_app = middleware.Middleware(app.wsgi_app, chosen.trusted_proxies)  # type: ignore[method-assign]
    if not is_choosing_command():
        with app.app_context():
            state.service()
        stopping.install(app)
        first_key.say_how(app)
    return app
