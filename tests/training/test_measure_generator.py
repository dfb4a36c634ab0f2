"""Measuring a generator end to end, on drawn pictures, a stand-in generator and a stand-in network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from helpers import drawn_photo
from impasto.errors import TrainingError
from impasto.progress import Progress
from impasto.runtime.picture import Picture
from impasto.training import measure_generator as measuring
from impasto.training import measure_samples
from impasto.training.measure_features import FeatureNet, clean_resize
from impasto.training.measure_generator import compare, count_name, real_features
from impasto.training.measure_samples import as_pixels, classes_like, open_samples
from impasto.training.nets.features import cache_folder
from impasto.training.pictures import PictureSet

Pixels = NDArray[np.uint8]
NAMES = ["fd_tiny_{}", "kd_tiny_{}", "precision_k3_tiny_{}", "recall_k3_tiny_{}"]
NAMES += ["density_k5_tiny_{}", "coverage_k5_tiny_{}"]


def tiny_net(digest: str = "0", calls: list[int] | None = None) -> FeatureNet:
    """12 numbers: the colours of a 2 x 2 thumbnail."""

    def look(x: torch.Tensor) -> torch.Tensor:
        if calls is not None:
            calls.append(len(x))
        return torch.nn.functional.adaptive_avg_pool2d(x / 255, 2).flatten(1)

    return FeatureNet("tiny", 12, 16, digest, look, torch.device("cpu"))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Measure with ``tiny_net``; gives the batches that it saw."""
    calls: list[int] = []
    monkeypatch.setattr(measuring, "load_features", lambda inception, device: tiny_net(calls=calls))
    return calls


def draw(folder: Path, count: int, seed: int = 0, size: tuple[int, int] = (24, 20), dark: float = 1.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = (drawn_photo(*size, seed=seed + i) * 255 * dark).round().astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    return folder


class Drawer:
    """In a generator's place: the picture of a seed is a drawn photo, darker for class "night"."""

    height, width, channels = 20, 24, 3
    classes: tuple[str, ...] = ()
    asked: list[Any] = []  # noqa: RUF012 (one for the class, so that a test can look)

    @classmethod
    def load(cls, name: str) -> Drawer:
        assert str(name) == "cats"
        return cls()

    def sample(self, seed: int, count: int, *, classes: Sequence[str] | None, truncation: float) -> list[Picture]:
        self.asked.append((seed, count, classes, truncation))
        return [Picture.from_array(drawn_photo(self.width, self.height, seed + i)) for i in range(count)]


@pytest.fixture
def drawer(monkeypatch: pytest.MonkeyPatch) -> type[Drawer]:
    monkeypatch.setattr(measure_samples, "Generator", Drawer)
    monkeypatch.setattr(Drawer, "asked", [])
    return Drawer


@pytest.mark.usefixtures("looks", "drawer")
def test_a_model_against_its_data(tmp_path: Path) -> None:
    data = draw(tmp_path / "data", 30, seed=1000)
    told: list[Progress] = []
    found = measuring.measure_generator("cats", data, count=20, progress=told.append)
    assert list(found.figures) == [name.format(20) for name in NAMES]
    assert (found.samples, found.real, found.width, found.height) == (20, 20, 24, 20)
    assert found.baseline == found.same_size == {}
    # Both are drawn by the same code: close, and the neighbours mix.
    dark = measuring.measure_generator(draw(tmp_path / "dark", 20, seed=1000, dark=0.4), data, count=20).figures
    assert dark["fd_tiny_20"] > 5 * found.figures["fd_tiny_20"] > 0
    assert found.figures["coverage_k5_tiny_20"] > 0.6
    assert dark["coverage_k5_tiny_20"] < 0.2
    assert {"looking at samples", "looking at real pictures", "comparing"} <= {at.message for at in told}
    assert found.to_fields()["figures"] == found.figures


@pytest.mark.usefixtures("looks")
def test_the_figures_are_those_of_the_features(tmp_path: Path) -> None:
    """Nothing is lost on the way: the folders' pictures, one by one, through the network and ``compare``."""
    made, data = draw(tmp_path / "made", 9), draw(tmp_path / "data", 12, seed=50)
    found = measuring.measure_generator(made, data, count=100)
    features = [
        tiny_net()(np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]))
        for folder in (data, made)
    ]
    order = np.random.Generator(np.random.PCG64(0)).permutation(12)
    expected = compare(features[0][order], features[1], "tiny")
    assert found.figures == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert next(iter(found.figures)) == "fd_tiny_9" and found.real == 12
    assert "9 pictures where 100 were asked for" in found.remarks[0]


