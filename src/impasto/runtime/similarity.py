"""How alike two pictures look: structural similarity.

Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity", 2004,
equations 13 to 17: an 11x11 Gaussian window of deviation 1.5, K1 = 0.01, K2 = 0.03, the mean over all windows that lie
inside the picture. Here of luma (BT.601) in 0..1, in float64, without the paper's advice to shrink the picture first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from impasto.errors import PictureError

F64 = NDArray[np.float64]

WINDOW = 11
DEVIATION = 1.5
_LUMA = np.array([0.299, 0.587, 0.114])
_C1, _C2 = 0.01**2, 0.03**2


def ssim(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Structural similarity of two pictures: 1 where they are equal, about 0 where they have nothing in common.

    Args:
        one, other: float [H,W,3] RGB or [H,W] grey, in 0..1, of one size and at least 11 pixels each way.

    Raises:
        PictureError: the shapes differ, or are too small.
    """
    if one.shape != other.shape or one.ndim not in (2, 3) or min(one.shape[:2]) < WINDOW:
        raise PictureError(
            f"Pictures of {list(one.shape)} and {list(other.shape)} cannot be compared: give two of one size, of at "
            f"least {WINDOW}x{WINDOW} pixels."
        )
    a, b = (np.asarray(p, np.float64) if p.ndim == 2 else p.astype(np.float64) @ _LUMA for p in (one, other))
    mean_a, mean_b = _windowed(a), _windowed(b)
    spread_a = _windowed(a * a) - mean_a**2
    spread_b = _windowed(b * b) - mean_b**2
    together = _windowed(a * b) - mean_a * mean_b
    alike = (2 * mean_a * mean_b + _C1) * (2 * together + _C2)
    scale = (mean_a**2 + mean_b**2 + _C1) * (spread_a + spread_b + _C2)
    return float((alike / scale).mean())


def _windowed(plane: F64) -> F64:
    """The Gaussian mean around each pixel whose window lies inside: [H,W] to [H-10,W-10]."""
    half = WINDOW // 2
    weights = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * DEVIATION**2))
    weights /= weights.sum()
    height, width = plane.shape[0] - 2 * half, plane.shape[1] - 2 * half
    down = sum(weight * plane[i : i + height] for i, weight in enumerate(weights))
    across: F64 = sum(weight * down[:, i : i + width] for i, weight in enumerate(weights))
    return across
