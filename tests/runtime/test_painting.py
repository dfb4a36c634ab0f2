"""Painted in parts as painted whole, and within the memory that is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import drawn_photo, make_style_bundle, style_manifest
from impasto.errors import EngineError, ImpastoError
from impasto.progress import Progress
from impasto.runtime import painting, style, whole
from impasto.runtime.bundle import TensorSpec
from impasto.runtime.canvas import Sheet, surface_of
from impasto.runtime.engine import Engine
from impasto.runtime.painting import parts_limit, pixel_cost
from impasto.runtime.picture import Picture, keep_colors
from impasto.runtime.style import StyleModel
from impasto.runtime.whole import Finish

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


@pytest.mark.parametrize(("width", "height"), [(601, 433), (64, 2900)])
def test_the_bundled_painter_paints_parts_as_the_whole(windows: Any, width: int, height: int) -> None:
    model = StyleModel.load(threads=1)
    photo = Picture(drawn_photo(width, height))
    windows(170_000)
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
    monkeypatch.setattr(painting, "WORTH_CUTTING", PLENTY)
    cases = [
        ((2000, 2000), None, "onnxruntime", None),
        ((4000, 3000), None, "onnxruntime", None),
        ((6000, 4000), None, "onnxruntime", None),
        ((6000, 5000), None, "onnxruntime", 4 * GB),
        ((4000, 3000), GB, "onnxruntime", GB),
        ((3500, 2000), GB, "onnxruntime", None),
        ((3500, 2000), GB, "openvino", GB),
        ((1000, 1000), 150_000_000, "onnxruntime", 150_000_000),
    ]
    for size, allowed, engine, limit in cases:
        assert parts_limit(spec, size, allowed, engine=engine) == limit
    size = (3500, 2000)
    assert parts_limit(spec, size, GB, engine="onnxruntime", beside=100) == GB
    monkeypatch.setattr(painting, "resident", lambda: 10**8 + 7_000_000 * 75)
    assert parts_limit(spec, size, GB, engine="onnxruntime") == GB
    assert parts_limit(spec, size, GB, engine="onnxruntime", held=9_000_000) is None, "what it kept serves"
    assert parts_limit(spec, size, GB, engine="onnxruntime", held=1_000_000) == GB


def test_a_large_picture_is_painted_in_parts_where_that_is_less_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painting, "resident", lambda: 0)
    monkeypatch.setattr(painting, "default_limit", lambda: PLENTY)
    spec = replace(style_manifest().graphs["painter"], receptive_field=102)
    limited = partial(parts_limit, spec, engine="onnxruntime")
    for size in ((2000, 1400), (1500, 1500)):
        assert limited(size, None) is None
    for size in ((2390, 1673), (3840, 2160), (6000, 4000)):
        assert limited(size, None) == PLENTY and limited(size, GB // 4) == GB // 4
        assert limited(size, None, again=True) is None, "memory for all of it is spread over those to come"
        assert limited(size, None, held=size[0] * size[1]) is None, "it is there"
        assert limited(size, None, painted=(800, 600)) is None
        assert parts_limit(replace(spec, receptive_field=None), size, None, engine="onnxruntime") is None
        assert parts_limit(spec, size, None, engine="openvino") is None, "it compiles its graph for every size"
    assert limited((6000, 4001), None, again=True) == PLENTY, "so large a picture never pays"
    assert limited((800, 600), None, painted=(3840, 2160)) == PLENTY


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
    monkeypatch.setattr(painting, "_PROBE", 0)
    monkeypatch.setattr(painting, "FRESH", 0.0)
    for cost in (0.0, 500.0, 3000.0):
        monkeypatch.setattr(painting, "pixel_cost", lambda *_, cost=cost: cost)
        model._forget("painter")
        told: list[Progress] = []
        model.paint_parts(
            surface_of(photo), Sheet(np.zeros_like(photo.rgb)), "great-wave", limit=4_000_000, progress=told.append
        )
        counts.append(len(told) - 1)
    assert counts[0] == 1 < counts[1] < counts[2]


class Memory:
    """What a process holds whose engine keeps so many bytes for each pixel of its largest run."""

    def __init__(self, model: StyleModel, monkeypatch: pytest.MonkeyPatch, *, kept: int = 81) -> None:
        self.model, self.kept, self.runs = model, kept, list[int]()
        self.engines = list[int]()
        real = Engine._running

        def running(engine: Engine, feeds: Any) -> Any:
            pixels = int(np.prod(feeds["photo"].shape[2:]))
            engine.most = max(getattr(engine, "most", 0), pixels)  # type: ignore[attr-defined]
            self.runs.append(pixels)
            if id(engine) not in self.engines[-1:]:
                self.engines.append(id(engine))
            return real(engine, feeds)

        monkeypatch.setattr(Engine, "_running", running)
        monkeypatch.setattr(painting, "_RESERVE", 0)
        monkeypatch.setattr(painting, "_PROBE", 40)
        monkeypatch.setattr(painting, "_GLANCE", 20)
        monkeypatch.setattr(painting, "_RELOAD", 2500)
        for module in (painting, style):
            monkeypatch.setattr(module, "resident", self.held)

    def held(self) -> int:
        engine = self.model._engines.get("painter")
        return 10**6 + self.kept * getattr(engine, "most", 0)

    def paint(self, photo: Picture, limit: int) -> int:
        """Pixels of the window that it was painted in."""
        self.runs.clear()
        self.model.paint_parts(surface_of(photo), Sheet(np.empty_like(photo.rgb)), "great-wave", limit=limit)
        return self.runs[-1]


def test_an_engine_that_has_painted_in_parts_is_kept(style_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = StyleModel.load(style_bundle, threads=1)
    memory, photo = Memory(model, monkeypatch), Picture(drawn_photo(160, 130))
    limit = 10**6 + 105 * 6000
    first = memory.paint(photo, limit)
    assert len(memory.runs) > 4 and 2000 < first <= 6000
    kept = model._engines["painter"]
    for _ in range(3):
        assert 2000 < memory.paint(photo, limit) <= max(first, 6000 - first)
        assert len(memory.runs) > 4 and len(memory.engines) == 1, "nothing is painted to see what it takes"
    assert model._engines["painter"] is kept
    # With more memory there is room for larger windows beside what it keeps.
    assert memory.paint(photo, 10**9) > first and model._engines["painter"] is kept


@pytest.mark.parametrize("limit", [10**6 + 105 * 2000, 10**6 + 105 * 9000])
def test_an_engine_that_is_in_the_way_goes(style_bundle: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    model = StyleModel.load(style_bundle, threads=1)
    memory, photo = Memory(model, monkeypatch), Picture(drawn_photo(160, 130))
    alone = memory.paint(photo, limit)
    memory.paint(photo, 10**9)
    large = model._engines["painter"]
    assert large.largest == 160 * 132
    assert memory.paint(photo, limit) == alone and model._engines["painter"] is not large
    # One that nobody asked what it takes, too.
    del model._engines["painter"]
    model.paint(Picture(photo.rgb[:40, :40]), "great-wave")
    unknown = model._engines["painter"]
    assert memory.paint(photo, limit) == alone and model._engines["painter"] is not unknown


def test_an_engine_makes_room_only_where_it_must(style_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = StyleModel.load(style_bundle, threads=1)
    memory = Memory(model, monkeypatch)
    model.make_room(0)
    memory.paint(Picture(drawn_photo(60, 50)), 10**9)
    kept = model._engines["painter"]
    model.make_room(memory.held())
    assert model._engines["painter"] is kept
    model.make_room(memory.held() - 1)
    assert "painter" not in model._engines


def test_an_engine_that_failed_goes(style_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = StyleModel.load(style_bundle, threads=1)
    photo = Picture(drawn_photo(60, 50))
    in_parts(model, photo)

    def failing(*_: object, **__: object) -> None:
        raise EngineError("out of memory")

    monkeypatch.setattr(Engine, "run_picture", failing)
    with pytest.raises(EngineError, match="out of memory"):
        in_parts(model, photo)
    assert "painter" not in model._engines


def test_a_larger_network_is_seen_at_a_glance(style_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painting, "FRESH", 0.0)
    windows, photo = [], Picture(drawn_photo(160, 130))
    for kept in (81, 2000):
        model = StyleModel.load(style_bundle, threads=1)
        memory = Memory(model, monkeypatch, kept=kept)
        windows.append(memory.paint(photo, 10**6 + 105 * 160_000))
        assert memory.runs[0] == 20 * 20, "the corner that is painted first"
    assert windows[0] > windows[1]
    assert 10**6 + 2000 * windows[1] <= 10**6 + 105 * 160_000


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
    assert whole.beside(spec, planes, None)["photo_stats"].shape == (1, 6)
    nine = tuple(
        TensorSpec(name="photo_stats", shape=(1, 9), meaning="m") if one.name == "photo_stats" else one
        for one in spec.inputs
    )
    assert whole.beside(replace(spec, inputs=nine), planes, None)["photo_stats"].shape == (1, 9)
    bare = tuple(one for one in spec.inputs if one.name != "photo_stats")
    assert whole.beside(replace(spec, inputs=bare), planes, None) == {}