@pytest.mark.usefixtures("looks")
def test_real_against_real(tmp_path: Path) -> None:
    data = draw(tmp_path / "data", 41)
    found = measuring.measure_generator(draw(tmp_path / "made", 30, seed=500), data, count=30, baseline=True)
    assert found.halves == 20
    assert list(found.baseline) == list(found.same_size) == [name.format(20) for name in NAMES]
    order = np.random.Generator(np.random.PCG64(0)).permutation(41)
    files = sorted(data.iterdir())
    features = tiny_net()(np.stack([np.asarray(Image.open(files[i])) for i in order[:40]]))
    assert found.baseline == pytest.approx(compare(features[:20], features[20:], "tiny"), rel=1e-5, abs=1e-7)
    assert next(iter(found.figures)) == "fd_tiny_30"


def test_real_features_are_kept(tmp_path: Path, looks: list[int]) -> None:
    data, made = draw(tmp_path / "data", 20), draw(tmp_path / "made", 8, seed=70)
    first = measuring.measure_generator(made, data, count=8)
    assert sum(looks) == 8 + 8
    looks.clear()
    assert measuring.measure_generator(made, data, count=8).figures == first.figures
    assert sum(looks) == 8, "only the samples are looked at again"
    looks.clear()
    measuring.measure_generator(made, data, count=8, baseline=True)
    assert sum(looks) == 8 + 8, "the second half is new"
    looks.clear()
    draw(data, 1, seed=99)
    measuring.measure_generator(made, data, count=8)
    assert sum(looks) == 8 + 8, "the folder has changed"


def test_a_broken_cache_is_made_anew(tmp_path: Path) -> None:
    pictures = PictureSet(draw(tmp_path / "data", 7), 20, 24, minimum=1)
    calls: list[int] = []
    expected = real_features(pictures, range(7), tiny_net(calls=calls))
    assert sum(calls) == 7
    (kept,) = (cache_folder() / "features").iterdir()
    kept.write_bytes(kept.read_bytes()[:-40])
    np.testing.assert_array_equal(real_features(pictures, range(7), tiny_net(calls=calls)), expected)
    assert sum(calls) == 14
    # Another network, or other weights of it: another file.
    real_features(pictures, [3, 1], tiny_net("1", calls))
    assert sum(calls) == 16
    np.testing.assert_array_equal(real_features(pictures, [3, 1], tiny_net(calls=calls)), expected[[3, 1]])
    assert sum(calls) == 16
    assert sorted(path.suffix for path in kept.parent.iterdir()) == [".npz", ".npz"]


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    pictures = PictureSet(draw(tmp_path / "data", 7), 20, 24, minimum=1)
    (tmp_path / "file").write_bytes(b"")
    assert real_features(pictures, [0], tiny_net(), cache=tmp_path / "file").shape == (1, 12)


