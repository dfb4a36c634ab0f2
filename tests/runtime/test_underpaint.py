"""Smaller paintings under a larger one: what is laid, that parts are the whole, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers import drawn_photo
from impasto.errors import BundleError
from impasto.runtime import bands, painting, underpaint, whole
from impasto.runtime.bundle import MANIFEST, Bundle, write_bundle
from impasto.runtime.canvas import Sheet, surface_of
from impasto.runtime.laplacian import doubled, halved
from impasto.runtime.picture import Picture, color_stats
from impasto.runtime.style import StyleModel
from impasto.runtime.tiles import Area
from impasto.runtime.underpaint import COARSER, Tint, Under, enlarged, shrunk

F32 = NDArray[np.float32]
PLENTY = 10**12


def changed(path: Path, *, under: int, leave_out: str = "") -> Path:
    """The bundled model with another number of paintings that lie under."""
    bundle = Bundle.open("anystyle")
    graphs = {
        role: replace(spec, under=under, ground=0.5 if under else 0.0) if role.startswith("painter") else spec
        for role, spec in bundle.manifest.graphs.items()
    }
    members = {name: bundle.read(name) for name in bundle.members if name not in (MANIFEST, leave_out)}
    write_bundle(path, replace(bundle.manifest, graphs=graphs, members={}), members)
    return path


@pytest.fixture(scope="module")
def model() -> Iterator[StyleModel]:
    yield StyleModel.load("anystyle", threads=1)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StyleModel]:
    yield StyleModel.load(changed(tmp_path_factory.mktemp("bare") / "bare.impasto", under=0), threads=1)


def photo(width: int, height: int, alpha: bool = False) -> Picture:
    rough = np.random.default_rng(1).normal(0, 0.1, (height, width, 3)).astype(np.float32)
    clear = np.linspace(0.1, 1, height * width, dtype=np.float32).reshape(height, width) if alpha else None
    return Picture(np.clip(drawn_photo(width, height, seed=3) + rough, 0, 1), clear)


def test_what_lies_under_shows(model: StyleModel, bare: StyleModel) -> None:
    large, small = photo(160, 128), photo(63, 90)
    assert np.abs(model.paint(large, "starry-night").rgb - bare.paint(large, "starry-night").rgb).mean() > 0.01
    # Half of 63 pixels is too little to lie under anything.
    np.testing.assert_array_equal(model.paint(small, "starry-night").rgb, bare.paint(small, "starry-night").rgb)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("largest", [10**6, 3000])
def test_parts_are_the_whole(
    model: StyleModel, monkeypatch: pytest.MonkeyPatch, largest: int, direct: bool, alpha: bool
) -> None:
    for module in (underpaint, painting):
        monkeypatch.setattr(module, "LARGEST", largest)
    monkeypatch.setattr(painting, "LARGEST_WINDOW", 170_000)
    if not direct:
        for module in (bands, painting, whole):
            monkeypatch.setattr(module, "DIRECT", 20_000)
        monkeypatch.setattr(bands, "TRIAL", 12_000)
    picture = photo(461, 397, alpha)
    result = Sheet(np.full_like(picture.rgb, np.nan))
    model.paint_parts(surface_of(picture), result, "great-wave", limit=PLENTY)
    np.testing.assert_allclose(result.pixels, model.paint(picture, "great-wave").rgb, atol=5e-5)


def test_frames_have_a_history_for_every_size(model: StyleModel) -> None:
    told: list[str] = []

    def even(name: str, numbers: Any) -> Any:
        told.append(name)
        return numbers

    picture = photo(160, 128)
    np.testing.assert_array_equal(
        model.paint(picture, "starry-night", even=even).rgb, model.paint(picture, "starry-night").rgb
    )
    assert told == ["photo_stats", "gains 2", "gains 1", "gains"]


def test_a_picture_is_halved_and_doubled_in_parts_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = photo(93, 77, alpha=True)
    assert picture.alpha is not None
    for steps in (1, 2, 3):
        unit = 1 << steps
        pad = ((0, -77 % unit), (0, -93 % unit), (0, 0))
        planes = np.pad(np.dstack([picture.rgb, picture.alpha]), pad, mode="edge").transpose(2, 0, 1)
        for _ in range(steps):
            planes = halved(planes)
        for band in (1 << 18, 1):  # all rows at once, and each by itself
            monkeypatch.setattr(underpaint, "BAND", band)
            small = shrunk(surface_of(picture), steps)
            area = Area(0, 0, small.height, small.width)
            np.testing.assert_allclose(small.rgb(area), planes[:3].transpose(1, 2, 0), atol=1e-6)
            np.testing.assert_allclose(small.alpha(area), planes[3], atol=1e-6)
        large = planes
        for _ in range(steps):
            large = doubled(large)
        for area in (Area(0, 0, 77, 93), Area(3, 5, 4, 6), Area(31, 0, 77, 50), Area(70, 90, 77, 93)):
            expected = large[:, area.top : area.bottom, area.left : area.right]
            np.testing.assert_allclose(enlarged(planes, area, steps), expected, atol=1e-6)


def test_a_tint_gives_a_photo_the_colours_of_a_code() -> None:
    ours, theirs = photo(50, 40).rgb, 0.3 + 0.4 * drawn_photo(60, 70, seed=8)[..., ::-1]
    tinted = Tint.of(color_stats(ours), np.concatenate([np.float32([5, 7]), color_stats(theirs)]))(ours).transpose(
        1, 2, 0
    )
    found, wanted = (part.reshape(-1, 3) for part in (tinted, theirs))
    np.testing.assert_allclose(found.mean(0), wanted.mean(0), atol=2e-3)
    np.testing.assert_allclose(np.cov(found.T), np.cov(wanted.T), atol=2e-3)
    assert np.abs(np.cov(found.T) - np.cov(ours.reshape(-1, 3).T)).max() > 0.01


def test_a_code_at_half_the_size_is_its_linear_map() -> None:
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_allclose(
        Under(1, 0.5, table).coarser(np.float32([1, 0, 2])), [0 + 4 + 3, 4 + 12 + 7, 8 + 20 + 11]
    )


def test_a_file_that_lacks_the_map_is_refused(tmp_path: Path) -> None:
    path = changed(tmp_path / "lacking.impasto", under=1, leave_out=COARSER)
    with pytest.raises(BundleError, match=rf"has no {COARSER}: export it again\.$"):
        StyleModel.load(path)
