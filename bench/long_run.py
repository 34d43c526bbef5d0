"""Ten minutes of everything at once: whether memory and open files stay what they are, and every line has one form."""

import itertools
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from bench.pages import cookie
from bench.server import SERVE, Server, running
from bench.service import REAL_KEYS, fill, quiet_app
from bench.tables import at_most, header, row
from identity.tokens import make_token

# As docs/operation.md describes it; a line of another form is one that no log collector reads.
LINE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [A-Z]+ [A-Z]+ /\S* \d{3} \d+\.\dms who=\S+ id=\S+ ip=\S+( .*)?")
SETTLED = 60.0  # seconds after which memory may grow no more
PAUSE = 0.002  # seconds between two requests of one client
MB = 10  # that it may grow by


class Sample(NamedTuple):
    seconds: float
    resident: float  # MB
    files: int


Ask = Callable[[str, str, dict[str, str], object], int]


def mixed_load(directory: Path, seconds: float) -> None:
    data_dir, log = directory / "long", directory / "long.log"
    with quiet_app(KEYHOOK_DATA_DIR=data_dir) as app:
        keys, page = fill(data_dir, REAL_KEYS), {"Cookie": f"keyhook_session={cookie(app)}"}
        secret = app.extensions["keyhook"].settings.secret_key
    admin = {"Authorization": f"Bearer {make_token(secret, 'alice', 'admin', 'default', timedelta(days=1))}"}
    with running(SERVE, "/healthz", log, KEYHOOK_DATA_DIR=str(data_dir)) as server:
        done, end = Counter[str](), threading.Event()
        clients = [
            threading.Thread(target=each, args=(server, done, end))
            for each in (checking(keys), checking(keys[::-1]), changing(admin), looking(admin, page))
        ]
        for client in clients:
            client.start()
        samples = watched(server, seconds)
        end.set()
        for client in clients:
            client.join()
    report(samples, done, log)


def checking(keys: list[str]) -> Callable[[Server, Counter[str], threading.Event], None]:
    def run(server: Server, done: Counter[str], end: threading.Event) -> None:
        for key in itertools.cycle(keys):
            if end.wait(PAUSE):
                return
            done[f"check {ask(server, 'GET', '/v0/auth', {'X-API-Key': key})}"] += 1

    return run


def changing(admin: dict[str, str]) -> Callable[[Server, Counter[str], threading.Event], None]:
    """Mints, changes, rotates and deletes, so that there are as many keys at the end."""

    def run(server: Server, done: Counter[str], end: threading.Event) -> None:
        for number in itertools.count():
            path = f"/v0/api_keys/long-{number}"
            for method, where, body in (
                ("POST", "/v0/api_keys", {"name": f"long-{number}"}),
                ("PATCH", path, {"description": "x"}),
                ("POST", f"{path}/rotate", {"grace_seconds": 60}),
                ("DELETE", path, None),
            ):
                if end.wait(PAUSE):
                    return
                done[f"{method} {ask(server, method, where, admin, body)}"] += 1

    return run


def looking(admin: dict[str, str], page: dict[str, str]) -> Callable[[Server, Counter[str], threading.Event], None]:
    def run(server: Server, done: Counter[str], end: threading.Event) -> None:
        pages = [
            ("/v0/api_keys?limit=50", admin),
            ("/console/keys", page),
            ("/console/audit", page),
            ("/metrics", admin),
        ]
        for path, headers in itertools.cycle([*pages, ("/v0/auth", {"X-API-Key": "wrong"})]):
            if end.wait(10 * PAUSE):
                return
            done[f"{path} {ask(server, 'GET', path, headers)}"] += 1

    return run


def ask(server: Server, method: str, path: str, headers: dict[str, str], body: object = None) -> int:
    data = json.dumps(body).encode() if body is not None else None
    more = {"Content-Type": "application/json"} if data else {}
    request = urllib.request.Request(server.url + path, data, {**headers, **more}, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  (http to this machine)
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def watched(server: Server, seconds: float) -> list[Sample]:
    started, found = time.perf_counter(), list[Sample]()
    while (passed := time.perf_counter() - started) < seconds:
        files = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
        found.append(Sample(passed, server.resident(), files))
        time.sleep(1)
    return found


def report(samples: list[Sample], done: Counter[str], log: Path) -> None:
    settled = [sample for sample in samples if sample.seconds >= min(SETTLED, samples[-1].seconds / 2)]
    first, last = settled[0], settled[-1]
    grown = max(sample.resident for sample in settled) - first.resident
    lines = log.read_bytes().splitlines()
    odd = [line for line in lines if not LINE.fullmatch(line) and b"listens on" not in line]
    header(f"{samples[-1].seconds:,.0f} seconds of mixed load, {done.total():,} requests", "", "target")
    row(f"resident after {first.seconds:,.0f} s, MB", f"{first.resident:.1f}", "")
    row("most that it grew by later, MB", f"{grown:.1f}", at_most(grown, MB))
    row("open files then, and at the end", f"{first.files}, {last.files}", at_most(last.files - first.files, 4))
    row("lines in the log", f"{len(lines):,}", "")
    row("lines of another form", f"{len(odd):,}", at_most(len(odd), 0))
    for what, number in sorted(done.items()):
        row(what, f"{number:,}", "")
    for line in odd[:5]:
        print(line.decode(errors="replace")[:200])
