"""A picture as a pyramid of bands, and the bands given the covariances that a painting's have; in numpy.

The Laplacian pyramid (Burt and Adelson 1983): what a picture loses when it is made half as large, again and again, and
what is left in the end. How strongly the colours of each band vary, and together with which, is much of a texture
(Heeger and Bergen 1995, who match whole histograms). A painter learns to come near; this brings it there exactly.

Besides, detail of a photo lies in a few places and leaves the others empty, where a painting has strokes nearly
everywhere. How patchy the finest band lies is one more number, and its local contrast is raised to a power.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from impasto.runtime.crowd import shared_out
from impasto.runtime.laplacian import LEVELS, STEP, doubled, doubled_rows, halved, join, split

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

NUMBERS = 6 * (LEVELS + 1) + 1
"""How many numbers say how the bands vary: the spread of each, and how patchy the finest one lies."""

REACH = 32
"""Pixels to each side that a matched pixel depends on, a multiple of ``STEP``."""

BAND_FLOOR, LOW_FLOOR = 0.004, 0.03
"""Deviation that a band, and what is left below the bands, are taken to have at least in every direction."""

LARGEST_GAIN = 8.0
"""How much a band is strengthened at most: beyond that it is noise that is brought up."""

CONTRAST_FLOOR = 0.015
"""Contrast below which a place counts as flat: it is not brought up, because there is noise there and little else."""

POWERS, EVENED = (0.4, 1.5), 2.0
"""Least and largest power to which local contrast is raised, and by how much it changes at most."""

ROUNDS = 2
"""How often the matrices are corrected."""

STRIP, LEAST_ROWS = 1 << 20, 192
"""Pixels that are matched at once, and rows: for fewer, most of the work would be what lies around them."""

SLICE, LEAST_SLICE = 1 << 15, 32
"""Pixels that are worked on at once, and rows: what is made in between stays in the cache, and in used memory."""

MOST_THREADS = 4
"""That share a picture's parts: each holds some 3 MB, and all wait for the same memory."""

_UPPER = np.triu_indices(3)


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
            seen = _edged(planes[:, above:below, near:far])
            self._match(seen, first - above, left - near, out[first - top : last - top], threads)
        return out

    def _match(self, x: F32, top: int, left: int, out: F32, threads: int) -> None:
        """Fill ``out`` with the matched pixels of planes from a row and a column on."""
        x = x.clip(0, 1)
        small, energy = _scanned(x, threads)
        fine = _Finest(x, small, _evened(_contrast(energy, self.scale), self.power, self.level))
        rest = self._matched(small, 1)

        def fill(first: int, last: int) -> None:
            start, stop = max(first, top), min(last, top + len(out))
            if start < stop:
                part = _mixed(self.matrices[0], fine(first, last))
                part += doubled_rows(rest, first, last)
                shown = part[:, start - first : stop - first, left : left + out.shape[1]]
                for channel in range(3):
                    np.clip(shown[channel], 0.0, 1.0, out=out[start - top : stop - top, :, channel])

        _shared(fill, x, threads)

    def _matched(self, x: F32, level: int) -> F32:
        mixed = _mixed(self.matrices[level], x)
        if level == LEVELS:
            return mixed + self.offset[:, None, None]
        small = halved(x)
        mixed += doubled(self._matched(small, level + 1) - _mixed(self.matrices[level], small))
        return mixed


def band_stats(planes: F32) -> F32:
    """How the bands of a picture vary: float32 [NUMBERS]; planes float32 [3,H,W] of any size, RGB 0..1."""
    x = _edged(planes)
    small, energy = _scanned(x)
    roots = _roots(_second(_Finest(x, small, None), x, None), split(small, LEVELS - 1), None)
    patchy = _patchiness(_contrast(energy, 1.0), None)[1]
    return np.append(roots[:, _UPPER[0], _UPPER[1]].ravel(), patchy).astype(np.float32)


def gains_of(planes: F32, mean: F32, wanted: F32, weights: F32 | None = None, *, threads: int = 1) -> Gains:
    """What gives the bands of a painted picture the covariances that are wanted.

    Args:
        planes: float32 [3,H,W], RGB; values beyond 0..1 count as they would be shown.
        mean: float32 [3]: the mean colour that it should have.
        wanted: float32 [NUMBERS], from :func:`band_stats` of a painting. The last, how patchy the finest band lies, may
            be 0: then it stays as it is.
        weights: float32 [H,W] in 0..1: how much each pixel counts; None for all alike.
        threads: among which the work is shared; they change nothing in what comes out.
    """
    x = _edged(planes).clip(0, 1)
    shares = None if weights is None else _pooled(weights)
    target = np.zeros((LEVELS + 1, 3, 3))
    target[:, _UPPER[0], _UPPER[1]] = target[:, _UPPER[1], _UPPER[0]] = wanted[:-1].reshape(-1, 6)
    small, energy = _scanned(x, threads)
    places = np.full(energy.size, 1 / energy.size, np.float32) if shares is None else shares[-1]
    mean_energy = float((energy.ravel() * places).sum(dtype=np.float64))
    asked = max(0.0, float((target[0] ** 2).sum()) / 3 - BAND_FLOOR**2)
    scale = min(asked / max(mean_energy, 1e-12), LARGEST_GAIN**2)
    contrast = _contrast(energy, scale)
    level, patchy = _patchiness(contrast, places)
    power = float(np.clip(wanted[-1] / patchy, *POWERS)) - 1 if wanted[-1] > 0 else 0.0
    fine, bands = _Finest(x, small, _evened(contrast, power, level)), split(small, LEVELS - 1)
    low = bands[-1].reshape(3, -1)
    middle = low.mean(1) if shares is None else (low * shares[-1]).sum(1)
    own = _roots(_second(fine, x, shares, threads), bands, shares)
    matrices = _limited(target @ np.linalg.inv(own))
    for _ in range(ROUNDS - 1):
        now = [_mixed(matrix.astype(np.float32), band) for matrix, band in zip(matrices[1:], bands, strict=True)]
        now[-1] += (mean - matrices[-1] @ middle).astype(np.float32)[:, None, None]
        again, second = _seen(_Painted(fine, matrices[0].astype(np.float32), join(now)), x, shares, threads)
        own = _roots(second, split(again, LEVELS - 1), shares)
        matrices = _limited(target @ np.linalg.inv(own) @ matrices)
    return Gains(matrices.astype(np.float32), (mean - matrices[-1] @ middle).astype(np.float32), power, level, scale)


