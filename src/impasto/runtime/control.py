"""What is done with paintings once they are painted: their colours, and where they are laid over the photo.

All of it goes band by band from surface to surface, so that it is the same for a picture in memory, for one on disk
that was painted in parts, and for one that another painter made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from impasto.errors import ImpastoError
from impasto.runtime.canvas import Sheet, Surface, surface_of
from impasto.runtime.masks import Cover, Mask, MaskSource, feathered, open_mask
from impasto.runtime.masks import feather_pixels as pixels_of
from impasto.runtime.matching import BAND, Match, match_of
from impasto.runtime.palette import COLORS, checked_colors, main_colors, to_palette
from impasto.runtime.picture import Picture, resample
from impasto.runtime.picture import keep_colors as luminance_of_painting
from impasto.runtime.pixels.color import color_mode
from impasto.runtime.regions import are_regions
from impasto.runtime.stopping import heeded_stop
from impasto.runtime.tiles import Area

if TYPE_CHECKING:
    from impasto.runtime.style import StyleModel
    from impasto.runtime.whole import Even

F32 = NDArray[np.float32]
Palette: TypeAlias = int | Sequence[Sequence[float]] | NDArray[Any]
Recolor: TypeAlias = Callable[[F32], F32]


@dataclass(frozen=True, slots=True, eq=False)
class Controls:
    """What is done with paintings; see ``StyleModel.paint`` for each."""

    strength: float
    keep_colors: bool | str
    mask: Mask | MaskSource | None
    palette: Palette | None
    even: Even | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """One painting of the whole photo: its code, its mask [h,w] (None: what others leave), and its colours."""

    code: Any
    mask: Cover | None
    weight: float
    colors: F32 | None


class _Painting(NamedTuple):
    """A layer that has been painted."""

    mask: Cover | None
    weight: float
    surface: Surface
    recolor: Recolor | None

    def pixels(self, area: Area) -> F32:
        rgb = self.surface.rgb(area)
        return rgb if self.recolor is None else self.recolor(rgb)


def paint_layers(
    model: StyleModel,
    photo: Surface,
    result: Surface,
    code: Any,
    paint: Callable[[Any], Surface],
    how: Controls,
) -> None:
    """Paint a photo in as many styles as have places of their own, and lay the paintings over it.

    Args:
        model: what finds the colours of a style.
        photo, result: of one size; alpha is looked at, and not written.
        code: a style, a blend or a list of regions.
        paint: paints the whole photo in a style; where ``"luminance"`` is kept, it sees to that.
        how: what is done with the paintings.

    Raises:
        ImpastoError: see ``StyleModel.paint``; or the work was stopped.
    """
    mode = checked_mode(how.keep_colors, how.palette)
    laid = as_mask(how.mask)
    # Whatever is wrong with a mask shows before anything is painted.
    layers = _layers_of(model, code, how.palette, photo, Mask() if laid is None else laid)
    cover = None if laid is None else laid.over(photo)
    paintings = []
    for layer in layers:
        painted = paint(layer.code)
        recolor = _recolor(layer.colors, photo, painted, how.strength, mode, how.even)
        paintings.append(_Painting(layer.mask, layer.weight, painted, recolor))
    stop = heeded_stop()
    for area in Area(0, 0, photo.height, photo.width).bands(BAND):
        if stop is not None:
            stop.check()
        own = photo.rgb(area)
        share = None if cover is None else cover.at(area)
        if share is not None and not share.any():
            result.put(area, own)
            continue
        mixed = _mixed(paintings, own, area)
        result.put(area, mixed if share is None else _between(own, mixed, share))


def finish(
    photo: Picture,
    painted: Picture,
    *,
    keep_colors: bool | str = "off",
    palette: NDArray[Any] | Sequence[Sequence[float]] | None = None,
    mask: Mask | MaskSource | None = None,
) -> Picture:
    """Give a painting that exists already its colours and its place.

    Args:
        photo: what was painted.
        painted: the painting, of the same size; whatever painted it.
        keep_colors, mask: see ``StyleModel.paint``.
        palette: float32 [K,3], as ``impasto.runtime.palette.main_colors`` finds them in the style's picture.

    Returns:
        The painting with other pixels.

    Raises:
        ImpastoError: the sizes differ, or something cannot be used.
    """
    mode = checked_mode(keep_colors, palette)
    if photo.size != painted.size:
        raise ImpastoError(f"The photo is {photo.size} and the painting {painted.size}: bring them to one size first.")
    colors = None if palette is None else checked_colors(palette)
    surface, ours = surface_of(photo), painted.rgb
    cover = None if mask is None else _given(mask).over(surface)
    if mode == "luminance":
        ours = luminance_of_painting(ours, photo.rgb)
    recolor = _recolor(colors, surface, Sheet(ours), 1.0, mode, None)
    out = np.empty_like(ours)
    for area in Area(0, 0, surface.height, surface.width).bands(BAND):
        rows = slice(area.top, area.bottom)
        band = ours[rows] if recolor is None else recolor(ours[rows])
        out[rows] = band if cover is None else _between(photo.rgb[rows], band, cover.at(area))
    return replace(painted, rgb=out)


def laid_over(photo: F32, painted: F32, cover: Cover) -> F32:
    """A painting where a mask says so and the photo elsewhere: float32 [H,W,3] of all."""
    height, width = photo.shape[:2]
    return _between(photo, painted, cover.at(Area(0, 0, height, width)))


def checked_mode(keep_colors: bool | str, palette: object) -> str:
    """What is kept of the photo's colours, one of ``KEEP_COLORS``.

    Raises:
        UnknownName: there is no such way to keep colours.
        ImpastoError: there is a palette as well.
    """
    mode = color_mode(keep_colors)
    if palette is not None and mode != "off":
        raise ImpastoError("A palette keeps the painting's colours, and keep-colors the photo's: choose one of them.")
    return mode


def as_mask(mask: Mask | MaskSource | None) -> Mask | None:
    """A mask however it is given: a :class:`Mask`, or where it is painted."""
    return None if mask is None else _given(mask)


def colors_of(model: StyleModel, style: Any, count: int = COLORS) -> F32:
    """The main colours of a style: float32 [K,3].

    Those of its picture, or of the pictures of a blend, by their weights. A named style or a code has none: then those
    of a small drawn picture that is painted in it.

    Args:
        model: paints it.
        style: anything that ``StyleModel.code`` takes.
        count: K, 2 to 32; True: as many as a palette has unless told.

    Raises:
        ImpastoError: the count is out of range, or the style cannot be used.
    """
    count = COLORS if count is True else int(count)
    pictures = _pictures(model, style, 1.0)
    if pictures is None:
        pictures = [(model.paint(_neutral(), style), 1.0)]
    return main_colors(pictures, count)


def _given(mask: Mask | MaskSource) -> Mask:
    return mask if isinstance(mask, Mask) else Mask(mask)


def _layers_of(model: StyleModel, code: Any, palette: Palette | None, photo: Surface, mask: Mask) -> list[_Layer]:
    def colors(style: Any, own: NDArray[Any] | None) -> F32 | None:
        if own is not None:
            return checked_colors(own)
        if palette is None:
            return None
        return colors_of(model, style, palette) if isinstance(palette, int) else checked_colors(palette)

    if not are_regions(code):
        return [_Layer(code, None, 1.0, colors(code, None))]
    for one in code:
        if not (math.isfinite(one.weight) and one.weight > 0):
            raise ImpastoError(f"The weight {one.weight} of a region cannot be used: give a number above 0.")
    size = photo.width, photo.height
    width = pixels_of(mask.feather, max(size))
    layers = [
        _Layer(
            model.code(one.style),
            Cover([feathered(open_mask(one.mask), size, width)], size),
            one.weight,
            colors(one.style, one.palette),
        )
        for one in code
        if one.mask is not None
    ]
    rest = [one for one in code if one.mask is None]
    if rest:
        blend = [(one.style, one.weight) for one in rest]
        own = [one.palette for one in rest if one.palette is not None]
        layers.append(
            _Layer(model.code(cast(Any, blend)), None, 1.0, colors(blend, np.concatenate(own) if own else None))
        )
    return layers


def _recolor(
    colors: F32 | None, photo: Surface, painted: Surface, strength: float, keep: str, even: Even | None
) -> Recolor | None:
    """What gives a painting its colours, or None where it has them."""
    if colors is not None:
        share = np.float32(strength)

        def restrict(rgb: F32) -> F32:
            return (1 - share) * rgb + share * to_palette(rgb, colors)

        return restrict
    if keep != "histogram":
        return None
    match = match_of(photo, painted)
    return match if even is None else Match.of_numbers(even("colour match", match.numbers))


def _mixed(paintings: Sequence[_Painting], own: F32, area: Area) -> F32:
    """All paintings, each where its mask says so, over the photo: float32 [h,w,3]."""
    ground = next((one.pixels(area) for one in paintings if one.mask is None), own)
    masked = [(one, one.mask.at(area)) for one in paintings if one.mask is not None]
    if not masked:
        return ground
    total, weighed = np.zeros(own.shape[:2], np.float32), np.zeros(own.shape[:2], np.float32)
    for one, mask in masked:
        total += mask
        weighed += np.float32(one.weight) * mask
    np.minimum(total, 1.0, out=total)
    out = (1 - total)[..., None] * ground
    for one, mask in masked:
        if mask.any():
            # First the share among the paintings: alone it is exactly 1, whatever the weight.
            share = total * (np.float32(one.weight) * mask / np.maximum(weighed, np.float32(1e-30)))
            out += share[..., None] * one.pixels(area)
    return out


def _between(own: F32, painted: F32, share: F32) -> F32:
    """The photo where the share is 0 and the painting where it is 1, both to the last bit."""
    return (1 - share)[..., None] * own + share[..., None] * painted


def _pictures(model: StyleModel, style: Any, weight: float) -> list[tuple[Picture, float]] | None:
    """The pictures that a style is made of, with weights; None where a part of it has no picture."""
    match style:
        case Picture():
            return [(style, weight)]
        case np.ndarray():
            return None
        case str() | Path():
            if str(style) in model.styles or Path(style).suffix.lower() == ".npy" or not Path(style).exists():
                return None  # whatever is wrong with it is said by model.code
            return [(Picture.open(style), weight)]
    pairs = list(style.items()) if isinstance(style, Mapping) else list(style)
    found = [_pictures(model, one, weight * float(share)) for one, share in pairs if float(share) > 0]
    whole = [one for one in found if one is not None]
    return [pair for part in whole for pair in part] if len(whole) == len(found) else None


@lru_cache(maxsize=1)
def _neutral() -> Picture:
    """A small picture with soft and hard edges and all colours, from dark to light; always the same."""
    random = np.random.default_rng(0)
    soft, _ = resample(random.random((9, 9, 3), dtype=np.float32), None, (192, 192))
    hard = np.repeat(np.repeat(random.random((24, 24, 3), dtype=np.float32), 8, axis=0), 8, axis=1)
    light = np.linspace(-0.35, 0.35, 192, dtype=np.float32)[:, None, None]
    return Picture(np.clip(0.75 * soft + 0.25 * hard + light, 0.0, 1.0))
