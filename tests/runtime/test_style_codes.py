"""Style codes: encoded, named, mixed, saved and refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import CODE_SIZE, CODES, drawn_photo
from impasto.errors import BundleError, ImpastoError, PictureError, UnknownName
from impasto.runtime import seeing
from impasto.runtime.picture import Picture, rgb_stats
from impasto.runtime.style import StyleModel, load_code, save_code


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
    np.testing.assert_array_equal(seeing.seen_at(picture, scale, threads), expected)


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
