"""The benchmark of sizes: what it makes of runs, and that a run is held to its memory, on the tiny model."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import drawn_photo

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import scale
from scale import Outcome


def test_sizes() -> None:
    assert scale.sides(100.8) == (12000, 8400)
    for megapixels in (0.25, 1, 4, 64):
        width, height = scale.sides(megapixels)
        assert width * height == pytest.approx(megapixels * 1e6, rel=0.01)


def test_the_table_says_cost_against_the_smallest_and_who_died() -> None:
    rows = scale.table(
        [
            Outcome("impasto", 1.0, 0.5, 200.4),
            Outcome("microast", 1.0, 2.0, 900.0),
            Outcome("impasto", 4.0, 2.2, 300.0),
            Outcome("microast", 4.0, None, None, "died of memory, held to 1 GB (x)"),
        ]
    ).splitlines()
    assert rows[2] == "| 1 | impasto | 0.5 | 2.00 | 1.00 | 200 |"
    assert rows[4] == "| 4 | impasto | 2.2 | 1.82 | 1.10 | 300 |"
    assert rows[5] == "| 4 | microast | died of memory, held to 1 GB (x) | | | |"


@pytest.fixture
def command(tmp_path: Path, style_bundle: Path) -> list[str]:
    Image.fromarray((drawn_photo(60, 40) * 255).astype(np.uint8)).save(tmp_path / "photo.jpg")
    files = [str(tmp_path / name) for name in ("photo.jpg", "photo.jpg", "out.jpg")]
    return ["impasto 1GB", *files, str(style_bundle), "", "1"]


def test_a_job_in_a_process_of_its_own(command: list[str], tmp_path: Path) -> None:
    answer = scale.run(command, os.environ, limit=4 * 10**9, timeout=200)
    assert answer["seconds"] > 0 and answer["peak_mb"] > 20
    with Image.open(tmp_path / "out.jpg") as out:
        assert out.size == (60, 40)


@pytest.mark.skipif(sys.platform != "linux", reason="memory cannot be held elsewhere")
def test_a_job_that_dies_says_of_what(command: list[str], tmp_path: Path) -> None:
    error = scale.run(command, os.environ, limit=30 * 10**6, timeout=200)["error"]
    assert error.startswith("died of memory, held to 0.03 GB")
    assert "failed (" in scale.run(["microast", *command[1:]], os.environ, limit=4 * 10**9, timeout=200)["error"]
    assert scale.run(command, os.environ, limit=10**9, timeout=0.01) == {"error": "took longer than 0 s"}


def test_ours_in_parts(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("impasto.runtime.fitting.file_limit", lambda *_, **__: 10**15)
    scale.job(*command[:-1], threads=1)
    assert json.loads(capsys.readouterr().out)["seconds"] > 0
    with Image.open(tmp_path / "out.jpg") as out:
        assert out.size == (60, 40)


def test_a_photo_is_drawn_and_scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "_DRAWN", (60, 42))
    scale.make_photo(tmp_path / "photo.jpg", 300, 210)
    with Image.open(tmp_path / "photo.jpg") as photo:
        assert photo.size == (300, 210) and np.asarray(photo).std() > 10


def test_every_contestant_at_every_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runs: list[str] = []

    def run(command: list[str], *_: object, **__: object) -> dict[str, Any]:
        runs.append(command[0])
        return {"error": "failed"} if command[0] == "impasto" else {"seconds": 5.0 - len(runs), "peak_mb": 1.0}

    monkeypatch.setattr(scale, "run", run)
    monkeypatch.setattr(scale.subprocess, "run", lambda *_, **__: None)
    options = scale.parse(["--megapixels", "0.5", "--rivals", "none", "--rounds", "2", "--limit", "2GB"])
    outcomes, notes = scale.measure(options, tmp_path, {})
    assert runs == ["impasto 1GB", "impasto 1GB", "impasto"] and notes == []
    assert [one.seconds for one in outcomes] == [3.0, None] and outcomes[1].died == "failed"
    options = scale.parse(["--rivals", "microast"])
    assert "MicroAST was not named" in scale.measure(options, tmp_path, {})[1][0] or "PyTorch" in str(outcomes)


def test_the_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [Outcome("impasto", 1.0, 0.5, 200.0), Outcome("microast", 1.0, None, None, "failed (x)")]
    monkeypatch.setattr(scale, "measure", lambda *_: (found, ["Somebody is not here."]))
    monkeypatch.setattr(scale, "hold_to", lambda _: None)
    assert scale.main(["--json", str(tmp_path / "out.json"), "--rivals", "none"]) == 0
    said = capsys.readouterr().out
    assert "| 1 | impasto | 0.5 |" in said and "Somebody is not here." in said
    assert json.loads((tmp_path / "out.json").read_text())["runs"][1]["died"] == "failed (x)"
    found[0] = Outcome("impasto", 1.0, None, None, "failed")
    assert scale.main(["--rivals", "none"]) == 2


@pytest.mark.parametrize(
    "wrong", [["--megapixels", "x"], ["--limit", "much"], ["--rivals", "nobody"], ["--megapixels", "0"]]
)
def test_wrong_options(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        scale.parse(wrong)
    assert stopped.value.code == 2
