"""Keys as a household has them, for the browser: in use, unused, ending, ended, in a family, with hostile names."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from formats.times import timestamp
from keys.uses import today
from models import uses
from tests.rows import move, sql, transaction
from tests.servers import Server

Kept = tuple[str, dict[str, Any], float, float | None, float | None, float]
# The name, what is sent, and the row's ages: days since the creation and the last use, days to the end, uses a day.
HOUSE: list[Kept] = [
    ("paperless-scanner", {"scopes": ["documents:write"], "description": "Brother ADS in the hall"}, 310, 0.2, 55, 14),
    ("grafana-scraper", {"scopes": ["metrics:read"], "description": "Every 15 s, from the VM"}, 204, 0.0002, 161, 5760),
    ("ci-deploy", {"scopes": ["registry:push", "deploy:staging"], "description": "GitLab runner"}, 143, 0.02, 222, 120),
    ("写真バックアップ", {"scopes": ["photos:read"], "description": "居間のタブレット"}, 61, 0.8, 304, 9),
    ("نسخة احتياطية", {"scopes": ["storage:read"]}, 44, 2, 46, 3),
    ("old-homepage", {"scopes": ["status:read"], "description": "The display in the hallway"}, 400, 2.1, -2, 290),
    ("leaked-in-chat", {"scopes": ["photos:read"], "description": "Pasted into the group chat"}, 33, 4, None, 6),
    ("frigate", {"scopes": ["cameras:read", "events:write"], "description": "NVR"}, 190, 0.001, None, 2100),
    ("pantry-labels", {"scopes": ["print:write"]}, 260, 131, None, 0),
    (
        "Förderkörbchen-Überwachungsdienst für die Nebenstelle Süd (Testbetrieb, bitte nicht löschen)",
        {"scopes": ["metrics:read", "alerts:write", "status:read", "inventory:read"], "description": "Ein langer Name"},
        12, 1, 78, 31,
    ),
    ("tablet-kitchen", {"scopes": ["recipes:read"]}, 100, 0.1, 9, 22),
    ("webhook-relay", {"scopes": ["events:write"]}, 0.1, None, 90, 0),
]  # fmt: skip

HOSTILE: list[Kept] = [
    ("<img src=x onerror=alert(1)>", {"scopes": ["a" * 64], "description": "<script>"}, 9, None, 81, 0),
    ("W" * 100, {"description": "W" * 500}, 8, None, 82, 0),
]
PARENT: Kept = (
    "photos-backup",
    {},
    87.0,
    0.003,
    3.2,
    48,
)


def furnish(server: Server, kept: list[Kept]) -> dict[str, str]:
    """Makes the keys and a family; returns the id of each by its name."""
    family = server.mint("photos-backup", role="write", scopes=["photos:read"], description="restic on the NAS")
    for volume in ("family", "raw", "video"):
        child = server.mint(f"photos-backup-{volume}", by=family, scopes=["photos:read"])
    server.mint("photos-backup-video-transcode", by=child, scopes=["photos:read"])
    server.call("DELETE", "/v0/api_keys/photos-backup-video")
    for name, sent, *_ in kept:
        server.mint(name, **{"role": "read", **sent})
    server.call("PATCH", "/v0/api_keys/leaked-in-chat", json={"disabled": True})
    server.call("POST", "/v0/api_keys/ci-deploy/rotate", json={"grace_seconds": 18 * 3600})
    for name, _, made, used, ends, _ in [*kept, PARENT]:
        move(server.data_dir, name, created_at=_at(-made), expires_at=ends and _at(ends), **_use(used))
    ids = {name: str(key_id) for name, key_id in sql(server.data_dir, "SELECT name, id FROM api_keys")}
    _count(server, ids, kept)
    return ids


def _count(server: Server, ids: dict[str, str], kept: list[Kept]) -> None:
    luck = random.Random(7)
    rows = []
    for name, _, _, _, _, level in [*kept, PARENT]:
        numbers = [max(0, int(luck.gauss(level, level * 0.35))) for _ in range(30)] if level else []
        if numbers:
            counts = " ".join(map(str, numbers))
            rows.append({"key_id": ids[name], "through": today().isoformat(), "counts": counts})
    with transaction(server.data_dir) as connection:
        connection.execute(insert(uses), rows)


def _use(ago: float | None) -> dict[str, str | None]:
    return {"last_used_at": None if ago is None else _at(-ago), "last_used_ip": None if ago is None else "192.168.1.40"}


def _at(days: float) -> str:
    return timestamp(datetime.now(UTC) + timedelta(days=days))
