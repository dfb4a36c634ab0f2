"""The benchmark of strokes, with the tiny model."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from helpers import drawn_photo, make_style_bundle
from impasto.runtime.picture import Picture, resample


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    # By its path: the runtime has a module of that name.
    path = Path(__file__).parent.parent / "benchmarks" / "stroke.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_strokes", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    for seed in range(3):
        Picture(drawn_photo(160, 120, seed)).save(tmp_path / "photos" / f"{seed}.png")
    (tmp_path / "sheets").mkdir()
    model = make_style_bundle(tmp_path / "tiny.impasto")
    return [str(tmp_path / "photos"), "--model", str(model), "--small", "64", "--large", "160", "--stroke", "12.5%"]


def test_figures_and_sheets(bench: ModuleType, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    sheets = Path(words[0]).parent / "sheets"
    more = ["--photo-limit", "2", "--style", "great-wave", "--style", "the-scream", "--sheets", str(sheets)]
    assert bench.main([*words, *more, "--threads", "1"]) == 0
    told = capsys.readouterr()
    rows = [json.loads(line) for line in told.out.splitlines()]
    assert [(row["photo"], row["style"]) for row in rows] == [
        (photo, style) for photo in ("0.png", "2.png") for style in ("great-wave", "the-scream")
    ]
    for row in rows:
        assert row["large"] == [160, 120] and row["small"] == [64, 48] and row["enlarged"] is False
        assert 0.9 <= row["ssim"] <= 1 and 0 < row["plain"] <= 1 and row["sharp"] > 1.2
    assert "target 0.9 or more of each: met" in told.err
    assert len(list(sheets.glob("*.png"))) == 4


def test_without_the_painters_own_strokes(
    bench: ModuleType, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main([*words, "--no-plain", "--photo-limit", "1", "--style", "great-wave", "--large", "200"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert "plain" not in row and row["enlarged"] is True


def test_sharpness(bench: ModuleType) -> None:
    photo = drawn_photo(80, 60)
    small, _ = resample(photo, None, (20, 15))
    enlarged, _ = resample(small, None, (80, 60))
    assert bench.sharpness(photo, enlarged, small) == pytest.approx(1)
    assert bench.sharpness(photo, photo, small) > 1.5
    assert bench.sharpness(photo, np.zeros_like(photo), small) == 0


def test_refusals(bench: ModuleType, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main([str(tmp_path / "sheets")]) == 2
    assert "holds no pictures" in capsys.readouterr().err
    assert bench.main([*words, "--stroke", "huge"]) == 2
    assert "no size of strokes called 'huge'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bench.parse([*words, "--small", "200"])
