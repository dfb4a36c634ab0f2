"""Pictures in parts, in memory and on disk: the same as the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers import drawn_photo
from impasto.errors import PictureError
from impasto.runtime import canvas as canvas_module
from impasto.runtime.canvas import Canvas, Sheet, moments_of, planes_of, resampled, surface_of
from impasto.runtime.engine import pad_to_rule
from impasto.runtime.picture import Picture, color_stats, rgb_stats
from impasto.runtime.pixels.color import as_color_stats, as_rgb_stats
from impasto.runtime.pixels.encode import quantized
from impasto.runtime.pixels.moments import Moments
from impasto.runtime.planes import to_planes
from impasto.runtime.seeing import seen_at, seen_of
from impasto.runtime.tiles import Area


def picture(width: int = 61, height: int = 43, *, alpha: bool = False) -> Picture:
    opacity = np.random.default_rng(1).random((height, width), dtype=np.float32) if alpha else None
    return Picture(drawn_photo(width, height), opacity)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_canvas_gives_back_what_was_put(tmp_path: Path, alpha: bool, deep: bool) -> None:
    whole = picture(alpha=alpha)
    levels = 65535 if deep else 255
    with Canvas(43, 61, alpha=alpha, deep=deep, folder=tmp_path) as canvas:
        for area in (Area(0, 0, 43, 20), Area(0, 20, 30, 61), Area(30, 20, 43, 61)):
            part = np.s_[area.top : area.bottom, area.left : area.right]
            canvas.put(area, whole.rgb[part], None if whole.alpha is None else whole.alpha[part])
        np.testing.assert_array_equal(canvas.samples(canvas.whole), quantized(whole.rgb, whole.alpha, levels))
        area = Area(7, 11, 29, 40)
        part = np.s_[7:29, 11:40]
        np.testing.assert_allclose(canvas.rgb(area), whole.rgb[part], atol=0.51 / levels)
        seen = canvas.alpha(area)
        assert (seen is None) == (not alpha)
        if seen is not None and whole.alpha is not None:
            np.testing.assert_allclose(seen, whole.alpha[part], atol=0.51 / levels)
        canvas.write(Area(1, 2, 3, 4), np.full((2, 2, canvas.channels), levels, canvas.dtype))
        assert (canvas.samples(Area(0, 1, 4, 5)) == levels).sum() >= 4 * canvas.channels
    assert list(tmp_path.iterdir()) == []


def test_a_canvas_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"4000x3000 is kept in .*gone .* takes 36 MB, .*make room there"):
        Canvas(3000, 4000, alpha=False, deep=False, folder=tmp_path / "gone")
    with Canvas(4, 5, alpha=False, deep=False, folder=tmp_path) as canvas, pytest.raises(PictureError, match="never"):
        canvas.samples(canvas.whole)


def test_a_sheet_shares_the_pixels_of_its_picture() -> None:
    whole = picture(alpha=True)
    sheet = surface_of(whole)
    assert np.shares_memory(sheet.rgb(Area(0, 0, 2, 2)), whole.rgb)
    copy = Sheet(np.zeros_like(whole.rgb), np.zeros((43, 61), np.float32))
    for area in Area(0, 0, 43, 61).bands(200):
        opacity = sheet.alpha(area)
        copy.put(area, sheet.rgb(area), opacity)
    np.testing.assert_array_equal(copy.pixels, whole.rgb)
    np.testing.assert_array_equal(copy.alpha(Area(0, 0, 43, 61)), whole.alpha)


@pytest.mark.parametrize("alpha", ["none", "some", "nothing opaque"])
def test_statistics_in_bands_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch, alpha: str) -> None:
    monkeypatch.setattr(canvas_module, "BAND", 500)
    rgb = drawn_photo(97, 71)
    opacity = {
        "none": None,
        "some": picture(97, 71, alpha=True).alpha,
        "nothing opaque": np.zeros((71, 97), np.float32),
    }
    whole = Picture(rgb, opacity[alpha])
    moments = moments_of(surface_of(whole))
    np.testing.assert_allclose(as_color_stats(*moments), color_stats(whole.rgb, whole.alpha), rtol=3e-6, atol=3e-7)
    np.testing.assert_allclose(as_rgb_stats(*moments), rgb_stats(whole.rgb, whole.alpha), rtol=3e-6, atol=3e-7)


def test_statistics_of_a_nearly_flat_picture_are_not_lost() -> None:
    rgb = (0.7 + 1e-4 * np.random.default_rng(0).standard_normal((200, 300, 3))).astype(np.float32)
    moments = Moments()
    for top in range(0, 200, 30):
        moments.add(rgb[top : top + 30])
    expected = rgb.reshape(-1, 3).astype(np.float64)
    mean, covariance = moments.result()
    np.testing.assert_allclose(mean, expected.mean(0), rtol=1e-7)
    np.testing.assert_allclose(covariance, np.cov(expected.T, bias=True), atol=1e-12)
    with pytest.raises(PictureError, match="add a band first"):
        Moments().result()


@pytest.mark.parametrize(("height", "width"), [(20, 30), (17, 30), (20, 25), (21, 31), (1, 3)])
def test_planes_are_padded_as_the_engine_pads(monkeypatch: pytest.MonkeyPatch, height: int, width: int) -> None:
    monkeypatch.setattr(canvas_module, "BAND", 100)
    rgb = drawn_photo(60, 50)
    area = Area(8, 16, 8 + height, 16 + width)
    expected, _ = pad_to_rule(to_planes(rgb[8 : 8 + height, 16 : 16 + width]), 16, 8)
    planes = planes_of(Sheet(rgb), area, np.full_like(expected, np.nan))
    np.testing.assert_array_equal(planes, expected)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("long_side", [300, 190, 150, 77, 9, 1])
def test_scaled_in_strips_as_whole(alpha: bool, long_side: int) -> None:
    whole = picture(190, 140, alpha=alpha)
    expected = whole.resized(long_side)
    out = Picture(np.zeros_like(expected.rgb), None if expected.alpha is None else np.zeros_like(expected.alpha))
    target, strips = surface_of(out), 0
    for area, rgb, opacity in resampled(surface_of(whole), expected.size, band=190 * 30):
        target.put(area, rgb, opacity)
        strips += 1
    assert strips > 1 or long_side < 10
    np.testing.assert_allclose(out.rgb, expected.rgb, atol=2e-4)
    if expected.alpha is not None:
        np.testing.assert_allclose(out.alpha, expected.alpha, atol=2e-4)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize(("width", "height", "scale"), [(190, 140, 64), (400, 70, 50), (70, 400, 70)])
def test_the_encoder_sees_the_same_in_parts(alpha: bool, width: int, height: int, scale: int) -> None:
    whole = picture(width, height, alpha=alpha)
    expected = seen_at(whole, scale, 1)
    seen = seen_of(surface_of(whole), scale)
    assert seen.shape == expected.shape
    np.testing.assert_allclose(seen, expected, atol=1e-5)
