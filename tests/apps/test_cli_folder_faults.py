"""Folders, where something goes wrong that the disk, a worker or a neighbour is to blame for."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from impasto.apps.cli import crew
from impasto.apps.cli.crew import Crew
from impasto.apps.cli.plan import Job
from impasto.apps.cli.report import NAME, Report, State, sweep
from impasto.errors import PictureError
from impasto.runtime.files import temporary_prefix, writing

LONG = "Screenshot from a very long afternoon at the museum of paintings"


def fake_worker(script: str) -> subprocess.Popen[str]:
    """A process that is spoken to as a worker is."""
    command = [sys.executable, "-S", "-c", script]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")


def test_sweeping_after_one_picture_spares_its_neighbours(tmp_path: Path) -> None:
    first, second = tmp_path / f"{LONG} 1.png", tmp_path / f"{LONG} 2.png"
    left = tmp_path / f"{temporary_prefix(first.name)}0123456789ab.tmp"
    left.write_bytes(b"half")
    with writing(second) as file:  # by another worker, or another command
        file.write(b"whole")
        sweep(Job(Path("in.png"), first))
    assert not left.exists() and second.read_bytes() == b"whole"


@pytest.mark.parametrize("name", ["a.png", f"{LONG} 1.png", "\N{SNOWMAN}" * 80, "\udcff" * 50])
def test_temporary_names_are_short_and_their_own(name: str) -> None:
    prefix = temporary_prefix(name)
    assert prefix.startswith(".") and prefix.endswith(".") and len(prefix) <= 42
    assert prefix != temporary_prefix(name + "x")


def test_a_disk_that_fills_up_within_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report(tmp_path, {"style": "a"})
    jobs = [Job(tmp_path / "in.png", tmp_path / name) for name in ("1.png", "2.png")]
    report.begin(jobs[0])
    write = os.write
    monkeypatch.setattr(os, "write", lambda place, text: write(place, text[:9]))
    with pytest.raises(PictureError, match=f"cannot be written .{os.strerror(errno.ENOSPC)}"):
        report.begin(jobs[1])
    monkeypatch.undo()  # there is room again
    report.begin(jobs[1])
    lines = (tmp_path / NAME).read_bytes().splitlines()
    assert [json.loads(line).get("begun") for line in lines if line.endswith(b"}")] == [None, "1.png", "2.png"]
    assert [Report(tmp_path, {"style": "a"}).state(job) for job in jobs] == [State.STALE, State.STALE]


def test_a_report_that_somebody_wrecked_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    job = Job(tmp_path / "in.png", tmp_path / "1.png")
    Report(tmp_path, {}).begin(job)
    with (tmp_path / NAME).open("ab") as file:
        file.write(b"[" * 200_000 + b"\n" + bytes(40) + b'\n"text"\n{"begun": 3}\n{"output"')
    assert Report(tmp_path, {}).state(job) is State.STALE


def test_a_worker_that_lives_and_does_not_answer_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "GRACE", 0.2)
    worker = fake_worker("print('no JSON', flush=True)\nimport time\ntime.sleep(300)")
    job = Job(tmp_path / "in.png", tmp_path / "out.png")
    assert crew._exchange(worker, {"source": "in.png"}) is None
    lost = Crew(1, {})._lost(worker, job)
    assert worker.poll() is not None and lost["lost"] and "--jobs 1" in lost["error"]


def test_no_worker_is_started_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []

    class Doomed(Crew):
        """Its workers end as soon as they are given a picture."""

        def _launch(self) -> subprocess.Popen[str]:
            started.append(fake_worker("input()"))
            return started[-1]

    jobs = [(Job(tmp_path / "in.png", tmp_path / f"{k}.png"), False) for k in range(2)]
    results: list[tuple[Job, dict[str, Any]]] = list(Doomed(1, {}).paint(jobs, lambda job: None))
    assert [job for job, _ in results] == [job for job, _ in jobs] and all("lost" in line for _, line in results)
    assert len(started) == 2  # one for each picture, none after the last
    for worker in started:
        worker.wait()
