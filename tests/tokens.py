"""The claims of a token that a test signs itself."""

import time
from typing import Any


def claims(**changes: Any) -> dict[str, Any]:
    """Those of a good token, with the changes; `...` leaves a claim out."""
    now = int(time.time())
    whole = {
        "iss": "keyhook", "aud": "keyhook", "sub": "alice", "iat": now, "exp": now + 600, "role": "admin", **changes,
    }  # fmt: skip
    return {claim: value for claim, value in whole.items() if value is not ...}
