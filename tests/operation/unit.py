"""In place of `systemctl`, on a machine that systemd does not run: it starts and stops what a unit names.

Run as a program with the words of `systemctl`, and in the environment UNIT_ROOT, below which the paths of the unit lie,
and UNIT_PORT instead of 5000. It has none of what systemd limits; tests/serving/test_unit.py has systemd judge that.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PLACES = re.compile(r"/(?:opt|etc|var/lib)/")
# The process of the service stays a child of this shell, which notes how it ended.
KEEP = '"$@" & echo $! >"$UNIT_ROOT/pid"; wait $!; echo $? >"$UNIT_ROOT/status"'


class Unit:
    def __init__(self, root: Path, name: str, port: str) -> None:
        self.root = root
        self.text = (root / "etc" / "systemd" / "system" / f"{name}.service").read_text()
        self.text = PLACES.sub(lambda found: f"{root}{found[0]}", self.text).replace("--port 5000", f"--port {port}")

    def all(self, name: str) -> list[str]:
        return re.findall(rf"^{name}=(.*)$", self.text, re.MULTILINE)

    def the(self, name: str) -> str:
        [found] = self.all(name)
        return found

    def environment(self) -> Iterator[tuple[str, str]]:
        file = Path(self.the("EnvironmentFile").removeprefix("-"))
        lines = file.read_text().splitlines() if file.exists() else []
        for line in [*self.all("Environment"), *lines]:
            name, _, value = line.partition("=")
            yield name, value

    def start(self) -> None:
        (self.root / "status").unlink(missing_ok=True)
        (self.root / "var" / "lib" / self.the("StateDirectory")).mkdir(
            mode=int(self.the("StateDirectoryMode"), 8), parents=True, exist_ok=True
        )
        given = {"PATH": os.environ["PATH"], "UNIT_ROOT": str(self.root), **dict(self.environment())}
        with (self.root / "journal").open("ab") as journal:
            subprocess.Popen(
                ["sh", "-c", KEEP, "sh", *shlex.split(self.the("ExecStart"))],
                cwd=self.the("WorkingDirectory"),
                env=given,
                stdin=subprocess.DEVNULL,
                stdout=journal,
                stderr=journal,
            )

    def stop(self) -> int:
        """The exit status of the service."""
        os.kill(int((self.root / "pid").read_text()), signal.SIGTERM)
        end = time.monotonic() + int(self.the("TimeoutStopSec"))
        status = self.root / "status"
        while not (status.exists() and status.read_text().strip()):
            assert time.monotonic() < end
            time.sleep(0.02)
        return int(status.read_text())


def main(words: list[str], root: Path, port: str) -> int:
    unit = Unit(root, words[-1], port)
    status = unit.stop() if words[0] in ("stop", "restart") else 0
    if words[0] == "enable":
        enabled = subprocess.run([os.environ["SYSTEMCTL"], f"--root={root}", "enable", words[-1]], capture_output=True)
        status = enabled.returncode
    if words[0] in ("start", "restart") or "--now" in words:
        unit.start()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(os.environ["UNIT_ROOT"]), os.environ["UNIT_PORT"]))
