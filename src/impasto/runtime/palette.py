"""The main colours of a painting, and keeping to them.

Colours are compared in Oklab (Ottosson, "A perceptual color space for image processing", 2020), where distances are
about as large as they look. They are mixed in gamma-encoded sRGB, because what is mixed of colours that a screen can
show can be shown, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from impasto.errors import ImpastoError
from impasto.runtime.picture import Picture

F32 = NDArray[np.float32]

COLORS = 8
"""How many colours a palette has unless told."""

LARGEST = 32
SOFTNESS = 0.35
"""How far colours blend into each other, as a share of the distance between neighbours of the palette."""

_SEEN = 128  # pixels of the long side at which colours are counted
_ROUNDS = 40
_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def oklab(rgb: F32) -> F32:
    """sRGB [...,3] in 0..1 (gamma-encoded) to Oklab [...,3]: lightness 0..1, then green to red, blue to yellow."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)
    return _times(np.cbrt(_times(linear, _LMS)), _LAB)


def srgb(lab: F32) -> F32:
    """Oklab [...,3] to sRGB [...,3], clipped to 0..1; the inverse of :func:`oklab`."""
    linear = np.clip(_times(_times(lab, np.linalg.inv(_LAB)) ** 3, np.linalg.inv(_LMS)), 0.0, 1.0)
    rgb: F32 = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055).astype(np.float32)
    return rgb


def main_colors(pictures: Sequence[tuple[Picture, float]], count: int = COLORS) -> F32:
    """The main colours of one picture, or of several with weights.

    The middles of clusters (k-means, from a start that is always the same) of the colours as Oklab has them. What is
    transparent does not count.

    Args:
        pictures: each with a weight above 0, whatever its size.
        count: 2 to 32.

    Returns:
        float32 [K,3], sRGB 0..1, from dark to light; K is less than ``count`` where there are fewer colours.

    Raises:
        ImpastoError: the count is out of range.
    """
    if not 2 <= count <= LARGEST:
        raise ImpastoError(f"A palette of {count} colours cannot be made: choose 2 to {LARGEST}.")
    colors, weights = [], []
    for picture, weight in pictures:
        small = picture.resized(_SEEN) if max(picture.size) > _SEEN else picture
        opacity = np.ones(small.rgb.shape[:2]) if small.alpha is None else small.alpha + 1e-9
        colors.append(oklab(small.rgb).reshape(-1, 3).astype(np.float64))
        weights.append(weight * opacity.ravel() / opacity.sum())
    middles = _clusters(np.concatenate(colors), np.concatenate(weights), count)
    return srgb(middles[np.argsort(middles[:, 0])].astype(np.float32))


def checked_colors(colors: ArrayLike) -> F32:
    """Colours that somebody gave, as float32 [K,3].

    Raises:
        ImpastoError: they are not 1 to 32 colours of three numbers in 0..1.
    """
    try:
        array = np.asarray(colors, np.float32)
    except (TypeError, ValueError):
        array = np.empty(0, np.float32)
    if array.ndim != 2 or array.shape[1] != 3 or not 1 <= len(array) <= LARGEST:
        raise ImpastoError(f"A palette is a number of colours, or 1 to {LARGEST} colours as an array [K,3]: give one.")
    if not ((array >= 0) & (array <= 1)).all():
        raise ImpastoError("The colours of a palette are R, G and B from 0 to 1: divide 8-bit numbers by 255.")
    return array


def to_palette(rgb: F32, colors: F32) -> F32:
    """Colours drawn towards those of a palette.

    Each becomes a mixture of the palette's, by exp(-distance^2 / (2 softness^2)): near one of them it is that one, and
    between two it goes over smoothly, so that a gradient does not break into bands.

    Args:
        rgb: float32 [h,w,3] in 0..1.
        colors: float32 [K,3] in 0..1.

    Returns:
        float32 [h,w,3], within the convex hull of the palette.
    """
    places, seen = oklab(colors), oklab(rgb)
    nearness = np.stack([-((seen - place) ** 2).sum(axis=-1) for place in places])  # [K,h,w]
    nearness /= 2 * (SOFTNESS * _spacing(places)) ** 2
    nearness -= nearness.max(axis=0)
    np.exp(nearness, out=nearness)
    out = np.zeros_like(rgb)
    for weight, color in zip(nearness, colors, strict=True):
        out += weight[..., None] * color
    out /= nearness.sum(axis=0)[..., None]
    return np.clip(out, colors.min(axis=0), colors.max(axis=0))  # float32's last bits


def _spacing(places: F32) -> float:
    """How far a colour's nearest neighbour is, on average."""
    if len(places) == 1:
        return 1.0
    apart = np.sqrt(((places[:, None] - places[None]) ** 2).sum(axis=-1))
    np.fill_diagonal(apart, np.inf)
    return max(0.02, float(apart.min(axis=1).mean()))


def _times(values: NDArray[np.floating], matrix: NDArray[np.float64]) -> F32:
    """``matrix`` times each vector; without BLAS, see _luma in pixels/color.py."""
    out = np.empty(values.shape, np.float32)
    for i, (a, b, c) in enumerate(matrix):
        out[..., i] = values[..., 0] * a + values[..., 1] * b + values[..., 2] * c
    return out


def _clusters(points: NDArray[np.float64], weights: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """k-means (Lloyd, 1982) of weighted points [n,3] from k-means++ (Arthur and Vassilvitskii, 2007): [K,3]."""
    random = np.random.default_rng(0)
    middles = [points[_drawn(weights, random)]]
    nearest = ((points - middles[0]) ** 2).sum(axis=1)
    while len(middles) < count and (nearest * weights).max() > 1e-9 * weights.max():
        middles.append(points[_drawn(nearest * weights, random)])
        nearest = np.minimum(nearest, ((points - middles[-1]) ** 2).sum(axis=1))
    found = np.array(middles)
    for _ in range(_ROUNDS):
        owner = np.stack([((points - middle) ** 2).sum(axis=1) for middle in found]).argmin(axis=0)
        masses = np.bincount(owner, weights, len(found))
        sums = np.stack([np.bincount(owner, weights * points[:, i], len(found)) for i in range(3)], axis=1)
        moved = np.where(masses[:, None] > 0, sums / np.maximum(masses, 1e-30)[:, None], found)
        if np.abs(moved - found).max() < 3e-4:  # far less than an eye can tell
            break
        found = moved
    return found


def _drawn(weights: NDArray[np.float64], random: np.random.Generator) -> int:
    summed = np.cumsum(weights)
    return min(int(np.searchsorted(summed, random.random() * summed[-1], side="right")), len(weights) - 1)
