"""A painting brought up from the size at which it was painted, with the edges of the photo.

Where the photo is larger than its painting, each pixel of the painting is taken to be an affine function of the photo's
colours nearby, as in the guided filter with a guide in colour (He, Sun and Tang, "Guided Image Filtering", 2013), found
at the small size (He and Sun, "Fast Guided Filter", 2015, arXiv:1505.00996). Unlike theirs, our result is not that
function, which would smooth the strokes away, but the painting itself, enlarged, and to it is added what the photo lost
when it was made small, times the function's slope:

    result = up(painting) + min(1, 2 R2) * slope * (photo - up(small photo))

Where the painter kept an edge of the photo, the slope is that of the edge and the result is as crisp as the photo.
Where it laid strokes of its own, the photo explains little of them (R2 is the share of the painting's variance that the
function explains) and nothing of the photo's texture comes back.

What is enlarged is soft. So colours are pushed, as far as the photo does not explain them, towards the darkest and the
brightest that the small painting has within one pixel: the steeper way between two colours, which never leaves them,
hence makes no halo.

All works on bands of rows with as much around them as the filters see, so that a picture in parts is the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from impasto.runtime.canvas import BAND, Surface, resampled
from impasto.runtime.tiles import Area

F32 = NDArray[np.float32]

RADIUS = 2
"""Pixels of the small picture around each that the affine function is fitted to."""

SMOOTH = 0.02**2
"""Variance of the photo's colours below which it counts as flat: no slope is found there."""

_NOISE = 0.01**2  # of the painting's variance: below that there is nothing to explain
_AROUND = 2 * RADIUS + 4  # rows of the small picture: two means, then the cubic's two, and a little
_ROWS = BAND // 4  # pixels of a band: some 40 planes of it are held


def brought_up(photo: Surface, small: Surface, painted: Surface, *, band: int = _ROWS) -> Iterator[tuple[Area, F32]]:
    """A painting at the size of the photo.

    Args:
        photo: the photo [H,W].
        small: the photo as it was painted [h,w]; larger than the photo where strokes are finer than the painter's own.
        painted: the painting of that [h,w].
        band: about how many pixels are worked on at once.

    Yields:
        From the top down, where a band lies and its float32 [rows,W,3] in 0..1.
    """
    if (small.height, small.width) == (photo.height, photo.width):
        for area in Area(0, 0, photo.height, photo.width).bands(band):
            yield area, painted.rgb(area)
    elif small.height > photo.height or small.width > photo.width:
        for area, rgb, _ in resampled(painted, (photo.width, photo.height)):
            yield area, rgb
    else:
        for area in Area(0, 0, photo.height, photo.width).bands(band):
            yield area, _guided(photo, small, painted, area)


def _guided(photo: Surface, small: Surface, painted: Surface, area: Area) -> F32:
    part = Part.of(small.height, photo.height, small.width, area)
    guide, painting = small.rgb(part.seen), painted.rgb(part.seen)
    slopes, explained = _slopes(guide, painting)
    # Pictures that are hardly larger are hardly soft; and what the photo makes crisp needs no push, which would be too
    # much of it: a halo.
    most = np.float32(min(1.0, photo.height / small.height - 1.0))
    push = most * (1 - part.enlarged(explained, Image.Resampling.BILINEAR))
    result = _enlarged_crisply(painting, part, push)
    lost = photo.rgb(area) - _enlarged(guide, part)
    for channel in range(3):
        for colour in range(3):
            slope = part.enlarged(slopes[..., channel, colour], Image.Resampling.BILINEAR)
            result[..., channel] += slope * lost[..., colour]
    return np.clip(result, 0.0, 1.0, out=result)


class Part(NamedTuple):
    """Where a band of the large picture lies in the small one.

    Attributes:
        seen: full rows of the small picture: the band's, and what the filters see around them.
        box: left, top, right and bottom of the band itself, in pixels of ``seen``.
        size: width and height of the band.
    """

    seen: Area
    box: tuple[float, float, float, float]
    size: tuple[int, int]

    @classmethod
    def of(cls, small: int, large: int, width: int, area: Area) -> Part:
        """For the heights of both pictures, and the width of the small one."""
        scale = small / large
        first = max(0, math.floor(area.top * scale) - _AROUND)
        last = min(small, math.ceil(area.bottom * scale) + _AROUND)
        box = (0.0, area.top * scale - first, float(width), min(area.bottom * scale - first, float(last - first)))
        return cls(Area(first, 0, last, width), box, (area.width, area.height))

    def enlarged(self, plane: F32, how: Image.Resampling) -> F32:
        """The band of a plane of ``seen``."""
        return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(self.size, how, self.box))  # mode F


