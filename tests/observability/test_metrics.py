"""Counting: together with other processes, and across their ends."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from observability.cells import LAYOUT, NUMBERS, RECORDS, SIZE, Cells
from observability.metrics import BOUNDS, Figures
from observability.request_info import OTHER, RequestInfo
from tests.figures import checks, figure, parse, requests_by_route, shown
from tests.machine import ROOT, missing
from tests.servers import SERVE, Server


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


def note(figures: Figures, route: str = "/v0/auth", status: str = "200", seconds: float = 0.002) -> None:
    figures.note(RequestInfo(route=route), status, seconds)


def test_a_duration_is_in_the_bucket_of_its_bound(directory: Path) -> None:
    figures = Figures(directory)
    for seconds in (0.0, BOUNDS[0], BOUNDS[0] + 1e-9, BOUNDS[-1], BOUNDS[-1] + 1):
        note(figures, seconds=seconds)
    [numbers] = figures.totals().durations.values()
    assert numbers[: len(BOUNDS) + 1] == [2, 1, *[0] * (len(BOUNDS) - 3), 1, 1]
    assert numbers[-1] == pytest.approx(sum((0, 2 * BOUNDS[0], 2 * BOUNDS[-1] + 1)))


def test_threads_count_together(directory: Path) -> None:
    figures = Figures(directory)

    def note_many() -> None:
        for _ in range(5000):
            note(figures)

    threads = [threading.Thread(target=note_many) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert figures.totals().checks["none"] == 20_000


def test_processes_count_together(directory: Path) -> None:
    """Two of these figures in one process are to each other what two processes are."""
    both = [Figures(directory), Figures(directory)]
    for figures in both:
        note(figures)
        note(figures, "/healthz", "503")
    both[0].note_writers(2)
    both[1].note_writers(3)
    for figures in both:
        totals = figures.totals()
        assert (totals.checks["none"], totals.writers) == (2, 5)
        assert totals.durations["/healthz", "503"][-1] == pytest.approx(0.004)
        assert list(totals.processes.values()) == [os.getpid()] * 2
    assert sorted(os.listdir(directory)) == [f"0.{LAYOUT}", f"1.{LAYOUT}"]


def test_what_a_process_counted_outlives_it(directory: Path) -> None:
    first, second = Figures(directory), Figures(directory)
    for figures in (first, second):
        note(figures)
        figures.note_writers(4)
    del first, figures
    totals = second.totals()
    assert (totals.checks["none"], totals.writers) == (2, 4)
    assert list(totals.processes) == [1]
    third = Figures(directory)  # it goes on in the file of the first
    note(third)
    for figures in (second, third):
        assert (figures.totals().checks["none"], figures.totals().writers) == (3, 4)
    assert sorted(os.listdir(directory)) == [f"0.{LAYOUT}", f"1.{LAYOUT}"]


def test_a_command_counts_nothing(app: Flask, data_dir: Path, runner: Any) -> None:
    assert runner.invoke(args=["keys", "create", "laptop"]).exit_code == 0
    assert not (data_dir / "metrics").exists()


def nothing(directory: Path) -> None:
    """The data directory is not there, as with PostgreSQL."""
    directory.parent.rmdir()


def file_in_its_place(directory: Path) -> None:
    directory.write_text("mine")


def link_in_its_place(directory: Path) -> None:
    directory.mkdir()
    (directory.parent / "mine").write_text("mine")
    (directory / f"0.{LAYOUT}").symlink_to(directory.parent / "mine")


@pytest.mark.parametrize("spoil", [nothing, file_in_its_place, link_in_its_place])
def test_without_a_file_a_process_counts_for_itself(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    directory = tmp_path / "data" / "metrics"
    directory.parent.mkdir()
    spoil(directory)
    figures = Figures(directory)
    note(figures)
    assert figures.totals().checks["none"] == 1
    assert list(figures.totals().processes.values()) == [os.getpid()]
    assert all(path.read_text() == "mine" for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("held", [b"", b"half", b"\xff" * SIZE, b'["x"' + bytes(SIZE), os.urandom(SIZE)])
def test_a_spoilt_file_is_begun_again(directory: Path, held: bytes) -> None:
    directory.mkdir()
    for number in (0, 1):
        (directory / f"{number}.{LAYOUT}").write_bytes(held)
    figures = Figures(directory)
    note(figures)
    totals = figures.totals()
    assert (totals.checks["none"], list(totals.durations)) == (1, [("/v0/auth", "200")])


def test_a_full_disk_is_found_at_the_start(tmp_path: Path) -> None:
    """A hole in the file would end the process at some number, with SIGBUS."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True).returncode:
        missing("root", "run as root to mount a small tmpfs")
    try:
        figures = Figures(tmp_path / "metrics")
        for number in range(200):
            note(figures, f"/route-{number}")
        assert len(figures.totals().durations) == 200
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_routes_beyond_number_are_other(directory: Path) -> None:
    figures = Figures(directory)
    note(figures, OTHER)
    for number in range(2 * RECORDS):
        note(figures, f"/route-{number}")
    note(figures, "/long" * 100)
    durations = figures.totals().durations
    assert len(durations) < RECORDS
    assert sum(sum(numbers[:-1][: len(BOUNDS) + 1]) for numbers in durations.values()) == 2 * RECORDS + 2


def test_the_numbers_fit_the_record(directory: Path) -> None:
    assert len(BOUNDS) + 2 <= NUMBERS
    assert list(BOUNDS) == sorted(BOUNDS)
    assert len(Cells(directory).cell(("x",)) or ()) == NUMBERS


def test_real_processes_count_together(serve: Callable[..., Server]) -> None:
    """Each server is a process of its own on the same database; one of them is killed."""
    first, second = serve(SERVE), serve(SERVE)
    key = first.mint("laptop")
    for server in (first, second):
        for _ in range(3):
            assert server.call("GET", "/v0/auth", by=key).status_code == 200
    for server in (first, second):
        text = shown(server.call)
        assert checks(text) == {"none": 6}
        assert len(parse(text)["process_resident_memory_bytes"]) == 2
    first.stop(signal.SIGKILL)
    text = shown(second.call)
    assert checks(text) == {"none": 6}
    assert len(parse(text)["process_resident_memory_bytes"]) == 1
    third = serve(SERVE)
    assert third.call("GET", "/v0/auth", by="x").status_code == 401
    for server in (second, third):
        text = shown(server.call)
        assert checks(text) == {"none": 6, "malformed": 1}
        assert figure(text, "keyhook_keys", status="active") == 1
    assert requests_by_route(text)["/v0/auth", "200"] == 6


def test_starting_does_not_load_the_library() -> None:
    command = "import sys, app; sys.exit('prometheus_client' in sys.modules)"
    subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=True)
