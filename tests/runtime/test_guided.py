"""Guided upsampling: edges of the photo, strokes of the painting, the same in bands as at once."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers import drawn_photo
from impasto.runtime.canvas import Sheet
from impasto.runtime.guided import brought_up
from impasto.runtime.picture import resample

F32 = NDArray[np.float32]
MIX = np.array([[0.6, 0.2, 0.0], [0.0, 0.5, 0.3], [-0.3, 0.1, 0.7]], np.float32)


def brought(photo: F32, small: F32, painted: F32, band: int = 1 << 30) -> F32:
    bands = list(brought_up(Sheet(photo), Sheet(small), Sheet(painted), band=band))
    assert bands[0][0].top == 0 and bands[-1][0].bottom == len(photo)
    return np.concatenate([rgb for _, rgb in bands])


def reduced(photo: F32, width: int, height: int) -> F32:
    return resample(photo, None, (width, height))[0]


def enlarged(small: F32, photo: F32) -> F32:
    return resample(small, None, (photo.shape[1], photo.shape[0]))[0]


def edge(width: int = 97, height: int = 61) -> F32:
    """A slanting edge between two colours."""
    y, x = np.mgrid[:height, :width]
    left = (x + 0.3 * y < 55)[..., None]
    return np.where(left, np.float32([0.8, 0.6, 0.3]), np.float32([0.2, 0.3, 0.6])).astype(np.float32)


def strokes(height: int, width: int) -> F32:
    """Noise of one pixel that no photo explains."""
    return (0.5 + 0.2 * np.random.default_rng(4).standard_normal((height, width, 1))).repeat(3, 2).astype(np.float32)


def test_an_edge_that_the_painter_kept_is_as_crisp_as_the_photos() -> None:
    photo = edge()
    small = reduced(photo, 24, 15)
    painted = small @ MIX.T + np.float32(0.1)
    truth = photo @ MIX.T + np.float32(0.1)
    error = np.abs(brought(photo, small, painted) - truth)
    assert np.abs(enlarged(painted, photo) - truth).mean() > 4 * error.mean()
    assert error.mean() < 0.004 and error.max() < 0.1


def test_no_halo_beside_an_edge() -> None:
    photo = edge()
    small = reduced(photo, 24, 15)
    painted = np.clip(small @ MIX.T + np.float32(0.1), 0, 1)
    truth = np.clip(photo @ MIX.T + np.float32(0.1), 0, 1)
    result = brought(photo, small, painted)
    # Hardly beyond the two colours of the painting; merely enlarged, it is.
    assert (result.max(axis=(0, 1)) - truth.max(axis=(0, 1))).max() < 0.05
    assert (truth.min(axis=(0, 1)) - result.min(axis=(0, 1))).max() < 0.05


def test_strokes_stay_and_the_photos_texture_does_not_come_back_over_them() -> None:
    texture = 0.5 + 0.2 * np.random.default_rng(1).standard_normal((60, 96, 1)).repeat(3, 2)
    photo = np.clip(texture, 0, 1).astype(np.float32)
    small = reduced(photo, 24, 15)
    # The painting follows the photo by a half, and far more of it is strokes.
    painted = np.clip(0.5 * (small - 0.5) + strokes(15, 24), 0, 1).astype(np.float32)
    result = brought(photo, small, painted)
    kept = np.square(reduced(result, 24, 15) - painted).mean()
    assert kept < 0.1 * painted.var()
    lost, back = photo - enlarged(small, photo), result - enlarged(painted, photo)
    assert (lost * back).mean() < 0.2 * (lost * lost).mean()


def test_what_is_pushed_is_steeper_and_stays_between_its_colours() -> None:
    photo = np.full((60, 96, 3), 0.5, np.float32)
    small, painted = reduced(photo, 24, 15), strokes(15, 24)
    result, plain = brought(photo, small, painted), enlarged(painted, photo)
    assert np.abs(np.diff(result, axis=1)).mean() > 1.03 * np.abs(np.diff(plain, axis=1)).mean()
    assert result.min() >= max(painted.min(), 0) - 1e-5 and result.max() <= min(painted.max(), 1) + 1e-5


@pytest.mark.parametrize("size", [(24, 15), (50, 33), (96, 60), (150, 97)])
@pytest.mark.parametrize("band", [97, 700, 2000])
def test_in_bands_as_at_once(size: tuple[int, int], band: int) -> None:
    photo = drawn_photo(97, 61)
    small = reduced(photo, *size)
    painted = np.clip(small @ MIX.T + 0.3 * strokes(*size[::-1]) - 0.05, 0, 1).astype(np.float32)
    once, banded = brought(photo, small, painted), brought(photo, small, painted, band)
    assert once.shape == photo.shape and once.dtype == np.float32 and once.min() >= 0 and once.max() <= 1
    np.testing.assert_allclose(banded, once, atol=1e-4)


def test_the_painters_own_size_is_left_alone() -> None:
    photo, painted = drawn_photo(31, 20), drawn_photo(31, 20, 1)
    np.testing.assert_array_equal(brought(photo, photo, painted, 100), painted)


@pytest.mark.parametrize(("photo", "small"), [((1, 40), (1, 8)), ((40, 1), (8, 1)), ((1, 1), (4, 4)), ((3, 2), (1, 1))])
def test_tiny_pictures(photo: tuple[int, int], small: tuple[int, int]) -> None:
    result = brought(*(np.full((*sides, 3), 0.4, np.float32) for sides in (photo, small, small)))
    np.testing.assert_allclose(result, np.full((*photo, 3), 0.4), atol=1e-5)
