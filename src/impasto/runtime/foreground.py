"""What stands in front in a photo, found without a network.

GrabCut (Rother, Kolmogorov and Blake, "GrabCut: interactive foreground extraction using iterated graph cuts", 2004),
begun without anybody's rectangle: photographers put things into the middle, and the upper corners are behind.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from impasto.errors import EngineError, ImpastoError
from impasto.runtime.canvas import Surface, resampled
from impasto.runtime.picture import resized_size

F32 = NDArray[np.float32]

SIDE = 384
"""Pixels of the long side at which it is looked for; its edge is as fine as that."""

_ROUNDS = 5
_RIM = 0.04  # of the picture, at the top and both sides, that is taken to lie behind
_LEAST, _MOST = 0.01, 0.95  # shares of the picture that can be a foreground
_PIECE = 0.1  # pieces smaller than this share of the largest are specks


def find_foreground(photo: Surface) -> F32:
    """What stands in front: float32 [h,w], 1 in front and 0 behind, with at most 384 pixels a side.

    Raises:
        EngineError: OpenCV is not installed.
        ImpastoError: nothing stands out.
    """
    cv = load_cv()
    size = photo.width, photo.height
    small = resized_size(size, SIDE) if max(size) > SIDE else size
    rgb = np.empty((small[1], small[0], 3), np.float32)
    for area, part, _ in resampled(photo, small):
        rgb[area.top : area.bottom] = part
    found = _cut(cv, (rgb * 255 + 0.5).astype(np.uint8)) if min(small) > 8 else np.zeros(small[::-1], bool)
    if not _LEAST <= found.mean() <= _MOST:
        raise ImpastoError("Nothing stands out in front of this photo: draw a mask and give it to --mask instead.")
    return found.astype(np.float32)


def _cut(cv: Any, pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    height, width = pixels.shape[:2]
    rim_down, rim_across = max(1, round(_RIM * height)), max(1, round(_RIM * width))
    labels = np.full((height, width), cv.GC_PR_BGD, np.uint8)
    # An ellipse that reaches the lower edge, as people in portraits do.
    y, x = np.mgrid[:height, :width]
    labels[((x - width / 2) / (0.36 * width)) ** 2 + ((y - 0.58 * height) / (0.44 * height)) ** 2 < 1] = cv.GC_PR_FGD
    labels[:rim_down], labels[:, :rim_across], labels[:, -rim_across:] = cv.GC_BGD, cv.GC_BGD, cv.GC_BGD
    cv.setRNGSeed(0)  # its mixtures begin at random, and a picture painted twice should be one
    behind, front = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        cv.grabCut(pixels[..., ::-1].copy(), labels, None, behind, front, _ROUNDS, cv.GC_INIT_WITH_MASK)
    except cv.error:  # a picture of one colour has nothing to fit mixtures to
        return np.zeros((height, width), np.bool_)
    found = ((labels == cv.GC_FGD) | (labels == cv.GC_PR_FGD)).astype(np.uint8)
    # Hairs and specks go, then small pieces, then holes.
    found = cv.morphologyEx(found, cv.MORPH_OPEN, np.ones((3, 3), np.uint8))
    found = _large_pieces(cv, found)
    return np.asarray(1 - _large_pieces(cv, 1 - found), bool)


def _large_pieces(cv: Any, found: NDArray[np.uint8]) -> NDArray[np.uint8]:
    count, names, stats, _ = cv.connectedComponentsWithStats(found, connectivity=4)
    sizes = stats[:, cv.CC_STAT_AREA].copy()
    sizes[0] = 0
    large = [name for name in range(1, count) if sizes[name] >= _PIECE * sizes.max()]
    return np.isin(names, large).astype(np.uint8)


def load_cv() -> Any:
    """OpenCV, or EngineError with what to do."""
    try:
        import cv2
    except ImportError as error:
        raise EngineError(
            "Finding the foreground takes OpenCV, which is not installed: pip install 'impasto[video]'."
        ) from error
    return cv2
