"""deploy/Dockerfile and deploy/compose.yaml: the steps of the one carried out without an image engine, the other read.

In place of the image that it builds on stands a root of this machine's own programs. All else is what the file says: it
is copied, installed and started as there, on a read-only root, as a user that nothing knows, as process 1.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.machine import ROOT, missing
from tests.servers import free_port

pytestmark = pytest.mark.ecosystem

FILE = ROOT / "deploy" / "Dockerfile"
STRANGER = 54321  # a user and a group without a name
SHARED = ("usr", "bin", "sbin", "lib", "lib64", "etc", "dev")  # of this machine
PLACES = ("opt", "tmp", "proc", "root")
PREFIX = Path(sys.base_prefix)
PROGRAMS = f"{PREFIX}/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def steps() -> list[tuple[str, str]]:
    lines = [line for line in FILE.read_text().splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def the(instruction: str) -> str:
    [found] = [rest for word, rest in steps() if word == instruction]
    return found


class Image:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment: dict[str, str] = {"PATH": PROGRAMS, "HOME": "/tmp"}  # noqa: S108  (within the root)
        self.workdir = "/"

    def build(self) -> None:
        for name in PLACES:
            (self.root / name).mkdir()
        for word, rest in steps():
            getattr(self, f"_{word.lower()}", lambda rest: None)(rest)

    def command(self, *words: str, user: int = 0, read_only: bool = False) -> list[str]:
        """Runs the words in the root, as process 1 of a PID namespace."""
        places = [PREFIX, *(Path("/", name) for name in SHARED)]
        mounts = [f"mount --rbind {place} {self.root}{place}" for place in places if self._is_place(place)]
        if read_only:
            mounts += [
                f"mount --bind {self.root} {self.root} && mount -o remount,bind,ro {self.root}",
                *(f"mount --rbind {place} {self.root}{place}" for place in places if self._is_place(place)),
                f"mount --bind {self.root}.data {self.root}/data",
                f"mount -t tmpfs -o mode=1777 tmpfs {self.root}/tmp",  # noqa: S108  (within the root)
            ]
        given = shlex.join([f"{name}={value}" for name, value in self.environment.items()])
        inside = f"cd {self.workdir} && exec {shlex.join(words)}"
        change = f"chroot --userspec={user}:{user} --groups= {self.root}"
        chroot = f"exec env -i {given} {change} /bin/sh -c {shlex.quote(inside)}"
        script = " && ".join([*mounts, f"mount -t proc proc {self.root}/proc", chroot])
        return ["unshare", "-m", "-p", "-f", "sh", "-c", script]

    def _is_place(self, place: Path) -> bool:
        """Makes the place to mount on, or the link that this machine has there."""
        inside = Path(f"{self.root}{place}")
        if place.is_symlink():
            if not inside.is_symlink():
                inside.symlink_to(place.readlink())
            return False
        if place.exists():
            inside.mkdir(parents=True, exist_ok=True)
        return place.exists()

    def _env(self, rest: str) -> None:
        self.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))

    def _workdir(self, rest: str) -> None:
        self.workdir = rest
        Path(f"{self.root}{rest}").mkdir(parents=True, exist_ok=True)

    def _copy(self, rest: str) -> None:
        *sources, target = rest.split()
        place = Path(f"{self.root}{self.workdir}", target)
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, place)

    def _run(self, rest: str) -> None:
        done = subprocess.run(
            self.command("/bin/sh", "-c", rest),
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        missing("a root file system of its own", "run this test as root, with unshare of util-linux")
    made = Image(tmp_path_factory.mktemp("image") / "root")
    made.root.mkdir()
    for parent in (made.root, *made.root.parents[:3]):
        parent.chmod(0o755)  # pytest keeps its folders from other users
    made.build()
    volume = Path(f"{made.root}.data")
    volume.mkdir(mode=0o700)
    os.chown(volume, STRANGER, STRANGER)
    return made


@contextmanager
def running(image: Image) -> Iterator[tuple[str, int]]:
    """The address, and the process as the outside sees it."""
    port = free_port()
    words = [*json.loads(the("CMD")), "--port", str(port)]
    started = subprocess.Popen(
        image.command(*words, user=STRANGER, read_only=True), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(url, started)
        [process] = inside(started)
        yield url, process
    finally:
        for process in inside(started):
            os.kill(process, signal.SIGKILL)
        started.communicate(timeout=20)


def inside(started: subprocess.Popen[bytes]) -> list[int]:
    """Process 1 of the namespace, as the outside sees it."""
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    return [int(child) for child in children.read_text().split()] if started.poll() is None else []


def wait_for(url: str, started: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            requests.get(f"{url}/healthz", timeout=5)
            return
        except requests.ConnectionError:
            assert started.poll() is None, started.communicate()[1].decode()
            time.sleep(0.1)
    raise AssertionError("the service does not answer")


def test_it_serves_as_a_stranger_on_a_read_only_root(image: Image) -> None:
    with running(image) as (url, process):
        assert requests.get(f"{url}/healthz", timeout=5).json() == {"status": "ok"}
        create, backup, restore = typed()
        key = carry_out(image, create)
        assert carry_out(image, backup) == ""
        answer = requests.get(f"{url}/v0/auth", headers={"X-API-Key": key}, timeout=5)
        assert answer.json()["key_name"] == "laptop"
        assert requests.get(f"{url}/console/sign-in", timeout=5).status_code == 200
        status = Path(f"/proc/{process}/status").read_text()
        assert f"Uid:\t{STRANGER}" in status
        assert status.split("NSpid:")[1].split("\n")[0].split()[-1] == "1"
        assert sorted(path.name for path in Path(f"{image.root}.data").iterdir())[1:2] == ["keyhook.db"]
    assert carry_out(image, restore) == ""


def typed() -> list[str]:
    """What docs/operation.md has somebody run in the container."""
    page = (ROOT / "docs" / "operation.md").read_text()
    return re.findall(r"^\$ docker compose .* (?:exec|run --rm) keyhook (.*)$", page, re.MULTILINE)


def carry_out(image: Image, words: str) -> str:
    command = image.command(*shlex.split(words), user=STRANGER, read_only=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_says_that_it_is_healthy(image: Image) -> None:
    words = json.loads(the("HEALTHCHECK").partition("CMD ")[2])
    with running(image) as (url, _):
        asked = [word.replace("http://127.0.0.1:5000", url) for word in words]
        assert subprocess.run(image.command(*asked, user=STRANGER, read_only=True), timeout=60).returncode == 0
    assert subprocess.run(image.command(*asked, user=STRANGER, read_only=True), stderr=-3, timeout=60).returncode != 0


def test_its_stop_signal_ends_it_within_five_seconds(image: Image) -> None:
    with running(image) as (_, process):
        os.kill(process, getattr(signal, the("STOPSIGNAL")))
        ends = time.monotonic() + 5
        while Path(f"/proc/{process}").exists() and time.monotonic() < ends:
            time.sleep(0.05)
        assert not Path(f"/proc/{process}").exists()


def test_it_holds_every_room_and_nothing_of_the_checkout(image: Image) -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"bench", "tests"}
    there = {path.name for path in (image.root / "opt" / "keyhook").iterdir()}
    assert rooms | {"migrations", "deploy", "app.py"} <= there
    assert not {"tests", "bench", ".git", "instance", "Makefile"} & there


def test_the_composition_is_as_closed_as_the_page_says() -> None:
    services: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    keyhook = services["keyhook"]
    assert (keyhook["read_only"], keyhook["cap_drop"]) == (True, ["ALL"])
    assert keyhook["security_opt"] == ["no-new-privileges:true"]
    assert "ports" not in keyhook  # only Caddy is reached from outside
    assert keyhook["volumes"] == ["keys:/data"]
    assert keyhook["environment"]["KEYHOOK_TRUSTED_PROXIES"] == "1"
    assert (ROOT / "deploy" / keyhook["build"]["context"] / keyhook["build"]["dockerfile"]).samefile(FILE)
    assert services["caddy"]["command"][-1] == "keyhook:5000"
