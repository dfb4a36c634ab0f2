"""Colour statistics of a picture that comes band by band."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from impasto.errors import PictureError

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


class Moments:
    """Mean and covariance of R, G and B over all that was added, as `impasto.runtime.pixels.color` has them of a whole.

    Sums are kept in float64, around a pixel of the first band: the difference of two large sums would lose the
    deviation of a nearly flat picture.
    """

    def __init__(self) -> None:
        self._origin: F32 | None = None
        # Without weights, and weighted by opacity: which of them counts shows only at the end.
        self._plain, self._weighted = _Sums(), _Sums()
        self._alpha = False

    def add(self, rgb: F32, alpha: F32 | None = None) -> None:
        """Count a band in.

        Args:
            rgb: float32 [h,W,3] in 0..1.
            alpha: float32 [h,W] in 0..1, or None; the same for every band.
        """
        pixels = rgb.reshape(-1, 3)
        if self._origin is None:
            self._origin = np.array(pixels[len(pixels) // 2])
        centred = [pixels[:, i] - self._origin[i] for i in range(3)]
        self._plain.add(centred, None)
        if alpha is not None:
            self._alpha = True
            self._weighted.add(centred, alpha.reshape(-1).astype(np.float64))

    def result(self) -> tuple[F64, F64]:
        """Mean [3] and covariance [3,3]; each pixel counts by its opacity, unless all are transparent.

        Raises:
            PictureError: nothing was added.
        """
        if self._origin is None:
            raise PictureError("Colour statistics need pixels: add a band first.")
        sums = self._weighted if self._alpha and self._weighted.total > 0 else self._plain
        mean = sums.first / sums.total
        covariance = sums.second / sums.total - np.outer(mean, mean)
        covariance = np.triu(covariance) + np.triu(covariance, 1).T
        np.fill_diagonal(covariance, np.maximum(covariance.diagonal(), 0.0))
        return mean + self._origin, covariance


class _Sums:
    """Of the weights, of the values [3], and of their products [3,3] (upper half)."""

    def __init__(self) -> None:
        self.total, self.first, self.second = 0.0, np.zeros(3), np.zeros((3, 3))

    def add(self, values: list[F32], weights: F64 | None) -> None:
        self.total += float(len(values[0])) if weights is None else float(weights.sum())
        for i, value in enumerate(values):
            share = value if weights is None else value * weights
            self.first[i] += share.sum(dtype=np.float64)
            for j in range(i, 3):
                self.second[i, j] += (share * values[j]).sum(dtype=np.float64)
