"""The benchmark of a cluster: its arithmetic, and one run of it without Ray, on the tiny model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from helpers import drawn_photo
from impasto.runtime.picture import Picture

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import cluster
from cluster import Run


def test_a_million_photos() -> None:
    two = Run("cluster", 2, seconds=30.0, painting=20.0, busy=36.0, pictures=12, megapixels=144.0)
    assert two.rate == pytest.approx(2 * 12 / 36), "pictures per second while both are at work"
    # By hand: 10^6 photos, 3 s of a worker each, two workers on each of 10 nodes.
    assert cluster.hours(two.rate, 10) == pytest.approx(1e6 * 3 / 20 / 3600)
    lines = cluster.estimate(two, (1, 10), file_mb=9.0).splitlines()
    assert lines[2:] == ["| 1 | 416.7 | 6.0 |", "| 10 | 41.7 | 60.0 |"]


def test_the_gain_is_that_of_the_same_way() -> None:
    runs = [
        Run("folder", 1, 10.0, 8.0, None, 4, 48.0),
        Run("cluster", 1, 30.0, 20.0, 10.0, 4, 48.0),
        Run("cluster", 2, 25.0, 15.0, 11.0, 4, 48.0),
    ]
    rows = cluster.table(runs).splitlines()
    assert rows[2] == "| folder | 1 | 10.0 | 0.400 | 0.500 | 6.00 | 1.00 |"
    assert rows[4] == "| cluster | 2 | 25.0 | 0.160 | 0.727 | 8.73 | 1.82 |"


def test_a_run_without_ray(tmp_path: Path, style_bundle: Path) -> None:
    Picture.from_array(drawn_photo(24, 16)).save(tmp_path / "in/a.png")
    run = cluster.measure("folder", 1, tmp_path, str(style_bundle), "starry-night")
    assert (run.pictures, run.megapixels, run.busy) == (1, pytest.approx(24 * 16 / 1e6), None)
    assert 0 < run.painting < run.seconds
    with pytest.raises(SystemExit, match="nosuch"):
        cluster.measure("folder", 1, tmp_path, str(style_bundle), "nosuch")


@pytest.mark.slow
def test_the_whole_of_it(tmp_path: Path, style_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'impasto[scale]'")
    words = [
        "--workers",
        "1",
        "--pictures",
        "2",
        "--megapixels",
        "0.01",
        "--model",
        str(style_bundle),
        "--nodes",
        "1,5",
    ]
    assert cluster.main([*words, "--json", str(tmp_path / "found.json")]) == 0
    out = capsys.readouterr().out
    assert "| folder | 1 |" in out and "| cluster | 1 |" in out and "| 5 | " in out
    assert [run["pictures"] for run in json.loads((tmp_path / "found.json").read_text())["runs"]] == [2, 2]
