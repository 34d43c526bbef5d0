"""The command line: `flask token`, `keys`, `backup`, `restore`, `copy-database` and `serve`."""

from flask import Flask

from cli import backup, copy_database, keys, restore, serve, token


def install(app: Flask) -> None:
    for part in (token, keys, backup, restore, copy_database, serve):
        part.install(app)
