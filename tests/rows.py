"""The table of keys: moving the dates of a row, and the names in it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask
from sqlalchemy import update

from formats.times import timestamp
from models import api_keys


def move(app: Flask, name: str, **values: Any) -> None:
    """Changes the dates of a row: so time passes in a test."""
    with app.extensions["keyhook"].storage.write() as tx:
        tx.execute(update(api_keys).where(api_keys.c.name == name).values(values))


def ago(**span: float) -> str:
    return timestamp(datetime.now(UTC) - timedelta(**span))


def names(call: Callable[..., Any]) -> str:
    return " ".join(key["name"] for key in call("GET", "/v0/api_keys").json)
