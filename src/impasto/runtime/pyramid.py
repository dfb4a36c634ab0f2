"""A picture as a pyramid of bands, and the bands given the covariances that a painting's have; in numpy.

The Laplacian pyramid (Burt and Adelson 1983): what a picture loses when it is made half as large, again and again, and
what is left in the end. How strongly the colours of each band vary, and together with which, is much of a texture
(Heeger and Bergen 1995, who match whole histograms). A painter learns to come near; this brings it there exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

LEVELS = 3
"""Bands, at 1, 1/2 and 1/4 of the size; the rest is at 1/8."""

STEP = 1 << LEVELS
"""Pixels: sides of what is split are multiples of it."""

NUMBERS = 6 * (LEVELS + 1)
"""How many numbers say how the bands vary."""

REACH = 24
"""Pixels to each side that a matched pixel depends on, a multiple of ``STEP``."""

BAND_FLOOR, LOW_FLOOR = 0.004, 0.03
"""Deviation that a band, and what is left below the bands, are taken to have at least in every direction."""

LARGEST_GAIN = 8.0
"""How much a band is strengthened at most: beyond that it is noise that is brought up."""

ROUNDS = 2
"""How often the matrices are corrected."""

STRIP, LEAST_ROWS = 1 << 20, 192
"""Pixels that are matched at once, and rows: for fewer, most of the work would be what lies around them."""

SLICE, LEAST_SLICE = 1 << 15, 32
"""Pixels that are worked on at once, and rows: what is made in between stays in the cache, and in used memory."""

_UPPER = np.triu_indices(3)


@dataclass(frozen=True, slots=True, eq=False)
class Gains:
    """What each band is multiplied by, and what is added to the rest.

    Attributes:
        matrices: float32 [LEVELS+1,3,3].
        offset: float32 [3].
    """

    matrices: F32
    offset: F32

    @property
    def numbers(self) -> F32:
        """All of it in a row: float32 [9(LEVELS+1)+3]."""
        return np.concatenate([self.matrices.ravel(), self.offset])

    @classmethod
    def of_numbers(cls, numbers: F32) -> Gains:
        """The inverse of :attr:`numbers`."""
        return cls(numbers[:-3].reshape(LEVELS + 1, 3, 3).astype(np.float32), numbers[-3:].astype(np.float32))

    def pixels(self, planes: F32, rows: slice = slice(None), columns: slice = slice(None)) -> F32:
        """A part of a picture with its bands so: new float32 [h,w,3] in 0..1.

        Args:
            planes: float32 [3,H,W] of any size, which is not changed; what lies around the part is looked at.
            rows, columns: which part, without steps.
        """
        top, bottom, _ = rows.indices(planes.shape[1])
        left, right, _ = columns.indices(planes.shape[2])
        out = np.empty((bottom - top, right - left, 3), np.float32)
        near, far = _around(left, right, planes.shape[2])
        step = max(LEAST_ROWS, STRIP // max(1, far - near))
        for first in range(top, bottom, step):
            last = min(first + step, bottom)
            above, below = _around(first, last, planes.shape[1])
            seen = _edged(planes[:, above:below, near:far])
            self._match(seen, first - above, left - near, out[first - top : last - top])
        return out

    def _match(self, x: F32, top: int, left: int, out: F32) -> None:
        """Fill ``out`` with the matched pixels of planes from a row and a column on."""
        matrix, small = self.matrices[0], _halved(x)
        # Twice the rest's new form, less what of the rest is in the picture's own already.
        rest = self._matched(small, 1)
        rest -= _mixed(matrix, small)

        for first, last in _spans(x):
            start, stop = max(first, top), min(last, top + len(out))
            if start < stop:
                part = _mixed(matrix, x[:, first:last])
                part += _doubled_rows(rest, first, last)
                shown = part[:, start - first : stop - first, left : left + out.shape[1]]
                for channel in range(3):
                    np.clip(shown[channel], 0.0, 1.0, out=out[start - top : stop - top, :, channel])

    def _matched(self, x: F32, level: int) -> F32:
        mixed = _mixed(self.matrices[level], x)
        if level == LEVELS:
            return mixed + self.offset[:, None, None]
        small = halved(x)
        mixed += doubled(self._matched(small, level + 1) - _mixed(self.matrices[level], small))
        return mixed


def band_stats(planes: F32) -> F32:
    """How the bands of a picture vary: float32 [NUMBERS]; planes float32 [3,H,W] of any size."""
    x = _edged(planes)
    fine, small = _fine(lambda first, last: x[:, first:last], x, None)
    return _roots(fine, split(small, LEVELS - 1), None)[:, _UPPER[0], _UPPER[1]].ravel().astype(np.float32)


def gains_of(planes: F32, mean: F32, wanted: F32, weights: F32 | None = None) -> Gains:
    """What gives the bands of a painted picture the covariances that are wanted.

    Args:
        planes: float32 [3,H,W], RGB 0..1.
        mean: float32 [3]: the mean colour that it should have.
        wanted: float32 [NUMBERS], from :func:`band_stats` of a painting.
        weights: float32 [H,W] in 0..1: how much each pixel counts; None for all alike.
    """
    x = _edged(planes)
    shares = None if weights is None else _pooled(weights)
    target = np.zeros((LEVELS + 1, 3, 3))
    target[:, _UPPER[0], _UPPER[1]] = target[:, _UPPER[1], _UPPER[0]] = wanted.reshape(-1, 6)
    # What is shown counts. A painter keeps to 0..1, so that mostly these are the bands themselves.
    inside = planes.min() >= 0 and planes.max() <= 1
    shown = x if inside else x.clip(0, 1)
    fine, small = _fine(lambda first, last: shown[:, first:last], x, shares)
    bands = split(small, LEVELS - 1)
    own = _roots(fine, bands, shares)
    if not inside:
        small = _halved(x)
        bands = split(small, LEVELS - 1)
    low = bands[-1].reshape(3, -1)
    middle = low.mean(1) if shares is None else (low * shares[-1]).sum(1)
    matrices = _limited(target @ np.linalg.inv(own))
    for _ in range(ROUNDS - 1):
        now = [_mixed(matrix.astype(np.float32), band) for matrix, band in zip(matrices[1:], bands, strict=True)]
        now[-1] += (mean - matrices[-1] @ middle).astype(np.float32)[:, None, None]
        first_matrix = matrices[0].astype(np.float32)
        rest = join(now)
        rest -= _mixed(first_matrix, small)
        fine, again = _fine(_Painted(x, first_matrix, rest), x, shares)
        own = _roots(fine, split(again, LEVELS - 1), shares)
        matrices = _limited(target @ np.linalg.inv(own) @ matrices)
    return Gains(matrices.astype(np.float32), (mean - matrices[-1] @ middle).astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class _Painted:
    """Rows of a picture whose bands were multiplied: of itself by the finest one's matrix, and the rest, twice as
    large."""

    planes: F32
    matrix: F32
    rest: F32

    def __call__(self, first: int, last: int) -> F32:
        part = _mixed(self.matrix, self.planes[:, first:last])
        part += _doubled_rows(self.rest, first, last)
        return np.clip(part, 0, 1, out=part)


def _fine(rows: Callable[[int, int], F32], like: F32, shares: Sequence[F32] | None) -> tuple[F64, F32]:
    """Of the finest band, float64 [3,3], the mean products of its channels; and the picture half as large.

    Args:
        rows: gives the picture's rows from one on and before another, [3,h,W].
        like: of the picture's shape.
        shares: as ``_pooled`` gives them.
    """
    _, height, width = like.shape
    small, total = np.empty((3, height // 2, width // 2), np.float32), np.zeros((3, 3))
    for first, last in _spans(like):
        # Two rows of the smaller picture to each side: one is not known at the edge of a part, and one is looked at.
        above, below = max(0, first - 4), min(height, last + 4)
        part = rows(above, below)
        half = halved(part)
        small[:, first // 2 : last // 2] = half[:, (first - above) // 2 : (last - above) // 2]
        near, far = max(above // 2, first // 2 - 1), min(below // 2, last // 2 + 1)
        again = doubled(half[:, near - above // 2 : far - above // 2])[:, first - 2 * near : last - 2 * near]
        band = np.subtract(part[:, first - above : last - above], again, out=again)
        share = None if shares is None else shares[0][first * width : last * width]
        total += _products(band.reshape(3, -1), share)
    return (total / (height * width) if shares is None else total), small


def _spans(x: F32) -> Iterator[tuple[int, int]]:
    """Even rows of planes [C,H,W] from which and before which to work at once."""
    height, width = x.shape[1:]
    step = max(LEAST_SLICE, SLICE // width & ~1)
    for first in range(0, height, step):
        yield first, min(first + step, height)


def split(x: F32, levels: int = LEVELS) -> list[F32]:
    """The pyramid of planes [3,H,W], H and W multiples of 2^levels: bands from fine to coarse, then the rest."""
    bands = []
    for _ in range(levels):
        small = halved(x)
        again = doubled(small)
        bands.append(np.subtract(x, again, out=again))
        x = small
    return [*bands, x]


def join(bands: Sequence[F32]) -> F32:
    """The planes [3,H,W] whose pyramid this is."""
    x = bands[-1]
    for band in bands[-2::-1]:
        x = doubled(x)
        x += band
    return x


def halved(x: F32) -> F32:
    """Half as large, smoothed with (1,3,3,1)/8 each way: [C,H,W] -> [C,H/2,W/2]; H and W even."""
    return _half_across(_half_down(x))


def doubled(x: F32) -> F32:
    """Twice as large, between pixels linear: [C,H,W] -> [C,2H,2W]."""
    return _twice_across(_twice_down(x))


def _halved(x: F32) -> F32:
    """As :func:`halved`, a few rows at a time."""
    small = np.empty((x.shape[0], x.shape[1] // 2, x.shape[2] // 2), np.float32)
    for first, last in _spans(x):
        above, below = max(0, first - 2), min(x.shape[1], last + 2)
        skipped = (first - above) // 2
        small[:, first // 2 : last // 2] = halved(x[:, above:below])[:, skipped : skipped + (last - first) // 2]
    return small


def _doubled_rows(x: F32, first: int, last: int) -> F32:
    """Rows of what :func:`doubled` gives, from one on and before another, both even."""
    near, far = max(0, first // 2 - 1), min(x.shape[1], last // 2 + 1)
    return doubled(x[:, near:far])[:, first - 2 * near : last - 2 * near]


def _half_down(x: F32) -> F32:
    even, odd = x[:, 0::2], x[:, 1::2]
    y = np.float32(0.375) * (even + odd)
    eighth = np.float32(0.125)
    y[:, 1:] += eighth * odd[:, :-1]
    y[:, 0] += eighth * even[:, 0]
    y[:, :-1] += eighth * even[:, 1:]
    y[:, -1] += eighth * odd[:, -1]
    return y


def _half_across(x: F32) -> F32:
    even, odd = x[:, :, 0::2], x[:, :, 1::2]
    y = np.float32(0.375) * (even + odd)
    eighth = np.float32(0.125)
    y[:, :, 1:] += eighth * odd[:, :, :-1]
    y[:, :, 0] += eighth * even[:, :, 0]
    y[:, :, :-1] += eighth * even[:, :, 1:]
    y[:, :, -1] += eighth * odd[:, :, -1]
    return y


def _twice_down(x: F32) -> F32:
    y = np.empty((x.shape[0], 2 * x.shape[1], x.shape[2]), np.float32)
    near, far = np.float32(0.75) * x, np.float32(0.25) * x
    np.add(near[:, 1:], far[:, :-1], out=y[:, 2::2])
    np.add(near[:, :-1], far[:, 1:], out=y[:, 1:-1:2])
    y[:, 0], y[:, -1] = x[:, 0], x[:, -1]
    return y


def _twice_across(x: F32) -> F32:
    # As if all rows were one, which numpy does nine times as fast; their ends are put right afterwards.
    near, far = (np.float32(0.75) * x).ravel(), (np.float32(0.25) * x).ravel()
    flat = np.empty(2 * x.size, np.float32)
    np.add(near[1:], far[:-1], out=flat[2::2])
    np.add(near[:-1], far[1:], out=flat[1:-1:2])
    y = flat.reshape(*x.shape[:2], -1)
    y[:, :, 0], y[:, :, -1] = x[:, :, 0], x[:, :, -1]
    return y


def _around(start: int, stop: int, side: int) -> tuple[int, int]:
    """From where to where a part depends on a picture of this side, begun at a multiple of ``STEP``."""
    return max(0, (start - REACH) // STEP * STEP), min(side, -(-(stop + REACH) // STEP) * STEP)


def _edged(planes: F32) -> F32:
    """Continued to the right and down to multiples of ``STEP``, the edge repeated."""
    missing = [-side % STEP for side in planes.shape[1:]]
    if not any(missing):
        return np.ascontiguousarray(planes, np.float32)
    return np.pad(planes, ((0, 0), (0, missing[0]), (0, missing[1])), mode="edge")


def _mixed(matrix: F32, x: F32) -> F32:
    # Not a matrix product: BLAS would wake its threads for it, which then are in the way of the engine's.
    out, part = np.empty(x.shape, np.float32), np.empty(x.shape[1:], np.float32)
    for row, channel in zip(matrix, out, strict=True):
        np.multiply(x[0], row[0], out=channel)
        channel += np.multiply(x[1], row[1], out=part)
        channel += np.multiply(x[2], row[2], out=part)
    return out


def _pooled(weights: F32) -> list[F32]:
    """Shares of each level's positions, [P] each, of a sum of 1."""
    levels = [np.ascontiguousarray(_edged(weights[None]))]
    for _ in range(LEVELS):
        levels.append(halved(levels[-1]))
    total = float(levels[0].sum(dtype=np.float64))
    return [np.full(x.size, 1 / x.size, np.float32) if total <= 0 else (x / x.sum()).ravel() for x in levels]


