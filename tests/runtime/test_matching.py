"""Colours given to a painting: the photo's distribution, and no harm to a painting that has it."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import drawn_photo
from impasto.errors import PictureError
from impasto.runtime.canvas import Sheet
from impasto.runtime.matching import GAIN, Match, match_colors, match_of


def cloud(seed: int, width: int = 140, height: int = 110) -> np.ndarray:
    """Smooth colours in all of which there are some: float32 [H,W,3]."""
    random = np.random.default_rng(seed)
    mixed = random.normal(0, 0.16, (height, width, 3)) @ (np.eye(3) + 0.6 * random.random((3, 3)))
    return (1 / (1 + np.exp(-3 * (mixed + 0.3 * random.normal(size=3))))).astype(np.float32)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """The mean distance between the sorted values of each channel (Wasserstein-1), the worst of three."""
    sides = [np.sort(rgb.reshape(-1, 3), axis=0) for rgb in (one, other)]
    return float(np.abs(sides[0] - sides[1]).mean(axis=0).max())


@pytest.mark.parametrize("seeds", [(0, 1), (2, 3)])
def test_the_painting_gets_the_photos_histogram(seeds: tuple[int, int]) -> None:
    painted, photo = cloud(seeds[0]), cloud(seeds[1])
    matched = match_colors(painted, photo)
    assert apart(painted, photo) > 0.05
    assert apart(matched, photo) < 0.003
    # Not only channel by channel: reds go with greens and blues as they do in the photo.
    spread, goal, before = (np.corrcoef(rgb.reshape(-1, 3).T) for rgb in (matched, photo, painted))
    assert np.abs(spread - goal).max() < 0.06 < 0.5 * np.abs(before - goal).max()
    assert matched.dtype == np.float32 and matched.min() >= 0 and matched.max() <= 1


def test_order_is_kept() -> None:
    ramp = np.repeat(np.linspace(0.2, 0.7, 90, dtype=np.float32)[None, :, None], 3, axis=2)
    matched = match_colors(np.repeat(ramp, 40, axis=0), cloud(5, 90, 40))
    light = matched.sum(axis=2)[0]
    assert (np.diff(light) > -1e-3).all() and light[-1] - light[0] > 0.5


@pytest.mark.parametrize("eight_bit", [False, True])
def test_a_picture_matched_to_itself_is_itself(eight_bit: bool) -> None:
    photo = drawn_photo(131, 94)  # flat parts, and tones that do not occur
    if eight_bit:
        photo = np.round(photo * 255).astype(np.float32) / np.float32(255)
    np.testing.assert_allclose(match_colors(photo, photo), photo, atol=2e-4)


def test_grain_is_not_torn_apart_where_the_photo_has_two_tones_only() -> None:
    photo = np.zeros((60, 80, 3), np.float32)
    photo[:, 40:] = 0.9
    random = np.random.default_rng(0)
    painted = (0.5 + random.normal(0, 0.002, photo.shape)).astype(np.float32)
    matched = match_colors(painted, photo)
    assert matched.std() < 3 * GAIN * painted.std()
    assert abs(matched.mean() - 0.45) < 0.1


def test_what_is_transparent_does_not_count() -> None:
    painted, photo = cloud(0), cloud(1)
    alpha = np.ones(photo.shape[:2], np.float32)
    hidden = photo.copy()
    hidden[:50], alpha[:50] = (1.0, 0.0, 0.0), 0.0
    matched = match_colors(painted, hidden, alpha)
    assert apart(matched[50:], photo[50:]) < 0.004
    nothing = match_colors(painted, photo, np.zeros_like(alpha))
    assert apart(nothing, photo) < 0.004


def test_a_match_is_a_vector_of_numbers() -> None:
    match = match_of(Sheet(cloud(1)), Sheet(cloud(0)))
    again = Match.of_numbers(match.numbers)
    np.testing.assert_array_equal(again(cloud(0)), match(cloud(0)))


def test_two_sizes_are_refused() -> None:
    with pytest.raises(PictureError, match="the same size first"):
        match_colors(cloud(0), cloud(1, 20, 20))