def test_samples_do_not_depend_on_the_batch(drawer: type[Drawer], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(open_samples("cats", count=9, seed=5, truncation=0.7).batches(None)))
    monkeypatch.setattr(measure_samples, "BATCH", 4)
    drawer.asked.clear()
    parts = list(open_samples("cats", count=9, seed=5, truncation=0.7).batches(None))
    assert [len(part) for part in parts] == [4, 4, 1]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert drawer.asked == [(5, 4, None, 0.7), (9, 4, None, 0.7), (13, 1, None, 0.7)]
    expected = (drawn_photo(24, 20, 6) * 255 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(whole[1], expected)


def test_classes_are_drawn_as_the_data_have_them(
    tmp_path: Path, drawer: type[Drawer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Drawer, "classes", ("day", "night"))
    draw(tmp_path / "data/day", 9)
    draw(tmp_path / "data/night", 3, seed=40)
    real = PictureSet(tmp_path / "data", 20, 24, minimum=1)
    samples = open_samples("cats", count=200)
    list(samples.batches(classes_like(samples, real, 0)))
    drawn = [name for _, _, classes, _ in drawer.asked for name in classes]
    assert len(drawn) == 200
    assert 0.65 < drawn.count("day") / 200 < 0.85
    # Other names: the model draws its own classes.
    monkeypatch.setattr(Drawer, "classes", ("one", "two"))
    drawer.asked.clear()
    samples = open_samples("cats", count=3)
    assert classes_like(samples, real, 0) is None
    list(samples.batches(None))
    assert drawer.asked[0][2] is None


def test_grey_and_transparent_samples() -> None:
    ramp = np.linspace(0, 1, 48, dtype=np.float32).reshape(4, 4, 3)
    grey = Picture.from_array(ramp[..., :1])
    assert as_pixels([grey, grey], 1).shape == (2, 4, 4, 1)
    np.testing.assert_array_equal(as_pixels([grey], 1)[0, ..., 0], (ramp[..., 0] * 255 + 0.5).astype(np.uint8))
    rgba = Picture.from_array(np.concatenate((ramp, ramp[..., :1]), 2))
    np.testing.assert_array_equal(as_pixels([rgba], 4)[0, ..., 3], (ramp[..., 0] * 255 + 0.5).astype(np.uint8))


@pytest.mark.usefixtures("looks")
def test_a_grey_model_is_held_against_colours(tmp_path: Path) -> None:
    data = draw(tmp_path / "data", 10)
    for path in draw(tmp_path / "grey", 10).iterdir():
        Image.open(path).convert("L").save(path)
    found = measuring.measure_generator(tmp_path / "grey", data, count=10)
    assert found.figures["fd_tiny_10"] > 1e-3
    assert any("samples are grey and the real pictures are not" in remark for remark in found.remarks)
    alike = measuring.measure_generator(tmp_path / "grey", tmp_path / "grey", count=10)
    assert alike.figures["fd_tiny_10"] < 1e-9
    assert alike.remarks[0].endswith(" grey, taken as RGB.") and not any("are not" in one for one in alike.remarks)
    assert measuring.measure_generator(data, data, count=10).figures["fd_tiny_10"] < 1e-9


@pytest.mark.usefixtures("looks")
def test_npz_sets_and_other_sizes(tmp_path: Path) -> None:
    images = np.stack([(drawn_photo(24, 20, i) * 255).astype(np.uint8) for i in range(12)])
    np.savez(tmp_path / "made.npz", images=images)
    found = measuring.measure_generator(tmp_path / "made.npz", draw(tmp_path / "data", 12, size=(48, 40)), count=12)
    assert (found.height, found.width) == (20, 24)
    small = measuring.measure_generator(tmp_path / "made.npz", tmp_path / "data", count=12, size=(10, 12))
    assert (small.height, small.width) == (10, 12)


@pytest.mark.usefixtures("looks", "drawer")
def test_what_cannot_be_measured(tmp_path: Path) -> None:
    data = draw(tmp_path / "data", 8)
    (tmp_path / "empty").mkdir()
    for error, model, options in (
        ("5 samples say nothing", "cats", {"count": 5}),
        ("too few pictures for two halves", data, {"baseline": True}),
        ("cannot be truncated", data, {"truncation": 0.5}),
        ("has no pictures", tmp_path / "empty", {}),
    ):
        with pytest.raises(TrainingError, match=error):
            measuring.measure_generator(model, data, **options)  # type: ignore[arg-type]
    np.savez(tmp_path / "other.npz", pictures=np.zeros(3))
    with pytest.raises(TrainingError, match="no array 'images'"):
        measuring.measure_generator(tmp_path / "other.npz", data)
    with pytest.raises(TrainingError, match="only 3 pictures"):
        measuring.measure_generator(data, draw(tmp_path / "few", 3))


def test_names_are_protocols() -> None:
    assert [count_name(n) for n in (10_000, 50_000, 2989, 0)] == ["10k", "50k", "2989", "0"]
    rows = np.random.default_rng(0).normal(size=(30, 4))
    names = list(compare(rows, rows[:20], "inception"))
    assert names[:3] == ["fid_20", "kid_20", "precision_k3_inception_20"]


def test_the_clean_resize_is_what_the_network_sees() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
    seen = torch.nn.functional.adaptive_avg_pool2d(clean_resize(pixels, 16) / 255, 2).flatten(1)
    np.testing.assert_array_equal(tiny_net()(pixels), seen.numpy())