@dataclass(frozen=True, slots=True, eq=False)
class _Finest:
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
class _Painted:
    """Rows of a picture: of its finest band, multiplied, and the rest, twice as large; as it would be shown."""

    fine: _Finest
    matrix: F32
    rest: F32

    def __call__(self, first: int, last: int) -> F32:
        part = _mixed(self.matrix, self.fine(first, last))
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

    return small, _shared(part, like, threads)


def _scanned(x: F32, threads: int = 1) -> tuple[F32, F32]:
    """A picture half as large, and its finest band's mean square in cells of STEP x STEP pixels, [H/STEP,W/STEP]."""

    def look(band: F32, first: int, last: int) -> F32:
        squares = np.einsum("chw,chw->hw", band, band)
        squares = squares.reshape(-1, STEP, squares.shape[1]).sum(1)
        mean: F32 = squares.reshape(len(squares), -1, STEP).sum(2) / np.float32(3 * STEP * STEP)
        return mean

    small, energies = _scan(lambda first, last: x[:, first:last], x, look, threads)
    return small, np.concatenate(energies)


def _contrast(energy: F32, scale: float) -> F32:
    """Logarithms of local contrast."""
    contrast: F32 = np.float32(0.5) * np.log(np.float32(scale) * energy + np.float32(CONTRAST_FLOOR**2))
    return contrast


def _patchiness(contrast: F32, share: F32 | None) -> tuple[float, float]:
    """Mean and deviation of the logarithms of contrast, where places have a share [P] each."""
    x = contrast.ravel().astype(np.float64)
    share = np.full(x.size, 1 / x.size) if share is None else share
    mean = float((share * x).sum())
    return mean, float(np.sqrt((share * (x - mean) ** 2).sum() + 1e-6))


def _evened(contrast: F32, power: float, level: float) -> F32 | None:
    """By what the finest band is multiplied, at half the picture's size: [1,H/2,W/2]; None for 1 everywhere."""
    if power == 0:
        return None
    return doubled(doubled(np.exp((contrast - np.float32(level)) * np.float32(power)).clip(1 / EVENED, EVENED)[None]))


def _second(fine: _Finest, like: F32, shares: Sequence[F32] | None, threads: int = 1) -> F64:
    """Mean products of the channels of the finest band, float64 [3,3]."""
    parts = _shared(lambda *span: _products(fine(*span), span, shares), like, threads)
    return np.asarray(sum(parts) / (like[0].size if shares is None else 1))


def _seen(painted: _Painted, like: F32, shares: Sequence[F32] | None, threads: int) -> tuple[F32, F64]:
    """A painted picture half as large, and the mean products of its finest band."""
    small, parts = _scan(painted, like, lambda band, *span: _products(band, span, shares), threads)
    return small, np.asarray(sum(parts) / (like[0].size if shares is None else 1))


def _shared(work: Callable[[int, int], Any], like: F32, threads: int) -> list[Any]:
    """What is made of each of ``_spans``, from above down."""
    return shared_out(work, _spans(like), min(threads, MOST_THREADS))


def _spans(x: F32) -> Iterator[tuple[int, int]]:
    """Rows of planes [C,H,W], multiples of ``STEP``, from which and before which to work at once."""
    height, width = x.shape[1:]
    step = max(LEAST_SLICE, SLICE // width // STEP * STEP)
    for first in range(0, height, step):
        yield first, min(first + step, height)


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


def _products(band: F32, span: tuple[int, int], shares: Sequence[F32] | None) -> F64:
    """Sums of products of channels over rows of the finest band [3,h,W], weighed by their shares: float64 [3,3]."""
    width = band.shape[2]
    share = None if shares is None else shares[0][span[0] * width : span[1] * width]
    return _sums(band.reshape(3, -1), share)


def _sums(x: F32, share: F32 | None) -> F64:
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
        second = _sums(x, share)
        covariances.append((second / x.shape[1] if share is None else second) + floor**2 * np.eye(3))
    values, vectors = np.linalg.eigh(np.stack(covariances))
    roots: F64 = (vectors * np.sqrt(values)[:, None]) @ vectors.swapaxes(1, 2)
    return roots


def _limited(gains: F64) -> F64:
    size = np.sqrt((gains**2).sum((1, 2), keepdims=True) / 3 + 1e-12)
    held: F64 = gains * np.minimum(LARGEST_GAIN / size, 1)
    return held