def _enlarged(pixels: F32, part: Part) -> F32:
    """[h,w,3] to the band, by cubic interpolation."""
    return np.stack([part.enlarged(pixels[..., i], Image.Resampling.BICUBIC) for i in range(3)], axis=2)


def _enlarged_crisply(pixels: F32, part: Part, push: F32) -> F32:
    """The same, each colour pushed (0 to 1, of each pixel) towards the nearer end of what there is within one pixel."""
    result = _enlarged(pixels, part)
    for channel in range(3):
        low, high = (part.enlarged(end, Image.Resampling.BILINEAR) for end in _ends(pixels[..., channel]))
        span = np.maximum(high - low, 1e-6)
        plane = np.clip((result[..., channel] - low) / span, 0.0, 1.0)
        steep = _steeper(_steeper(plane))
        plane += push * (steep - plane)
        result[..., channel] = low + span * plane
    return result


def _steeper(way: F32) -> F32:
    """The smoothstep 3 t^2 - 2 t^3, which leaves 0, 1/2 and 1 where they are."""
    steeper: F32 = way * way * (np.float32(3) - np.float32(2) * way)
    return steeper


def _ends(plane: F32) -> tuple[F32, F32]:
    """Least and greatest value within one pixel of each, [h,w] each."""
    framed = np.pad(plane, 1, mode="edge")
    height, width = plane.shape
    low = high = plane
    for top in range(3):
        for left in range(3):
            beside = framed[top : top + height, left : left + width]
            low, high = np.minimum(low, beside), np.maximum(high, beside)
    return low, high


def _slopes(guide: F32, painting: F32) -> tuple[F32, F32]:
    """How the painting's colours follow the photo's around each pixel.

    Returns:
        [h,w,3,3], painting by photo, times min(1, 2 R2); and R2 itself, [h,w] in 0..1.
    """
    height, width = guide.shape[:2]
    mean_guide, mean_painting = _mean(guide), _mean(painting)

    def together(one: F32, mean_one: F32, other: F32, mean_other: F32) -> F32:
        products = (one[..., :, None] * other[..., None, :]).reshape(height, width, 9)
        return _mean(products).reshape(height, width, 3, 3) - mean_one[..., :, None] * mean_other[..., None, :]

    within = together(guide, mean_guide, guide, mean_guide)
    across = together(painting, mean_painting, guide, mean_guide)
    spread = _mean(painting * painting) - mean_painting * mean_painting
    slopes = np.linalg.solve(within + np.float32(SMOOTH) * np.eye(3, dtype=np.float32), across.swapaxes(2, 3))
    slopes = slopes.swapaxes(2, 3)
    explained = (slopes * across).sum(axis=(2, 3)) / (spread.sum(axis=2) + np.float32(_NOISE))
    explained = np.clip(explained, 0.0, 1.0)
    # More than half explained is an edge of the photo with strokes over it.
    planes = (slopes * np.minimum(2 * explained, 1.0)[..., None, None]).reshape(height, width, 9)
    smooth = _mean(np.concatenate([planes, explained[..., None]], axis=2))
    return smooth[..., :9].reshape(height, width, 3, 3), smooth[..., 9]


def _mean(planes: F32) -> F32:
    """Of the window of RADIUS around each pixel, [h,w,C]; at the picture's edges the edge counts again."""
    reach, side = RADIUS, 2 * RADIUS + 1
    for axis in (0, 1):
        framed = np.pad(planes, [(reach, reach) if i == axis else (0, 0) for i in range(3)], mode="edge")
        length = planes.shape[axis]
        parts = (framed[i : i + length] if axis == 0 else framed[:, i : i + length] for i in range(side))
        planes = sum(parts, np.zeros_like(planes)) / np.float32(side)
    return planes
