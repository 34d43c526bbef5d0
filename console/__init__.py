"""The pages for people, under /console."""

from flask import Flask

# Each adds its pages to the blueprint.
from console import audit, changes, files, home, keys, problems, provider, sign_in, usage, words  # noqa: F401
from console.home import front
from console.pages import bp


def install(app: Flask) -> None:
    app.jinja_options = {**app.jinja_options, "trim_blocks": True, "lstrip_blocks": True}
    app.register_blueprint(front)
    app.register_blueprint(bp)
