"""What a JSON Schema cannot say about this service, said to Schemathesis, which loads this file by itself."""

import unicodedata
from datetime import UTC, datetime
from typing import Any

import schemathesis
from hypothesis import strategies

FUTURE = "2099-01-01T00:00:00Z"

printable = strategies.text(strategies.characters(codec="utf-8").filter(str.isprintable), min_size=1, max_size=100)
schemathesis.openapi.format(
    "key-name", printable.filter(lambda text: text.strip() == text and unicodedata.is_normalized("NFC", text))
)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """What ends must end later; a key that was renamed is not lost; an X-API-Key that is empty is none."""
    body = case.body
    if case.meta and case.meta.generation.mode.is_positive and isinstance(body, dict):
        if is_past(body.get("expires_at")):
            body["expires_at"] = FUTURE
        if case.meta.phase.name == "stateful" and case.method == "PATCH":
            body.pop("name", None)
    if case.path == "/v0/auth" and not (case.headers or {}).get("X-API-Key", "-").strip():
        del case.headers["X-API-Key"]


def is_past(moment: Any) -> bool:
    return isinstance(moment, str) and datetime.fromisoformat(moment.upper()) <= datetime.now(UTC)
