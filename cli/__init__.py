"""The command line: `flask token`, `console`, `keys`, `backup`, `restore`, `copy-database`, `oidc` and `serve`."""

from flask import Flask

from cli import backup, console, copy_database, keys, oidc, restore, serve, token


def install(app: Flask) -> None:
    for part in (token, console, keys, backup, restore, copy_database, oidc, serve):
        part.install(app)
