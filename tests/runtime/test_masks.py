"""Masks: read from anything, soft as asked, the same in bands, and finding what stands in front."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from drawing import encoded
from helpers import drawn_photo
from impasto.errors import EngineError, ImpastoError, PictureError, UnknownName
from impasto.runtime import masks
from impasto.runtime.canvas import Sheet
from impasto.runtime.foreground import find_foreground
from impasto.runtime.masks import Cover, Mask, feather_pixels, feathered, open_mask, stretched
from impasto.runtime.picture import Picture
from impasto.runtime.tiles import Area

GREY = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)


def whole(plane: Any, size: tuple[int, int]) -> Any:
    return stretched(np.asarray(plane, np.float32), size, Area(0, 0, size[1], size[0]))


# --- reading ----------------------------------------------------------------------------------------------------------


def test_brightness_is_the_mask(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    expected = GREY / np.float32(255)
    for source in (tmp_path / "grey.png", str(tmp_path / "grey.png"), encoded(Image.fromarray(GREY), "PNG"), GREY):
        np.testing.assert_array_equal(open_mask(source), expected)
    np.testing.assert_array_equal(open_mask(Picture.open(tmp_path / "grey.png")), expected)
    colours = np.zeros((2, 3, 3), np.float32)
    colours[0, 0], colours[0, 1], colours[0, 2] = (1, 0, 0), (0, 1, 0), (1, 1, 1)
    np.testing.assert_allclose(open_mask(Picture(colours)), [[0.299, 0.587, 1], [0, 0, 0]], atol=1e-6)
    np.testing.assert_array_equal(open_mask(GREY > 100), GREY > 100)


def test_opacity_is_where_something_is_transparent() -> None:
    alpha = np.ones((4, 6), np.float32)
    rgb = drawn_photo(6, 4)
    grey = open_mask(Picture(rgb))
    np.testing.assert_array_equal(open_mask(Picture(rgb, alpha)), grey)
    alpha[1, 2] = 0.25
    np.testing.assert_array_equal(open_mask(Picture(rgb, alpha)), alpha)


def test_a_mask_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.fromarray(GREY).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(open_mask(tmp_path / "turned.png"), np.rot90(GREY, -1) / np.float32(255))


def test_large_masks_are_kept_smaller_and_read_in_strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rgba = np.zeros((90, 120, 4), np.uint8)
    rgba[:, :60] = 255
    rgba[..., 3] = np.linspace(0, 255, 120)
    Image.fromarray(rgba).save(tmp_path / "cut.png")
    Image.fromarray(rgba[..., 0]).save(tmp_path / "grey.png")
    monkeypatch.setattr(masks, "LARGEST_SIDE", 60)
    at_once = [open_mask(tmp_path / name) for name in ("cut.png", "grey.png")]
    monkeypatch.setattr(masks, "_WHOLE", 1000)
    in_strips = [open_mask(tmp_path / name) for name in ("cut.png", "grey.png")]
    for one, other in zip(at_once, in_strips, strict=True):
        assert one.shape == other.shape == (45, 60)
        assert np.abs(one - other).mean() < 0.01
    assert in_strips[1][:, :27].min() > 0.95 and in_strips[1][:, 33:].max() < 0.05


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (np.zeros((3, 4, 3), np.float32), r"A mask is an array \[h,w\]"),
        (np.zeros((3, 4), np.int64), r"A mask is an array \[h,w\]"),
        (np.zeros((0, 4), np.float32), r"A mask is an array \[h,w\]"),
        (np.full((3, 4), 2.0), "from 0, the photo, to 1"),
        (np.full((3, 4), np.nan), "from 0, the photo, to 1"),
        ("gone.png", "There is no file"),
        (b"no picture at all", "not a picture"),
    ],
)
def test_what_is_no_mask_is_one_sentence(source: Any, sentence: str) -> None:
    with pytest.raises(PictureError, match=sentence):
        open_mask(source)


# --- feathers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feather", "pixels"), [(0.01, 10), ("0.01", 10), ("12px", 12), (" 3 PX", 3), (0, 0), ("0px", 0)]
)
def test_feathers_are_shares_or_pixels(feather: Any, pixels: float) -> None:
    assert feather_pixels(feather, 1000) == pytest.approx(pixels)


@pytest.mark.parametrize("feather", [-0.1, 0.6, "-1px", "nan", "infpx", "soft", "", "px"])
def test_other_feathers_are_refused(feather: Any) -> None:
    with pytest.raises(ImpastoError, match=r"share of the long side from 0 to 0\.5, or pixels like 12px"):
        Mask(feather=feather)


@pytest.mark.parametrize("width", [0.0, 3.0, 40.0, 300.0])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.4])
def test_a_mask_of_one_value_stays_it(width: float, value: float) -> None:
    soft = feathered(np.full((70, 90), value, np.float32), (200, 160), width)
    cover = Cover([soft], (200, 160)).at(Area(0, 0, 160, 200))
    np.testing.assert_allclose(cover, value, atol=1e-6 if value == 0.4 else 0)


@pytest.mark.parametrize(("mask_size", "width"), [((200, 160), 12.0), ((400, 320), 12.0), ((200, 160), 60.0)])
def test_an_edge_is_as_wide_as_asked(mask_size: tuple[int, int], width: float) -> None:
    plane = np.zeros(mask_size[::-1], np.float32)
    plane[:, mask_size[0] // 2 :] = 1
    row = whole(feathered(plane, (200, 160), width), (200, 160))[80]
    assert (np.diff(row) >= -1e-6).all() and abs(row[99] + row[100] - 1) < 0.02
    ten, ninety = (np.interp(level, row, np.arange(200)) for level in (0.1, 0.9))
    assert ninety - ten == pytest.approx(width, rel=0.1, abs=1)


# --- over a photo -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(20, 12), (61, 37), (7, 5)])
def test_stretched_in_parts_as_the_whole(size: tuple[int, int]) -> None:
    plane = np.random.default_rng(0).random((12, 20), dtype=np.float32)
    expected = whole(plane, size)
    assert expected.shape == size[::-1] and expected.min() >= 0 and expected.max() <= 1
    for area in (Area(0, 0, 2, size[0]), Area(3, 2, size[1], 5), Area(2, 1, 4, 3)):
        part = stretched(plane, size, area)
        np.testing.assert_allclose(part, expected[area.top : area.bottom, area.left : area.right], atol=2e-6)


def test_paint_and_protect_hold_together() -> None:
    photo = Sheet(drawn_photo(40, 30))
    left, top = np.zeros((30, 40), np.float32), np.zeros((3, 4), np.float32)
    left[:, :20], top[:1] = 1, 1
    area = Area(0, 0, 30, 40)
    both = Mask(left, protect=top, feather=0).over(photo).at(area)
    one, other = Mask(left, feather=0).over(photo).at(area), Mask(protect=top, feather=0).over(photo).at(area)
    np.testing.assert_array_equal(one, left)
    np.testing.assert_array_equal(both, one * other)
    assert other[0].max() == 0 and other[-1].min() == 1
    assert (Mask().over(photo).at(area) == 1).all()
    opened = Mask(left, protect=top, feather=0).opened()
    assert isinstance(opened.protect, np.ndarray) and opened.mark == Mask(left, protect=top, feather=0).mark
    assert len({opened.mark, Mask(left).mark, Mask(protect=left).mark, Mask(left, feather=0.1).mark}) == 4


# --- the foreground ---------------------------------------------------------------------------------------------------


def thing(width: int, height: int) -> tuple[Any, Any]:
    """A ball before a blue wall, and where it is."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    ball = ((x - 0.55 * width) / (0.2 * width)) ** 2 + ((y - 0.55 * height) / (0.3 * height)) ** 2 < 1
    rgb = np.full((height, width, 3), (0.3, 0.5, 0.8)) + random.normal(0, 0.03, (height, width, 3))
    rgb[ball] = random.normal((0.7, 0.3, 0.2), 0.05, (int(ball.sum()), 3))
    return rgb.clip(0, 1).astype(np.float32), ball


