"""Whether a picture file can be painted whole: what its head says, against the memory that there is.

Apart from `impasto.runtime.mural`, which does the painting, because every command asks and few need it.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, BinaryIO

from impasto.runtime.files import open_source
from impasto.runtime.painting import WHOLE_COST
from impasto.runtime.picture import DEFAULT_MAX_PIXELS, resized_size
from impasto.runtime.pixels.decode import check_size, one_sentence, reader_of
from impasto.runtime.stroke import Stroke, working_size

if TYPE_CHECKING:
    from PIL import Image

    from impasto.runtime.style import StyleModel

WHOLE_DECODERS = {"WEBP": 12, "AVIF": 12}
"""Bytes a pixel that decoders take which give a picture only as a whole, beside the image that is made of it."""


def file_limit(
    model: StyleModel,
    source: str | os.PathLike[str],
    *,
    size: int | None = None,
    stroke: Stroke | None = None,
    max_memory: int | None = None,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
) -> int | None:
    """The bytes to stay within where a file is painted in parts (`impasto.runtime.mural.paint_file`), or None.

    Args:
        model: what it is to be painted with.
        source: the photo; only its head is read.
        size: long side of the result, in pixels; None: the photo's own size.
        stroke: as ``StyleModel.paint`` takes it; strokes finer than the painter's own are painted on a larger picture.
        max_memory: bytes that this process may hold; None: what it holds and half of what is free.
        max_pixels: refuse larger photos; None for no limit.

    Raises:
        PictureError: the photo cannot be read.
        ImpastoError: it has to be painted in parts, and this model cannot; or the strokes cannot be painted.
    """
    with open_source(source) as (file, kind, name):
        width, height, _ = header(file, kind, name, max_pixels)
    painted = (width, height) if size is None else resized_size((width, height), size)
    working = working_size(stroke, painted)
    larger = max((width, height), painted, working, key=lambda sides: sides[0] * sides[1])
    return model.parts_limit(larger, max_memory, beside=WHOLE_COST, painted=working)


def header(file: BinaryIO, kind: str, name: str, max_pixels: int | None) -> tuple[int, int, int]:
    """What the head of a picture file says, before anything is decoded.

    Args:
        file: at its start; closing it is the caller's business.
        kind, name: as `impasto.runtime.files.open_source` gives them.
        max_pixels: the most pixels allowed, or None for no limit.

    Returns:
        Width and height (perhaps not turned upright yet), and the bytes that Pillow takes to decode it.

    Raises:
        PictureError: damaged or too large.
    """
    with one_sentence(name):
        image: Image.Image = reader_of(kind)(file)
        check_size(image, name, max_pixels)
        pixel = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}.get(image.mode, 4) + _besides(image, kind)
        # Pillow turns a TIFF upright by making a second one.
        twice = kind == "TIFF" and getattr(image, "tag_v2", {}).get(0x0112, 1) != 1
        return *image.size, math.ceil(image.width * image.height * pixel * (2 if twice else 1))


def _besides(image: Image.Image, kind: str) -> float:
    """Bytes a pixel that a decoder takes beside the image that Pillow makes (measured)."""
    if kind == "JPEG" and "progressive" in image.info:
        # All coefficients, of 16 bits, until the last scan has been read.
        layers: list[int] = [across * down for _, across, down, *_ in getattr(image, "layer", ())]
        return 2 * sum(layers) / max(layers, default=1)
    if kind == "TIFF":
        tags = getattr(image, "tag_v2", {})
        packed, tiled = tags.get(259, 1) != 1, 323 in tags
        # One packed strip is read at once, and some writers put the whole picture into one.
        rows = min(tags.get(278, image.height), image.height) if packed and not tiled else 0
        return float(rows / image.height * sum(tags.get(258, (1,))) / 8)
    return WHOLE_DECODERS.get(kind, 0)
