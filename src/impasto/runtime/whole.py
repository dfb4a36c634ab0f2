"""A picture painted at once, and what a painter takes beside the photo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from impasto.runtime.bands import DIRECT, Goal, evened
from impasto.runtime.canvas import Sheet, Surface, surface_of
from impasto.runtime.engine import Engine
from impasto.runtime.grain import grain_beside
from impasto.runtime.manifest import GraphSpec
from impasto.runtime.picture import Picture, color_stats, keep_colors, rgb_stats
from impasto.runtime.planes import finite, to_pixels, to_planes
from impasto.runtime.tiles import Area
from impasto.runtime.underpaint import Under

F32 = NDArray[np.float32]
Even: TypeAlias = Callable[[str, F32], F32]
"""Takes the name and the numbers [n] of what is measured on a photo as a whole, and gives those to use."""

RGB_NUMBERS = 6
"""Numbers of a photo's colours without what goes together."""


@dataclass(frozen=True, slots=True)
class Finish:
    """What is done with painted pixels.

    Attributes:
        share: 0 to 1, how much of the photo's own pixels is mixed in.
        keep_colors: take the photo's colours.
    """

    share: float = 0.0
    keep_colors: bool = False

    @property
    def wants_photo(self) -> bool:
        return self.share > 0 or self.keep_colors

    def __call__(self, painted: F32, photo: F32) -> F32:
        """float32 [h,w,3] of both; ``painted`` may be changed."""
        if self.share > 0:
            painted += np.float32(self.share) * (photo - painted)
        return keep_colors(painted, photo) if self.keep_colors else painted


def beside(spec: GraphSpec, planes: F32, alpha: F32 | None) -> dict[str, F32]:
    """What a painter takes besides the photo [1,3,H,W] and the code, by name: the inputs in the manifest."""
    feeds = {}
    for tensor in spec.inputs:
        if tensor.name == "photo_stats":
            measure = rgb_stats if tensor.shape[1] == RGB_NUMBERS else color_stats
            # Of the planes, because numpy sums what lies side by side faster.
            feeds["photo_stats"] = measure(planes[0].transpose(1, 2, 0), alpha)[None]
    return {**feeds, **grain_beside(spec, planes.shape[2], planes.shape[3])}


def paint_whole(
    engine: Engine,
    spec: GraphSpec,
    picture: Picture,
    code: F32,
    finish: Finish,
    *,
    under: Under | None = None,
    even: Even | None = None,
) -> F32:
    """Paint a picture at once: float32 [H,W,3] in 0..1; see :func:`paint_parts`."""
    planes = to_planes(picture.rgb)
    stats = beside(spec, planes, picture.alpha).get("photo_stats")
    if even is not None and stats is not None:
        stats = even("photo_stats", stats[0])[None]
    if under is not None and stats is not None:

        def paint(seen: Surface, code: F32, colors: F32, halvings: int) -> F32:
            shown = _whole(seen)
            return _paint_whole(engine, spec, shown, to_planes(shown.rgb), code, colors[None], at_size(even, halvings))

        ground, colors = under.laid(surface_of(picture), stats[0], code, paint)
        planes, stats = to_planes(_whole(ground).rgb), colors[None]
    painted = _paint_whole(engine, spec, picture, planes, code, stats, even)
    return finish(painted, picture.rgb)


def _whole(surface: Surface) -> Picture:
    area = Area(0, 0, surface.height, surface.width)
    return Picture(surface.rgb(area), surface.alpha(area))


def at_size(even: Even | None, halvings: int) -> Even | None:
    """The same for a picture that was halved so many times, whose numbers are others."""
    return None if even is None else lambda name, numbers: even(f"{name} {halvings}", numbers)


def _paint_whole(
    engine: Engine, spec: GraphSpec, picture: Picture, planes: F32, code: F32, stats: F32 | None, even: Even | None
) -> F32:
    """float32 [H,W,3] of planes [1,3,H,W]; alpha, and the size, are the picture's."""
    feeds = {"code": code[None], **({} if stats is None else {"photo_stats": stats})}
    goal = Goal.of(spec, code)

    def run(planes: F32, finish: Callable[[F32], F32] = to_pixels) -> F32:
        given = {**feeds, **grain_beside(spec, planes.shape[2], planes.shape[3])}
        return engine.run_picture("photo", planes, given, minimum=spec.minimum, multiple=spec.multiple, finish=finish)

    foreseen = None
    if goal is not None and planes.shape[2] * planes.shape[3] > DIRECT:
        seen = Sheet(planes[0].transpose(1, 2, 0), picture.alpha)
        foreseen = goal.foreseen(seen, lambda it: run(to_planes(it.pixels)), threads=engine.threads)

    def matched(painted: F32) -> F32:
        assert goal is not None
        finite(painted)
        if foreseen is None:
            return goal.matched(painted[0], picture.alpha, even, threads=engine.threads)
        return evened(foreseen, even).pixels(painted[0], threads=engine.threads)

    return run(planes, to_pixels if goal is None else matched)
