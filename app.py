"""Keyhook: API keys for everything a team or a homelab runs. `flask run` is enough to start it."""

from collections.abc import Mapping
from typing import Any

from flask import Flask

import auth
import cli
import console
import errors
from api import audit, docs, forward_auth, gate, health, introspection, keys, openapi, revocation
from api import metrics as metrics_api
from cli import first_key, keys_file
from models import db
from observability import logs, metrics
from observability.terminal import is_choosing_command, is_server
from runtime import engine, settings, state
from serving import development, stopping
from web.bounded_wait import BoundedWait
from web.middleware import Middleware

DEFAULTS: dict[str, Any] = settings.DEFAULTS  # by variable, for a program around


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Makes the service, with its files created and its schema up to date; for a command, only when it needs them.

    `config` overrides the environment and the defaults, under the same names. Raises StartupError.
    """
    development.refuse_debugger()
    app = Flask(__name__, static_folder=None)
    app.config.from_mapping({**DEFAULTS, **settings.environment(), **(config or {})})
    chosen = settings.load(app.config)
    app.config.from_mapping(engine.flask_config(chosen))
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False  # or it would redirect, in HTML
    logs.set_up(app.name)
    db.init_app(app)
    app.extensions[state.SETTINGS] = chosen
    figures = app.extensions[metrics.EXTENSION] = metrics.Figures(chosen.data_dir / "metrics")
    for part in (errors, cli):
        part.install(app)
    for blueprint in (
        keys.bp,
        forward_auth.bp,
        introspection.bp,
        revocation.bp,
        audit.bp,
        health.bp,
        metrics_api.bp,
        openapi.bp,
        docs.bp,
    ):
        app.register_blueprint(blueprint)
    if chosen.console:
        console.install(app)
    app.before_request(auth.require_stated_access)
    app.wsgi_app = Middleware(gate.Gate(app), chosen.trusted_proxies, figures)  # type: ignore[method-assign]
    if chosen.postgresql:
        app.wsgi_app = BoundedWait(app.wsgi_app)  # type: ignore[method-assign]
    if not is_choosing_command():
        opened = state.state_of(app)
        keys_file.apply_at_start(app)
        if is_server():
            opened.begin()
        stopping.install(app)
        first_key.print_first_steps(app)
    return app
