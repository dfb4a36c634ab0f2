"""Where each painting of ``paint`` has its place: masks, in the words of ``runtime/masks.py`` and ``regions.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from impasto.errors import ImpastoError
from impasto.runtime.canvas import surface_of
from impasto.runtime.control import finish
from impasto.runtime.masks import Mask, MaskSource, feather_pixels, feathered, open_mask, stretched
from impasto.runtime.palette import main_colors
from impasto.runtime.picture import Picture
from impasto.runtime.tiles import Area
from impasto.runtime.whole import Finish
from impasto.runtime.working import picture_at
from impasto.training.paint import Brush

F32 = NDArray[np.float32]


def placed(
    photo: Picture, brushes: Sequence[Brush], masks: Sequence[MaskSource | None], mask: Mask | None
) -> tuple[list[Brush], F32 | None]:
    """Brushes with their places in a photo.

    A painting with a mask is painted there, those without one where no mask reaches, all of it where ``mask`` lets
    them. Unlike ``StyleModel.paint``, which mixes paintings of the whole photo, its statistics are held to those of the
    place alone, so that a style is whole in a part of the photo.

    Args:
        photo: at the size that it is painted at.
        brushes: without places.
        masks: one for each brush, or None.
        mask: what holds for all of it, or None.

    Returns:
        The brushes, and how strongly each pixel is painted at all: float32 [H,W] in 0..1, or None for everywhere.

    Raises:
        PictureError: a mask cannot be read.
        ImpastoError: no foreground is found, or nothing is left to paint.
    """
    size, area = photo.size, Area(0, 0, photo.size[1], photo.size[0])
    overall = None if mask is None else mask.over(surface_of(photo)).at(area)
    width = feather_pixels((mask or Mask()).feather, max(size))
    planes = [
        None if one is None else np.array(stretched(feathered(open_mask(one), size, width), size, area))
        for one in masks
    ]
    given = [plane for plane in planes if plane is not None]
    reached: F32 = np.minimum(sum(given, np.zeros((size[1], size[0]), np.float32)), 1.0)
    rest: F32 = 1.0 - reached
    cover = reached if given and len(given) == len(planes) else None
    wheres = [rest if plane is None else plane for plane in planes]
    if overall is not None:
        wheres = [where * overall for where in wheres]
        cover = overall if cover is None else cover * overall
    if not any(where.any() for where in wheres):
        raise ImpastoError("The masks leave nothing to paint: make a part of them white, or leave them out.")
    if not given and overall is None:
        return list(brushes), None
    # A style that no mask leaves any room has no statistics to be held to.
    kept = [replace(brush, where=where) for brush, where in zip(brushes, wheres, strict=True) if where.any()]
    return kept, cover


def finished(
    photo: Picture,
    painted: Picture,
    brushes: Sequence[Brush],
    *,
    cover: F32 | None = None,
    keep_colors: bool | str = "off",
    palette: int | None = None,
    detail: float = 0.0,
) -> Picture:
    """A painting with its colours, the photo's finest layer and its place, as ``StyleModel.paint`` would give it them.

    Args:
        photo: at the size of the painting.
        painted: the painting.
        brushes: whose colours a palette is made of.
        cover: see ``placed``.
        keep_colors, detail: see ``StyleModel.paint``.
        palette: how many main colours of the paintings it keeps to, or None.

    Raises:
        ImpastoError: a palette and the photo's colours were asked for at once.
    """
    if detail > 0:
        plain = painted
        painted = picture_at(photo, photo.size, lambda _: (plain, Finish()), detail=detail)
    colors = None if palette is None else main_colors([(one.painting, one.weight) for one in brushes], palette)
    return finish(
        photo, painted, keep_colors=keep_colors, palette=colors, mask=None if cover is None else _as_is(cover)
    )


def _as_is(cover: F32) -> Mask:
    return Mask(cover, feather=0)
