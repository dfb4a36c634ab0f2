"""From coarse to fine: what a smaller painting adds to the photo lies under the larger one; in numpy.

A painter sees about a hundred pixels, so in one pass it finds strokes and no larger forms. Painted at half the size,
those forms are half as many pixels. The difference between that painting and the photo in the painting's colours is
enlarged and laid under the photo before it is painted at its own size (compare Gatys et al. 2017, "Controlling
perceptual factors in neural style transfer", section 6). ``training/nets/underpaint.py`` does the same in torch,
``apps/web/browser/underpaint.js`` in a browser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from impasto.errors import BundleError
from impasto.runtime.band_rows import mix
from impasto.runtime.canvas import BAND, Sheet, Surface
from impasto.runtime.laplacian import doubled, halved
from impasto.runtime.tiles import Area

if TYPE_CHECKING:
    from impasto.runtime.bundle import Bundle

F32 = NDArray[np.float32]
Paint: TypeAlias = Callable[[Surface, F32, F32, int], F32]
"""Paints a surface in the manner of a code [D] with colours [9] of its own, at so many halvings: float32 [h,w,3]."""

COARSER = "coarser.npy"
"""The member that says what a code is at half the size: float32 [D,D+1], a matrix and an offset."""

LARGEST = 1_600_000
"""Pixels of the largest painting that lies under: what is larger is halved again, and costs little beside the rest."""

LEAST = 32
"""Pixels: nothing smaller lies under."""

_COLORS, _MEAN = 9, 3


@dataclass(frozen=True, slots=True, eq=False)
class Under:
    """What lies under.

    Attributes:
        levels: how many paintings, each under the one before.
        ground: 0 to 1, how much of them shows through.
        table: see ``COARSER``.
    """

    levels: int
    ground: float
    table: F32

    @classmethod
    def of(cls, bundle: Bundle) -> Under | None:
        """What a model's painter asks for; None where it paints at once.

        Raises:
            BundleError: the model does not say what a code is at half the size.
        """
        spec, size = bundle.manifest.graphs["painter"], bundle.manifest.code_size
        if not spec.under:
            return None
        if COARSER not in bundle.members or size is None:
            raise BundleError(f"{bundle.path} paints over smaller paintings and has no {COARSER}: export it again.")
        return cls(spec.under, spec.ground, bundle.table(COARSER, shape=(size, size + 1)))

    def coarser(self, code: F32) -> F32:
        """The code [D] of the same painting at half its size."""
        # Not a matrix product: see ``band_rows.mix``.
        found: F32 = (self.table[:, :-1] * code).sum(1, dtype=np.float64).astype(np.float32) + self.table[:, -1]
        return found

    def laid(self, photo: Surface, stats: F32, code: F32, paint: Paint, halvings: int = 0) -> tuple[Surface, F32]:
        """What is painted in place of a photo, and its colours [9].

        Args:
            photo: of any size.
            stats: its colours [9].
            code: [D].
            paint: paints what lies under.
            halvings: how often the photo has been halved.
        """
        steps = 1
        while (photo.width * photo.height) >> (2 * steps) > LARGEST:
            steps += 1
        if not self.levels or min(photo.width, photo.height) >> steps < LEAST:
            return photo, stats
        small, fewer, small_code = shrunk(photo, steps), replace(self, levels=self.levels - 1), code
        for _ in range(steps):
            small_code = self.coarser(small_code)
        there = halvings + steps
        seen, colors = fewer.laid(small, stats, small_code, paint, there)
        painted = paint(seen, small_code, colors, there)
        tint = Tint.of(stats, code)
        added = np.subtract(painted.transpose(2, 0, 1), tint(small.pixels), order="C")
        added *= np.float32(self.ground)
        return _Laid(photo, tint, added, steps), code[-_COLORS:]


@dataclass(frozen=True, slots=True, eq=False)
class Tint:
    """A photo's colours brought to those of a code: a matrix [3,3] and an offset [3]."""

    matrix: F32
    offset: F32

    @classmethod
    def of(cls, stats: F32, code: F32) -> Tint:
        """From a photo's colours [9] to the last nine of a code."""
        own, wanted = (_full(part[_MEAN:].astype(np.float64)) for part in (stats, code[-_COLORS:]))
        matrix = wanted @ np.linalg.inv(own)
        offset = code[-_COLORS : _MEAN - _COLORS] - matrix @ stats[:_MEAN].astype(np.float64)
        return cls(matrix.astype(np.float32), offset.astype(np.float32))

    def __call__(self, rgb: F32) -> F32:
        """float32 [h,w,3] to [3,h,w], a new array, not clipped."""
        tinted = mix(self.matrix, np.ascontiguousarray(rgb.transpose(2, 0, 1)))
        tinted += self.offset[:, None, None]
        return tinted


class _Laid:
    """A photo in a painting's colours with what lies under it."""

    def __init__(self, photo: Surface, tint: Tint, added: F32, steps: int) -> None:
        self._photo, self._tint, self._added, self._steps = photo, tint, added, steps
        self.height, self.width = photo.height, photo.width

    def rgb(self, area: Area) -> F32:
        planes = self._tint(self._photo.rgb(area))
        planes += enlarged(self._added, area, self._steps)
        return planes.transpose(1, 2, 0)

    def alpha(self, area: Area) -> F32 | None:
        return self._photo.alpha(area)

    def put(self, area: Area, rgb: F32, alpha: F32 | None = None) -> None:
        raise TypeError("What lies under is seen here, and not written to.")


def shrunk(photo: Surface, steps: int) -> Sheet:
    """A picture halved so many times; its sides are rounded up, the last rows and columns repeated for that."""
    unit = 1 << steps
    height, width = -(-photo.height // unit), -(-photo.width // unit)
    opaque = photo.alpha(Area(0, 0, 1, 1)) is None
    small = Sheet(np.empty((height, width, 3), np.float32), None if opaque else np.empty((height, width), np.float32))
    rows = max(1, BAND // (photo.width * unit))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        # A halving sees one row more on either side: less than a row of what comes out, in all.
        above, below = max(0, top - 1), min(height, bottom + 1)
        area = Area(above * unit, 0, min(below * unit, photo.height), photo.width)
        alpha = photo.alpha(area)
        parts = [photo.rgb(area)] if alpha is None else [photo.rgb(area), alpha[..., None]]
        pad = ((0, (below - above) * unit - area.height), (0, width * unit - photo.width), (0, 0))
        planes = np.pad(np.concatenate(parts, 2), pad, mode="edge").transpose(2, 0, 1)
        for _ in range(steps):
            planes = halved(planes)
        part = planes[:, top - above : bottom - above].transpose(1, 2, 0)
        small.put(Area(top, 0, bottom, width), part[..., :3], None if alpha is None else part[..., 3])
    return small


def enlarged(planes: F32, area: Area, steps: int) -> F32:
    """A part of planes [C,h,w] that are doubled so many times: [C,height,width] of the area."""
    # A doubling sees half a pixel more on either side: less than a whole one, in all.
    top, left = (max(0, (edge >> steps) - 1) for edge in (area.top, area.left))
    bottom, right = (-(-edge >> steps) + 1 for edge in (area.bottom, area.right))
    part = planes[:, top:bottom, left:right]
    for _ in range(steps):
        part = doubled(part)
    down, across = area.top - (top << steps), area.left - (left << steps)
    return part[:, down : down + area.height, across : across + area.width]


def _full(six: NDArray[np.float64]) -> NDArray[np.float64]:
    return six[[0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(3, 3)
