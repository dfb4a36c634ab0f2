"""Painting at another size than the picture's, and the photo's finest layer: what ``stroke`` and ``detail`` do.

It is the same for a picture in memory and for one on disk: both are surfaces, read and written in bands of rows.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.canvas import Canvas, Sheet, Surface, resampled, surface_of
from impasto.runtime.guided import Part, brought_up
from impasto.runtime.picture import Picture
from impasto.runtime.stopping import heeded_stop
from impasto.runtime.tiles import Area

if TYPE_CHECKING:
    from collections.abc import Callable

    from impasto.runtime.whole import Finish

F32 = NDArray[np.float32]

Paint: TypeAlias = "Callable[[Surface, Surface], Finish]"

FINE = 2
"""The finest layer is what a picture reduced by this, from the size at which it is painted, has no more."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601


def surface_at(
    photo: Surface,
    result: Surface,
    working: tuple[int, int],
    paint: Paint,
    *,
    detail: float = 0.0,
    progress: OnProgress = silent,
) -> None:
    """Paint a photo at a working size and bring the painting up to its own.

    Args:
        photo, result: of one size; alpha is looked at, and not written.
        working: width and height to paint at (`impasto.runtime.stroke.working_size`).
        paint: paints its first surface onto its second, both of the working size, and tells what is then done with
            painted pixels at the photo's size.
        detail: 0 to 1, how much of the painting's finest layer is the photo's.
        progress: told of the rows brought up.

    Raises:
        PictureError: there is no room for the working pictures, where the photo is on disk.
        StoppedError: the work was stopped.
    """
    with ExitStack() as held:
        alike = working == (photo.width, photo.height)
        small = photo if alike else _scaled(photo, working, held)
        painted = _blank(photo, working, held, alpha=False)
        finish = paint(small, painted)
        shown = _Shown(painted, small)
        layer = FinestLayer(small, shown, photo, detail) if detail > 0 else None
        stop = heeded_stop()
        for area, rgb in brought_up(photo, small, shown):
            if stop is not None:
                stop.check()
            own = photo.rgb(area)
            if layer is not None:
                rgb = layer(area, rgb, own)
            result.put(area, finish(rgb, own) if finish.wants_photo else rgb)
            progress(Progress(area.bottom, photo.height, "rows", "bringing up"))


def picture_at(
    picture: Picture,
    working: tuple[int, int],
    paint: Callable[[Picture], tuple[Picture, Finish]],
    *,
    detail: float = 0.0,
    progress: OnProgress = silent,
) -> Picture:
    """The same of a picture in memory; ``paint`` gives the painting of a picture of the working size."""

    def onto(small: Surface, painted: Surface) -> Finish:
        whole = Area(0, 0, small.height, small.width)
        done, finish = paint(Picture(small.rgb(whole), small.alpha(whole)))
        painted.put(whole, done.rgb)
        return finish

    result = Sheet(np.empty_like(picture.rgb))
    surface_at(surface_of(picture), result, working, onto, detail=detail, progress=progress)
    return replace(picture, rgb=result.pixels)


class FinestLayer:
    """Gives a painting the photo's finest layer in place of its own, in brightness (BT.601 luma) only.

    A layer is a picture less itself made small and enlarged again, a level of a Laplacian pyramid (Burt and Adelson,
    "The Laplacian Pyramid as a Compact Image Code", 1983). It takes the place of the painting's, and is not added
    to it: added, it would sharpen a second time what the painter had kept.

    Args:
        small, painted: the photo and its painting at the working size.
        photo: at its own size.
        share: 0 to 1.
    """

    def __init__(self, small: Surface, painted: Surface, photo: Surface, share: float) -> None:
        self._share, self._photo = np.float32(share), photo
        least = min((small.width, small.height), (photo.width, photo.height))
        size = max(1, -(-least[0] // FINE)), max(1, -(-least[1] // FINE))
        # What is below the layer, photo's less painting's: [h,w], a quarter of the pixels.
        below = np.empty((size[1], size[0]), np.float32)
        for area, rgb, _ in resampled(small, size):
            below[area.top : area.bottom] = rgb @ _LUMA
        for area, rgb, _ in resampled(painted, size):
            below[area.top : area.bottom] -= rgb @ _LUMA
        self._below = below

    def __call__(self, area: Area, rgb: F32, photo: F32) -> F32:
        """Full rows of the painting at the photo's size, [h,w,3], and of the photo; a new array in 0..1."""
        height, width = self._below.shape
        part = Part.of(height, self._photo.height, width, area)
        below = part.enlarged(self._below[part.seen.top : part.seen.bottom], Image.Resampling.BICUBIC)
        change = self._share * ((photo - rgb) @ _LUMA - below)
        out: F32 = np.clip(rgb + change[..., None], 0.0, 1.0)
        return out


class _Shown:
    """A painting with the photo's transparency, so that what lies under it does not bleed when it is scaled."""

    def __init__(self, painted: Surface, photo: Surface) -> None:
        self._painted, self._photo = painted, photo
        self.height, self.width = painted.height, painted.width

    def rgb(self, area: Area) -> F32:
        return self._painted.rgb(area)

    def alpha(self, area: Area) -> F32 | None:
        return self._photo.alpha(area)

    def put(self, area: Area, rgb: F32, alpha: F32 | None = None) -> None:
        raise TypeError("A painting is shown here, and not written to.")


def _scaled(photo: Surface, size: tuple[int, int], held: ExitStack) -> Surface:
    opaque = photo.alpha(Area(0, 0, 1, 1)) is None
    small = _blank(photo, size, held, alpha=not opaque)
    for area, rgb, alpha in resampled(photo, size):
        small.put(area, rgb, alpha)
    return small


def _blank(like: Surface, size: tuple[int, int], held: ExitStack, *, alpha: bool) -> Surface:
    """A surface of a size, on disk where ``like`` is."""
    width, height = size
    if isinstance(like, Canvas):
        # 16 bits: what is rounded here is not rounded yet where all is in memory.
        return held.enter_context(Canvas(height, width, alpha=alpha, deep=True, folder=like.folder))
    return Sheet(np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32) if alpha else None)
