"""``stroke`` and ``detail`` of `StyleModel.paint`, with the tiny model and a picture drawn by code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import impasto
from helpers import drawn_photo
from impasto.errors import ImpastoError
from impasto.progress import Progress
from impasto.runtime import guided, painting
from impasto.runtime.canvas import Canvas, Sheet, surface_of
from impasto.runtime.fitting import file_limit
from impasto.runtime.mural import paint_file
from impasto.runtime.picture import Picture, PictureInfo, resample
from impasto.runtime.similarity import ssim
from impasto.runtime.stopping import Stop, StoppedError
from impasto.runtime.style import StyleModel
from impasto.runtime.tiles import Area
from impasto.runtime.working import FINE, FinestLayer

F32 = NDArray[np.float32]
STYLE = "great-wave"
PLENTY = 10**15
LUMA = np.array([0.299, 0.587, 0.114])


def fine(rgb: F32) -> float:
    """How much there is between neighbouring pixels."""
    grey = rgb @ LUMA
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())


@pytest.fixture
def large() -> Picture:
    """330x250 pixels with fine texture, and transparency."""
    rgb = drawn_photo(330, 250)
    texture = 0.08 * np.random.default_rng(2).standard_normal((250, 330, 1)).astype(np.float32)
    alpha = np.linspace(0, 1, 330, dtype=np.float32)[None].repeat(250, 0)
    return Picture(np.clip(rgb + texture, 0, 1), alpha, PictureInfo(dpi=(300.0, 300.0)))


def test_without_them_nothing_changes(model: StyleModel, large: Picture) -> None:
    plain = model.paint(large, STYLE)
    for options in ({"stroke": None, "detail": 0.0}, {"stroke": "8px"}, {"stroke": 8 / 330}):
        np.testing.assert_array_equal(model.paint(large, STYLE, **options).rgb, plain.rgb)


@pytest.mark.parametrize("options", [{}, {"keep_colors": "luminance"}, {"detail": 0.5}, {"strength": 0.6}])
@pytest.mark.parametrize("style", ["starry-night", "the-scream"])
def test_a_preview_and_the_large_picture_look_alike(model: StyleModel, style: str, options: dict[str, Any]) -> None:
    # At its own strokes the tiny painter blurs by a pixel, whatever the size: far from alike in detail.
    large = Picture(drawn_photo(490, 363))
    small = large.resized(128)
    preview = model.paint(small, style, stroke=1 / 16, **options)
    painted = model.paint(large, style, stroke=1 / 16, **options)
    assert painted.size == large.size
    assert ssim(resample(painted.rgb, None, small.size)[0], preview.rgb) >= 0.9


def test_it_is_painted_at_the_working_size(model: StyleModel, large: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    painter, seen = model._engine("painter"), list[tuple[int, ...]]()
    real = painter.run_picture

    def noted(name: str, planes: F32, *rest: Any, **how: Any) -> F32:
        seen.append(planes.shape)
        return real(name, planes, *rest, **how)

    monkeypatch.setattr(painter, "run_picture", noted)
    for stroke in ("16px", "4px", "auto", "2%"):
        model.paint(large, STYLE, stroke=stroke)
    assert seen == [(1, 3, 125, 165), (1, 3, 500, 660), (1, 3, 388, 512), (1, 3, 303, 400)]


@pytest.mark.parametrize("stroke", ["5px", "16px", "32px", "auto", None])
def test_transparency_and_metadata_are_kept(model: StyleModel, large: Picture, stroke: str | None) -> None:
    painted = model.paint(large, STYLE, stroke=stroke, detail=0.3)
    assert painted.alpha is large.alpha and painted.info == large.info and painted.size == large.size
    assert painted.rgb.dtype == np.float32 and painted.rgb.min() >= 0 and painted.rgb.max() <= 1


@pytest.mark.parametrize(("stroke", "most"), [("3px", 0.01), ("5px", 0.01), ("12px", 0.1)])
def test_what_lies_under_transparency_does_not_bleed(model: StyleModel, stroke: str, most: float) -> None:
    rgb, alpha = drawn_photo(120, 80), np.ones((80, 120), np.float32)
    alpha[:, 70:] = 0.0
    seen = {}
    for name, hidden in (("black", 0.0), ("white", 1.0)):
        rgb[:, 70:] = hidden
        seen[name] = model.paint(Picture(rgb.copy(), alpha), STYLE, stroke=stroke).rgb[:, :70]
    np.testing.assert_allclose(seen["black"], seen["white"], atol=most)


@pytest.mark.parametrize(
    "options", [{"stroke": "20px"}, {"stroke": "4px"}, {"stroke": "20px", "detail": 1.0}, {"detail": 1.0}]
)
def test_no_strength_gives_the_photo(model: StyleModel, large: Picture, options: dict[str, Any]) -> None:
    painted = model.paint(large, STYLE, strength=0.0, **options)
    np.testing.assert_allclose(painted.rgb, large.rgb, atol=1e-6)


def test_the_photos_colours_are_kept_at_its_own_size(model: StyleModel, large: Picture) -> None:
    kept = model.paint(large, STYLE, stroke="24px", keep_colors=True).rgb
    chroma = [rgb - (rgb @ LUMA)[..., None] for rgb in (kept, large.rgb)]
    inside = ((kept > 0) & (kept < 1)).all(axis=2)
    np.testing.assert_allclose(chroma[0][inside], chroma[1][inside], atol=1e-3)


def test_masks_hold_at_its_own_size(model: StyleModel, large: Picture) -> None:
    mask = np.zeros((250, 330), np.float32)
    mask[:, 200:] = 1
    feathered = impasto.Mask(mask, feather=0)
    painted = model.paint(large, STYLE, stroke="24px", detail=0.5, mask=feathered).rgb
    whole = model.paint(large, STYLE, stroke="24px", detail=0.5).rgb
    np.testing.assert_array_equal(painted[:, :199], large.rgb[:, :199])
    np.testing.assert_array_equal(painted[:, 202:], whole[:, 202:])


def test_detail_brings_the_finest_layer_back(model: StyleModel, large: Picture) -> None:
    code = np.array(model.code("starry-night"))  # blurs by a pixel
    found = [model.paint(large, code, detail=detail).rgb for detail in (0.0, 0.5, 1.0)]
    assert fine(found[0]) < fine(found[1]) < fine(found[2])
    # Brightness only: what is added is grey.
    added = (found[1] - found[0])[((found[1] > 0) & (found[1] < 1)).all(axis=2)]
    np.testing.assert_allclose(added, added[:, :1].repeat(3, 1), atol=1e-5)


def test_the_finest_layer_of_a_painting_that_has_it_already_stays(large: Picture) -> None:
    photo = Sheet(large.rgb)
    area = Area(40, 0, 90, 330)
    lighter = Sheet(np.clip(large.rgb * 0.5 + 0.3, 0, 1))
    layer = FinestLayer(photo, photo, photo, 1.0)
    np.testing.assert_allclose(layer(area, photo.rgb(area), photo.rgb(area)), photo.rgb(area), atol=1e-6)
    # All of it: what remains of the difference is what a picture reduced by FINE still has.
    crisp = FinestLayer(photo, lighter, photo, 1.0)(area, lighter.rgb(area), photo.rgb(area))
    rest = Picture(np.clip(crisp - photo.rgb(area) + 0.5, 0, 1))
    coarse = rest.resized(330 // FINE).resized(330)
    assert np.abs(rest.rgb - coarse.rgb).mean() < 0.2 * np.abs(large.rgb - lighter.pixels).mean()


@pytest.mark.parametrize("size", [(131, 94), (97, 203)])
@pytest.mark.parametrize(
    "options",
    [
        {"stroke": "11px"},
        {"stroke": 0.1, "detail": 0.7},
        {"stroke": "5px", "strength": 0.5},
        {"detail": 1.0},
        {"stroke": "12px", "keep_colors": True},
    ],
)
def test_in_parts_as_whole(
    tmp_path: Path,
    model: StyleModel,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    options: dict[str, Any],
) -> None:
    random = np.random.default_rng(0)
    Picture(drawn_photo(*size), random.random(size[::-1], np.float32)).save(tmp_path / "photo.png")
    whole = model.paint(Picture.open(tmp_path / "photo.png"), STYLE, **options)
    monkeypatch.setattr(painting, "LARGEST_WINDOW", 3000)
    monkeypatch.setattr(guided, "_ROWS", 700)
    told = list[Progress]()
    done = paint_file(
        model,
        tmp_path / "photo.png",
        tmp_path / "parts.png",
        STYLE,
        max_memory=PLENTY,
        progress=told.append,
        **options,
    )
    parts = Picture.open(tmp_path / "parts.png")
    assert done.size == size == parts.size
    assert np.abs(parts.rgb - whole.rgb).max() <= 1 / 255
    assert np.abs(parts.rgb - whole.rgb).mean() <= 0.3 / 255
    rows = [one.done for one in told if one.unit == "rows"]
    assert rows[-1] == size[1] and rows == sorted(rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.png", "photo.png"]


def test_on_disk_where_the_photo_is(tmp_path: Path, model: StyleModel, monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[tuple[int, int]]()
    real = Canvas.__init__

    def noted(self: Canvas, height: int, width: int, **how: Any) -> None:
        made.append((height, width))
        real(self, height, width, **how)

    monkeypatch.setattr(Canvas, "__init__", noted)
    with Canvas(40, 60, alpha=False, deep=True, folder=tmp_path) as photo:
        photo.put(photo.whole, drawn_photo(60, 40))
        result = Sheet(np.zeros((40, 60, 3), np.float32))
        model.paint_parts(photo, result, STYLE, stroke="7.5px", limit=PLENTY)
    assert made == [(40, 60), (43, 64), (43, 64)] and result.pixels.any()
    assert list(tmp_path.iterdir()) == []


def test_within_a_limit_in_memory(model: StyleModel, large: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = model.paint(large, STYLE, stroke="4px").rgb
    monkeypatch.setattr(painting, "resident", lambda: 0)
    monkeypatch.setattr(painting, "_RESERVE", 0)
    told = list[Progress]()
    parts = model.paint(large, STYLE, stroke="4px", max_memory=12_000_000, progress=told.append).rgb
    assert max(one.total or 0 for one in told if one.unit == "windows") > 1
    np.testing.assert_allclose(parts, whole, atol=1 / 255)


def test_fine_strokes_count_against_the_memory(
    tmp_path: Path, model: StyleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    Picture(drawn_photo(131, 94)).save(tmp_path / "photo.png")
    monkeypatch.setattr(painting, "resident", lambda: 0)
    limit = 131 * 94 * 200
    assert file_limit(model, tmp_path / "photo.png", max_memory=limit) is None
    assert file_limit(model, tmp_path / "photo.png", max_memory=limit, stroke="16px") is None
    assert file_limit(model, tmp_path / "photo.png", max_memory=limit, stroke="4px") == limit


def test_bringing_up_can_be_stopped(model: StyleModel, large: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, rows = Stop(), list[int]()
    monkeypatch.setattr(guided, "_ROWS", 4000)

    def progress(now: Progress) -> None:
        if now.unit == "rows":
            rows.append(now.done)
            stop.now()

    with stop.heeded(), pytest.raises(StoppedError):
        model.paint(large, STYLE, stroke="16px", progress=progress)
    assert len(rows) == 1 and rows[0] < 250


def test_stylize_takes_them(style_bundle: Path, model: StyleModel, large: Picture) -> None:
    got = impasto.stylize(large, STYLE, model=style_bundle, stroke="2%", detail=0.4, threads=1)
    np.testing.assert_array_equal(got.rgb, model.paint(large, STYLE, stroke="2%", detail=0.4).rgb)


@pytest.mark.parametrize(("options", "said"), [({"stroke": 2}, "too coarse"), ({"detail": 1.5}, "The detail 1.5")])
def test_refusals_come_before_anything_is_painted(
    tmp_path: Path, model: StyleModel, large: Picture, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ImpastoError, match=said):
        model.paint(large, STYLE, **options)
    with pytest.raises(ImpastoError, match=said):
        model.paint_parts(surface_of(large), surface_of(large), STYLE, limit=PLENTY, **options)
    large.save(tmp_path / "photo.png")
    with pytest.raises(ImpastoError, match=said):
        paint_file(model, tmp_path / "photo.png", tmp_path / "new" / "out.png", STYLE, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
