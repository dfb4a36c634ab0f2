"""The painting itself: what a painter takes beside the photo, and how a picture too large for memory is painted.

Painted in parts a picture is the same as painted whole, to float32's last bits: the painter sees the whole photo only
through ``photo_stats``, which come from a first pass over all of it, and the grain is a function of the place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from impasto.errors import ImpastoError
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.canvas import BAND, Surface, moments_of, planes_of
from impasto.runtime.engine import Engine, ruled
from impasto.runtime.grain import grain
from impasto.runtime.manifest import GraphSpec
from impasto.runtime.memory import default_limit, resident, said_size
from impasto.runtime.picture import color_stats, keep_colors, rgb_stats
from impasto.runtime.pixels.color import as_color_stats, as_rgb_stats
from impasto.runtime.planes import to_pixels
from impasto.runtime.tiles import Area, Tile, TilePlan, least_pixels, plan_tiles

F32 = NDArray[np.float32]

GRAIN_CELL = 8  # pixels
PIXEL_COST = {"onnxruntime": 105, "openvino": 135}
"""Bytes that painting takes for each pixel painted at once.

Measured on the bundled painter in fresh processes at 0.25, 1 and 4 megapixels: 81 (onnxruntime) and 118 (OpenVINO)
from before the run to its peak, at every size, and 12 for the photo's planes. A larger network takes more, which
:func:`pixel_cost` finds out.
"""

KEPT = {"onnxruntime": 75, "openvino": 95}
"""Bytes a pixel that an engine keeps of its largest run, and uses again (measured likewise, and a little less)."""

WHOLE_COST = 40
"""Bytes a pixel that a picture takes beside that where all of it is read, painted and written at once."""

SMALL = 4_000_000
"""Pixels up to which nobody asks how much memory there is, unless told a limit."""

LARGEST_WINDOW = 8_000_000
"""Pixels: beyond that windows share hardly less, and fresh memory costs more than the overlap that it saves."""

LARGEST_WHOLE = 24_000_000
"""Pixels up to which a picture is painted whole where it fits.

