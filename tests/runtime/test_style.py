"""Painting: what a style may be, what strength and blends mean, and what is loaded when."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import current_thread
from threading import enumerate as enumerate_threads
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import CODES, STYLES, drawn_photo, make_style_bundle, style_manifest
from impasto.errors import BundleError, EngineError, ImpastoError, UnknownName
from impasto.runtime import quick
from impasto.runtime import style as style_module
from impasto.runtime.archive import format_table
from impasto.runtime.picture import Picture, keep_colors, rgb_stats
from impasto.runtime.quick import stylize
from impasto.runtime.style import StyleModel


def test_styles_are_listed_without_loading_a_graph(style_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style_module, "Engine", lambda *_, **__: pytest.fail("a graph was loaded"))
    model = StyleModel.load(str(style_bundle))
    assert list(model.styles) == ["starry-night", "great-wave", "the-scream"]
    assert model.styles["great-wave"] == STYLES[1]
    np.testing.assert_array_equal(model.code("great-wave"), CODES[1])
    assert model.notes == ()


def test_a_stored_code_is_painted_without_the_encoder(tmp_path: Path, photo: Picture) -> None:
    model = StyleModel.load(make_style_bundle(tmp_path / "half.impasto", members={"encoder.onnx": b"no graph"}))
    assert model.paint(photo, model.code("starry-night")).size == photo.size
    with pytest.raises(EngineError, match="cannot load the graph"):
        model.encode(photo)


def test_painting_gives_the_photo_the_colours_of_the_style(model: StyleModel, photo: Picture) -> None:
    painted = model.paint(photo, "the-scream")
    np.testing.assert_allclose(rgb_stats(painted.rgb), CODES[2, 2:], atol=0.02)
    assert painted.rgb.dtype == np.float32 and painted.rgb.flags.c_contiguous
    assert painted.rgb.min() >= 0.0 and painted.rgb.max() <= 1.0


def test_what_leaves_the_range_of_colours_is_clipped(model: StyleModel, photo: Picture) -> None:
    code = CODES[0].copy()
    code[5:] = 3.0
    painted = model.paint(photo, code).rgb
    assert painted.min() == 0.0 and painted.max() == 1.0


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([0.0, 0.5, 1.0]))
def test_every_size_comes_out_at_its_own_size(width: int, height: int, strength: float) -> None:
    photo = Picture(drawn_photo(width, height))
    painted = _shared().paint(photo, CODES[0], strength=strength)
    assert painted.size == (width, height)


_kept: list[StyleModel] = []


@pytest.fixture(scope="module", autouse=True)
def _keep(model: StyleModel) -> None:
    _kept[:] = [model]


def _shared() -> StyleModel:  # hypothesis and fixtures do not mix
    return _kept[0]


def test_strength_one_is_the_style(model: StyleModel, photo: Picture) -> None:
    expected = model.paint(photo, "great-wave").rgb
    np.testing.assert_array_equal(model.paint(photo, "great-wave", strength=1.0).rgb, expected)


def test_strength_nought_is_the_photo(model: StyleModel) -> None:
    photo = Picture(drawn_photo(52, 36))  # multiples of the size rule: the encoder sees every pixel
    painted = model.paint(photo, "great-wave", strength=0.0).rgb
    np.testing.assert_allclose(painted, photo.rgb, atol=1e-6)
    faint = model.paint(photo, "great-wave", strength=0.01).rgb
    assert np.abs(faint - photo.rgb).mean() < 0.01, "and what is near it is near the photo"
    assert np.abs(model.paint(photo, "great-wave").rgb - photo.rgb).mean() > 0.1


def test_strength_half_is_the_code_between_and_a_quarter_of_the_photo(model: StyleModel, photo: Picture) -> None:
    between = (model.encode(photo, scale=37) + CODES[1]) / 2
    half = model.paint(photo, "great-wave", strength=0.5).rgb
    np.testing.assert_allclose(half, 0.75 * model.paint(photo, between).rgb + 0.25 * photo.rgb, atol=1e-6)


def test_the_own_code_of_a_large_photo_is_taken_at_the_scale_of_styles(model: StyleModel) -> None:
    photo = Picture(np.tile(drawn_photo(100, 60), (10, 7, 1)))  # 700x600
    half = model.paint(photo, "great-wave", strength=0.5).rgb
    between = (model.encode(photo) + CODES[1]) / 2
    np.testing.assert_allclose(half, 0.75 * model.paint(photo, between).rgb + 0.25 * photo.rgb, atol=1e-6)


@pytest.mark.parametrize("strength", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_strength_out_of_range_is_refused(model: StyleModel, photo: Picture, strength: float) -> None:
    with pytest.raises(ImpastoError, match="choose a number from 0 to 1"):
        model.paint(photo, "great-wave", strength=strength)


def test_keeping_the_colours_keeps_the_chroma_of_the_photo(model: StyleModel, photo: Picture) -> None:
    plain = model.paint(photo, "the-scream").rgb
    kept = model.paint(photo, "the-scream", keep_colors=True).rgb
    np.testing.assert_array_equal(kept, keep_colors(plain, photo.rgb))
    assert np.abs(kept - plain).max() > 0.1


def test_transparency_passes_through_and_does_not_sway_the_colours(model: StyleModel) -> None:
    rgb = drawn_photo(40, 40)
    alpha = np.ones((40, 40), np.float32)
    alpha[:, 20:] = 0.0
    loud = rgb.copy()
    loud[:, 20:] = (1.0, 0.0, 1.0)
    painted = model.paint(Picture(rgb, alpha), "starry-night")
    assert painted.alpha is not None
    np.testing.assert_array_equal(painted.alpha, alpha)
    swayed = model.paint(Picture(loud, alpha), "starry-night")
    np.testing.assert_array_equal(painted.rgb[:, :19], swayed.rgb[:, :19])  # column 19 blurs with its neighbour


def graphs_without(role: str) -> dict[str, Any]:
    return {name: spec for name, spec in style_manifest().graphs.items() if name != role}


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"kind": "generator"}, "'generator' where 'style' is needed"),
        ({"code_size": None}, "with its code size"),
        ({"code_size": 5}, "with its code size"),
        ({"graphs": graphs_without("painter")}, "no painter graph"),
        ({"graphs": graphs_without("encoder")}, "no encoder graph"),
    ],
)
def test_a_bundle_that_cannot_paint_is_refused(tmp_path: Path, fields: dict[str, Any], match: str) -> None:
    path = make_style_bundle(tmp_path / "odd.impasto", **fields)
    with pytest.raises(BundleError, match=match):
        StyleModel.load(path)


def test_a_table_that_does_not_fit_the_styles_is_refused(tmp_path: Path) -> None:
    model = StyleModel.load(make_style_bundle(tmp_path / "odd.impasto", styles=STYLES[:2]))
    with pytest.raises(BundleError, match=r"shape \(3, 8\) where \(2, 8\) is needed"):
        model.code("starry-night")
    model = StyleModel.load(make_style_bundle(tmp_path / "bare.impasto", styles=()))
    with pytest.raises(UnknownName, match="there is none"):
        model.code("starry-night")


def test_openvino_paints_the_same(style_bundle: Path, photo: Picture, painting: Picture) -> None:
    pytest.importorskip("openvino")
    plain, fast = (StyleModel.load(style_bundle, engine=name) for name in ("onnxruntime", "openvino"))
    np.testing.assert_allclose(fast.encode(painting), plain.encode(painting), atol=1e-4)
    one, two = plain.paint(photo, "starry-night").rgb, fast.paint(photo, "starry-night").rgb
    assert np.abs(one - two).max() < 0.02
    assert fast.device.startswith("OpenVINO") and plain.device.startswith("onnxruntime")


def test_options_reach_the_engine(style_bundle: Path, photo: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    real = style_module.Engine
    monkeypatch.setattr(
        style_module, "Engine", lambda graph, **options: (seen.append(options), real(graph, **options))[1]
    )
    StyleModel.load(style_bundle, threads=1).paint(photo, "starry-night", strength=0.5)
    assert {(o["engine"], o["threads"]) for o in seen} == {("onnxruntime", 1)}
    assert len(seen) == 2


def test_a_warm_painter_is_there_when_it_is_needed(
    style_bundle: Path, photo: Picture, model: StyleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real = style_module.Engine
    monkeypatch.setattr(
        style_module, "Engine", lambda graph, **options: (made.append(current_thread().name), real(graph, **options))[1]
    )
    warm = StyleModel.load(style_bundle, threads=1)
    warm.warm()
    for thread in enumerate_threads():
        if "painter" in thread.name:
            thread.join()
    assert len(made) == 1 and "painter" in made[0]
    painted = warm.paint(photo, "great-wave").rgb
    np.testing.assert_array_equal(painted, model.paint(photo, "great-wave").rgb)
    assert len(made) == 1, "it is not loaded twice"


def test_a_painter_that_fails_to_warm_says_so_when_it_is_used(tmp_path: Path, photo: Picture) -> None:
    path = make_style_bundle(tmp_path / "half.impasto", members={"painter.onnx": b"no graph"})
    model = StyleModel.load(path)
    model.warm()
    with pytest.raises(EngineError, match="cannot load the graph"):
        model.paint(photo, "great-wave")


def test_notes_of_the_engines_are_gathered_once(model: StyleModel, photo: Picture) -> None:
    model.paint(photo, "starry-night", strength=0.5)
    for engine in model._engines.values():
        engine.notes = ("CUDA could not be used.",)
    assert model.notes == ("CUDA could not be used.",)


def test_threads_may_share_a_model(style_bundle: Path) -> None:
    model = StyleModel.load(style_bundle, threads=1)
    photos = [Picture(drawn_photo(20 + index, 30, seed=index)) for index in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda p: model.paint(p, "great-wave", strength=0.7).rgb, photos))
    for photo, painted in zip(photos, together, strict=True):
        np.testing.assert_allclose(painted, model.paint(photo, "great-wave", strength=0.7).rgb, atol=1e-6)


@pytest.fixture
def no_models_kept() -> None:
    quick._models.clear()


@pytest.mark.usefixtures("no_models_kept")
def test_stylize_in_one_call(style_bundle: Path, tmp_path: Path, model: StyleModel, photo: Picture) -> None:
    path = tmp_path / "photo.png"
    photo.save(path)
    opened = Picture.open(path)
    for source in (path, str(path), opened):
        painted = stylize(source, "starry-night", model=style_bundle, threads=1)
        np.testing.assert_array_equal(painted.rgb, model.paint(opened, "starry-night").rgb)
    options: dict[str, Any] = {"strength": 0.4, "keep_colors": True}
    blend = [("starry-night", 1.0), (opened, 2.0)]
    painted = stylize(path, blend, size=25, model=str(style_bundle), engine="onnxruntime", threads=1, **options)
    assert painted.size == (25, round(25 * 37 / 50))
    np.testing.assert_array_equal(painted.rgb, model.paint(opened.resized(25), model.mix(blend), **options).rgb)


@pytest.mark.usefixtures("no_models_kept")
def test_stylize_keeps_the_model_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Path] = []
    real = StyleModel.load

    def load(path: Path, **options: Any) -> StyleModel:
        loads.append(path)
        return real(path, **options)

    monkeypatch.setattr(StyleModel, "load", load)
    photo = Picture(drawn_photo(16, 16))
    path = make_style_bundle(tmp_path / "a.impasto")
    first = [stylize(photo, "starry-night", model=path).rgb for _ in range(3)]
    assert len(loads) == 1
    make_style_bundle(path, members={"styles.npy": format_table(CODES[::-1])}, step=12345)
    assert not np.array_equal(stylize(photo, "starry-night", model=path).rgb, first[0])
    assert len(loads) == 2
    for threads in (1, 2, 1, 2):
        stylize(photo, "starry-night", model=path, threads=threads)
    assert len(loads) == 4
    for index in range(5):
        stylize(photo, "starry-night", model=shutil.copy(path, tmp_path / f"copy{index}.impasto"))
    assert len(quick._models) == 3


@pytest.mark.usefixtures("no_models_kept")
def test_stylize_from_several_threads_loads_once(style_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[int] = []
    real = StyleModel.load
    monkeypatch.setattr(StyleModel, "load", lambda path, **options: (loads.append(1), real(path, **options))[1])
    photo = Picture(drawn_photo(16, 16))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: stylize(photo, "the-scream", model=style_bundle), range(8)))
    assert len(loads) == 1


def test_stylize_says_what_is_missing(tmp_path: Path, photo: Picture) -> None:
    with pytest.raises(BundleError, match="There is no file"):
        stylize(photo, "starry-night", model=tmp_path / "none.impasto")
    with pytest.raises(UnknownName, match="There is no model called 'anystile'"):
        stylize(photo, "starry-night", model="anystile")


PAINT_WITHOUT_TORCH = """
import json, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "onnx", "onnxscript", "safetensors", "h5py"}:
            raise ImportError(f"{name} must not be imported")

sys.meta_path.insert(0, NoTorch())
import impasto

painted = impasto.stylize(sys.argv[1], [("great-wave", 1.0), (sys.argv[1], 1.0)], strength=0.9, model=sys.argv[2])
painted.save(sys.argv[3])
print(json.dumps({"torch": "torch" in sys.modules, "size": painted.size}))
"""


def test_a_fresh_process_paints_where_importing_torch_raises(
    style_bundle: Path, tmp_path: Path, photo: Picture
) -> None:
    photo.save(tmp_path / "photo.png")
    command = [sys.executable, "-W", "error", "-c", PAINT_WITHOUT_TORCH, "photo.png", style_bundle, "painted.png"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"torch": False, "size": [50, 37]} and done.stderr == ""
    assert Picture.open(tmp_path / "painted.png").size == (50, 37)
