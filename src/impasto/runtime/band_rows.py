"""Rows of a picture's finest band and what is measured in them, a few at a time; the rest of its pyramid.

What ``runtime/pyramid.py`` is made of. What is made in between stays small, so that it lies in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from impasto.runtime.crowd import shared_out
from impasto.runtime.laplacian import LEVELS, STEP, doubled, doubled_rows, halved

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Rows = Callable[[int, int], F32]  # from one row on and before another: [3,h,W]

BAND_FLOOR, LOW_FLOOR = 0.004, 0.03
"""Deviation that a band, and what is left below the bands, are taken to have at least in every direction."""

CONTRAST_FLOOR = 0.015
"""Contrast below which a place counts as flat: it is not brought up, because there is noise there and little else."""

EVENED = 2.0
"""By how much local contrast is changed at most."""

SLICE, LEAST_SLICE = 1 << 15, 32
"""Pixels that are worked on at once, and rows: what is made in between stays in the cache, and in used memory."""

MOST_THREADS = 4
"""That share a picture's parts: each holds some 3 MB, and all wait for the same memory."""

UPPER = np.triu_indices(3)


@dataclass(frozen=True, slots=True, eq=False)
class Finest:
    """Rows of a picture's finest band, its contrast evened.

    Attributes:
        planes: the picture [3,H,W].
        small: half as large.
        gains: for each place of that, [1,H/2,W/2]; None for 1 everywhere.
    """

    planes: F32
    small: F32
    gains: F32 | None

    def __call__(self, first: int, last: int) -> F32:
        again = doubled_rows(self.small, first, last)
        band = np.subtract(self.planes[:, first:last], again, out=again)
        if self.gains is not None:
            band *= doubled_rows(self.gains, first, last)
        return band


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """Rows of a picture: of its finest band, multiplied, and the rest, twice as large; as it would be shown."""

    fine: Rows
    matrix: F32
    rest: F32

    def __call__(self, first: int, last: int) -> F32:
        part = mix(self.matrix, self.fine(first, last))
        part += doubled_rows(self.rest, first, last)
        return np.clip(part, 0, 1, out=part)