At 64 megapixels parts took half the time and a ninth of the memory of the whole (``benchmarks/scale.py``); at 16 a
painter that has painted before is a little quicker with the whole, and does not have to be loaded anew.
"""

_COLORS = 6
_RESERVE = 48_000_000  # bytes: bands of pixels on their way, and what Python and the engine take in passing
_PROBE = 512  # pixels


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
            measure = rgb_stats if tensor.shape[1] == _COLORS else color_stats
            # Of the planes, because numpy sums what lies side by side faster.
            feeds["photo_stats"] = measure(planes[0].transpose(1, 2, 0), alpha)[None]
        elif tensor.name == "grain":
            sides = (ruled(side, spec.minimum, spec.multiple) // GRAIN_CELL for side in planes.shape[2:])
            feeds["grain"] = grain(int(tensor.shape[1]), *sides)
    return feeds


def parts_limit(
    spec: GraphSpec, pixels: int, max_memory: int | None, *, engine: str, beside: int = 12, largest: int = 0
) -> int | None:
    """Whether a picture is to be painted in parts: where it is large, or does not fit otherwise.

    Args:
        spec: the painter.
        pixels: of the picture.
        max_memory: bytes that the process may hold; None: half of what is free is ours.
        engine: its name.
        beside: bytes a pixel that the whole picture takes beside the painting.
        largest: pixels of the largest picture that the engine has painted.

    Returns:
        The bytes to stay within, or None where all of it can be painted at once.

    Raises:
        ImpastoError: it does not fit, and this painter cannot paint in parts.
    """
    if max_memory is None and pixels <= SMALL:
        return None
    limit = default_limit() if max_memory is None else max_memory
    # What the engine kept is held already, and is not taken once more.
    fits = resident() + pixels * (PIXEL_COST[engine] + beside) - KEPT[engine] * min(pixels, largest) <= limit
    if fits and (pixels <= LARGEST_WHOLE or spec.receptive_field is None):
        return None
    if spec.receptive_field is None:
        if max_memory is None:
            return None  # as it always was: the system decides
        raise ImpastoError(
            f"This model takes statistics of the whole picture inside, so it cannot paint {pixels:,} pixels in parts "
            f"within {said_size(limit)}: make the picture smaller, allow more memory, or use a model without "
            "instance normalisation."
        )
    return limit


def paint_parts(
    engine: Engine,
    name: str,
    spec: GraphSpec,
    photo: Surface,
    result: Surface,
    code: F32,
    finish: Finish,
    *,
    limit: int,
    reserve: int = 0,
    even: Callable[[str, F32], F32] | None = None,
    progress: OnProgress = silent,
) -> TilePlan:
    """Paint a picture window by window.

    Args:
        engine, name, spec: the painter, what runs it, and what says how it is built. The engine must not have run yet:
            what it holds from earlier runs would be counted twice.
        photo, result: where the pixels come from and go to, of one size; alpha is not painted.
        code: [D].
        finish: what is done with the painted pixels.
        limit: bytes that this process may hold.
        reserve: bytes of those that the caller will need.
        even: as ``StyleModel.paint`` takes it.
        progress: told of each window.

    Returns:
        How the picture was cut.

    Raises:
        ImpastoError: not even the smallest window fits, or the painter cannot paint in parts.
        PictureError: the surfaces cannot be read or written.
    """
    if spec.receptive_field is None:
        raise ImpastoError("This painter looks at the whole picture at once: paint it whole.")
    feeds = {"code": code[None]}
    for tensor in spec.inputs:
        if tensor.name == "photo_stats":
            as_stats = as_rgb_stats if tensor.shape[1] == _COLORS else as_color_stats
            stats = as_stats(*moments_of(photo))
            feeds["photo_stats"] = (stats if even is None else even("photo_stats", stats))[None]
    cost = max(PIXEL_COST[name], pixel_cost(engine, spec, photo, feeds))
    # Grain comes in cells, so windows begin between two.
    grainy = any(tensor.name == "grain" for tensor in spec.inputs)
    rule = {"minimum": spec.minimum, "multiple": math.lcm(spec.multiple, GRAIN_CELL if grainy else 1)}
    size = {"height": photo.height, "width": photo.width, "reach": spec.receptive_field}
    before = resident() + _RESERVE + reserve
    pixels = min(LARGEST_WINDOW, int((limit - before) / cost))
    least = least_pixels(**size, **rule)
    if pixels < least:
        raise ImpastoError(
            f"Painting within {said_size(limit)} is not possible, because {said_size(before + cost * least)} is the "
            "least that this picture takes with this model: allow that much memory."
        )
    plan = plan_tiles(**size, **rule, pixels=pixels)
    for done, tile in enumerate(plan):
        progress(Progress(done, len(plan), "windows"))
        _paint(engine, spec, photo, result, tile, plan, feeds, finish)
    progress(Progress(len(plan), len(plan), "windows"))
    return plan


def pixel_cost(engine: Engine, spec: GraphSpec, photo: Surface, feeds: dict[str, F32]) -> float:
    """Bytes that a painter takes for each pixel: by what its memory grows when it paints a corner of the photo.

    The engine keeps what it took, so what is held afterwards was held at the peak. 0 where the system does not tell.
    """
    sides = (min(_PROBE, side) for side in (photo.height, photo.width))
    area = Area(0, 0, *sides)
    height, width = (ruled(side, spec.minimum, spec.multiple) for side in (area.height, area.width))
    planes = planes_of(photo, area, height, width)
    before = resident()
    engine.run({"photo": planes, **feeds, **_grain(spec, area, height, width)})
    growth = max(0, resident() - before)
    # What is there once and for all (threads, code) is in it, too: a little more than it takes, never less.
    return 1.1 * growth / (height * width) + 12


def _grain(spec: GraphSpec, area: Area, height: int, width: int) -> dict[str, F32]:
    feeds = {}
    for tensor in spec.inputs:
        if tensor.name == "grain":
            cells = height // GRAIN_CELL, width // GRAIN_CELL
            at = {"top": area.top // GRAIN_CELL, "left": area.left // GRAIN_CELL}
            feeds["grain"] = grain(int(tensor.shape[1]), *cells, **at)
    return feeds


def _paint(
    engine: Engine,
    spec: GraphSpec,
    photo: Surface,
    result: Surface,
    tile: Tile,
    plan: TilePlan,
    feeds: dict[str, F32],
    finish: Finish,
) -> None:
    window = tile.window

    def keep(painted: F32) -> F32:
        for band in tile.keep.bands(BAND):
            rows = slice(band.top - window.top, band.bottom - window.top)
            columns = slice(band.left - window.left, band.right - window.left)
            pixels = to_pixels(painted[:, :, rows, columns])
            result.put(band, finish(pixels, photo.rgb(band)) if finish.wants_photo else pixels)
        return painted[:0]

    engine.run_picture(
        "photo",
        planes_of(photo, window, plan.height, plan.width),
        {**feeds, **_grain(spec, window, plan.height, plan.width)},
        finish=keep,
    )
