"""The pictures of the page about a style that have to be drawn: heat maps, the painting by use, pairs, a mosaic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from impasto.runtime.picture import Picture
from impasto.training.explanation import LossLeft, Strokes

F32 = NDArray[np.float32]

GRID = 8
"""Pixels on a side of the cells that maps are averaged over before they are drawn: single positions are noise."""

WINDOW = 56
"""Pixels on a side of the pictures of a pair: about what a patch of features looks at."""

# Orange adds, blue makes up for: told apart by the colour-blind too.
_ADDS, _EASES = np.array((0.93, 0.36, 0.07), np.float32), np.array((0.12, 0.42, 0.93), np.float32)
_COVER = 0.85
_STRIDE = 4  # pixels from one position of relu3_1 to the next
_PIECE = 12  # pixels on a side of a piece of the mosaic: 3x3 positions


def heat_maps(painted: Picture, left: Sequence[LossLeft]) -> list[tuple[str | None, Picture, float]]:
    """For all layers together (None), then for each: the picture with its heat map over it, and its scale.

    The scale is the amount that is drawn in full colour: the 98th percentile of the cells' amounts.
    """
    width, height = painted.size
    cells = (max(1, width // GRID), max(1, height // GRID))
    grids = [_resized(one.places, cells, Image.Resampling.BOX) for one in left]
    named = [(None, np.mean(grids, axis=0)), *((one.layer, grid) for one, grid in zip(left, grids, strict=True))]
    return [(layer, *_heat(painted, grid)) for layer, grid in named]


def _heat(painted: Picture, grid: F32) -> tuple[Picture, float]:
    scale = max(float(np.percentile(np.abs(grid), 98)), 1e-9)
    amount = np.clip(_resized(grid, painted.size, Image.Resampling.BICUBIC) / scale, -1, 1)[..., None]
    ground = _grey(painted.rgb) * np.float32(0.75) + np.float32(0.2)
    color = np.where(amount > 0, _ADDS, _EASES)
    return painted.with_rgb(ground + np.abs(amount) * np.float32(_COVER) * (color - ground)), scale


def by_use(painting: Picture, strokes: Strokes) -> Picture:
    """The painting, lit where the painted photo finds its likes, dark and grey elsewhere; the pairs are numbered."""
    uses = strokes.found.uses()
    cells = tuple(max(1, side // 4) for side in uses.shape[::-1])
    grid = _resized(uses, (cells[0], cells[1]), Image.Resampling.BOX)
    scale = max(float(np.percentile(grid, 97)), 1e-9)
    light = np.clip(_resized(grid, painting.size, Image.Resampling.BICUBIC) / scale, 0, 1)[..., None]
    ground = _grey(painting.rgb) * np.float32(0.22)
    lit = painting.with_rgb(ground + light * (painting.rgb - ground))
    return numbered(lit, _pixels(strokes.found.theirs[list(strokes.pairs)]))


def numbered(picture: Picture, middles: NDArray[np.int64]) -> Picture:
    """A picture with the numbers 1, 2, ... at places [K,2] (rows, columns)."""
    canvas = picture.to_pil()
    draw = ImageDraw.Draw(canvas)
    radius = max(9, max(picture.size) // 42)
    font = ImageFont.load_default(radius * 1.2)
    for number, (row, column) in enumerate(middles.tolist(), 1):
        box = (column - radius, row - radius, column + radius, row + radius)
        draw.ellipse(box, fill=(250, 249, 246), outline=(34, 32, 30), width=2)
        draw.text((column, row), str(number), (34, 32, 30), font, anchor="mm")
    return Picture.from_pil(canvas)


def pairs(painted: Picture, painting: Picture, strokes: Strokes) -> list[tuple[Picture, Picture, float]]:
    """The window of the painted photo, that of the painting, and their similarity, for each pair."""
    chosen = list(strokes.pairs)
    ours, theirs = _pixels(strokes.found.ours[chosen]), _pixels(strokes.found.theirs[chosen])
    return [
        (_window(painted, a), _window(painting, b), float(strokes.found.similarity[k]))
        for k, a, b in zip(chosen, ours, theirs, strict=True)
    ]


def pair_places(strokes: Strokes) -> NDArray[np.int64]:
    """Middles of the pairs' patches in the painted photo, in pixels: int [K,2], rows and columns."""
    return _pixels(strokes.found.ours[list(strokes.pairs)])


def mosaic(painted: Picture, painting: Picture, strokes: Strokes) -> Picture:
    """The painted photo put together of the pieces of the painting that it resembles; pieces overlap and are averaged.

    The border, which no patch was taken from, is cut off.
    """
    width, height = painted.size
    total, weight = np.zeros((height, width, 3), np.float32), np.zeros((height, width, 1), np.float32)
    ours, theirs = _pixels(strokes.found.ours), _pixels(strokes.found.theirs)
    half = _PIECE // 2
    for down in range(-half, half):
        for across in range(-half, half):
            step = np.array((down, across))
            rows, columns = np.clip(ours + step, 0, (height - 1, width - 1)).T
            from_rows, from_columns = np.clip(theirs + step, 0, [side - 1 for side in painting.size[::-1]]).T
            np.add.at(total, (rows, columns), painting.rgb[from_rows, from_columns])
            np.add.at(weight, (rows, columns), np.float32(1))
    (top, left), (bottom, right) = ours.min(0), ours.max(0)
    inside = (slice(top, bottom), slice(left, right))
    return Picture(np.clip(total[inside] / np.maximum(weight[inside], 1), 0, 1))


def _pixels(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    return positions * _STRIDE + _STRIDE // 2


def _window(picture: Picture, middle: NDArray[np.int64]) -> Picture:
    width, height = picture.size
    side = min(WINDOW, width, height)
    top, left = (
        int(np.clip(at - side // 2, 0, length - side)) for at, length in zip(middle, (height, width), strict=True)
    )
    return Picture(np.ascontiguousarray(picture.rgb[top : top + side, left : left + side]))


def _grey(rgb: F32) -> F32:
    return (rgb @ np.array((0.2126, 0.7152, 0.0722), np.float32))[..., None]


def _resized(plane: F32, size: tuple[int, int], how: Image.Resampling) -> F32:
    """[h,w] at another size (width, height)."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane, np.float32)).resize(size, how))