def _products(x: F32, share: F32 | None) -> F64:
    """Sums of products of channels [3,P], weighed by shares [P]: float64 [3,3]."""
    weighed = x if share is None else x * share
    second = np.empty((3, 3))
    for i, j in zip(*_UPPER, strict=True):
        second[i, j] = second[j, i] = np.einsum("p,p->", weighed[i], x[j])
    return second


def _roots(fine: F64, rest: Sequence[F32], shares: Sequence[F32] | None) -> F64:
    """Of each band (covariance + floor^2)^(1/2): float64 [LEVELS+1,3,3]. All but the last have mean 0, more or less.

    Args:
        fine: of the finest band.
        rest: the other bands, each [3,h,w].
        shares: as ``_pooled`` gives them.
    """
    covariances = [fine + BAND_FLOOR**2 * np.eye(3)]
    for level, band in enumerate(rest, 1):
        x, floor = band.reshape(3, -1), BAND_FLOOR
        share = None if shares is None else shares[level]
        if level == LEVELS:
            mean = x.mean(1) if share is None else (x * share).sum(1)
            x, floor = x - mean[:, None], LOW_FLOOR
        second = _products(x, share)
        covariances.append((second / x.shape[1] if share is None else second) + floor**2 * np.eye(3))
    values, vectors = np.linalg.eigh(np.stack(covariances))
    roots: F64 = (vectors * np.sqrt(values)[:, None]) @ vectors.swapaxes(1, 2)
    return roots


def _limited(gains: F64) -> F64:
    size = np.sqrt((gains**2).sum((1, 2), keepdims=True) / 3 + 1e-12)
    held: F64 = gains * np.minimum(LARGEST_GAIN / size, 1)
    return held
