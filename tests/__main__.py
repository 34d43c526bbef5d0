"""Runs the tests, one process a core; then those that need the machine for themselves. Takes what pytest takes."""

import argparse
import subprocess
import sys

ALONE = "alone"
NO_TESTS = 5  # pytest's exit status when none was asked for


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-m", default="", dest="marked")
    given, others = parser.parse_known_args(arguments)
    asked = f"({given.marked}) and " if given.marked else ""
    together = ["-n", "auto", "--dist", "worksteal", "-m", f"{asked}not {ALONE}"]
    statuses = [run([*together, *others]), run(["-m", f"{asked}{ALONE}", *others])]
    failed = [status for status in statuses if status not in (0, NO_TESTS)]
    return max(failed, default=min(statuses))


def run(arguments: list[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