@pytest.mark.parametrize("size", [(150, 100), (500, 400)])
def test_what_stands_in_front_is_found(size: tuple[int, int]) -> None:
    rgb, ball = thing(*size)
    found = find_foreground(Sheet(rgb))
    assert max(found.shape) <= 384 and set(np.unique(found)) == {0.0, 1.0}
    cover = Mask(foreground="auto", feather=0).over(Sheet(rgb)).at(Area(0, 0, size[1], size[0]))
    inside = cover > 0.5
    assert (inside & ball).sum() / (inside | ball).sum() > 0.97
    np.testing.assert_array_equal(find_foreground(Sheet(rgb)), found)
    rest = Mask(foreground="protect", feather=0).over(Sheet(rgb)).at(Area(0, 0, size[1], size[0]))
    np.testing.assert_allclose(cover + rest, 1, atol=1e-6)


@pytest.mark.parametrize("size", [(60, 40), (5, 5)])
def test_where_nothing_stands_out_it_is_said(size: tuple[int, int]) -> None:
    with pytest.raises(ImpastoError, match="Nothing stands out"):
        find_foreground(Sheet(np.full((size[1], size[0], 3), 0.5, np.float32)))


def test_without_opencv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(EngineError, match=r"pip install 'impasto\[video\]'"):
        Mask(foreground="auto").over(Sheet(drawn_photo()))


def test_an_unknown_foreground_is_offered_the_right_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'auto'"):
        Mask(foreground="aut")
