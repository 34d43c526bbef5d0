"""The pins of requirements*.txt: each has the hashes of its files, and none is missing on another machine."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from itertools import product
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.machine import ROOT, missing

RUNTIME = [ROOT / f"requirements{part}.txt" for part in ("", "-postgresql", "-redis", "-oidc")]
DEVELOPMENT = ROOT / "requirements-dev.txt"
BENCH = ROOT / "bench" / "requirements.txt"
INSTALLS = [RUNTIME[:1], *([RUNTIME[0], file] for file in RUNTIME[1:]), [*RUNTIME, DEVELOPMENT]]  # by one command each

PYTHONS = ["3.11.0", "3.11.2", "3.11.3", "3.12.0", "3.13.0", "3.14.0"]
MACHINES = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")]
# What pip calls the machines that are not this one, by the oldest system of each that all wheels run on.
PLATFORMS = [["manylinux2014_aarch64", "manylinux_2_28_aarch64"], ["macosx_11_0_arm64", "macosx_10_9_universal2"]]


def pins(file: Path) -> dict[str, tuple[str, list[str]]]:
    """The version and the hashes of each package."""
    found = re.findall(r"^([\w.-]+)==(\S+)((?: \\\n    --hash=\S+)*)$", file.read_text(), re.MULTILINE)
    return {
        canonicalize_name(name): (version, re.findall(r"--hash=sha256:([0-9a-f]{64})", rest))
        for name, version, rest in found
    }


def environments() -> Iterator[dict[str, str]]:
    for python, (system, machine) in product(PYTHONS, MACHINES):
        there = {"python_full_version": python, "python_version": python.rpartition(".")[0], "extra": ""}
        there |= {"sys_platform": system, "platform_system": system.title(), "platform_machine": machine}
        yield {**{name: str(value) for name, value in default_environment().items()}, **there}


def needed(package: str) -> set[str]:
    """What a package asks for on any of the machines."""
    asked = [Requirement(text) for text in metadata.requires(package) or []]
    return {
        canonicalize_name(one.name)
        for one in asked
        if one.marker is None or any(one.marker.evaluate(there) for there in environments())
    }


@pytest.mark.parametrize("file", [*RUNTIME, DEVELOPMENT, BENCH], ids=lambda file: str(file.relative_to(ROOT)))
def test_every_pin_has_hashes(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if not line.startswith((" ", "#")) and line]
    assert lines
    assert len(lines) == len(pins(file))
    for name, (_, hashes) in pins(file).items():
        assert len(hashes) >= 2, name  # a wheel and the source, or the wheels of several platforms


def test_a_package_has_the_same_pin_in_every_file() -> None:
    """One command of pip installs several of them."""
    every = [pins(file) for file in (*RUNTIME, DEVELOPMENT, BENCH)]
    for one, other in product(every, every):
        assert [name for name in one.keys() & other.keys() if one[name] != other[name]] == []


@pytest.mark.parametrize("files", INSTALLS, ids=lambda files: files[-1].stem)
def test_nothing_is_missing_under_another_python_or_on_another_machine(files: list[Path]) -> None:
    """With hashes pip refuses to install what no file pins, and the pins are made on one machine."""
    pinned = {name for file in files for name in pins(file)}
    assert {name: sorted(needed(name) - pinned) for name in pinned if needed(name) - pinned} == {}


def compiled(name: str) -> bool:
    """Whether a package has other files on each platform, as the one that is installed here tells."""
    return "Root-Is-Purelib: false" in (metadata.distribution(name).read_text("WHEEL") or "")


@pytest.mark.ecosystem
@pytest.mark.parametrize("platforms", PLATFORMS, ids=lambda platforms: platforms[0])
def test_another_machine_finds_its_files(tmp_path: Path, platforms: list[str]) -> None:
    """pip takes only files whose hashes are listed. What is not compiled has one file for all."""
    listed = tmp_path / "compiled.txt"
    with listed.open("w") as file:
        for name, (version, hashes) in {name: pin for one in RUNTIME for name, pin in pins(one).items()}.items():
            if compiled(name):
                print(f"{name}=={version}", *(f"--hash=sha256:{one}" for one in hashes), file=file)
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
    words += ["--only-binary=:all:", f"--target={tmp_path}", *(f"--platform={name}" for name in platforms)]
    done = subprocess.run([*words, f"--requirement={listed}"], capture_output=True, text=True, timeout=300)
    if "NewConnectionError" in done.stderr:
        missing("an index of packages", "let pip reach one")
    assert done.returncode == 0, done.stderr
