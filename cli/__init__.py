"""The command line: `flask token`, `flask keys`, `flask backup`, `flask restore`, `flask serve`."""

from flask import Flask

from cli import keys, restore, serve


def install(app: Flask) -> None:
    for part in (keys, restore, serve):
        part.install(app)
