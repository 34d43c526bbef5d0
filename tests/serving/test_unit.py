"""deploy/keyhook.service: systemd reads it without complaint, and calls it well closed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import ROOT, missing

UNIT = ROOT / "deploy" / "keyhook.service"
MOST = 2.0  # of the exposure that systemd counts

pytestmark = pytest.mark.ecosystem


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        missing("systemd-analyze", "apt-get install systemd")
    return str(found)


def test_systemd_reads_it_without_complaint(analyze: str, tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/keyhook/.venv/bin/flask", sys.executable))
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_is_well_closed(analyze: str) -> None:
    words = [analyze, "security", "--offline=true", "--no-pager", str(UNIT)]
    told = subprocess.run(words, capture_output=True, text=True, timeout=60).stdout
    [exposure] = re.findall(r"Overall exposure level for keyhook.service: ([0-9.]+)", told)
    assert float(exposure) <= MOST, told


def test_it_starts_the_server_that_the_page_names() -> None:
    text = UNIT.read_text()
    assert "ExecStart=/opt/keyhook/.venv/bin/flask serve " in text
    assert "Environment=KEYHOOK_DATA_DIR=/var/lib/keyhook\n" in text
    assert "StateDirectory=keyhook\n" in text
    assert "DynamicUser=yes\n" in text
