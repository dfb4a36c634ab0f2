"""What a painted picture is held to: bands that vary as those of the painting (``runtime/pyramid.py``).

How strongly a painter's bands vary depends on the photo, so it is measured on what has been painted: on all of a
picture of up to ``DIRECT`` pixels, and beyond that on a smaller one, painted first. Thus parts of a picture are given
what the whole would be given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from impasto.errors import BundleError
from impasto.runtime.canvas import Sheet, Surface, resampled
from impasto.runtime.manifest import GraphSpec
from impasto.runtime.pyramid import NUMBERS, Gains, Matching, gains_of

F32 = NDArray[np.float32]

DIRECT = 600_000
"""Pixels up to which the picture itself is measured."""

TRIAL = 1 << 18
"""Pixels of the smaller one."""

_COLORS, _RGB = 9, 3


@dataclass(frozen=True, slots=True, eq=False)
class Goal:
    """What the bands should be: mean colour float32 [3], and how they vary, float32 [NUMBERS]."""

    mean: F32
    wanted: F32

    @classmethod
    def of(cls, spec: GraphSpec, code: F32) -> Goal | None:
        """What a code [D] asks for; None where the painter's output is the picture.

        Raises:
            BundleError: this impasto does not know such bands.
        """
        if not spec.bands:
            return None
        if spec.bands != NUMBERS or len(code) < NUMBERS + _COLORS:
            raise BundleError(
                f"This model says in {spec.bands} numbers how bands vary, where {NUMBERS} are known: update impasto."
            )
        return cls(code[-_COLORS : _RGB - _COLORS], code[-_COLORS - NUMBERS : -_COLORS])

    def gains(self, planes: F32, alpha: F32 | None, *, threads: int = 1) -> Gains:
        """Of a painted picture, float32 [3,H,W] and its alpha [H,W]; so many threads may work on it."""
        return gains_of(planes, self.mean, self.wanted, alpha, threads=threads)

    def matched(
        self, planes: F32, alpha: F32 | None, even: Callable[[str, F32], F32] | None, *, threads: int = 1
    ) -> F32:
        """A painted picture [3,H,W] with its bands so: float32 [H,W,3] in 0..1; for ``even`` see :func:`evened`."""
        picture = Matching(planes, threads=threads, keep=True)
        return picture.pixels(evened(picture.gains(self.mean, self.wanted, alpha), even))

    def foreseen(self, photo: Surface, paint: Callable[[Sheet], F32], *, threads: int = 1) -> Gains:
        """Of a picture that is painted at a smaller size first.

        Args:
            photo: the picture in its own size.
            paint: paints one of any size: [h,w,3] of what it is given.
            threads: that may work on it.
        """
        width, height = trial_size(photo.width, photo.height)
        small = Sheet(np.empty((height, width, 3), np.float32))
        alpha = None
        for area, rgb, opacity in resampled(photo, (width, height)):
            small.put(area, rgb)
            if opacity is not None:
                alpha = np.empty((height, width), np.float32) if alpha is None else alpha
                alpha[area.top : area.bottom] = opacity
        return self.gains(paint(small).transpose(2, 0, 1), alpha, threads=threads)


def trial_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the smaller picture."""
    share = 1.0 if width * height <= DIRECT else (TRIAL / (width * height)) ** 0.5
    return max(1, round(width * share)), max(1, round(height * share))


def evened(gains: Gains, even: Callable[[str, F32], F32] | None) -> Gains:
    """As ``even`` wants them, for the frames of a film."""
    return gains if even is None else Gains.of_numbers(even("gains", gains.numbers))
