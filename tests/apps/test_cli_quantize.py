"""``impasto quantize``, and ``impasto stylize --precision``, through the real library."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers import drawn_photo
from impasto.apps.cli import ahead, run
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel

pytest.importorskip("torch")

from impasto.training import quantize_model
from training.painting import make_painter_bundle
from training.support import draw_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with float.impasto and photos."""
    folder = tmp_path_factory.mktemp("quantize")
    make_painter_bundle(folder / "float.impasto")
    draw_folder(folder / "photos", 3, size=(72, 64))
    return folder


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(quantize_model, "CALIBRATION_SIZE", 48)
    monkeypatch.setattr(quantize_model, "TRIAL_SIZE", 64)
    monkeypatch.setattr(quantize_model, "speed_ratio", lambda slow, quick: 1.2)


def quantize(*options: str) -> int:
    return run(["quantize", "float.impasto", "--photos", "photos", "--threads", "1", *options])


def test_a_slow_one_is_refused_and_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize("-o", "slow.impasto") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines()[-1].startswith("impasto: In int8 this painter is 1.20 times as fast")
    assert not Path("slow.impasto").exists()


def test_it_is_written_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize("-o", "both.impasto", "--force") == 0
    out, err = capsys.readouterr()
    assert out == "both.impasto\n"
    said = err.splitlines()
    assert sum(" dB" in line for line in said) == 4  # three styles, and all together
    assert said[-1].startswith("impasto: 6 of 6 inner convolutions in int8, 1.20 times as fast, ")
    assert quantize("-o", "both.impasto", "--force", "--json") == 2, "it is there already"
    assert quantize("-o", "both.impasto", "--force", "--json", "--overwrite") == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["psnr"]) == set(StyleModel.load("both.impasto").styles)
    assert told["psnr_worst"] == min(told["psnr"].values()) <= told["psnr_mean"]
    assert len(told["int8"]) == 6 and told["fp32"] == [] and told["faster"] == 1.2
    assert told["path"] == "both.impasto" and told["bytes"] == Path("both.impasto").stat().st_size


def test_stylize_paints_at_the_precision_that_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize("-o", str(tmp_path / "both.impasto"), "--force") == 0
    photo = tmp_path / "photo.png"
    Picture.from_array(drawn_photo(64, 48)).save(photo)
    command = ["stylize", str(photo), "-s", "the-scream", "--threads", "1", "--model"]
    both = [*command, str(tmp_path / "both.impasto")]
    for name, options in {"plain": [], "fp32": ["fp32"], "int8": ["int8"], "auto": ["auto"]}.items():
        words = [*both, "-o", str(tmp_path / f"{name}.png"), *(("--precision", options[0]) if options else ())]
        ahead.load_ahead(words)  # as main() does
        assert run(words) == 0 and ahead._started == {}
    seen = {name: Picture.open(tmp_path / f"{name}.png").rgb for name in ("plain", "fp32", "int8", "auto")}
    assert np.array_equal(seen["plain"], seen["fp32"]) and np.array_equal(seen["auto"], seen["int8"])
    assert 0 < np.abs(seen["int8"] - seen["fp32"]).max() < 0.2
    capsys.readouterr()
    plain = [*command, "float.impasto", "-o", str(tmp_path / "new.png")]
    assert run([*plain, "--precision", "auto"]) == 0
    assert run([*plain, "--precision", "int8", "--overwrite"]) == 2
    assert run([*plain, "--precision", "int9", "--overwrite"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert err == [
        "impasto: float.impasto has no painter in int8: use fp32, or add one with 'impasto quantize'.",
        "impasto: There is no precision called 'int9': did you mean 'int8'?",
    ]
