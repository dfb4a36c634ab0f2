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
from PIL import Image

from helpers import CODE_SIZE, CODES, STYLES, drawn_photo, make_style_bundle, style_manifest
from impasto.errors import BundleError, EngineError, ImpastoError, PictureError, UnknownName
from impasto.runtime import style as style_module
from impasto.runtime.picture import Picture, keep_colors, rgb_stats
from impasto.runtime.style import StyleModel, load_code, save_code, stylize


@pytest.fixture(scope="module")
def model(style_bundle: Path) -> StyleModel:
    return StyleModel.load(style_bundle, threads=1)


@pytest.fixture
def photo() -> Picture:
    return Picture(drawn_photo(50, 37))


@pytest.fixture
def painting() -> Picture:
    return Picture(drawn_photo(64, 48, seed=3))


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


def test_strength_nought_is_almost_the_photo(model: StyleModel) -> None:
    photo = Picture(drawn_photo(52, 36))  # multiples of the size rule: the encoder sees every pixel
    painted = model.paint(photo, "great-wave", strength=0.0).rgb
    np.testing.assert_array_equal(painted, model.paint(photo, model.encode(photo, scale=36)).rgb)
    assert np.abs(painted - photo.rgb).mean() < 0.02
    assert np.abs(model.paint(photo, "great-wave").rgb - photo.rgb).mean() > 0.1


def test_strength_half_is_the_code_between(model: StyleModel, photo: Picture) -> None:
    between = (model.encode(photo, scale=37) + CODES[1]) / 2
    half = model.paint(photo, "great-wave", strength=0.5).rgb
    np.testing.assert_allclose(half, model.paint(photo, between).rgb, atol=1e-6)


def test_the_own_code_of_a_large_photo_is_taken_at_the_scale_of_styles(model: StyleModel) -> None:
    photo = Picture(np.tile(drawn_photo(100, 60), (10, 7, 1)))  # 700x600
    own = model.paint(photo, "great-wave", strength=0.0).rgb
    np.testing.assert_array_equal(own, model.paint(photo, model.encode(photo)).rgb)


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


def test_transparency_of_a_style_does_not_count(model: StyleModel) -> None:
    rgb, alpha = drawn_photo(40, 40), np.zeros((40, 40), np.float32)
    alpha[:, :20] = 1.0
    loud = rgb.copy()
    loud[:, 20:] = (1.0, 0.0, 1.0)
    one, two = (model.encode(Picture(seen, alpha), scale=40) for seen in (rgb, loud))
    np.testing.assert_allclose(one, two, atol=1e-6)
    # The ground under the transparent half is the mean of the visible half.
    np.testing.assert_allclose(one[2:5], rgb_stats(np.ascontiguousarray(rgb[:, :20]))[:3], atol=1e-5)
    empty = model.encode(Picture(rgb, np.zeros_like(alpha)), scale=40)
    assert np.isfinite(empty).all()


def test_a_code_holds_the_statistics_of_the_style(model: StyleModel, painting: Picture) -> None:
    code = model.encode(painting, scale=48)
    assert code.shape == (CODE_SIZE,) and code.dtype == np.float32
    np.testing.assert_allclose(code[2:], rgb_stats(painting.rgb), atol=1e-5)


def test_the_scale_decides_how_large_strokes_are_seen(model: StyleModel, painting: Picture) -> None:
    slopes = [model.encode(painting, scale=scale)[0] for scale in (24, 48, 96, 192)]
    assert slopes == sorted(slopes, reverse=True) and slopes[0] > 2 * slopes[-1]
    default = model.encode(painting)
    np.testing.assert_array_equal(default, model.encode(painting, scale=512))


def sizes_seen(model: StyleModel, monkeypatch: pytest.MonkeyPatch, *pictures: tuple[int, int], scale: int) -> list[Any]:
    engine, seen = model._engine("encoder"), []
    run = engine.run
    monkeypatch.setattr(engine, "run", lambda feeds: (seen.append(feeds["style"].shape[2:]), run(feeds))[1])
    for width, height in pictures:
        model.encode(Picture(drawn_photo(width, height)), scale=scale)
    return seen


