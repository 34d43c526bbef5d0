"""The command line: `flask token`, `flask keys`, `flask backup`, `flask restore`, `flask serve`."""

from flask import Flask

from cli import backup, keys, restore, serve, token


def install(app: Flask) -> None:
    for part in (token, keys, backup, restore, serve):
        part.install(app)
