"""The painting itself: what a painter takes beside the photo, and how a picture too large for memory is painted.

Painted in parts a picture is the same as painted whole, to float32's last bits: the painter sees the whole photo only
through ``photo_stats``, which come from a first pass over all of it, and the grain is a function of the place.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from impasto.errors import ImpastoError
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.bands import DIRECT, Goal, evened
from impasto.runtime.canvas import BAND, Sheet, Surface, moments_of, planes_of
from impasto.runtime.engine import Engine, ruled
from impasto.runtime.grain import CELL, grain_beside
from impasto.runtime.laplacian import STEP
from impasto.runtime.manifest import GraphSpec
from impasto.runtime.memory import default_limit, resident, said_size
from impasto.runtime.pixels.color import as_color_stats, as_rgb_stats
from impasto.runtime.planes import finite, to_pixels
from impasto.runtime.pyramid import REACH, Gains
from impasto.runtime.tiles import Area, Tile, TilePlan, least_pixels, plan_tiles
from impasto.runtime.underpaint import LARGEST, Under
from impasto.runtime.whole import RGB_NUMBERS, Even, Finish, at_size

F32 = NDArray[np.float32]
Size: TypeAlias = tuple[int, int]
"""Width and height in pixels."""

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
"""Pixels up to which a picture that fits may be painted whole.

At 64 megapixels parts took half the time and a ninth of the memory of the whole (``benchmarks/scale.py``).
"""

WORTH_CUTTING = 3_000_000
"""Pixels from which on a picture that fits is painted in parts where that is less work; see :data:`FRESH`."""

FRESH = 0.5
"""What a pixel of a window costs for which the engine has no memory yet, in pixels painted.

