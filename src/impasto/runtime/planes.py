"""Pictures as networks want them, a plane per channel, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from impasto.errors import ImpastoError


def to_planes(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """[H,W,3] to [1,3,H,W]."""
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))[None]


def to_pixels(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """[1,3,H,W] to a new [H,W,3] in 0..1; ImpastoError where the numbers are not finite."""
    finite(planes)  # clipping would hide an infinity
    pixels = np.empty((*planes.shape[2:], 3), np.float32)
    for channel in range(3):
        np.clip(planes[0, channel], 0.0, 1.0, out=pixels[..., channel])
    return pixels


def finite(planes: NDArray[np.float32]) -> None:
    """ImpastoError where a painting's numbers are not finite."""
    if not np.isfinite(planes).all():
        raise ImpastoError("The painting holds numbers that are not finite: use another style code.")
