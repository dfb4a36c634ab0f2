"""Palettes: Oklab and back, the main colours of a picture, and keeping to them."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import drawn_photo
from impasto.errors import ImpastoError
from impasto.runtime.palette import checked_colors, main_colors, oklab, srgb, to_palette
from impasto.runtime.picture import Picture


def test_oklab_and_back() -> None:
    rgb = np.random.default_rng(0).random((40, 30, 3), dtype=np.float32)
    np.testing.assert_allclose(srgb(oklab(rgb)), rgb, atol=1e-5)


def test_oklab_is_ottossons() -> None:
    # The figures of his article for XYZ, as sRGB: white, and pure red, green and blue.
    corners = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    expected = [[1, 0, 0], [0.628, 0.225, 0.126], [0.866, -0.234, 0.179], [0.452, -0.032, -0.312]]
    np.testing.assert_allclose(oklab(corners), expected, atol=1e-3)


def blocks() -> np.ndarray:
    """Three colours with a little noise; the second takes half of the picture."""
    rgb = np.zeros((40, 80, 3), np.float32)
    rgb[:, :20], rgb[:, 20:60], rgb[:, 60:] = (0.1, 0.1, 0.5), (0.8, 0.3, 0.1), (0.9, 0.9, 0.7)
    return (rgb + np.random.default_rng(0).normal(0, 0.01, rgb.shape)).clip(0, 1).astype(np.float32)


def test_the_main_colours_of_a_picture_from_dark_to_light() -> None:
    colors = main_colors([(Picture(blocks()), 1.0)], 3)
    np.testing.assert_allclose(colors, [[0.1, 0.1, 0.5], [0.8, 0.3, 0.1], [0.9, 0.9, 0.7]], atol=0.01)
    np.testing.assert_array_equal(colors, main_colors([(Picture(blocks()), 1.0)], 3))


def test_fewer_colours_than_asked_for() -> None:
    flat = np.full((9, 7, 3), 0.25, np.float32)
    assert len(main_colors([(Picture(flat), 1.0)], 5)) == 1
    flat[:4] = 0.75
    np.testing.assert_allclose(main_colors([(Picture(flat), 1.0)], 5)[:, 0], [0.25, 0.75], atol=1e-4)


def test_what_is_transparent_has_no_colour_and_weights_count() -> None:
    alpha = np.ones((40, 80), np.float32)
    alpha[:, 60:] = 0
    colors = main_colors([(Picture(blocks(), alpha), 1.0)], 2)
    np.testing.assert_allclose(colors, [[0.1, 0.1, 0.5], [0.8, 0.3, 0.1]], atol=0.015)
    other = Picture(np.full((30, 30, 3), (0.0, 0.9, 0.2), np.float32))
    for weight, near in ((1e-6, False), (500.0, True)):
        colors = main_colors([(Picture(blocks()), 1.0), (other, weight)], 3)
        assert (np.abs(colors - (0.0, 0.9, 0.2)).max(axis=1).min() < 0.01) == near


def test_painted_colours_stay_within_the_hull_of_the_palette() -> None:
    photo = drawn_photo(80, 60)
    colors = main_colors([(Picture(drawn_photo(64, 64, seed=3)), 1.0)], 6)
    out = to_palette(photo, colors)
    assert out.dtype == np.float32
    # In no direction does anything reach further than the palette's furthest colour.
    directions = np.random.default_rng(0).normal(size=(500, 3))
    assert (out.reshape(-1, 3) @ directions.T).max(axis=0) == pytest.approx(
        np.minimum((out.reshape(-1, 3) @ directions.T).max(axis=0), (colors @ directions.T).max(axis=0)), abs=1e-5
    )
    assert (photo.reshape(-1, 3) @ directions.T > (colors @ directions.T).max(axis=0) + 0.01).any()


def test_a_colour_of_the_palette_stays_and_gradients_do_not_break() -> None:
    colors = np.array([[0.1, 0.1, 0.5], [0.8, 0.3, 0.1], [0.9, 0.9, 0.7]], np.float32)
    np.testing.assert_allclose(to_palette(colors[None], colors)[0], colors, atol=0.03)
    way = np.linspace(0, 1, 400, dtype=np.float32)[None, :, None]
    ramp = colors[0] + way * (colors[1] - colors[0])
    out = to_palette(ramp, colors)
    assert np.abs(np.diff(out, axis=1)).max() < 6 * np.abs(np.diff(ramp, axis=1)).max()
    assert len(np.unique(np.round(out[0, :, 0] * 255))) > 100
    one = to_palette(ramp, colors[:1])
    np.testing.assert_allclose(one, np.broadcast_to(colors[0], one.shape), atol=1e-6)


@pytest.mark.parametrize("count", [1, 0, -3, 33])
def test_other_counts_are_refused(count: int) -> None:
    with pytest.raises(ImpastoError, match="choose 2 to 32"):
        main_colors([(Picture(blocks()), 1.0)], count)


@pytest.mark.parametrize(
    ("colors", "sentence"),
    [
        ("red", "an array"),
        ([[0.1, 0.2]], "an array"),
        ([[[0.1, 0.2, 0.3]]], "an array"),
        ([], "an array"),
        ([[0.1, 0.2, 3.0]], "from 0 to 1"),
        ([[0.1, 0.2, float("nan")]], "from 0 to 1"),
    ],
)
def test_colours_that_are_none_are_refused(colors: object, sentence: str) -> None:
    with pytest.raises(ImpastoError, match=sentence):
        checked_colors(colors)  # type: ignore[arg-type]
    np.testing.assert_allclose(checked_colors([[0, 0.5, 1]]), [[0, 0.5, 1]])
