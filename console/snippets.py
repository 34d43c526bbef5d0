"""Ready-made texts that put a key to use."""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlencode


class Snippet(NamedTuple):
    name: str
    label: str
    note: str
    text: str


def snippets(address: str, tenant: str, scopes: Sequence[str], key: str = "kh_…") -> list[Snippet]:
    """For the service at that address. Only the first one holds the key; the others take it from the environment."""
    query = urlencode([("tenant", tenant), *(("scope", scope) for scope in scopes)])
    return [
        Snippet("env", ".env", "In a file that only the service can read (chmod 600).", f"KEYHOOK_KEY={key}"),
        Snippet(
            "curl",
            "curl",
            "Takes the key from the environment, so that it does not end up in the history of the shell.",
            f'curl -H "X-API-Key: $KEYHOOK_KEY" \\\n     "{address}/v0/auth?{query}"',
        ),
    ]
