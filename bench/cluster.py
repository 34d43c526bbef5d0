"""A PostgreSQL in a temporary directory, on a free port, gone at the end: that of the benchmark and of the tests."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.server import free_port

PASSWORD = "a%pass@word"  # noqa: S105  (of a server that only this machine reaches)


@dataclass(frozen=True)
class Cluster:
    directory: Path
    port: int
    programs: Path

    def url(self, database: str = "keyhook", user: str = "keyhook", port: int | None = None) -> str:
        return f"postgresql://{user}:a%25pass%40word@127.0.0.1:{port or self.port}/{database}"

    def sql(self, *statements: str, database: str = "postgres") -> str:
        """Runs statements as the superuser and returns what they print."""
        words = [
            str(self.programs / "psql"),
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            str(self.directory),
        ]
        words += ["-p", str(self.port), "-U", "postgres", "-d", database]
        for statement in statements:
            words += ["-c", statement]
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def start(self) -> None:
        self._control("start", "-w", "-l", str(self.directory / "log"))

    def stop(self, how: str = "fast") -> None:
        """Ends the server, if it still runs."""
        if self.processes():
            self._control("stop", "-w", "-m", how)

    def restart(self, how: str = "fast") -> None:
        self._control("restart", "-w", "-l", str(self.directory / "log"), "-m", how)

    def processes(self) -> list[int]:
        """Those of the server that run, its first one first."""
        try:
            first = (self.directory / "data" / "postmaster.pid").read_text().split()[0]
            state = Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[0]
            children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        except FileNotFoundError:
            return []
        return [] if state == "Z" else [int(first), *map(int, children)]

    def signal(self, how: signal.Signals) -> None:
        """Sends a signal to all processes of the server."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, how)

    def kill(self) -> None:
        """Ends all processes at once. Shared memory that nobody removed then would be there until the next boot."""
        segment = (self.directory / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
        self.signal(signal.SIGKILL)
        subprocess.run(["ipcrm", "-m", segment], check=True)

    def promote(self) -> None:
        self._control("promote", "-w")

    def _control(self, *words: str) -> None:
        as_server([str(self.programs / "pg_ctl"), "-D", str(self.directory / "data"), *words], self.directory)


def find_programs() -> Path | None:
    """The directory with the programs of a PostgreSQL, the newest that is here."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and not on_path:
        return None
    return Path(found[-1] if found else on_path or "").resolve().parent


def as_server(words: Sequence[str], directory: Path) -> None:
    """Runs a program of the server, which refuses to be root."""
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    subprocess.run(
        words,
        check=True,
        cwd=directory,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        user=user and user.pw_uid,
        group=user and user.pw_gid,
        extra_groups=[] if user else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=120,
    )


@contextmanager
def cluster(programs: Path, place: Path | None = None, /, **settings: str) -> Iterator[Cluster]:
    """A server with the role and the database `keyhook`, in a new directory there or among temporary files."""
    with directory_of_server(place) as directory:
        made = Cluster(directory, free_port(), programs)
        words = ["-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "-E", "UTF8", "--no-sync"]
        as_server([str(made.programs / "initdb"), "-D", str(directory / "data"), *words], directory)
        chosen = {**settings, "port": str(made.port), "unix_socket_directories": str(directory)}
        with (directory / "data" / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in chosen.items())
        made.start()
        try:
            made.sql(f"CREATE ROLE keyhook LOGIN PASSWORD '{PASSWORD}'", "CREATE DATABASE keyhook OWNER keyhook")
            yield made
        finally:
            made.stop("immediate")


@contextmanager
def directory_of_server(place: Path | None = None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="keyhook-pg-", dir=place, ignore_cleanup_errors=True) as made:
        if os.geteuid() == 0:
            shutil.chown(made, "nobody")
        yield Path(made)
