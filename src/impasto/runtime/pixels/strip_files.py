"""Writing a picture file strip by strip, so that neither its pixels nor the file have to fit into memory.

TIFF, BigTIFF and PNG are made of strips anyway. A JPEG is encoded in strips that stand between restart markers, which
exist so that a decoder can start anew there; it decodes to the same pixels as one that was encoded whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from importlib import import_module
from io import BytesIO
from typing import Any, BinaryIO

from numpy.typing import NDArray
from PIL import Image

from impasto.errors import PictureError
from impasto.runtime.pixels import deep
from impasto.runtime.pixels.encode import PLUGINS, check_encodable, save_options
from impasto.runtime.pixels.metadata import PictureInfo, exif_for, xmp_for
from impasto.runtime.tiles import Area

STRIPPED = ("JPEG", "PNG", "TIFF")
"""Formats that are written in this way; the others are encoded whole."""

Samples = Callable[[Area], NDArray[Any]]
"""Gives uint8 or uint16 [h,W,C] of rows of the picture."""

_BAND = 1 << 20  # pixels
_CLASSIC = (1 << 32) - (1 << 20)  # bytes that a TIFF file with offsets of 32 bits may have, with some to spare
# Eight rows of JPEG blocks: as many restart markers as there are numbers for them, so that each strip counts from 0.
_JPEG_ROWS = 64


def write_strips(
    file: BinaryIO,
    kind: str,
    shape: tuple[int, int, int],
    samples: Samples,
    info: PictureInfo,
    *,
    depth: int = 8,
    strip: bool = False,
    quality: int | None = None,
    big: bool | None = None,
) -> None:
    """Write a picture file.

    Args:
        file: open for writing, at its start; TIFF goes back in it.
        kind: one of `STRIPPED`, or WEBP or AVIF, which are encoded whole.
        shape: height, width and channels: 3, or 4 with straight alpha (JPEG: 3 only); of a PNG also 1, grey.
        samples: asked for the rows from the top down, each once.
        info: what to carry along.
        depth: bits a channel of the samples, 8 or 16 (JPEG: 8).
        strip, quality: as `impasto.runtime.picture.Picture.save` takes them.
        big: write BigTIFF; None: where the samples would not fit into a TIFF file even if they did not shrink.

    Raises:
        PictureError: too large for the format, or a quality that does not exist.
        OSError: the file cannot be written.
    """
    height, width, _ = shape
    check_encodable(kind, width, height, quality)
    exif = None if strip else exif_for(info, (width, height))
    xmp = xmp_for(info, strip=strip)
    dpi = None if strip else info.dpi
    try:
        if kind == "TIFF":
            _write_tiff(file, shape, samples, depth // 8, big, exif=exif, xmp=xmp, icc=info.icc, dpi=dpi)
        elif kind == "PNG":
            block = None if exif is None else exif.tobytes().removeprefix(b"Exif\0\0")
            text = () if strip else info.text
            file.write(deep.png_head(shape, depth, exif=block, xmp=xmp, icc=info.icc, dpi=dpi, text=text))
            whole = Area(0, 0, height, width)
            for part in deep.deflate_png(samples(area) for area in whole.bands(_BAND)):
                if part:
                    file.write(deep.png_chunk(b"IDAT", part))
            file.write(deep.png_chunk(b"IEND", b""))
        else:
            options = save_options(kind, info, quality, strip=strip, exif=exif)
            if kind == "JPEG":
                _write_jpeg(file, shape, samples, options)
            else:
                _write_whole(file, kind, samples(Area(0, 0, height, width)), options)
    except (ValueError, RuntimeError, KeyError, TypeError, OverflowError, struct.error) as error:
        raise PictureError(
            f"The picture could not be written as {kind} ({error}): try another format or strip its metadata."
        ) from error
    except MemoryError as error:
        raise PictureError(f"The picture ({width}x{height}) does not fit into memory: write TIFF.") from error


def _write_tiff(
    file: BinaryIO,
    shape: tuple[int, int, int],
    samples: Samples,
    depth: int,
    big: bool | None,
    **metadata: Any,
) -> None:
    height, width, channels = shape
    rows = deep.tiff_rows(shape, depth)
    count = -(-height // rows)
    big = height * width * channels * depth > _CLASSIC if big is None else big
    # The directory comes first and tells where the strips are: it is written twice, the first time for its length.
    file.write(deep.tiff_head(shape, depth, [0] * count, big=big, **metadata))
    sizes: list[int] = []
    whole = Area(0, 0, height, width)
    for area in whole.bands(rows * width * max(1, _BAND // (rows * width))):
        band = samples(area)
        for top in range(0, len(band), rows):
            packed = deep.tiff_strip(band[top : top + rows])
            sizes.append(len(packed))
            file.write(packed)
    if not big and file.tell() > _CLASSIC:
        raise PictureError("The picture takes more than 4 GB as TIFF: report this.")
    file.seek(0)
    file.write(deep.tiff_head(shape, depth, sizes, big=big, **metadata))


def _write_jpeg(file: BinaryIO, shape: tuple[int, int, int], samples: Samples, options: dict[str, Any]) -> None:
    height, width, _ = shape
    import_module("PIL.JpegImagePlugin")
    plain = {name: options[name] for name in ("quality", "subsampling")}
    whole = Area(0, 0, height, width)
    for area in whole.bands(width * _JPEG_ROWS * max(1, _BAND // (width * _JPEG_ROWS))):
        out = BytesIO()
        # Markers after each row of blocks: between strips, too, one row of blocks lies between two markers.
        settings = options if area.top == 0 else plain
        Image.fromarray(samples(area)).save(out, format="JPEG", restart_marker_rows=1, **settings)
        head, scan = _halved(out.getvalue(), height)
        # The strip before ended with the seventh marker, counted from 0 to 7 and anew in each strip.
        file.write(head if area.top == 0 else b"\xff\xd7")
        file.write(scan)
    file.write(b"\xff\xd9")


def _write_whole(file: BinaryIO, kind: str, samples: NDArray[Any], options: dict[str, Any]) -> None:
    import_module(f"PIL.{PLUGINS[kind]}")
    Image.fromarray(samples).save(file, format=kind, **options)


def _halved(data: bytes, height: int) -> tuple[bytes, bytes]:
    """A JPEG up to its scan, saying this height, and the scan without the end of the image."""
    at = 2
    head = bytearray(data)
    while True:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if marker == 0xC0:  # baseline: precision, height, width
            struct.pack_into(">H", head, at + 5, height)
        at += 2 + length
        if marker == 0xDA:
            return bytes(head[:at]), data[at:-2]


def grey_of(samples: Samples) -> Samples:
    """The first channel alone, [h,W,1]."""
    return lambda area: samples(area)[..., :1]


def is_grey(samples: Samples, shape: tuple[int, int, int]) -> bool:
    """Whether the three channels of a picture are alike."""
    strips: Iterator[Area] = Area(0, 0, *shape[:2]).bands(_BAND)
    return all(bool((part == part[..., :1]).all()) for part in map(samples, strips))
