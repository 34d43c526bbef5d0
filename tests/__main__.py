"""Runs the tests, one process a core; then those that need the machine for themselves; then again on PostgreSQL.

Takes what pytest takes.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ALONE = "alone"
NO_TESTS = 5  # pytest's exit status when none was asked for
TOGETHER = ["-n", "auto", "--dist", "worksteal"]
HERE = Path(__file__).parent
# What runs on either database. The others break a file of SQLite, or are about what comes before any statement: the
# reading of credentials, headers, queries and logs.
ON_BOTH = [
    *[
        "api/test_create.py",
        "api/test_gate.py",
        "api/test_gate_flask.py",
        "api/test_introspect.py",
        "api/test_metrics.py",
        "api/test_revoke.py",
    ],
    *[
        "cli",
        "console",
        "keys",
        "storage",
        "web/test_bodies.py",
        "test_embedded.py",
        "test_errors.py",
        "runtime/test_another_secret.py",
    ],
    *["runtime/test_sessions.py", "runtime/test_upgrade.py", "serving/test_stopping.py"],
]
ONCE = f"--ignore={HERE / 'storage' / 'test_postgresql.py'}"  # it asks for PostgreSQL by itself


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-m", default="", dest="marked")
    given, others = parser.parse_known_args(arguments)
    asked = f"({given.marked}) and " if given.marked else ""
    statuses = [run([*TOGETHER, "-m", f"{asked}not {ALONE}", *others]), run(["-m", f"{asked}{ALONE}", *others])]
    if (again := on_postgresql(others)) is not None:
        marks = f"{asked}not {ALONE} and not faults and not ecosystem"
        statuses.append(run([*TOGETHER, "--engine=postgresql", ONCE, "-m", marks, *again]))
    failed = [status for status in statuses if status not in (0, NO_TESTS)]
    return max(failed, default=min(statuses))


def on_postgresql(words: list[str]) -> list[str] | None:
    """The same words with the paths that run on either database; None where there is none of these."""
    paths = {word for word in words if Path(word.partition("::")[0]).exists()}
    both = [str(HERE / name) for name in ON_BOTH]
    if not paths:
        return [*words, *both]
    kept = [word for word in words if word not in paths or str(Path(word).resolve()).startswith(tuple(both))]
    return kept if paths.intersection(kept) else None


def run(arguments: list[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
