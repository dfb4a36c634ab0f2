"""Painted in parts as painted whole, and within the memory that is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import drawn_photo, make_style_bundle, style_manifest
from impasto.errors import ImpastoError
from impasto.progress import Progress
from impasto.runtime import painting
from impasto.runtime.bundle import TensorSpec
from impasto.runtime.canvas import Sheet, surface_of
from impasto.runtime.painting import Finish, parts_limit, pixel_cost
from impasto.runtime.picture import Picture, keep_colors
from impasto.runtime.style import StyleModel

PLENTY = 10**15
GB = 10**9


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Set how many pixels a window may have."""

    def most(pixels: int) -> None:
        monkeypatch.setattr(painting, "LARGEST_WINDOW", pixels)

    yield most


def in_parts(model: StyleModel, photo: Picture, **options: Any) -> tuple[np.ndarray[Any, Any], list[Progress]]:
    result, told = Sheet(np.full_like(photo.rgb, np.nan)), list[Progress]()
    model.paint_parts(surface_of(photo), result, "great-wave", limit=PLENTY, progress=told.append, **options)
    return result.pixels, told


@pytest.mark.parametrize(("width", "height"), [(203, 157), (41, 300), (16, 16), (3, 2), (130, 17)])
@pytest.mark.parametrize("pixels", [1200, 5000])
@pytest.mark.parametrize("alpha", [False, True])
def test_parts_are_the_whole(
    model: StyleModel, windows: Any, width: int, height: int, pixels: int, alpha: bool
) -> None:
    opacity = np.random.default_rng(0).random((height, width), dtype=np.float32) if alpha else None
    photo = Picture(drawn_photo(width, height), opacity)
    windows(pixels)
    for options in ({}, {"strength": 0.4}, {"keep_colors": True}, {"strength": 0.0, "keep_colors": True}):
        parts, told = in_parts(model, photo, **options)
        np.testing.assert_allclose(parts, model.paint(photo, "great-wave", **options).rgb, atol=2e-6)
    assert told[-1].done == told[-1].total == len(told) - 1
    assert len(told) > 2 or width * height <= pixels


@pytest.mark.parametrize(("width", "height"), [(401, 333), (64, 900)])
def test_the_bundled_painter_paints_parts_as_the_whole(windows: Any, width: int, height: int) -> None:
    model = StyleModel.load(threads=1)
    photo = Picture(drawn_photo(width, height))
    windows(330 * 330)
    style = next(iter(model.styles))
    result = Sheet(np.zeros_like(photo.rgb))
    model.paint_parts(surface_of(photo), result, style, limit=PLENTY)
    whole = model.paint(photo, style).rgb
    assert np.abs(result.pixels - whole).max() < 1e-5
    assert np.ptp(whole) > 0.3


