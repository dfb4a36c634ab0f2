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
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from impasto.runtime.canvas import Surface, resampled
from impasto.runtime.tiles import Area

F32 = NDArray[np.float32]

RADIUS = 2
"""Pixels of the small picture around each that the affine function is fitted to."""

SMOOTH = 0.02**2
"""Variance of the photo's colours below which it counts as flat: no slope is found there."""

_HALF = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]  # of a symmetric matrix
_NOISE = 0.01**2  # of the painting's variance: below that there is nothing to explain
_AROUND = 2 * RADIUS + 4  # rows of the small picture: two means, then the cubic's two, and a little
_ROWS = 1 << 19  # pixels of a band: some 40 planes of it are held


def brought_up(
    photo: Surface, small: Surface, painted: Surface, *, band: int | None = None
) -> Iterator[tuple[Area, F32]]:
    """A painting at the size of the photo.

    Args:
        photo: the photo [H,W].
        small: the photo as it was painted [h,w]; larger than the photo where strokes are finer than the painter's own.
        painted: the painting of that [h,w].
        band: about how many pixels are worked on at once; None: as many as pay.

    Yields:
        From the top down, where a band lies and its float32 [rows,W,3] in 0..1.
    """
    band = _ROWS if band is None else band
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
            slope = part.enlarged(slopes[channel, colour], Image.Resampling.BILINEAR)
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

    Args:
        guide, painting: [h,w,3].

    Returns:
        [3,3,h,w], painting by photo, times min(1, 2 R2); and R2 itself, [h,w] in 0..1.
    """
    photo, ours = (np.ascontiguousarray(pixels.transpose(2, 0, 1)) for pixels in (guide, painting))  # [3,h,w]
    mean_photo, mean_ours = _mean(photo), _mean(ours)
    spread = (_mean(ours * ours) - mean_ours * mean_ours).sum(axis=0)
    within = _inverse([_mean(photo[i] * photo[j]) - mean_photo[i] * mean_photo[j] for i, j in _HALF])
    slopes = np.empty((3, 3, *spread.shape), np.float32)
    explained = np.zeros_like(spread)
    for channel in range(3):
        across = _mean(ours[channel] * photo) - mean_ours[channel] * mean_photo  # [3,h,w]
        for colour in range(3):
            slope = sum(within[_HALF.index((min(i, colour), max(i, colour)))] * across[i] for i in range(3))
            slopes[channel, colour] = slope
            explained += slope * across[colour]
    explained = np.clip(explained / (spread + np.float32(_NOISE)), 0.0, 1.0)
    # More than half explained is an edge of the photo with strokes over it.
    slopes *= np.minimum(2 * explained, 1.0)
    return _mean(slopes), _mean(explained)


def _inverse(half: Sequence[F32]) -> list[F32]:
    """Of symmetric matrices with SMOOTH added to their diagonals, by cofactors; upper halves [h,w] as in _HALF."""
    smooth = np.float32(SMOOTH)
    rr, rg, rb, gg, gb, bb = half
    rr, gg, bb = rr + smooth, gg + smooth, bb + smooth
    cofactors = [gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg, rr * bb - rb * rb, rg * rb - rr * gb]
    cofactors.append(rr * gg - rg * rg)
    determinant = rr * cofactors[0] + rg * cofactors[1] + rb * cofactors[2]
    # It is at least that of what was added; what rounding takes from it must not turn it over.
    share = 1 / np.maximum(determinant, smooth**3)
    return [cofactor * share for cofactor in cofactors]


def _mean(planes: F32) -> F32:
    """Of the window of RADIUS around each pixel, [...,h,w]; at the picture's edges the edge counts again."""
    reach, side = RADIUS, 2 * RADIUS + 1
    for axis in (-2, -1):
        ends = [(0, 0)] * planes.ndim
        ends[axis] = (reach, reach)
        framed = np.pad(planes, ends, mode="edge")
        length = planes.shape[axis]
        parts = [framed[..., i : i + length, :] if axis == -2 else framed[..., i : i + length] for i in range(side)]
        planes = parts[0] + parts[1]
        for part in parts[2:]:
            planes += part
        planes *= np.float32(1 / side)
    return planes