def _scan(
    rows: Callable[[int, int], F32], like: F32, look: Callable[[F32, int, int], Any], threads: int
) -> tuple[F32, list[Any]]:
    """A picture half as large; on the way each part of its finest band is looked at once.

    Args:
        rows: gives the picture's rows from one on and before another, [3,h,W].
        like: of the picture's shape.
        look: is given a part [3,h,W] of the band, and from which row on and before which it lies.
        threads: among which the parts are shared.

    Returns:
        The smaller picture, and what was seen in each part, from above down.
    """
    _, height, width = like.shape
    small = np.empty((3, height // 2, width // 2), np.float32)

    def part(first: int, last: int) -> Any:
        # Two rows of the smaller picture to each side: one is not known at the edge of a part, and one is looked at.
        above, below = max(0, first - 4), min(height, last + 4)
        seen = rows(above, below)
        half = halved(seen)
        small[:, first // 2 : last // 2] = half[:, (first - above) // 2 : (last - above) // 2]
        again = doubled_rows(half, first - above, last - above)
        return look(np.subtract(seen[:, first - above : last - above], again, out=again), first, last)

    return small, each_part(part, like, threads)


def scan_of(x: F32, threads: int = 1) -> tuple[F32, F32]:
    """A picture half as large, and its finest band's mean square in cells of STEP x STEP pixels, [H/STEP,W/STEP]."""

    def look(band: F32, first: int, last: int) -> F32:
        squares = np.einsum("chw,chw->hw", band, band)
        squares = squares.reshape(-1, STEP, squares.shape[1]).sum(1)
        mean: F32 = squares.reshape(len(squares), -1, STEP).sum(2) / np.float32(3 * STEP * STEP)
        return mean

    small, energies = _scan(lambda first, last: x[:, first:last], x, look, threads)
    return small, np.concatenate(energies)


def contrast_of(energy: F32, scale: float) -> F32:
    """Logarithms of local contrast."""
    contrast: F32 = np.float32(0.5) * np.log(np.float32(scale) * energy + np.float32(CONTRAST_FLOOR**2))
    return contrast


def patchiness(contrast: F32, share: F32 | None) -> tuple[float, float]:
    """Mean and deviation of the logarithms of contrast, where places have a share [P] each."""
    x = contrast.ravel().astype(np.float64)
    share = np.full(x.size, 1 / x.size) if share is None else share
    mean = float((share * x).sum())
    return mean, float(np.sqrt((share * (x - mean) ** 2).sum() + 1e-6))


def evening(contrast: F32, power: float, level: float) -> F32 | None:
    """By what the finest band is multiplied, at half the picture's size: [1,H/2,W/2]; None for 1 everywhere."""
    if power == 0:
        return None
    return doubled(doubled(np.exp((contrast - np.float32(level)) * np.float32(power)).clip(1 / EVENED, EVENED)[None]))


def products_of(fine: Rows, like: F32, shares: Sequence[F32] | None, threads: int = 1) -> F64:
    """Mean products of the channels of the finest band, float64 [3,3]."""
    parts = each_part(lambda *span: _products(fine(*span), span, shares), like, threads)
    return np.asarray(sum(parts) / (like[0].size if shares is None else 1))


def half_seen(painted: Painted, like: F32, shares: Sequence[F32] | None, threads: int) -> tuple[F32, F64]:
    """A painted picture half as large, and the mean products of its finest band."""
    small, parts = _scan(painted, like, lambda band, *span: _products(band, span, shares), threads)
    return small, np.asarray(sum(parts) / (like[0].size if shares is None else 1))


def each_part(work: Callable[[int, int], Any], like: F32, threads: int) -> list[Any]:
    """What is made of each of ``_spans``, from above down."""
    return shared_out(work, _spans(like), min(threads, MOST_THREADS))


def _spans(x: F32) -> Iterator[tuple[int, int]]:
    """Rows of planes [C,H,W], multiples of ``STEP``, from which and before which to work at once."""
    height, width = x.shape[1:]
    step = max(LEAST_SLICE, SLICE // width // STEP * STEP)
    for first in range(0, height, step):
        yield first, min(first + step, height)


def edged(planes: F32) -> F32:
    """Continued to the right and down to multiples of ``STEP``, the edge repeated."""
    missing = [-side % STEP for side in planes.shape[1:]]
    if not any(missing):
        return np.ascontiguousarray(planes, np.float32)
    return np.pad(planes, ((0, 0), (0, missing[0]), (0, missing[1])), mode="edge")


def mix(matrix: F32, x: F32) -> F32:
    # Not a matrix product: BLAS would wake its threads for it, which then are in the way of the engine's.
    out, part = np.empty(x.shape, np.float32), np.empty(x.shape[1:], np.float32)
    for row, channel in zip(matrix, out, strict=True):
        np.multiply(x[0], row[0], out=channel)
        channel += np.multiply(x[1], row[1], out=part)
        channel += np.multiply(x[2], row[2], out=part)
    return out


def shares_of(weights: F32) -> list[F32]:
    """Shares of each level's positions, [P] each, of a sum of 1."""
    levels = [np.ascontiguousarray(edged(weights[None]))]
    for _ in range(LEVELS):
        levels.append(halved(levels[-1]))
    total = float(levels[0].sum(dtype=np.float64))
    return [np.full(x.size, 1 / x.size, np.float32) if total <= 0 else (x / x.sum()).ravel() for x in levels]


def _products(band: F32, span: tuple[int, int], shares: Sequence[F32] | None) -> F64:
    """Sums of products of channels over rows of the finest band [3,h,W], weighed by their shares: float64 [3,3]."""
    width = band.shape[2]
    share = None if shares is None else shares[0][span[0] * width : span[1] * width]
    return _sums(band.reshape(3, -1), share)


def _sums(x: F32, share: F32 | None) -> F64:
    weighed = x if share is None else x * share
    second = np.empty((3, 3))
    for i, j in zip(*UPPER, strict=True):
        second[i, j] = second[j, i] = np.einsum("p,p->", weighed[i], x[j])
    return second


def roots_of(fine: F64, rest: Sequence[F32], shares: Sequence[F32] | None) -> F64:
    """Of each band (covariance + floor^2)^(1/2): float64 [LEVELS+1,3,3]. All but the last have mean 0, more or less.

    Args:
        fine: of the finest band.
        rest: the other bands, each [3,h,w].
        shares: as ``pooled`` gives them.
    """
    covariances = [fine + BAND_FLOOR**2 * np.eye(3)]
    for level, band in enumerate(rest, 1):
        x, floor = band.reshape(3, -1), BAND_FLOOR
        share = None if shares is None else shares[level]
        if level == LEVELS:
            mean = x.mean(1) if share is None else (x * share).sum(1)
            x, floor = x - mean[:, None], LOW_FLOOR
        second = _sums(x, share)
        covariances.append((second / x.shape[1] if share is None else second) + floor**2 * np.eye(3))
    values, vectors = np.linalg.eigh(np.stack(covariances))
    roots: F64 = (vectors * np.sqrt(values)[:, None]) @ vectors.swapaxes(1, 2)
    return roots
