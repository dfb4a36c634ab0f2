"""The Laplacian pyramid (Burt and Adelson 1983), in numpy: what a picture loses when it is made half as large.

Planes are float32 [C,H,W]. ``training/nets/pyramid.py`` and ``apps/web/browser/pyramid.js`` do the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

LEVELS = 3
"""Bands, at 1, 1/2 and 1/4 of the size; the rest is at 1/8."""

STEP = 1 << LEVELS
"""Pixels: sides of what is split are multiples of it."""


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


def doubled_rows(x: F32, first: int, last: int) -> F32:
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
