"""A model file with a painter in eight bits: what it holds, what is refused, and that nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers import drawn_photo, make_generator_bundle
from impasto.errors import BundleError, TrainingError
from impasto.progress import Progress
from impasto.runtime.bundle import Bundle
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel
from impasto.training import quantize_model
from impasto.training.quantize import psnr, squared_error
from impasto.training.quantize_model import add_int8, speed_ratio
from training.painting import make_painter_bundle
from training.support import draw_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_painter_bundle(tmp_path_factory.mktemp("models") / "float.impasto")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("photos") / "photos", 4, size=(72, 64))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of a size for tests, and a stopwatch that says the same on every machine."""
    monkeypatch.setattr(quantize_model, "CALIBRATION_SIZE", 48)
    monkeypatch.setattr(quantize_model, "TRIAL_SIZE", 64)
    monkeypatch.setattr(quantize_model, "speed_ratio", lambda slow, quick: 1.75)


def test_the_file_holds_both_painters_and_says_how_they_agree(model: Path, photos: Path, tmp_path: Path) -> None:
    stages: list[Progress] = []
    out = tmp_path / "both.impasto"
    made = add_int8(model, out, photos, threads=1, progress=stages.append)
    before, after = Bundle.open(model), Bundle.open(out, kind="style")
    assert set(after.members) == {*before.members, "painter_int8.onnx"}
    for name in before.manifest.members:
        assert after.read(name) == before.read(name)
    assert after.graph("painter_int8")[1] == made.found.graph
    spec = after.manifest.graphs["painter"]
    assert after.manifest.graphs["painter_int8"].to_fields() == spec.to_fields() | {"member": "painter_int8.onnx"}
    assert after.manifest.quality == {
        "style gap": 0.5,
        "psnr_int8_vs_fp32 mean of styles, 64 px, 6 pairs": round(made.found.mean, 2),
        "psnr_int8_vs_fp32 worst style, 64 px, 6 pairs": round(made.found.worst, 2),
        "psnr_int8_vs_fp32 worst picture, 64 px, 6 pairs": round(made.found.worst_picture, 2),
        "speed_int8_vs_fp32 onnxruntime, 64 px, CPU threads 1": 1.75,
    }
    assert set(made.found.psnr) == {style.name for style in after.manifest.styles} and made.faster == 1.75
    assert made.size == out.stat().st_size and made.manifest == after.manifest
    assert {stage.unit for stage in stages} == {"stages"} and stages[-1].message == "timing"
    # The figure is of pictures as the model paints them.
    painted = [StyleModel.load(out, threads=1, precision=one) for one in ("fp32", "int8")]
    photo = Picture.from_array(drawn_photo(64, 56, seed=30))
    name = made.manifest.styles[0].name
    ours, theirs = (one.paint(photo, name).rgb for one in painted)
    assert 38 < psnr(squared_error(ours, theirs)) < 70


def test_adding_it_again_replaces_it(model: Path, photos: Path, tmp_path: Path) -> None:
    first = add_int8(model, tmp_path / "one.impasto", photos, threads=1)
    same = tmp_path / "one.impasto"
    again = add_int8(same, same, photos, threads=1, bar=first.found.worst + 3, overwrite=True)
    assert again.found.kept and len(again.manifest.quality) == len(first.manifest.quality)
    assert again.found.worst >= first.found.worst + 3
    assert set(again.manifest.members) == set(first.manifest.members)


def test_too_slow_is_refused_unless_forced(model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "slow.impasto"
    with pytest.raises(TrainingError, match=r"1\.75 times as fast as in float32, less than 1\.8 \(at \d+\.\d dB\)"):
        add_int8(model, out, photos, threads=1, faster=1.8)
    assert not out.exists()
    assert add_int8(model, out, photos, threads=1, faster=1.8, force=True).faster == 1.75
    assert out.exists()


def test_what_agrees_too_little_is_refused(model: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="No convolution of this painter can be int8 and agree to 150 dB"):
        add_int8(model, tmp_path / "new.impasto", photos, threads=1, bar=150, force=True)
    assert list(tmp_path.iterdir()) == []


def test_what_would_fail_later_is_said_at_once(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize_model, "choose", lambda *_, **__: pytest.fail("work was begun"))
    with pytest.raises(BundleError, match="exists already"):
        add_int8(model, model, photos)
    with pytest.raises(BundleError, match=r"must end in \.impasto"):
        add_int8(model, tmp_path / "new.onnx", photos)
    lone = draw_folder(tmp_path / "lone", 1)
    with pytest.raises(TrainingError, match="has one photo: give two or more"):
        add_int8(model, tmp_path / "new.impasto", lone)
    with pytest.raises(TrainingError, match="There is no folder"):
        add_int8(model, tmp_path / "new.impasto", tmp_path / "nosuch")
    nameless = make_painter_bundle(tmp_path / "nameless.impasto", styles=0)
    with pytest.raises(TrainingError, match="names no styles"):
        add_int8(nameless, tmp_path / "new.impasto", photos)
    drawer = make_generator_bundle(tmp_path / "drawer.impasto")
    with pytest.raises(BundleError, match="of kind 'generator'"):
        add_int8(drawer, tmp_path / "new.impasto", photos)
    assert not (tmp_path / "new.impasto").exists()


@pytest.mark.parametrize(("count", "judges"), [(2, 1), (3, 1), (5, 2), (7, 3), (9, 3), (40, 3)])
def test_photos_for_ranges_and_for_comparing_are_others(tmp_path: Path, count: int, judges: int) -> None:
    folder = draw_folder(tmp_path / "photos", count, size=(64, 64))
    learn, judge = quantize_model._drawn(folder)
    assert len(judge) == judges and len(learn) == min(count, 9) - judges
    assert not set(learn) & set(judge)
    spread = sorted(int(path.stem) for path in (*learn, *judge))
    assert spread[0] == 0 and spread[-1] >= (count - 1) * 0.85


def test_the_speed_ratio_is_a_median_over_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(quantize_model.time, "perf_counter", lambda: now[0])
    order: list[str] = []

    def takes(name: str, seconds: list[float]) -> Callable[[], None]:
        def run() -> None:
            order.append(name)
            now[0] += seconds.pop(0)

        return run

    # The first round is not counted; one of the others was disturbed.
    slow, quick = takes("slow", [90.0, 2.0, 2.0, 50.0]), takes("quick", [1.0, 1.0, 1.25, 1.0])
    assert speed_ratio(slow, quick, rounds=3) == pytest.approx(2.0)
    assert order == ["slow", "quick"] * 4


def test_two_painters_differ_little_but_do_differ(model: Path, photos: Path, tmp_path: Path) -> None:
    """Or else int8 was not used at all."""
    add_int8(model, tmp_path / "both.impasto", photos, threads=1)
    photo = Picture.from_array(drawn_photo(64, 56, seed=31))
    pictures = {
        precision: StyleModel.load(tmp_path / "both.impasto", threads=1, precision=precision).paint(photo, "the-scream")
        for precision in ("fp32", "int8", "auto")
    }
    assert np.array_equal(pictures["auto"].rgb, pictures["int8"].rgb)
    assert not np.array_equal(pictures["fp32"].rgb, pictures["int8"].rgb)
