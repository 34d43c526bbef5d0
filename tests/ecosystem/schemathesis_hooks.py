"""Tells Schemathesis the rules that JSON Schema cannot express. Schemathesis loads this file by itself.

The format of a name is not registered: Schemathesis would then take every text for an invalid name, and count each
accepted body as a mistake.
"""

import os
import unicodedata
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import requests
import schemathesis

FUTURE = "2099-01-01T00:00:00Z"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Makes a request fit the rules: names are printable, ends lie in the future, networks are networks.

    X-API-Key is not empty. An id is that of a new key; the audit is read in one direction. A stateful test renames no
    key and makes no dry run, so that it can predict the next answer.
    """
    positive = case.meta and case.meta.generation.mode.is_positive
    stateful = case.meta and case.meta.phase.name == "stateful"
    body = case.body
    if positive and isinstance(body, dict):
        if "name" in body and not is_name(body["name"]):
            body["name"] = str(uuid4())
        if body.get("networks"):
            body["networks"] = ["192.0.2.0/24", "2001:db8::1"][: len(body["networks"])]
        if is_past(body.get("expires_at")):
            body["expires_at"] = FUTURE
        if stateful and case.method == "PATCH":
            body.pop("name", None)
    if case.method == "DELETE" and positive and "id" in (case.query or {}):
        case.query["id"] = mint(case.operation.base_url)
    if case.method == "DELETE" and stateful and (case.query or {}).get("dry_run") in (True, "true"):
        del case.query["dry_run"]
    if case.path == "/v0/audit" and positive and {"before", "after"} <= set(case.query or {}):
        del case.query["before"]
    if case.path == "/v0/auth" and not (case.headers or {}).get("X-API-Key", "-").strip():
        del case.headers["X-API-Key"]


def mint(url: str) -> str:
    """The id of a new key."""
    headers = {"Authorization": f"Bearer {os.environ['FUZZING_TOKEN']}"}
    made = requests.post(f"{url.rstrip('/')}/v0/api_keys", json={"name": str(uuid4())}, headers=headers, timeout=30)
    return str(made.json()["id"])


def is_name(text: str) -> bool:
    """Checks the rules of the format `key-name` beyond its pattern and length."""
    return text.isprintable() and text.strip() == text and unicodedata.is_normalized("NFC", text)


def is_past(moment: Any) -> bool:
    return isinstance(moment, str) and datetime.fromisoformat(moment.upper()) <= datetime.now(UTC)
