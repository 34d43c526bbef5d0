"""What a JSON Schema cannot say about this service, said to Schemathesis, which loads this file by itself.

The format of a name is not registered with it: whatever it was told to generate it would then hold every text to be
wrong in, and with that the whole body, so that each valid one counted as accepted by mistake.
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
    """A name is printable, what ends must end later, a key that was renamed is not lost, an empty X-API-Key is none.

    An id is that of a key, and after a dry run a key is still there.
    """
    positive = case.meta and case.meta.generation.mode.is_positive
    stateful = case.meta and case.meta.phase.name == "stateful"
    body = case.body
    if positive and isinstance(body, dict):
        if "name" in body and not is_name(body["name"]):
            body["name"] = str(uuid4())
        if is_past(body.get("expires_at")):
            body["expires_at"] = FUTURE
        if stateful and case.method == "PATCH":
            body.pop("name", None)
    if case.method == "DELETE" and positive and "id" in (case.query or {}):
        case.query["id"] = mint(case.operation.base_url)
    if case.method == "DELETE" and stateful and (case.query or {}).get("dry_run") in (True, "true"):
        del case.query["dry_run"]
    if case.path == "/v0/auth" and not (case.headers or {}).get("X-API-Key", "-").strip():
        del case.headers["X-API-Key"]


def mint(url: str) -> str:
    """The id of a new key."""
    headers = {"Authorization": f"Bearer {os.environ['FUZZING_TOKEN']}"}
    made = requests.post(f"{url.rstrip('/')}/v0/api_keys", json={"name": str(uuid4())}, headers=headers, timeout=30)
    return str(made.json()["id"])


def is_name(text: str) -> bool:
    """What the `key-name` of the document says beyond its pattern and length."""
    return text.isprintable() and text.strip() == text and unicodedata.is_normalized("NFC", text)


def is_past(moment: Any) -> bool:
    return isinstance(moment, str) and datetime.fromisoformat(moment.upper()) <= datetime.now(UTC)
