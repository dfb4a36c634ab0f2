"""keep_colors and rgb_stats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from impasto.errors import PictureError
from impasto.runtime.picture import color_stats, keep_colors, rgb_stats
from impasto.runtime.pixels.color import COLOR_FLOOR, LUMA


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_keep_colors_keeps_the_paintings_luma_exactly_and_stays_in_range(width: int, height: int, seed: int) -> None:
    painted, photo = noise(height, width, seed), noise(height, width, seed + 1)
    out = keep_colors(painted, photo)
    assert out.dtype == np.float32
    assert out.min() >= 0 and out.max() <= 1
    np.testing.assert_allclose(out @ LUMA, painted @ LUMA, atol=2e-6)


def test_keep_colors_has_the_photos_chroma_where_it_fits() -> None:
    photo = 0.4 + 0.2 * noise(20, 30, 1)
    painted = np.full_like(photo, 0.5)
    out = keep_colors(painted, photo)
    difference = out - photo
    np.testing.assert_allclose(difference, np.repeat(difference[..., :1], 3, axis=2), atol=1e-6)  # only light moved


def test_keep_colors_reduces_chroma_towards_grey_and_keeps_the_hue() -> None:
    photo = np.array([[[1.0, 0.0, 0.0]]], np.float32)
    painted = np.full((1, 1, 3), 0.9, np.float32)
    r, g, b = keep_colors(painted, photo)[0, 0]
    assert r == pytest.approx(1.0, abs=1e-6)
    assert g == pytest.approx(b, abs=1e-6)
    assert 0.8 < g < 0.9


def test_keep_colors_of_a_grey_photo_is_grey_and_of_itself_is_itself() -> None:
    painted = noise(9, 11, 3)
    grey = np.repeat(noise(9, 11, 4)[..., :1], 3, axis=2)
    out = keep_colors(painted, grey)
    np.testing.assert_allclose(out, np.repeat((painted @ LUMA)[..., None], 3, axis=2), atol=1e-5)
    np.testing.assert_allclose(keep_colors(painted, painted), painted, atol=1e-5)


def test_keep_colors_is_the_same_in_bands_as_in_one_piece() -> None:
    painted, photo = noise(700, 120, 5), noise(700, 120, 6)  # more than one band
    np.testing.assert_array_equal(keep_colors(painted, photo)[650:], keep_colors(painted[650:], photo[650:]))


def test_keep_colors_refuses_two_sizes() -> None:
    with pytest.raises(PictureError, match="The painting is 4x3 and the photo 3x4"):
        keep_colors(noise(3, 4, 0), noise(4, 3, 0))


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (300, 500)])
def test_rgb_stats_are_mean_and_population_deviation(size: tuple[int, int]) -> None:
    rgb = noise(*size, 0) * np.float32([1.0, 0.5, 0.1])
    stats = rgb_stats(rgb)
    assert stats.dtype == np.float32 and stats.shape == (6,)
    flat = rgb.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(stats, np.concatenate([flat.mean(0), flat.std(0)]), atol=1e-6)


def test_rgb_stats_are_exact_for_nearly_flat_pictures() -> None:
    rgb = np.full((600, 600, 3), 0.9, np.float32)
    assert (rgb_stats(rgb)[3:] == 0).all()
    rgb[::2] += np.float32(1e-4)
    np.testing.assert_allclose(rgb_stats(rgb)[3:], 5e-5, rtol=1e-2)


def test_rgb_stats_ignore_what_lies_under_transparent_pixels() -> None:
    rgb, alpha = noise(40, 50, 2), np.zeros((40, 50), np.float32)
    alpha[10:20, 10:40] = 1.0
    np.testing.assert_allclose(rgb_stats(rgb, alpha), rgb_stats(rgb[10:20, 10:40].copy()), atol=1e-6)
    alpha[:] = 0.25
    np.testing.assert_allclose(rgb_stats(rgb, alpha), rgb_stats(rgb), atol=1e-6)
    alpha[:] = 0.0
    np.testing.assert_allclose(rgb_stats(rgb, alpha), rgb_stats(rgb), atol=1e-6)


def test_rgb_stats_refuse_what_has_no_colours() -> None:
    with pytest.raises(PictureError, match=r"\[4, 4\]"):
        rgb_stats(np.zeros((4, 4), np.float32))
    with pytest.raises(PictureError, match="with pixels"):
        rgb_stats(np.zeros((0, 4, 3), np.float32))
    with pytest.raises(PictureError, match="The alpha is 3x2 and the picture 4x4"):
        rgb_stats(np.zeros((4, 4, 3), np.float32), np.zeros((2, 3), np.float32))


def test_color_stats_are_mean_and_root_of_the_covariance() -> None:
    rgb = noise(60, 70, 0) @ np.float32([[0.6, 0.2, 0.1], [0.0, 0.5, 0.1], [0.0, 0.0, 0.2]])
    stats = color_stats(rgb)
    assert stats.dtype == np.float32 and stats.shape == (9,)
    flat = rgb.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(stats[:3], flat.mean(0), atol=1e-6)
    root = spread(stats)
    np.testing.assert_allclose(root @ root, np.cov(flat.T, bias=True) + COLOR_FLOOR**2 * np.eye(3), atol=1e-6)
    white = (flat - stats[:3]) @ np.linalg.inv(root)
    assert white.std(0).min() > 0.5 and white.std(0).max() < 1.0  # 1 but for the floor
    assert np.abs(np.corrcoef(white.T) - np.eye(3)).max() < 0.2


def test_color_stats_of_a_flat_picture_are_the_floor() -> None:
    stats = color_stats(np.full((9, 7, 3), 0.25, np.float32))
    np.testing.assert_allclose(spread(stats), COLOR_FLOOR * np.eye(3), atol=1e-7)


def test_color_stats_ignore_what_lies_under_transparent_pixels() -> None:
    rgb, alpha = noise(40, 50, 2), np.zeros((40, 50), np.float32)
    alpha[10:20, 10:40] = 1.0
    np.testing.assert_allclose(color_stats(rgb, alpha), color_stats(rgb[10:20, 10:40].copy()), atol=1e-6)
    alpha[:] = 0.0
    np.testing.assert_allclose(color_stats(rgb, alpha), color_stats(rgb), atol=1e-6)
    with pytest.raises(PictureError, match="The alpha is 3x2"):
        color_stats(rgb, np.zeros((2, 3), np.float32))


def spread(stats: NDArray[np.float32]) -> NDArray[np.float64]:
    matrix = np.zeros((3, 3))
    matrix[np.triu_indices(3)] = stats[3:]
    return matrix + np.triu(matrix, 1).T