def test_the_short_side_is_scaled_and_long_pictures_are_cropped(
    model: StyleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = (80, 40), (30, 60), (500, 10), (3, 400), (1, 1), (2, 1), (41, 40)
    seen = sizes_seen(model, monkeypatch, *pictures, scale=40)
    assert seen == [(40, 80), (80, 40), (40, 120), (120, 40), (40, 40), (40, 80), (40, 40)]


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize(("width", "height", "scale"), [(61, 40, 24), (40, 61, 33), (30, 20, 47), (90, 20, 16)])
def test_a_style_is_scaled_as_any_picture(width: int, height: int, scale: int, threads: int) -> None:
    picture = Picture(drawn_photo(width, height))
    long = max(scale, round(max(width, height) * scale / min(width, height)))
    # At most 3:1 is looked at.
    middle = picture.rgb[:, (width - 60) // 2 :][:, :60] if width > 3 * height else picture.rgb
    expected = Picture(middle).resized(min(long, 3 * scale)).rgb.transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(style_module._seen_at(picture, scale, threads), expected)


def test_tiny_scales_are_padded_to_the_size_rule(model: StyleModel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sizes_seen(model, monkeypatch, (7, 7), (50, 20), scale=3) == [(16, 16), (16, 16)]


def test_the_middle_of_a_long_style_is_what_counts(model: StyleModel) -> None:
    strip = np.zeros((20, 200, 3), np.float32)
    strip[:, 70:130] = (0.2, 0.5, 0.8)
    np.testing.assert_allclose(model.encode(Picture(strip), scale=20)[2:5], (0.2, 0.5, 0.8), atol=1e-5)


@pytest.mark.parametrize("scale", [0, -5, 4097])
def test_a_senseless_scale_is_refused(model: StyleModel, painting: Picture, scale: int) -> None:
    with pytest.raises(ImpastoError, match="choose 1 to 4096 pixels"):
        model.encode(painting, scale=scale)


def test_a_style_may_be_given_in_many_ways(model: StyleModel, painting: Picture, tmp_path: Path) -> None:
    picture, code_file = tmp_path / "painting.png", tmp_path / "code.npy"
    Image.fromarray((painting.rgb * 255).round().astype(np.uint8)).save(picture)
    bare = tmp_path / "painting"
    shutil.copy(picture, bare)
    code = model.encode(Picture.open(picture))
    save_code(code_file, code)
    for style in (picture, str(picture), bare, str(bare), Picture.open(picture), code_file, str(code_file), code):
        np.testing.assert_array_equal(model.code(style), code)
    np.testing.assert_allclose(model.code([(picture, 3)]), code, atol=1e-7)


def test_codes_are_copies(model: StyleModel) -> None:
    for style in ("starry-night", CODES[0]):
        model.code(style)[:] = 0.0
    np.testing.assert_array_equal(model.code("starry-night"), CODES[0])
    assert CODES[0].any()


def test_a_misspelt_style_gets_a_hint(model: StyleModel, photo: Picture) -> None:
    with pytest.raises(UnknownName, match=r"There is no style called 'stary-nigth': did you mean 'starry-night'\?"):
        model.paint(photo, "stary-nigth")
    with pytest.raises(PictureError):
        model.code("no-such-picture.jpg")
    with pytest.raises(BundleError, match="There is no file"):
        model.code("no-such-code.npy")


@pytest.mark.parametrize(
    ("code", "match"),
    [
        (CODES, r"float32 \[3, 8\] and this model takes float32 \[8\]"),
        (CODES[0, :7], r"float32 \[7\] and this model"),
        (np.arange(8), r"int64 \[8\] and this model"),
        (CODES[0] * np.nan, "not finite"),
        (np.array(["a"] * 8), "and this model takes"),
    ],
    ids=["two-dimensional", "short", "whole numbers", "nan", "words"],
)
def test_a_code_of_another_make_is_refused(model: StyleModel, photo: Picture, code: Any, match: str) -> None:
    with pytest.raises(ImpastoError, match=match):
        model.paint(photo, code)


def test_a_code_that_breaks_the_painter_is_said_aloud(model: StyleModel, photo: Picture) -> None:
    with pytest.raises(ImpastoError, match="not finite: use another style code"):
        model.paint(photo, np.full(CODE_SIZE, 3e38, np.float32))


def test_double_precision_codes_are_taken(model: StyleModel) -> None:
    assert model.code(CODES[0].astype(np.float64)).dtype == np.float32


def test_mixing_is_the_weighted_average(model: StyleModel, painting: Picture) -> None:
    expected = (CODES[0] + 3 * CODES[2]) / 4
    np.testing.assert_allclose(model.mix({"starry-night": 1, "the-scream": 3}), expected, rtol=1e-6)
    np.testing.assert_allclose(model.mix([("starry-night", 0.25), (CODES[2], 0.75)]), expected, rtol=1e-6)
    np.testing.assert_allclose(model.code((("starry-night", 5), ("the-scream", 15))), expected, rtol=1e-6)
    np.testing.assert_array_equal(model.mix({"great-wave": 7, "the-scream": 0}), CODES[1])
    own = model.encode(painting)
    np.testing.assert_allclose(model.mix([(painting, 1), ("great-wave", 1)]), (own + CODES[1]) / 2, rtol=1e-5)
    assert model.mix({"great-wave": 1}).dtype == np.float32


@pytest.mark.parametrize("weights", [[0.0], [-1.0, 2.0], [float("nan")], [float("inf")], [], [1e308, 1e308]])
def test_senseless_weights_are_refused(model: StyleModel, weights: list[float]) -> None:
    with pytest.raises(ImpastoError, match="at least one above 0"):
        model.mix([("great-wave", weight) for weight in weights])


@pytest.mark.parametrize("blend", [["great-wave"], ["ab"], [CODES[0]], [("great-wave", 1, 2)], [1.0, 2.0]], ids=str)
def test_what_is_no_blend_is_refused(model: StyleModel, blend: Any) -> None:
    with pytest.raises(ImpastoError, match="must be pairs"):
        model.code(blend)


def test_codes_saved_are_codes_loaded(tmp_path: Path, model: StyleModel, photo: Picture) -> None:
    path = tmp_path / "new" / "mine.npy"
    save_code(path, CODES[0])
    np.testing.assert_array_equal(load_code(path), CODES[0])
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), CODES[0])
    np.testing.assert_array_equal(model.paint(photo, path).rgb, model.paint(photo, "starry-night").rgb)
    with pytest.raises(BundleError, match="exists already"):
        save_code(path, CODES[1])
    np.testing.assert_array_equal(load_code(path), CODES[0])
    save_code(path, CODES[1], overwrite=True)
    np.testing.assert_array_equal(load_code(path), CODES[1])


def test_codes_that_could_not_be_loaded_are_not_saved(tmp_path: Path) -> None:
    for name, code, match in [
        ("a.txt", CODES[0], "must end in .npy"),
        ("a.npy", CODES, "vector of finite numbers"),
        ("a.npy", CODES[0] * np.inf, "vector of finite numbers"),
    ]:
        with pytest.raises(BundleError, match=match):
            save_code(tmp_path / name, code)
    assert list(tmp_path.iterdir()) == []


def test_code_files_of_another_make_are_refused(tmp_path: Path, model: StyleModel) -> None:
    for name, array, match in [
        ("table", CODES, "a style code is a vector"),
        ("double", CODES[0].astype(np.float64), "in place of float32"),
        ("pickled", np.array([{"a": 1}], dtype=object), "object in place of float32"),
        ("nan", CODES[0] * np.nan, "not finite"),
    ]:
        np.save(tmp_path / f"{name}.npy", array)
        with pytest.raises(BundleError, match=match):
            load_code(tmp_path / f"{name}.npy")
    np.save(tmp_path / "short.npy", CODES[0, :5])
    with pytest.raises(ImpastoError, match=r"The style code in .*short.npy is float32 \[5\]"):
        model.code(tmp_path / "short.npy")
    with (tmp_path / "long.npy").open("wb") as file:
        file.truncate(2 * 1024**2)
    with pytest.raises(BundleError, match="over the size limit"):
        load_code(tmp_path / "long.npy")


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
    style_module._models.clear()


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
    make_style_bundle(path, members={"styles.npy": style_module.format_table(CODES[::-1])}, step=12345)
    assert not np.array_equal(stylize(photo, "starry-night", model=path).rgb, first[0])
    assert len(loads) == 2
    for threads in (1, 2, 1, 2):
        stylize(photo, "starry-night", model=path, threads=threads)
    assert len(loads) == 4
    for index in range(5):
        stylize(photo, "starry-night", model=shutil.copy(path, tmp_path / f"copy{index}.impasto"))
    assert len(style_module._models) == 3


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
