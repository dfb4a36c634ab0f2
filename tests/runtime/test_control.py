"""Masks, regions, palettes and matched colours of paintings: borders, mixtures, and parts as the whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import impasto
from helpers import CODES, drawn_photo
from impasto.errors import ImpastoError, PictureError, UnknownName
from impasto.runtime import control, matching, painting
from impasto.runtime.canvas import Sheet, surface_of
from impasto.runtime.control import Controls, colors_of, finish, paint_layers
from impasto.runtime.masks import Mask
from impasto.runtime.matching import match_colors
from impasto.runtime.mural import paint_file
from impasto.runtime.palette import COLORS, main_colors, to_palette
from impasto.runtime.picture import Picture, keep_colors
from impasto.runtime.regions import Region
from impasto.runtime.stopping import Stop, StoppedError
from impasto.runtime.style import StyleModel, save_code

PLENTY = 10**15
SOFT = np.tile(np.linspace(0, 1, 50, dtype=np.float32), (37, 1))
LEFT = (SOFT < 0.5).astype(np.float32)


# --- masks ------------------------------------------------------------------------------------------------------------


def test_at_its_borders_a_mask_is_the_photo_or_the_painting_exactly(model: StyleModel, photo: Picture) -> None:
    full = model.paint(photo, "great-wave").rgb
    for mask in (np.ones((3, 4)), Mask(protect=np.zeros((3, 4)), feather=0.2), np.ones((37, 50), bool)):
        np.testing.assert_array_equal(model.paint(photo, "great-wave", mask=mask).rgb, full)
    for mask in (np.zeros((3, 4)), Mask(protect=np.ones((9, 9))), np.zeros((37, 50), bool)):
        np.testing.assert_array_equal(model.paint(photo, "great-wave", mask=mask).rgb, photo.rgb)


def test_between_them_it_is_linear(model: StyleModel, photo: Picture) -> None:
    full = model.paint(photo, "great-wave").rgb
    got = model.paint(photo, "great-wave", mask=Mask(SOFT, feather=0)).rgb
    np.testing.assert_allclose(got, photo.rgb + SOFT[..., None] * (full - photo.rgb), atol=1e-6)
    other = model.paint(photo, "great-wave", mask=Mask(protect=SOFT, feather=0)).rgb
    np.testing.assert_allclose(got + other, full + photo.rgb, atol=1e-6)


def test_transparency_and_metadata_pass_through(model: StyleModel) -> None:
    alpha = np.random.default_rng(0).random((37, 50), dtype=np.float32)
    photo = Picture(drawn_photo(50, 37), alpha)
    for options in ({"mask": SOFT}, {"palette": 3}, {"keep_colors": "histogram"}):
        painted = model.paint(photo, "great-wave", **options)
        np.testing.assert_array_equal(painted.alpha, alpha)
        assert painted.info is photo.info


def test_a_mask_is_wrong_before_anything_is_painted(model: StyleModel, photo: Picture, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"nothing")
    told: list[object] = []
    for mask in (tmp_path / "gone.png", tmp_path / "bad.png", np.zeros((2, 2, 3))):
        with pytest.raises(PictureError):
            model.paint(photo, "great-wave", mask=mask, progress=told.append, max_memory=1)
        with pytest.raises(PictureError):
            model.paint(photo, [Region("great-wave", mask=mask)], progress=told.append, max_memory=1)
    assert told == []


# --- regions ----------------------------------------------------------------------------------------------------------


def test_each_style_in_its_place(model: StyleModel, photo: Picture) -> None:
    wave, scream = (model.paint(photo, name).rgb for name in ("great-wave", "the-scream"))
    sharp = Mask(feather=0)
    two = model.paint(photo, [Region("great-wave", LEFT), Region("the-scream", 1 - LEFT)], mask=sharp).rgb
    rest = model.paint(photo, [Region("great-wave", LEFT), Region("the-scream")], mask=sharp).rgb
    alone = model.paint(photo, [Region("great-wave", LEFT, weight=0.01)], mask=sharp).rgb
    for got, right in ((two, scream), (rest, scream), (alone, photo.rgb)):
        np.testing.assert_array_equal(got[:, :25], wave[:, :25])
        np.testing.assert_array_equal(got[:, 25:], right[:, 25:])


def test_where_masks_overlap_weights_decide_and_nothing_is_lost(model: StyleModel, photo: Picture) -> None:
    wave, scream = (model.paint(photo, name).rgb for name in ("great-wave", "the-scream"))
    ones, sharp = np.ones((37, 50), np.float32), Mask(feather=0)
    both = model.paint(photo, [Region("great-wave", ones, weight=3), Region("the-scream", ones)], mask=sharp).rgb
    np.testing.assert_allclose(both, (3 * wave + scream) / 4, atol=1e-6)
    # Soft masks that add up to 1 leave no photo between them, those that do not leave it where they do not.
    across = model.paint(photo, [Region("great-wave", SOFT), Region("the-scream", 1 - SOFT)], mask=sharp).rgb
    share = SOFT[..., None]
    np.testing.assert_allclose(across, share * wave + (1 - share) * scream, atol=1e-5)
    third = model.paint(photo, [Region("great-wave", SOFT / 3), Region("the-scream", SOFT / 3)], mask=sharp).rgb
    np.testing.assert_allclose(third, share / 3 * (wave + scream) + (1 - share * 2 / 3) * photo.rgb, atol=1e-5)
    masked = model.paint(photo, [Region("great-wave", ones), Region("the-scream")], mask=Mask(SOFT, feather=0)).rgb
    np.testing.assert_allclose(masked, photo.rgb + share * (wave - photo.rgb), atol=1e-6)


def test_styles_without_a_mask_are_one_blend(model: StyleModel, photo: Picture) -> None:
    regions = [Region("great-wave", LEFT), Region("the-scream", weight=3), Region("starry-night")]
    blend = model.paint(photo, [("the-scream", 3), ("starry-night", 1)]).rgb
    got = model.paint(photo, regions, mask=Mask(feather=0)).rgb
    np.testing.assert_allclose(got[:, 25:], blend[:, 25:], atol=1e-6)
    plain = model.paint(photo, regions[1:]).rgb
    np.testing.assert_allclose(plain, blend, atol=1e-6)


def test_regions_that_cannot_be_are_refused(model: StyleModel, photo: Picture) -> None:
    with pytest.raises(ImpastoError, match="give a number above 0"):
        model.paint(photo, [Region("great-wave", LEFT, weight=0)])
    with pytest.raises(ImpastoError, match="pairs of a style and its weight"):
        model.paint(photo, [Region("great-wave", LEFT), ("the-scream", 1)])  # type: ignore[list-item]
    with pytest.raises(UnknownName, match="great-wave"):
        model.paint(photo, [Region("great-wafe", LEFT)])


# --- colours ----------------------------------------------------------------------------------------------------------


def test_ways_to_keep_colours(model: StyleModel, photo: Picture) -> None:
    plain = model.paint(photo, "the-scream").rgb
    for off in (False, "off"):
        np.testing.assert_array_equal(model.paint(photo, "the-scream", keep_colors=off).rgb, plain)
    for on in (True, "luminance"):
        np.testing.assert_array_equal(
            model.paint(photo, "the-scream", keep_colors=on).rgb, keep_colors(plain, photo.rgb)
        )
    matched = model.paint(photo, "the-scream", keep_colors="histogram").rgb
    np.testing.assert_array_equal(matched, match_colors(plain, photo.rgb))
    far = [np.abs(np.sort(rgb.ravel()) - np.sort(photo.rgb.ravel())).mean() for rgb in (matched, plain)]
    assert far[0] < 0.02 < 0.1 < far[1]
    with pytest.raises(UnknownName, match="did you mean 'histogram'"):
        model.paint(photo, "the-scream", keep_colors="histogramm")


def test_a_palette_of_a_picture_a_name_or_ones_own(model: StyleModel, photo: Picture, tmp_path: Path) -> None:
    painted = Picture(drawn_photo(40, 30, seed=3))
    painted.save(tmp_path / "art.png")
    painted = Picture.open(tmp_path / "art.png")
    colors = main_colors([(painted, 1.0)], 4)
    plain = model.paint(photo, painted).rgb
    for style in (painted, tmp_path / "art.png", str(tmp_path / "art.png"), [(painted, 2.0)]):
        np.testing.assert_array_equal(model.paint(photo, style, palette=4).rgb, to_palette(plain, colors))
    np.testing.assert_array_equal(model.paint(photo, painted, palette=colors.tolist()).rgb, to_palette(plain, colors))
    half = model.paint(photo, painted, palette=4, strength=0.5).rgb
    weak = model.paint(photo, painted, strength=0.5).rgb
    np.testing.assert_allclose(half, 0.5 * (weak + to_palette(weak, colors)), atol=1e-6)
    np.testing.assert_allclose(model.paint(photo, painted, palette=4, strength=0).rgb, photo.rgb, atol=1e-6)
    # A name has no picture: its colours are those it paints with.
    named = colors_of(model, "the-scream")
    assert len(named) == COLORS and named.mean(axis=0) == pytest.approx(CODES[2, 2:5], abs=0.12)
    save_code(tmp_path / "own.npy", CODES[2])
    for style in (CODES[2], tmp_path / "own.npy", [("the-scream", 1.0)], {"the-scream": 1.0}):
        np.testing.assert_allclose(colors_of(model, style), named, atol=1e-4)
    mixed = colors_of(model, [("the-scream", 1.0), (painted, 1.0)], 3)
    np.testing.assert_array_equal(mixed, colors_of(model, model.code([("the-scream", 1.0), (painted, 1.0)]), 3))


def test_a_palette_for_each_region(model: StyleModel, photo: Picture) -> None:
    art, own = Picture(drawn_photo(40, 30, seed=3)), np.array([[0, 0, 0], [1, 0, 0]], np.float32)
    got = model.paint(photo, [Region(art, LEFT), Region("great-wave", palette=own)], palette=3, mask=Mask(feather=0))
    left = to_palette(model.paint(photo, art).rgb, main_colors([(art, 1.0)], 3))
    np.testing.assert_array_equal(got.rgb[:, :25], left[:, :25])
    assert got.rgb[:, 25:, 1:].max() < 1e-6 < got.rgb[:, 25:, 0].min() + 1


def test_a_palette_and_the_photos_colours_are_refused(model: StyleModel, photo: Picture) -> None:
    for keep in (True, "histogram"):
        with pytest.raises(ImpastoError, match="choose one of them"):
            model.paint(photo, "great-wave", palette=3, keep_colors=keep)
        with pytest.raises(ImpastoError, match="choose one of them"):
            finish(photo, photo, palette=[[0, 0, 0]], keep_colors=keep)
    for palette in (1, 40, "red", [[2, 0, 0]]):
        with pytest.raises(ImpastoError, match=r"choose 2 to 32|array|from 0 to 1"):
            model.paint(photo, "great-wave", palette=palette)  # type: ignore[arg-type]


# --- however it is painted --------------------------------------------------------------------------------------------

WAYS: list[dict[str, Any]] = [
    {"keep_colors": "histogram"},
    {"keep_colors": "luminance", "mask": SOFT},
    {"palette": 3, "strength": 0.6},
    {"mask": Mask(SOFT, protect=LEFT[:5, :9], feather="3px")},
    {"stroke": "16px", "detail": 0.4, "palette": 3, "mask": SOFT},
]


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("options", WAYS)
def test_parts_are_the_whole(
    model: StyleModel, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], alpha: bool
) -> None:
    opacity = np.random.default_rng(0).random((94, 131), dtype=np.float32) if alpha else None
    photo = Picture(drawn_photo(131, 94), opacity)
    code: Any = "great-wave" if alpha else [Region("great-wave", SOFT), Region("the-scream")]
    whole = model.paint(photo, code, **options).rgb
    monkeypatch.setattr(painting, "LARGEST_WINDOW", 5000)
    for module in (control, matching):
        monkeypatch.setattr(module, "BAND", 700)
    result = Sheet(np.full_like(photo.rgb, np.nan))
    model.paint_parts(surface_of(photo), result, code, limit=PLENTY, **options)
    # Where it is painted smaller, the guided filter goes band by band.
    np.testing.assert_allclose(result.pixels, whole, atol=1 / 255 if "stroke" in options else 2e-5)


@pytest.mark.parametrize("options", WAYS)
def test_from_file_to_file(
    model: StyleModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    Picture(drawn_photo(131, 94)).save(tmp_path / "photo.png")
    code: Any = [Region("great-wave", SOFT), Region("the-scream", 1 - SOFT)]
    model.paint(Picture.open(tmp_path / "photo.png"), code, **options).save(tmp_path / "whole.png")
    monkeypatch.setattr(painting, "LARGEST_WINDOW", 5000)
    paint_file(model, tmp_path / "photo.png", tmp_path / "parts.png", code, max_memory=PLENTY, **options)
    one, two = (Picture.open(tmp_path / name).rgb for name in ("whole.png", "parts.png"))
    assert np.abs(one - two).max() <= 1.01 / 255 and (np.abs(one - two) > 1e-6).mean() < 0.02
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.png", "photo.png", "whole.png"]


def test_from_file_to_file_the_photo_stays_to_the_bit(model: StyleModel, tmp_path: Path) -> None:
    Picture(drawn_photo(131, 94)).save(tmp_path / "photo.png")
    Image.new("L", (7, 5)).save(tmp_path / "mask.png")
    paint_file(
        model,
        tmp_path / "photo.png",
        tmp_path / "out.png",
        "great-wave",
        max_memory=PLENTY,
        mask=tmp_path / "mask.png",
    )
    np.testing.assert_array_equal(Picture.open(tmp_path / "out.png").rgb, Picture.open(tmp_path / "photo.png").rgb)


@pytest.mark.parametrize("keep", ["off", "luminance", "histogram"])
@pytest.mark.parametrize("palette", [None, 3])
def test_a_painting_from_elsewhere_is_finished_alike(
    model: StyleModel, photo: Picture, keep: str, palette: int | None
) -> None:
    if keep != "off" and palette is not None:
        return
    art = Picture(drawn_photo(40, 30, seed=3))
    colors = None if palette is None else main_colors([(art, 1.0)], palette)
    expected = model.paint(photo, art, keep_colors=keep, palette=palette, mask=SOFT).rgb
    got = finish(photo, model.paint(photo, art), keep_colors=keep, palette=colors, mask=SOFT)
    np.testing.assert_array_equal(got.rgb, expected)
    with pytest.raises(ImpastoError, match="one size first"):
        finish(photo, art)


def test_it_can_be_stopped_once_it_is_painted(model: StyleModel, photo: Picture) -> None:
    stop, result = Stop(), Sheet(np.full_like(photo.rgb, np.nan))

    def paint(style: object) -> Sheet:
        stop.now()
        return surface_of(photo)

    how = Controls(1.0, "off", SOFT, None)
    with stop.heeded(), pytest.raises(StoppedError):
        paint_layers(model, surface_of(photo), result, "great-wave", paint, how)
    assert np.isnan(result.pixels).all()


def test_in_one_call(style_bundle: Path, model: StyleModel, photo: Picture) -> None:
    options: dict[str, Any] = {"mask": impasto.Mask(SOFT, feather=0), "palette": 3}
    regions = [impasto.Region("great-wave", LEFT), impasto.Region("the-scream")]
    got = impasto.stylize(photo, regions, model=style_bundle, threads=1, **options)
    np.testing.assert_array_equal(got.rgb, model.paint(photo, regions, **options).rgb)
    matched = impasto.stylize(photo, "great-wave", model=style_bundle, threads=1, keep_colors="histogram")
    np.testing.assert_array_equal(matched.rgb, model.paint(photo, "great-wave", keep_colors="histogram").rgb)


PEAK = """
import json, sys
from pathlib import Path
import numpy as np
from impasto import Mask, Region, StyleModel
from impasto.runtime.memory import _field
from impasto.runtime.mural import paint_file

