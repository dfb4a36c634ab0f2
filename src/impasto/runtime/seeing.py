"""A picture as the style encoder sees it: its middle, opaque, at the scale of strokes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from impasto.runtime.canvas import Surface, moments_of, resampled
from impasto.runtime.engine import pad_to_rule
from impasto.runtime.picture import Picture, resize_plane, rgb_stats
from impasto.runtime.planes import to_planes
from impasto.runtime.tiles import Area

F32 = NDArray[np.float32]

MAX_ASPECT = 3.0


def seen_at(picture: Picture, scale: int, threads: int) -> F32:
    """The middle of a picture, at most 3:1, opaque, its short side ``scale`` pixels: float32 [1,3,h,w]."""
    rgb, alpha = picture.rgb, picture.alpha
    middle = _middle(*rgb.shape[:2])
    part = (slice(middle.top, middle.bottom), slice(middle.left, middle.right))
    rgb = rgb[part]
    if alpha is not None:
        # On its own mean colour, so that what is transparent adds no colour and no hard edge of black or white.
        ground = rgb_stats(rgb, alpha[part])[:3]
        rgb = _laid_on(rgb, alpha[part], ground)
    if min(rgb.shape[:2]) == scale:
        return to_planes(rgb)
    # What Picture.resized does, bit for bit, but one channel beside the other and without going back to pixels.
    width, height = _size_at(rgb.shape[1], rgb.shape[0], scale)
    planes = np.empty((1, 3, height, width), np.float32)

    def fill(channel: int) -> None:
        np.clip(resize_plane(rgb[..., channel], (width, height)), 0.0, 1.0, out=planes[0, channel])

    from concurrent.futures import ThreadPoolExecutor  # 5 ms that painting with a stored code does without

    with ThreadPoolExecutor(min(3, threads)) as pool:
        list(pool.map(fill, range(3)))
    return planes


def seen_of(surface: Surface, scale: int) -> F32:
    """The same of a picture that is read in parts; equal to :func:`seen_at` but for the last bits."""
    middle = _Middle(surface)
    planes = np.empty((1, 3, *_size_at(middle.width, middle.height, scale)[::-1]), np.float32)
    for area, rgb, _ in resampled(middle, (planes.shape[3], planes.shape[2])):
        planes[0, :, area.top : area.bottom] = rgb.transpose(2, 0, 1)
    return planes


class _Middle:
    """The middle of a surface, laid on its own mean colour."""

    def __init__(self, surface: Surface) -> None:
        self._surface, self._area = surface, _middle(surface.height, surface.width)
        self.height, self.width = self._area.height, self._area.width
        opaque = surface.alpha(Area(0, 0, 1, 1)) is None
        self._ground = None if opaque else moments_of(surface, self._area)[0].astype(np.float32)

    def rgb(self, area: Area) -> F32:
        top, left = self._area.top, self._area.left
        part = Area(top + area.top, left + area.left, top + area.bottom, left + area.right)
        rgb, alpha = self._surface.rgb(part), self._surface.alpha(part)
        return rgb if alpha is None or self._ground is None else _laid_on(rgb, alpha, self._ground)

    def alpha(self, area: Area) -> None:
        return None

    def put(self, area: Area, rgb: F32, alpha: F32 | None = None) -> None:
        raise TypeError("What the encoder sees is not written to.")


def at_rule(seen: F32, minimum: int, multiple: int) -> F32:
    """What the encoder sees, [1,3,h,w], with sides that its size rule allows."""
    # Cropping by less than one multiple is kinder to the statistics than padding with mirrored strokes.
    height, width = (max(side // multiple * multiple, 1) for side in seen.shape[2:])
    return pad_to_rule(seen[:, :, :height, :width], minimum, multiple)[0]


def _middle(height: int, width: int) -> Area:
    longest = math.ceil(min(height, width) * MAX_ASPECT)
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return Area(top, left, min(top + longest, height), min(left + longest, width))


def _laid_on(rgb: F32, alpha: F32, ground: F32) -> F32:
    opacity = alpha[:, :, None]
    laid: F32 = rgb * opacity + ground * (1.0 - opacity)
    return laid


def _size_at(width: int, height: int, scale: int) -> tuple[int, int]:
    """Width and height with the short side at ``scale``."""
    short, long = sorted((width, height))
    ratio = max(scale, round(long * scale / short)) / long
    return max(1, round(width * ratio)), max(1, round(height * ratio))