def test_a_picture_in_memory_is_painted_in_parts_where_memory_is_scarce(
    model: StyleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = Picture(drawn_photo(120, 100))
    expected, told = model.paint(photo, "the-scream"), list[Progress]()
    monkeypatch.setattr(painting, "resident", lambda: 0)
    monkeypatch.setattr(painting, "_RESERVE", 0)
    monkeypatch.setitem(painting.KEPT, "onnxruntime", 0)
    enough = 120 * 100 * (105 + 12)
    model.paint(photo, "the-scream", max_memory=enough, progress=told.append)
    assert told == []
    parts = model.paint(photo, "the-scream", max_memory=enough // 2, progress=told.append)
    assert len(told) > 2
    np.testing.assert_allclose(parts.rgb, expected.rgb, atol=2e-6)
    assert parts.info == expected.info
    monkeypatch.setattr(painting, "default_limit", lambda: enough // 2)
    told.clear()
    model.paint(photo, "the-scream", progress=told.append)
    assert told == [], "nobody asks for so small a picture"
    monkeypatch.setattr(painting, "SMALL", 1000)
    model.paint(photo, "the-scream", progress=told.append)
    assert len(told) > 2


def test_frames_are_even_in_parts_too(model: StyleModel, windows: Any) -> None:
    photo, seen = Picture(drawn_photo(60, 50)), list[str]()

    def even(name: str, numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        seen.append(name)
        return numbers * np.float32(0.9)

    windows(900)
    parts, _ = in_parts(model, photo, strength=0.5, even=even)
    assert seen == ["own code", "photo_stats"]
    whole = model.paint(photo, "great-wave", strength=0.5, even=even).rgb
    np.testing.assert_allclose(parts, whole, atol=2e-6)
    assert np.abs(whole - model.paint(photo, "great-wave", strength=0.5).rgb).max() > 0.01


def test_when_a_picture_is_painted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = style_manifest().graphs["painter"]
    monkeypatch.setattr(painting, "resident", lambda: 10**8)
    monkeypatch.setattr(painting, "default_limit", lambda: 4 * GB)
    cases = [
        (4_000_000, None, "onnxruntime", None),
        (12_000_000, None, "onnxruntime", None),
        (24_000_000, None, "onnxruntime", None),
        (30_000_000, None, "onnxruntime", 4 * GB),
        (12_000_000, GB, "onnxruntime", GB),
        (7_000_000, GB, "onnxruntime", None),
        (7_000_000, GB, "openvino", GB),
        (1_000_000, 150_000_000, "onnxruntime", 150_000_000),
    ]
    for pixels, allowed, engine, limit in cases:
        assert parts_limit(spec, pixels, allowed, engine=engine) == limit
    assert parts_limit(spec, 7_000_000, GB, engine="onnxruntime", beside=100) == GB
    monkeypatch.setattr(painting, "resident", lambda: 10**8 + 7_000_000 * 75)
    assert parts_limit(spec, 7_000_000, GB, engine="onnxruntime") == GB
    assert parts_limit(spec, 7_000_000, GB, engine="onnxruntime", largest=9_000_000) is None, "what it kept serves"
    assert parts_limit(spec, 7_000_000, GB, engine="onnxruntime", largest=1_000_000) == GB


def test_a_large_picture_is_painted_in_parts_even_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painting, "resident", lambda: 0)
    monkeypatch.setattr(painting, "default_limit", lambda: PLENTY)
    spec = style_manifest().graphs["painter"]
    for pixels, limit in ((24_000_000, None), (24_000_001, PLENTY)):
        assert parts_limit(spec, pixels, None, engine="onnxruntime") == limit
        assert parts_limit(replace(spec, receptive_field=None), pixels, None, engine="onnxruntime") is None


def test_a_painter_that_looks_at_all_at_once_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = dict(style_manifest().graphs)
    graphs["painter"] = replace(graphs["painter"], receptive_field=None)
    model = StyleModel.load(make_style_bundle(tmp_path / "instance.impasto", graphs=graphs))
    photo = Picture(drawn_photo(60, 50))
    with pytest.raises(ImpastoError, match=r"statistics of the whole picture inside, .* 3,000 pixels .* within 1 MB"):
        model.paint(photo, "great-wave", max_memory=1_000_000)
    assert model.paint(photo, "great-wave", max_memory=PLENTY).size == (60, 50)
    monkeypatch.setattr(painting, "SMALL", 0)
    monkeypatch.setattr(painting, "default_limit", lambda: 1)
    assert model.paint(photo, "great-wave").size == (60, 50), "unless told a limit it does what it can"


def test_too_little_memory_is_refused_with_what_it_takes(model: StyleModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painting, "resident", lambda: 200_000_000)
    photo = Picture(drawn_photo(60, 50))
    with pytest.raises(ImpastoError, match=r"Painting within 150 MB is not possible, because 248 MB is the least"):
        model.paint(photo, "great-wave", max_memory=150_000_000)


def test_the_cost_of_a_pixel_is_what_memory_grows_by(model: StyleModel, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = style_manifest().graphs["painter"]
    photo = surface_of(Picture(drawn_photo(50, 37)))
    feeds = {"code": np.zeros((1, 8), np.float32), "photo_stats": np.full((1, 6), 0.3, np.float32)}
    held = iter([1000, 1000 + 52 * 40 * 300])
    monkeypatch.setattr(painting, "resident", lambda: next(held))
    assert pixel_cost(model._engine("painter"), spec, photo, feeds) == pytest.approx(1.1 * 300 + 12)


def test_a_larger_network_gets_smaller_windows(model: StyleModel, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, counts = Picture(drawn_photo(200, 180)), []
    monkeypatch.setattr(painting, "resident", lambda: 0)
    monkeypatch.setattr(painting, "_RESERVE", 0)
    for cost in (0.0, 500.0, 3000.0):
        monkeypatch.setattr(painting, "pixel_cost", lambda *_, cost=cost: cost)
        told: list[Progress] = []
        model.paint_parts(
            surface_of(photo), Sheet(np.zeros_like(photo.rgb)), "great-wave", limit=4_000_000, progress=told.append
        )
        counts.append(len(told) - 1)
    assert counts[0] == 1 < counts[1] < counts[2]


def test_an_engine_that_has_run_makes_room(style_bundle: Path, windows: Any) -> None:
    model = StyleModel.load(style_bundle, threads=1)
    photo = Picture(drawn_photo(60, 50))
    fresh = model._engine("painter")
    in_parts(model, photo)
    assert fresh.ran and "painter" not in model._engines, "it goes with its memory when all is painted"
    model.paint(photo, "great-wave")
    used = model._engine("painter")
    assert used.largest == 60 * 52
    seen: list[object] = []
    real = painting._paint
    windows(1000)
    try:
        painting._paint = lambda engine, *rest: (seen.append(engine), real(engine, *rest))[1]
        in_parts(model, photo)
    finally:
        painting._paint = real
    assert seen and used not in seen


def test_what_is_done_with_painted_pixels() -> None:
    photo, painted = drawn_photo(20, 10), drawn_photo(20, 10, seed=1)
    assert not Finish().wants_photo and Finish(0.1).wants_photo and Finish(keep_colors=True).wants_photo
    np.testing.assert_array_equal(Finish()(painted.copy(), photo), painted)
    mixed = Finish(0.25)(painted.copy(), photo)
    np.testing.assert_allclose(mixed, 0.75 * painted + 0.25 * photo, atol=1e-6)
    both = Finish(0.25, True)(painted.copy(), photo)
    np.testing.assert_allclose(both, keep_colors(mixed, photo), atol=1e-6)


def test_statistics_of_the_first_kind_and_none(tmp_path: Path, model: StyleModel) -> None:
    spec = style_manifest().graphs["painter"]
    planes = np.ascontiguousarray(drawn_photo(24, 16).transpose(2, 0, 1))[None]
    assert painting.beside(spec, planes, None)["photo_stats"].shape == (1, 6)
    nine = tuple(
        TensorSpec(name="photo_stats", shape=(1, 9), meaning="m") if one.name == "photo_stats" else one
        for one in spec.inputs
    )
    assert painting.beside(replace(spec, inputs=nine), planes, None)["photo_stats"].shape == (1, 9)
    bare = tuple(one for one in spec.inputs if one.name != "photo_stats")
    assert painting.beside(replace(spec, inputs=bare), planes, None) == {}