model = StyleModel.load(sys.argv[1], threads=1)
model.device
soft = np.tile(np.linspace(0, 1, 1000, dtype=np.float32), (900, 1))
before = _field(Path("/proc/self/status"), "VmHWM")
regions = [Region("great-wave", soft), Region("the-scream")]
name, value = json.loads(sys.argv[4])
options = {"max_memory": before + 150_000_000, "mask": Mask(protect=soft.T), name: value}
paint_file(model, sys.argv[2], sys.argv[3], regions, **options)
print(json.dumps([before, _field(Path("/proc/self/status"), "VmHWM")]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("option", [["keep_colors", "histogram"], ["palette", 16]])
def test_a_process_stays_within_its_memory(tmp_path: Path, style_bundle: Path, option: list[Any]) -> None:
    Image.linear_gradient("L").resize((4200, 3700)).convert("RGB").save(tmp_path / "photo.jpg")
    command = [sys.executable, "-c", PEAK, str(style_bundle), str(tmp_path / "photo.jpg"), str(tmp_path / "out.jpg")]
    done = subprocess.run([*command, json.dumps(option)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, peak = json.loads(done.stdout)
    # As float32 the photo alone would take 186 MB, and so would each of the two paintings.
    assert peak - before < 150_000_000
    assert Picture.open(tmp_path / "out.jpg").size == (4200, 3700)
