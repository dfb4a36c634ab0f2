"""A landscape drawn by code: what styles are shown on where nobody gave a photo."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from impasto.runtime.picture import Picture

WIDTH, HEIGHT = 480, 360

F64 = NDArray[np.float64]


def scene() -> Picture:
    """Sky and sun, two ranges of hills, a lake, a house and a tree: 480 x 360 pixels, always the same."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    down, across = down / HEIGHT, across / HEIGHT
    random = np.random.Generator(np.random.PCG64(1))
    # Light and dark as in a photo, at three scales: on flat ground a style has nothing to hold on to.
    rough = 0.5 * _clouds(random, 6) + 0.3 * _clouds(random, 18) + 0.2 * _clouds(random, 60)
    rgb = _mixed(down / 0.6, (0.36, 0.56, 0.82), (0.93, 0.86, 0.72)) + 0.10 * np.clip(rough, -0.2, 1)[..., None]
    sun = np.hypot(across - 1.02, down - 0.2)
    rgb = _over(rgb, (0.99, 0.9, 0.62), np.clip(1.15 - sun / 0.075, 0, 1) + 0.35 * np.exp(-sun / 0.12))
    for height, wave, color, dark in (
        (0.47, 5.0, (0.50, 0.57, 0.66), 0.10),
        (0.57, 8.0, (0.30, 0.44, 0.33), 0.22),
    ):
        ridge = height - 0.07 * np.sin(across * wave + 1) - 0.03 * np.sin(across * wave * 2.7)
        rgb = _over(rgb, np.asarray(color) + dark * rough[..., None], _edge(down - ridge))
    water = _mixed((down - 0.68) / 0.32, (0.52, 0.62, 0.68), (0.16, 0.27, 0.38))
    ripples = 0.10 * np.sin(down * 160 + 4 * rough) * np.sin(across * 23 + 9 * down)
    rgb = _over(rgb, water + ripples[..., None], _edge(down - 0.68 - 0.012 * np.sin(across * 6)))
    shore = 0.77 + 0.04 * np.sin(across * 5)
    rgb = _over(rgb, np.asarray((0.42, 0.40, 0.20)) + 0.3 * rough[..., None], _edge(down - shore))
    house = _box(across, down, 0.16, 0.36, 0.56, 0.84)
    rgb = _over(rgb, np.asarray((0.86, 0.80, 0.70)) + 0.08 * rough[..., None], house)
    roof = _edge(down - 0.44 - 0.9 * np.abs(across - 0.26)) * _edge(0.565 - down)
    rgb = _over(rgb, np.asarray((0.62, 0.24, 0.17)) + 0.12 * rough[..., None], roof)
    for left, top in ((0.19, 0.61), (0.29, 0.61)):
        rgb = _over(rgb, (0.18, 0.20, 0.27), _box(across, down, left, left + 0.04, top, top + 0.07))
    rgb = _over(rgb, (0.27, 0.18, 0.12), _box(across, down, 0.925, 0.955, 0.55, 0.86))
    crown = np.hypot((across - 0.94) / 0.17, (down - 0.44) / 0.21) + 0.35 * rough
    rgb = _over(rgb, np.asarray((0.16, 0.33, 0.14)) + 0.45 * rough[..., None], _edge(0.9 - crown, 0.03))
    return Picture.from_array(np.clip(rgb, 0, 1))


def _clouds(random: np.random.Generator, cells: int) -> F64:
    """Smooth noise, about -1..1: ``cells`` to the height. [H,W]."""
    grid = random.random((cells + 2, cells * WIDTH // HEIGHT + 3)) * 2 - 1
    down, across = np.linspace(0, cells, HEIGHT), np.linspace(0, cells * WIDTH / HEIGHT, WIDTH)
    (row, below), (column, beside) = ((p.astype(int), p - p.astype(int)) for p in (down, across))
    below, beside = (t * t * (3 - 2 * t) for t in (below[:, None], beside[None]))
    top = grid[row][:, column] * (1 - beside) + grid[row][:, column + 1] * beside
    bottom = grid[row + 1][:, column] * (1 - beside) + grid[row + 1][:, column + 1] * beside
    smooth: F64 = top * (1 - below) + bottom * below
    return smooth


def _mixed(share: F64, first: tuple[float, ...], last: tuple[float, ...]) -> F64:
    share = np.clip(share, 0, 1)[..., None]
    return np.asarray(first) * (1 - share) + np.asarray(last) * share


def _over(rgb: F64, color: F64 | tuple[float, ...], share: F64) -> F64:
    share = np.clip(share, 0, 1)[..., None]
    return rgb * (1 - share) + np.asarray(color) * share


def _edge(inside: F64, soft: float = 1.5 / HEIGHT) -> F64:
    """1 where ``inside`` is above 0, 0 elsewhere, with an edge of a pixel or so."""
    return np.clip(inside / soft + 0.5, 0, 1)


def _box(across: F64, down: F64, left: float, right: float, top: float, bottom: float) -> F64:
    return _edge(across - left) * _edge(right - across) * _edge(down - top) * _edge(bottom - down)