The system hands out memory page by page and clears it first, about 25 pages for a thousand pixels. One thread took 0.06
s a megapixel for that where the machine had used the pages lately and 0.2 s where it had not, and 0.18 s for painting
it; the work that windows share is spent on every picture, memory once in the life of an engine.
"""

UNDER_COST = 60
"""Bytes for each pixel of the largest painting that lies under: it, its photo, and what the two differ by."""

_RESERVE = 48_000_000  # bytes: bands of pixels on their way, and what Python and the engine take in passing
_PROBE, _GLANCE = 512, 256  # pixels: sides of the corner that is painted to see what a network takes
_AMPLE = 3  # times the memory that the bundled painter takes
_RELOAD = 1_000_000  # pixels that are painted in the time that loading an engine and seeing what it takes is


def parts_limit(
    spec: GraphSpec,
    size: Size,
    max_memory: int | None,
    *,
    engine: str,
    beside: int = 12,
    held: int = 0,
    again: bool = False,
    painted: Size | None = None,
) -> int | None:
    """Whether a picture is to be painted in parts: where that is less work, or where it does not fit otherwise.

    Args:
        spec: the painter.
        size: width and height of the picture.
        max_memory: bytes that the process may hold; None: half of what is free is ours.
        engine: its name.
        beside: bytes a pixel that the whole picture takes beside the painting.
        held, again: as :func:`cut` takes them.
        painted: width and height at which it is painted, where that is not its size.

    Returns:
        The bytes to stay within, or None where all of it can be painted at once.

    Raises:
        ImpastoError: it does not fit, and this painter cannot paint in parts.
    """
    pixels = size[0] * size[1]
    worth = spec.receptive_field is not None and (
        pixels > LARGEST_WHOLE
        # OpenVINO compiles its graph for every size that it is run at; a window's costs more than it spares.
        or (engine == "onnxruntime" and _worth_cutting(spec, size if painted is None else painted, held, again))
    )
    if max_memory is None and pixels <= SMALL and not worth:
        return None
    limit = default_limit() if max_memory is None else max_memory
    # What the engine kept is held already, and is not taken once more.
    fits = resident() + pixels * (PIXEL_COST[engine] + beside) - KEPT[engine] * min(pixels, held) <= limit
    if fits and not worth:
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


def cut(spec: GraphSpec, height: int, width: int, *, pixels: int, held: int = 0, again: bool = False) -> TilePlan:
    """How a picture is cut into windows.

    Args:
        spec: the painter, which can paint in parts.
        height, width: of the picture.
        pixels: of the largest window allowed.
        held: pixels of the largest that the engine has painted, for which it has memory.
        again: it is not the first large picture. Then there will be more, and memory for larger windows, which are
            less work, is spread over all of them.

    Raises:
        ImpastoError: not even the smallest window has so few pixels.
    """
    return plan_tiles(height, width, **_rule(spec), pixels=pixels, fresh=_fresh(again), held=held)


def _fresh(again: bool) -> float:
    return FRESH / 8 if again else FRESH


def _worth_cutting(spec: GraphSpec, size: Size, held: int, again: bool) -> bool:
    width, height = size
    plan = cut(spec, height, width, pixels=sys.maxsize, held=held, again=again)
    return width * height >= WORTH_CUTTING and len(plan) > 1


def _rule(spec: GraphSpec) -> dict[str, int]:
    assert spec.receptive_field is not None
    # Grain comes in cells, so windows begin between two.
    grainy = any(tensor.name == "grain" for tensor in spec.inputs)
    multiple = math.lcm(spec.multiple, CELL if grainy else 1, STEP if spec.bands else 1)
    reach = spec.receptive_field + (REACH if spec.bands else 0)
    return {"reach": reach, "minimum": spec.minimum, "multiple": multiple}


def paint_parts(
    painter: Callable[[bool], Engine],
    name: str,
    spec: GraphSpec,
    photo: Surface,
    result: Surface,
    code: F32,
    finish: Finish,
    *,
    limit: int,
    reserve: int = 0,
    again: bool = False,
    under: Under | None = None,
    even: Even | None = None,
    progress: OnProgress = silent,
) -> TilePlan:
    """Paint a picture window by window.

    Args:
        painter: gives the engine; told True, a new one in its place, which holds no memory of earlier runs.
        name, spec: what runs it, and what says how it is built.
        photo, result: where the pixels come from and go to, of one size; alpha is not painted.
        code: [D].
        finish: what is done with the painted pixels.
        limit: bytes that this process may hold.
        reserve: bytes of those that the caller will need.
        again: as :func:`cut` takes it.
        under: what lies under, if anything.
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
            as_stats = as_rgb_stats if tensor.shape[1] == RGB_NUMBERS else as_color_stats
            stats = as_stats(*moments_of(photo))
            feeds["photo_stats"] = (stats if even is None else even("photo_stats", stats))[None]
    kept = 0 if under is None else min(UNDER_COST * LARGEST, UNDER_COST * photo.height * photo.width // 4)
    engine, plan = _planned(painter, name, spec, photo, feeds, limit=limit, reserve=reserve + kept, again=again)

    def tried(small: Surface) -> F32:
        # In windows no larger than those for which there is room.
        made = Sheet(np.empty((small.height, small.width, 3), np.float32))
        windows = cut(spec, small.height, small.width, pixels=plan.height * plan.width)
        canvas = np.empty((1, 3, windows.height, windows.width), np.float32)
        for tile in windows:
            _paint(engine, spec, small, small, made, tile, canvas, feeds, None, Finish())
        return made.pixels

    def gains_for(seen: Surface, code: F32, even: Even | None) -> Gains | None:
        goal = Goal.of(spec, code)
        if goal is None:
            return None
        if seen.height * seen.width > DIRECT:
            return evened(goal.foreseen(seen, tried, threads=engine.threads), even)
        planes, alpha = tried(seen).transpose(2, 0, 1), seen.alpha(Area(0, 0, seen.height, seen.width))
        return evened(goal.gains(planes, alpha, threads=engine.threads), even)

    def paint(seen: Surface, code: F32, colors: F32, halvings: int) -> F32:
        feeds["code"], feeds["photo_stats"] = code[None], colors[None]
        gains = gains_for(seen, code, at_size(even, halvings))
        painted = tried(seen)
        if gains is None:
            return painted
        return gains.pixels(np.ascontiguousarray(painted.transpose(2, 0, 1)), threads=engine.threads)

    seen = photo
    if under is not None and "photo_stats" in feeds:
        seen, colors = under.laid(photo, feeds["photo_stats"][0], code, paint)
        feeds["code"], feeds["photo_stats"] = code[None], colors[None]
    gains = gains_for(seen, code, even)
    # One for all windows: memory that was used before is cheaper.
    planes = np.empty((1, 3, plan.height, plan.width), np.float32)
    for done, tile in enumerate(plan):
        progress(Progress(done, len(plan), "windows"))
        _paint(engine, spec, photo, seen, result, tile, planes, feeds, gains, finish)
    progress(Progress(len(plan), len(plan), "windows"))
    return plan


def _planned(
    painter: Callable[[bool], Engine],
    name: str,
    spec: GraphSpec,
    photo: Surface,
    feeds: dict[str, F32],
    *,
    limit: int,
    reserve: int,
    again: bool,
) -> tuple[Engine, TilePlan]:
    """The engine to paint with and windows for which there is room; see :func:`paint_parts`."""
    least = least_pixels(photo.height, photo.width, **_rule(spec))

    def planned(pixels: float, held: int = 0) -> tuple[float, TilePlan]:
        pixels = min(LARGEST_WINDOW, int(pixels))
        plan = cut(spec, photo.height, photo.width, pixels=pixels, held=held, again=again)
        return plan.cost(_fresh(again), held), plan

    engine = painter(False)
    if engine.ran:
        # Its memory serves windows of at most the size that it had; of a larger one nothing may fit into it.
        free, cost, held = limit - resident() - _RESERVE - reserve, engine.pixel_cost, engine.largest
        if cost and (most := max(free / cost, min(held, free / (cost - KEPT[name])))) >= least:
            work, plan = planned(most, held)
            if work <= planned((free + KEPT[name] * held) / cost)[0] + _RELOAD:
                return engine, plan
        del engine  # or both would be there for a moment
        engine = painter(True)
    cost, side = PIXEL_COST[name], _PROBE
    free = limit - resident() - _RESERVE - reserve
    careful = free / (_AMPLE * cost)
    if careful >= least and planned(careful)[0] <= planned(free / cost)[0] + _PROBE**2:
        side = _GLANCE  # where there is room enough for a larger network, a rough figure will do
    engine.pixel_cost = max(cost, pixel_cost(engine, spec, photo, feeds, side))
    if side == _GLANCE and engine.pixel_cost <= _AMPLE * cost:
        return engine, planned(careful)[1]
    taken = resident() + _RESERVE + reserve
    pixels = (limit - taken) / engine.pixel_cost
    if pixels < least:
        raise ImpastoError(
            f"Painting within {said_size(limit)} is not possible, because "
            f"{said_size(taken + engine.pixel_cost * least)} is the least that this picture takes with this model: "
            "allow that much memory."
        )
    return engine, planned(pixels)[1]


def pixel_cost(engine: Engine, spec: GraphSpec, photo: Surface, feeds: dict[str, F32], side: int = _PROBE) -> float:
    """Bytes that a painter takes for each pixel: by what its memory grows when it paints a corner of the photo.

    The engine must not have run yet. It keeps what it took, so what is held afterwards was held at the peak. 12 where
    the system does not tell.
    """
    area = Area(0, 0, min(side, photo.height), min(side, photo.width))
    height, width = (ruled(length, spec.minimum, spec.multiple) for length in (area.height, area.width))
    planes = planes_of(photo, area, np.empty((1, 3, height, width), np.float32))
    before = resident()
    engine.run({"photo": planes, **feeds, **grain_beside(spec, height, width)})
    growth = max(0, resident() - before)
    # What is there once and for all (threads, code) is in it, too: a little more than it takes, never less.
    return 1.1 * growth / (height * width) + 12


def _paint(
    engine: Engine,
    spec: GraphSpec,
    photo: Surface,
    seen: Surface,
    result: Surface,
    tile: Tile,
    planes: F32,
    feeds: dict[str, F32],
    gains: Gains | None,
    finish: Finish,
) -> None:
    window = tile.window

    def keep(painted: F32) -> F32:
        # What lies beyond the picture was painted, too, and is nothing that the bands should see.
        painted = painted[:, :, : window.height, : window.width]
        for band in tile.keep.bands(BAND):
            rows = slice(band.top - window.top, band.bottom - window.top)
            columns = slice(band.left - window.left, band.right - window.left)
            if gains is None:
                pixels = to_pixels(painted[:, :, rows, columns])
            else:
                finite(painted[:, :, rows, columns])
                pixels = gains.pixels(painted[0], rows, columns, threads=engine.threads)
            result.put(band, finish(pixels, photo.rgb(band)) if finish.wants_photo else pixels)
        return painted[:0]

    engine.run_picture(
        "photo",
        planes_of(seen, window, planes),
        {**feeds, **grain_beside(spec, *planes.shape[2:], top=window.top, left=window.left)},
        finish=keep,
    )
