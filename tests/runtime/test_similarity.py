"""Structural similarity, against the paper's formula written out window by window."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import drawn_photo
from impasto.errors import PictureError
from impasto.runtime.similarity import ssim


def slow(one: np.ndarray, other: np.ndarray) -> float:
    """Equations 13 to 16 of the paper, one window after the other."""
    distance = np.arange(-5, 6)[:, None] ** 2 + np.arange(-5, 6)[None] ** 2
    weights = np.exp(-distance / 4.5)
    weights /= weights.sum()
    found = []
    for top in range(one.shape[0] - 10):
        for left in range(one.shape[1] - 10):
            x, y = (p[top : top + 11, left : left + 11].astype(float) for p in (one, other))
            mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
            var_x, var_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
            both = (weights * (x - mean_x) * (y - mean_y)).sum()
            up = (2 * mean_x * mean_y + 1e-4) * (2 * both + 9e-4)
            found.append(up / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4)))
    return float(np.mean(found))


def test_it_is_the_papers() -> None:
    one, other = drawn_photo(23, 19, 1)[..., 0], drawn_photo(23, 19, 2)[..., 0]
    mixed = 0.7 * one + 0.3 * other
    assert ssim(one, mixed) == pytest.approx(slow(one, mixed), abs=1e-9)
    assert ssim(one, other) == pytest.approx(slow(one, other), abs=1e-9)


def test_equal_unlike_and_opposite_pictures() -> None:
    photo = drawn_photo(40, 30)
    noise = np.random.default_rng(0).random(photo.shape, np.float32)
    assert ssim(photo, photo) == pytest.approx(1)
    assert ssim(photo, noise) == pytest.approx(ssim(noise, photo))
    assert ssim(photo, noise) < 0.2
    assert ssim(noise, 1 - noise) < 0


def test_colour_counts_by_its_luma() -> None:
    photo = drawn_photo(40, 30)
    grey = photo @ np.array([0.299, 0.587, 0.114])
    assert ssim(photo, drawn_photo(40, 30, 1)) == pytest.approx(
        ssim(grey, drawn_photo(40, 30, 1) @ np.array([0.299, 0.587, 0.114])), abs=1e-6
    )


@pytest.mark.parametrize("shapes", [((20, 20, 3), (20, 21, 3)), ((10, 40, 3), (10, 40, 3)), ((20,), (20,))])
def test_what_cannot_be_compared(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(PictureError, match="cannot be compared: give two of one size"):
        ssim(*(np.zeros(shape, np.float32) for shape in shapes))
