"""A picture as a pyramid of bands, and the bands given the covariances that a painting's have; in numpy.

The Laplacian pyramid (Burt and Adelson 1983): what a picture loses when it is made half as large, again and again, and
what is left in the end. How strongly the colours of each band vary, and together with which, is much of a texture
(Heeger and Bergen 1995, who match whole histograms). A painter learns to come near; this brings it there exactly.

Besides, detail of a photo lies in a few places and leaves the others empty, where a painting has strokes nearly
everywhere. How patchy the finest band lies is one more number, and its local contrast is raised to a power.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from impasto.runtime.band_rows import (
    BAND_FLOOR,
    UPPER,
    Finest,
    Painted,
    Rows,
    contrast_of,
    each_part,
    edged,
    evening,
    half_seen,
    mix,
    patchiness,
    products_of,
    roots_of,
    scan_of,
    shares_of,
)
from impasto.runtime.laplacian import LEVELS, STEP, doubled, doubled_rows, halved, join, split

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

NUMBERS = 6 * (LEVELS + 1) + 1
"""How many numbers say how the bands vary: the spread of each, and how patchy the finest one lies."""

REACH = 32
"""Pixels to each side that a matched pixel depends on, a multiple of ``STEP``."""

LARGEST_GAIN = 8.0
"""How much a band is strengthened at most: beyond that it is noise that is brought up."""

POWERS = 0.4, 1.5
"""Least and largest power to which local contrast is raised."""

ROUNDS = 2
"""How often the matrices are corrected."""

STRIP, LEAST_ROWS = 1 << 20, 192
"""Pixels that are matched at once, and rows: for fewer, most of the work would be what lies around them."""


@dataclass(frozen=True, slots=True, eq=False)
class Gains:
    """What each band is multiplied by, and what is added to the rest.

    Attributes:
        matrices: float32 [LEVELS+1,3,3].
        offset: float32 [3].
        power: to which the local contrast of the finest band is raised, less 1.
        level: mean logarithm of that contrast, where nothing changes.
        scale: what the energy of the finest band will be multiplied by on the whole, so that contrast is measured as it
            will be seen.
    """

    matrices: F32
    offset: F32
    power: float = 0.0
    level: float = 0.0
    scale: float = 1.0

    @property
    def numbers(self) -> F32:
        """All of it in a row: float32 [9(LEVELS+1)+6]."""
        rest = np.array([self.power, self.level, self.scale], np.float32)
        return np.concatenate([self.matrices.ravel(), self.offset, rest])

    @classmethod
    def of_numbers(cls, numbers: F32) -> Gains:
        """The inverse of :attr:`numbers`."""
        matrices, offset = numbers[:-6].reshape(LEVELS + 1, 3, 3), numbers[-6:-3]
        return cls(matrices.astype(np.float32), offset.astype(np.float32), *map(float, numbers[-3:]))

    def pixels(self, planes: F32, rows: slice = slice(None), columns: slice = slice(None), *, threads: int = 1) -> F32:
        """A part of a picture with its bands so: new float32 [h,w,3] in 0..1.

        Args:
            planes: float32 [3,H,W] of any size, which is not changed; what lies around the part is looked at.
            rows, columns: which part, without steps.
            threads: among which the work is shared; they change nothing in what comes out.
        """
        top, bottom, _ = rows.indices(planes.shape[1])
        left, right, _ = columns.indices(planes.shape[2])
        out = np.empty((bottom - top, right - left, 3), np.float32)
        near, far = _around(left, right, planes.shape[2])
        step = max(LEAST_ROWS, STRIP // max(1, far - near))
        for first in range(top, bottom, step):
            last = min(first + step, bottom)
            above, below = _around(first, last, planes.shape[1])
            seen = edged(planes[:, above:below, near:far])
            Matching(seen, threads=threads).fill(self, first - above, left - near, out[first - top : last - top])
        return out

    def coarse(self, x: F32, level: int = 1) -> F32:
        """What is left below a band [3,h,w], with its own bands so."""
        mixed = mix(self.matrices[level], x)
        if level == LEVELS:
            return mixed + self.offset[:, None, None]
        small = halved(x)
        mixed += doubled(self.coarse(small, level + 1) - mix(self.matrices[level], small))
        return mixed


def band_stats(planes: F32) -> F32:
    """How the bands of a picture vary: float32 [NUMBERS]; planes float32 [3,H,W] of any size, RGB 0..1."""
    x = edged(planes)
    small, energy = scan_of(x)
    roots = roots_of(products_of(Finest(x, small, None), x, None), split(small, LEVELS - 1), None)
    patchy = patchiness(contrast_of(energy, 1.0), None)[1]
    return np.append(roots[:, UPPER[0], UPPER[1]].ravel(), patchy).astype(np.float32)


def gains_of(planes: F32, mean: F32, wanted: F32, weights: F32 | None = None, *, threads: int = 1) -> Gains:
    """What gives the bands of a painted picture the covariances that are wanted; see :meth:`Matching.gains`.

    Args:
        planes: float32 [3,H,W], RGB; values beyond 0..1 count as they would be shown.
        mean, wanted, weights: see there.
        threads: among which the work is shared; they change nothing in what comes out.
    """
    return Matching(planes, threads=threads).gains(mean, wanted, weights)


class Matching:
    """A painted picture, seen once, and matched.

    Args:
        planes: float32 [3,H,W], RGB; values beyond 0..1 count as they would be shown.
        threads: among which the work is shared; they change nothing in what comes out.
        keep: hold the finest band, 12 bytes a pixel, from ``gains`` to ``pixels`` in place of making it again.
    """

    def __init__(self, planes: F32, *, threads: int = 1, keep: bool = False) -> None:
        self._height, self._width = planes.shape[1:]
        self._x, self._threads, self._keep = edged(planes).clip(0, 1), threads, keep
        self._small, self._energy = scan_of(self._x, threads)
        self._kept: tuple[tuple[float, float, float], Rows] | None = None

    def gains(self, mean: F32, wanted: F32, weights: F32 | None = None) -> Gains:
        """What gives its bands the covariances that are wanted.

        Args:
            mean: float32 [3]: the mean colour that it should have.
            wanted: float32 [NUMBERS], from :func:`band_stats` of a painting. The last, how patchy the finest band lies,
                may be 0: then it stays as it is.
            weights: float32 [H,W] in 0..1: how much each pixel counts; None for all alike.
        """
        x, small, energy, threads = self._x, self._small, self._energy, self._threads
        shares = None if weights is None else shares_of(weights)
        target = np.zeros((LEVELS + 1, 3, 3))
        target[:, UPPER[0], UPPER[1]] = target[:, UPPER[1], UPPER[0]] = wanted[:-1].reshape(-1, 6)
        places = np.full(energy.size, 1 / energy.size, np.float32) if shares is None else shares[-1]
        mean_energy = float((energy.ravel() * places).sum(dtype=np.float64))
        asked = max(0.0, float((target[0] ** 2).sum()) / 3 - BAND_FLOOR**2)
        scale = min(asked / max(mean_energy, 1e-12), LARGEST_GAIN**2)
        level, patchy = patchiness(contrast_of(energy, scale), places)
        power = float(np.clip(wanted[-1] / patchy, *POWERS)) - 1 if wanted[-1] > 0 else 0.0
        fine, bands = self._finest(power, level, scale), split(small, LEVELS - 1)
        low = bands[-1].reshape(3, -1)
        middle = low.mean(1) if shares is None else (low * shares[-1]).sum(1)
        own = roots_of(products_of(fine, x, shares, threads), bands, shares)
        matrices = _limited(target @ np.linalg.inv(own))
        for _ in range(ROUNDS - 1):
            now = [mix(matrix.astype(np.float32), band) for matrix, band in zip(matrices[1:], bands, strict=True)]
            now[-1] += (mean - matrices[-1] @ middle).astype(np.float32)[:, None, None]
            again, second = half_seen(Painted(fine, matrices[0].astype(np.float32), join(now)), x, shares, threads)
            own = roots_of(second, split(again, LEVELS - 1), shares)
            matrices = _limited(target @ np.linalg.inv(own) @ matrices)
        offset = (mean - matrices[-1] @ middle).astype(np.float32)
        return Gains(matrices.astype(np.float32), offset, power, level, scale)

    def pixels(self, gains: Gains) -> F32:
        """The picture with its bands so: new float32 [H,W,3] in 0..1."""
        out = np.empty((self._height, self._width, 3), np.float32)
        self.fill(gains, 0, 0, out)
        return out

    def fill(self, gains: Gains, top: int, left: int, out: F32) -> None:
        """Fill ``out``, [h,w,3], with matched pixels from a row and a column on."""
        fine, rest = self._finest(gains.power, gains.level, gains.scale), gains.coarse(self._small)

        def work(first: int, last: int) -> None:
            start, stop = max(first, top), min(last, top + len(out))
            if start < stop:
                part = mix(gains.matrices[0], fine(first, last))
                part += doubled_rows(rest, first, last)
                shown = part[:, start - first : stop - first, left : left + out.shape[1]]
                for channel in range(3):
                    np.clip(shown[channel], 0.0, 1.0, out=out[start - top : stop - top, :, channel])

        each_part(work, self._x, self._threads)

    def _finest(self, power: float, level: float, scale: float) -> Rows:
        """Rows of the finest band, its contrast evened."""
        if self._kept is not None and self._kept[0] == (power, level, scale):
            return self._kept[1]
        rows = Finest(self._x, self._small, evening(contrast_of(self._energy, scale), power, level))
        if not self._keep:
            return rows
        band = np.empty_like(self._x)

        def work(first: int, last: int) -> None:
            band[:, first:last] = rows(first, last)

        each_part(work, self._x, self._threads)

        def held(first: int, last: int) -> F32:
            return band[:, first:last]

        self._kept = (power, level, scale), held
        return held


def _around(start: int, stop: int, side: int) -> tuple[int, int]:
    """From where to where a part depends on a picture of this side, begun at a multiple of ``STEP``."""
    return max(0, (start - REACH) // STEP * STEP), min(side, -(-(stop + REACH) // STEP) * STEP)


def _limited(gains: F64) -> F64:
    size = np.sqrt((gains**2).sum((1, 2), keepdims=True) / 3 + 1e-12)
    held: F64 = gains * np.minimum(LARGEST_GAIN / size, 1)
    return held
