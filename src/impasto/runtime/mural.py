"""From file to file, where the picture is too large to be held whole: reading, painting and writing in parts.

What is on its way lies in two nameless files beside the target: the photo as plain samples, and the painting. They
take 3 bytes a pixel each (alpha: 4, 16 bits: twice as much), and are gone however the process ends.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from impasto.errors import PictureError
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.canvas import BAND, Canvas, Surface, resampled
from impasto.runtime.files import check_target, format_for, open_source, writing
from impasto.runtime.fitting import header
from impasto.runtime.memory import default_limit, resident, said_size
from impasto.runtime.picture import DEFAULT_MAX_PIXELS, resized_size
from impasto.runtime.pixels.encode import check_encodable, flattened, losses, quantized, to_levels
from impasto.runtime.pixels.metadata import PictureInfo, untold
from impasto.runtime.pixels.strip_files import STRIPPED, Samples, grey_of, is_grey, write_strips
from impasto.runtime.pixels.strips import decode_to_canvas
from impasto.runtime.regions import Region
from impasto.runtime.stroke import Stroke, parse_detail, working_size
from impasto.runtime.style import Blend, Style, StyleModel
from impasto.runtime.tiles import Area

if TYPE_CHECKING:
    from impasto.runtime.control import Palette
    from impasto.runtime.masks import Mask, MaskSource

ENCODER_COST = 24
"""Bytes a pixel that writing a format takes which is not written in strips."""

_READING = 80_000_000  # bytes: strips on their way from Pillow to the canvas


@dataclass(frozen=True, slots=True)
class Mural:
    """A picture that was painted from file to file.

    Attributes:
        size: width and height of the result.
        notes: what reading could not keep, a sentence each.
        lost: what the format could not keep.
    """

    size: tuple[int, int]
    notes: tuple[str, ...]
    lost: tuple[str, ...]


def paint_file(
    model: StyleModel,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    code: Style | Blend | Sequence[Region],
    *,
    strength: float = 1.0,
    keep_colors: bool | str = "off",
    mask: Mask | MaskSource | None = None,
    palette: Palette | None = None,
    stroke: Stroke | None = None,
    detail: float = 0.0,
    size: int | None = None,
    max_memory: int | None = None,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
    overwrite: bool = False,
    strip: bool = False,
    quality: int | None = None,
    recipe: str | None = None,
    progress: OnProgress = silent,
) -> Mural:
    """Paint a picture file in parts, within a given memory.

    The result is what `Picture.open`, `Picture.resized`, `StyleModel.paint` and `Picture.save` make of it together,
    to less than one level of 8 bits. JPEG, PNG and TIFF are written in strips (TIFF beyond 4 GB as BigTIFF), WebP and
    AVIF whole.

    Args:
        model: the painter.
        source, target: files; see `Picture.open` and `Picture.save`.
        code, strength, keep_colors, mask, palette, stroke, detail: see :meth:`StyleModel.paint`.
        size: long side of the result, in pixels; None: the photo's own.
        max_memory: bytes that this process should stay within, all told; None: what it holds and half of what is free.
        max_pixels: refuse photos of more pixels; None for no limit.
        overwrite, strip, quality: see `Picture.save`.
        recipe: to write into the picture (see ``impasto.runtime.recipe``), or None for none.
        progress: told of each window painted.

    Raises:
        PictureExists: something is there and ``overwrite`` is False.
        PictureError: a file cannot be read or written, or reading or writing alone takes more memory than allowed.
        ImpastoError: see :meth:`StyleModel.paint`.
    """
    limit = default_limit() if max_memory is None else max_memory
    check_target(target, overwrite=overwrite)
    if Path(target).exists() and Path(source).exists() and Path(target).samefile(source):
        raise PictureError(f"{target} is the photo itself, and it would be lost: choose another output.")
    kind, folder = format_for(target), Path(target).absolute().parent
    with ExitStack() as open_files:
        # Open no longer than it is read: what goes wrong later must not be put down to the photo.
        with open_source(source) as (file, source_kind, name):
            width, height, decoding = header(file, source_kind, name, max_pixels)
            # Painting in parts may be long: what cannot be written in the end is found out now.
            sides = (width, height) if size is None else resized_size((width, height), size)
            if sides[0] * sides[1] > DEFAULT_MAX_PIXELS and size is not None:
                raise PictureError(
                    f"{sides[0]}x{sides[1]} is more than {DEFAULT_MAX_PIXELS:,} pixels: choose a smaller size."
                )
            check_encodable(kind, *sides, quality)
            working_size(stroke, sides), parse_detail(detail)  # refusals, if there are any
            encoding = 0 if kind in STRIPPED else ENCODER_COST * sides[0] * sides[1]
            model.make_room(limit - max(decoding + _READING, encoding))
            for what, need in ((f"Reading {name}", decoding + _READING), (f"Writing {kind} whole", encoding)):
                if resident() + need > limit:
                    hint = "write JPEG, PNG or TIFF, or allow" if need == encoding else "shrink it, or allow"
                    raise PictureError(
                        f"{what} takes about {said_size(resident() + need)} of memory and {said_size(limit)} are "
                        f"allowed: {hint} more."
                    )
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise PictureError(f"{folder} cannot be made ({error.strerror or error}): write elsewhere.") from error
            progress(Progress(0, None, "windows", f"reading {name}"))
            photo, info = decode_to_canvas(file, source_kind, name, folder)
            info = untold(info) if recipe is None else replace(info, recipe=recipe)
            open_files.enter_context(photo)
        if size is not None and size != max(photo.width, photo.height):
            read, photo = photo, open_files.enter_context(_resized(photo, size, folder))
            read.close()  # its place on the disk is free from here on
        alpha = photo.channels == 4
        # One rounding is enough: what will still be laid on white is kept finer than it is written.
        deep = info.depth == 16 if kind in ("PNG", "TIFF") else kind == "JPEG" and alpha
        painted = open_files.enter_context(Canvas(photo.height, photo.width, alpha=False, deep=deep, folder=folder))

        def scratch() -> Canvas:
            # 16 bits, because what lies there is still mixed and rounded once more.
            size = photo.height, photo.width
            return open_files.enter_context(Canvas(*size, alpha=False, deep=True, folder=folder))

        model.paint_parts(
            photo,
            painted,
            code,
            strength=strength,
            keep_colors=keep_colors,
            mask=mask,
            palette=palette,
            stroke=stroke,
            detail=detail,
            limit=limit,
            reserve=encoding,
            scratch=scratch,
            progress=progress,
        )
        progress(Progress(0, None, "windows", f"writing {Path(target).name}"))
        _write(target, kind, photo, painted, info, overwrite=overwrite, strip=strip, quality=quality)
        least = None if not alpha else np.full((1, 1), _least_alpha(photo), np.float32)
        return Mural((photo.width, photo.height), info.notes, losses(kind, least, info))


def _resized(photo: Canvas, long_side: int, folder: Path) -> Canvas:
    width, height = resized_size((photo.width, photo.height), long_side)
    # 16 bits, whatever the photo has: the whole way has no rounding between scaling and painting either.
    small = Canvas(height, width, alpha=photo.channels == 4, deep=True, folder=folder)
    try:
        for area, rgb, alpha in resampled(photo, (width, height)):
            small.put(area, rgb, alpha)
    except BaseException:
        small.close()
        raise
    return small


def _write(
    target: str | os.PathLike[str],
    kind: str,
    photo: Canvas,
    painted: Canvas,
    info: PictureInfo,
    *,
    overwrite: bool,
    strip: bool,
    quality: int | None,
) -> None:
    alpha = photo.channels == 4

    def samples(area: Area) -> NDArray[np.generic]:
        if not alpha:
            return painted.samples(area)
        opacity = photo.alpha(area)
        assert opacity is not None
        if kind == "JPEG":
            return quantized(flattened(painted.rgb(area), opacity), None, 255)
        levels = to_levels(opacity, painted.levels).astype(painted.dtype)
        return np.concatenate([painted.samples(area), levels[..., None]], axis=2)

    channels = 4 if alpha and kind != "JPEG" else 3
    depth = 8 if kind == "JPEG" else 8 * painted.dtype.itemsize
    source: Samples = samples
    plain = kind == "PNG" and info.grey and info.icc is None and depth == 8 and channels == 3
    if plain and is_grey(samples, (photo.height, photo.width, 3)):
        source, channels = grey_of(samples), 1  # a grey picture that is still grey stays a grey file
    with writing(target, overwrite=overwrite) as file:
        shape = photo.height, photo.width, channels
        write_strips(file, kind, shape, source, info, depth=depth, strip=strip, quality=quality)


def _least_alpha(photo: Surface) -> float:
    bands = Area(0, 0, photo.height, photo.width).bands(BAND)
    return min(float(alpha.min()) for band in bands if (alpha := photo.alpha(band)) is not None)
