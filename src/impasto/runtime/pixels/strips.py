"""Decoding a picture that would not fit into memory as float32: strip by strip, from what Pillow holds at 8 bits.

Pillow decodes a file whole, at 4 bytes a pixel for colour. From there on this module works on a strip at a time, with
the very functions that `impasto.runtime.pixels.decode` uses on the whole, so that the pixels are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile

from impasto.runtime.canvas import BAND, Canvas
from impasto.runtime.pixels import deep
from impasto.runtime.pixels.decode import (
    TURNS,
    from_deep,
    from_pillow,
    limits,
    note_frames,
    note_lost_bits,
    one_sentence,
    orientation,
    profile_and_info,
    reader_of,
    sixteen_bit_grey,
    turn,
    white_is_zero,
    with_exif,
    with_key,
)
from impasto.runtime.pixels.metadata import PictureInfo
from impasto.runtime.tiles import Area

_Box = tuple[int, int, int, int]  # left, top, right, bottom, as Pillow has it
_Part = Callable[[_Box], Any]
"""A part of the picture as it lies in the file: an image, or uint16 [h,w,C]."""


def decode_to_canvas(
    file: BinaryIO, kind: str, name: str, folder: Path, *, band: int = BAND
) -> tuple[Canvas, PictureInfo]:
    """Decode a picture file onto a canvas: upright, in sRGB, at 8 or 16 bits.

    Args:
        file, kind, name: as for :func:`header`.
        folder: where the canvas lies.
        band: about how many pixels are converted at once.

    Returns:
        The canvas, which the caller closes, and what travels to the output beside the pixels.

    Raises:
        PictureError: damaged, cut short, or of a kind of pixels that cannot be read.
    """
    reader = reader_of(kind)

    def opener() -> ImageFile.ImageFile:
        file.seek(0)
        image: ImageFile.ImageFile = reader(file)
        return image

    with one_sentence(name), ExitStack() as held:
        notes: list[str] = []
        image = opener()
        note_frames(image, kind, notes)
        image, part = _parts(image, kind, file, opener, folder, held, notes)
        turned, exif, xmp = orientation(image, notes)
        profile, info = profile_and_info(image, kind, xmp)
        width, height = image.size if turned is None or turned < 5 else image.size[::-1]
        ends = _ends(image, band) if image.mode in ("I", "F") else None
        canvas: Canvas | None = None
        try:
            for area in Area(0, 0, height, width).bands(band):
                stored = part(_stored(area, turned, width, height))
                said: list[str] = []
                if isinstance(stored, np.ndarray):
                    samples = with_key(stored, image.info.get("transparency"))
                    samples = samples if turned is None else turn(samples, turned)
                    rgb, alpha, about, converted = from_deep(samples, profile, info, said)
                else:
                    upright = stored if turned is None else stored.transpose(TURNS[turned])
                    rgb, alpha, about, converted = from_pillow(upright, profile, info, said, ends)
                if canvas is None:
                    notes += said  # every strip says the same
                    # 32 bits stretched from black to white have finer steps than 8 bits.
                    fine = about.depth == 16 or ends is not None
                    canvas = Canvas(height, width, alpha=alpha is not None, deep=fine, folder=folder)
                canvas.put(area, rgb, alpha)
        except BaseException:
            if canvas is not None:
                canvas.close()
            raise
        assert canvas is not None  # a picture has at least one row
        return canvas, with_exif(about, exif, converted, notes)


def _stored(area: Area, turned: int | None, width: int, height: int) -> _Box:
    """Where rows of the upright picture of (width, height) lie in the file."""
    left, top, right, bottom = area.left, area.top, area.right, area.bottom
    if turned in (2, 3, 6, 7):
        left, right = width - right, width - left
    if turned in (3, 4, 7, 8):
        top, bottom = height - bottom, height - top
    return (left, top, right, bottom) if turned is None or turned < 5 else (top, left, bottom, right)


def _parts(
    image: ImageFile.ImageFile,
    kind: str,
    file: BinaryIO,
    opener: Callable[[], ImageFile.ImageFile],
    folder: Path,
    held: ExitStack,
    notes: list[str],
) -> tuple[ImageFile.ImageFile, _Part]:
    """The loaded image, and what gives its parts with all the bits that can be had."""
    if image.mode.startswith("I;16"):
        image.load()
        inverted = white_is_zero(image, kind)
        return image, lambda box: sixteen_bit_grey(image.crop(box), inverted)
    if kind == "PNG":
        file.seek(0)
        colour = deep.deep_png_kind(file.read(26))
        image = opener()
        if colour in (2, 4, 6):
            return _deep_png(image, colour, opener, folder, held)
    elif kind == "TIFF":
        rawmode = deep.deep_tiff_rawmode(image)
        if rawmode is not None:
            image, whole = _halves(image, *deep.tiff_modes(rawmode), opener, folder, held)
            if rawmode.startswith("RGBa"):
                return image, lambda box: deep.unmultiplied(whole(box))
            return image, whole
        note_lost_bits(image, notes)
    image.load()
    return image, image.crop


def _deep_png(
    image: ImageFile.ImageFile,
    colour: int,
    opener: Callable[[], ImageFile.ImageFile],
    folder: Path,
    held: ExitStack,
) -> tuple[ImageFile.ImageFile, _Part]:
    if colour == 4:
        # As in deep.read_deep_png: the bytes of an 8-bit RGBA pixel are the two samples.
        loaded = deep.load_as(image, "RGBA", "RGBA")
        return loaded, lambda box: np.array(loaded.crop(box)).view(">u2").astype(np.uint16)
    mode = "RGB" if colour == 2 else "RGBA"
    return _halves(image, mode, f"{mode};16B", opener, folder, held)


def _halves(
    image: ImageFile.ImageFile,
    mode: str,
    rawmode: str,
    opener: Callable[[], ImageFile.ImageFile],
    folder: Path,
    held: ExitStack,
) -> tuple[ImageFile.ImageFile, _Part]:
    """The low bytes in memory, the high ones on a canvas: two images would not fit."""
    loaded = deep.load_as(image, mode, rawmode)
    high = held.enter_context(Canvas(loaded.height, loaded.width, alpha=mode == "RGBA", deep=False, folder=folder))
    for area in high.whole.bands(BAND):
        high.write(area, np.asarray(loaded.crop((area.left, area.top, area.right, area.bottom))))
    loaded._im = None  # whoever holds the image keeps its pixels no longer
    low = deep.load_as(opener(), mode, deep.swapped(rawmode))

    def part(box: _Box) -> Any:
        left, top, right, bottom = box
        return deep.joined(high.samples(Area(top, left, bottom, right)), np.asarray(low.crop(box)))

    return low, part


def _ends(image: Image.Image, band: int) -> tuple[float, float]:
    """Least and greatest value of 32-bit pixels."""
    strips: Iterator[Area] = Area(0, 0, image.height, image.width).bands(band)
    found = [limits(np.asarray(image.crop((area.left, area.top, area.right, area.bottom)))) for area in strips]
    return min(low for low, _ in found), max(high for _, high in found)
