"""16 bits a channel, where Pillow keeps 8: reading and writing 16-bit colour PNG and TIFF.

Pillow reads 16-bit colour through unpackers that pick one byte of each two: for big-endian samples ``RGB;16B`` picks
the high one, and ``RGB;16L``, meant for little-endian samples, would pick the low one. So the file is decoded twice,
once with each, and the two 8-bit pictures are the two halves of the 16-bit one. Filters, interlacing, tiles and
compression stay Pillow's business, at its speed and with its checks.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image, ImageFile

U16 = NDArray[np.uint16]
Opener = Callable[[], "ImageFile.ImageFile"]

_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def deep_png_kind(data: bytes) -> int | None:
    """The colour type (0 grey, 2 RGB, 4 grey and alpha, 6 RGBA) of a PNG of 16 bits, or None for any other depth."""
    return data[25] if len(data) > 25 and data[24] == 16 else None


def read_deep_png(image: ImageFile.ImageFile, opener: Opener, kind: int) -> U16:
    """All samples of a 16-bit PNG with colour or alpha (Pillow reads plain 16-bit grey itself).

    Args:
        image: the file opened by Pillow and not yet loaded; it is loaded with half of the bits.
        opener: gives the same again.
        kind: from `deep_png_kind`.

    Returns:
        uint16 [H,W,C] with C = 3, 2 or 4 for the kinds 2, 4 and 6; not yet turned upright.
    """
    if kind == 4:
        # Grey and alpha take four bytes a pixel, as 8-bit RGBA does: read as that, the bytes are the samples.
        return np.array(load_as(image, "RGBA", "RGBA")).view(">u2").astype(np.uint16)
    mode = "RGB" if kind == 2 else "RGBA"
    return _halves(image, opener, mode, f"{mode};16B")


def deep_tiff_rawmode(image: ImageFile.ImageFile) -> str | None:
    """The unpacker of a 16-bit RGB or RGBA TIFF that `read_deep_tiff` can double, or None for any other picture."""
    modes = {tile.args[0] for tile in image.tile if isinstance(tile.args, tuple) and isinstance(tile.args[0], str)}
    if len(modes) != 1 or len(image.tile) == 0:
        return None
    (rawmode,) = modes
    known = {f"{pixel};16{end}" for pixel in ("RGB", "RGBX", "RGBA", "RGBa") for end in "LBN"}
    planar = getattr(image, "tag_v2", {}).get(284, 1)
    return rawmode if rawmode in known and planar == 1 else None


def read_deep_tiff(image: ImageFile.ImageFile, opener: Opener, rawmode: str) -> U16:
    """All samples of a 16-bit colour TIFF, upright already (Pillow's TIFF reader turns it).

    Returns:
        uint16 [H,W,3] or [H,W,4]; alpha straight, also where the file stores it premultiplied.
    """
    samples = _halves(image, opener, *tiff_modes(rawmode))
    return unmultiplied(samples) if rawmode.startswith("RGBa") else samples


def tiff_modes(rawmode: str) -> tuple[str, str]:
    """The mode and the unpacker to read a 16-bit TIFF with."""
    mode = "RGB" if rawmode.partition(";")[0] in ("RGB", "RGBX") else "RGBA"
    # RGBa is read as if it were RGBA: Pillow would divide by alpha at 8 bits.
    return mode, rawmode.replace("RGBa", "RGBA")


def unmultiplied(samples: U16) -> U16:
    """uint16 [H,W,4] with colours that were multiplied by alpha made straight; changed in place."""
    alpha = np.maximum(samples[..., 3:].astype(np.uint32), 1)
    straight = (samples[..., :3].astype(np.uint32) * 65535 + alpha // 2) // alpha
    samples[..., :3] = np.minimum(straight, 65535).astype(np.uint16)
    return samples


def _halves(image: ImageFile.ImageFile, opener: Opener, mode: str, rawmode: str) -> U16:
    first = np.asarray(load_as(image, mode, rawmode))
    return joined(first, np.asarray(load_as(opener(), mode, swapped(rawmode))))


def swapped(rawmode: str) -> str:
    """The unpacker that picks the low byte of each sample: with its own byte order Pillow picks the high one."""
    return rawmode[:-1] + _SWAPPED[rawmode[-1]]


def joined(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> U16:
    """Samples of 16 bits from their bytes."""
    samples = high.astype(np.uint16)
    samples <<= 8
    samples |= low
    return samples


def load_as(image: ImageFile.ImageFile, mode: str, rawmode: str) -> ImageFile.ImageFile:
    """Load an opened file with another unpacker than the one Pillow chose."""
    image._mode = mode
    image.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile
    ]
    image.load()
    return image


def write_deep_png(
    samples: U16, *, exif: bytes | None, xmp: bytes | None, icc: bytes | None, dpi: tuple[float, float] | None
) -> bytes:
    """A 16-bit PNG file.

    Args:
        samples: uint16 [H,W,3] or [H,W,4].
        exif: a TIFF-shaped EXIF block without the leading ``Exif\\0\\0``.
    """
    head = png_head(samples.shape, 16, exif=exif, xmp=xmp, icc=icc, dpi=dpi)
    return b"".join([head, png_chunk(b"IDAT", b"".join(deflate_png([samples]))), png_chunk(b"IEND", b"")])


def png_head(
    shape: tuple[int, ...],
    depth: int,
    *,
    exif: bytes | None,
    xmp: bytes | None,
    icc: bytes | None,
    dpi: tuple[float, float] | None,
    text: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """A PNG file up to its pixels.

    Args:
        shape: H, W and C of the pixels, C 1, 3 or 4.
        depth: bits a channel, 8 or 16.
        exif: as :func:`write_deep_png` takes it.
        text: keyword and text of further chunks.
    """
    height, width, channels = shape
    header = struct.pack(">IIBBBBB", width, height, depth, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = [png_chunk(b"IHDR", header)]
    if icc is not None:
        chunks.append(png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if dpi is not None:
        across, down = (round(value / 0.0254) for value in dpi)
        chunks.append(png_chunk(b"pHYs", struct.pack(">IIB", across, down, 1)))
    for keyword, words in text:
        chunks.append(png_chunk(b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + words.encode()))
    if xmp is not None:
        chunks.append(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    if exif is not None:
        chunks.append(png_chunk(b"eXIf", exif))
    return b"".join([b"\x89PNG\r\n\x1a\n", *chunks])


def png_chunk(name: bytes, data: bytes) -> bytes:
    """One chunk of a PNG: length, name, data and check sum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))


def deflate_png(pictures: Iterable[NDArray[Any]]) -> Iterator[bytes]:
    """Filtered and compressed rows. Every row but the first is predicted from its upper left neighbourhood (Paeth):
    nearly as small on photographs as choosing a filter for each row, at a fraction of the work.

    Args:
        pictures: uint8 or uint16 [h,W,C], one below the other.

    Yields:
        What belongs into the IDAT chunks, however it is divided among them.
    """
    packer = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    above_last: NDArray[np.uint8] | None = None  # the row above the band; zeros above the picture
    for samples in pictures:
        height, width, channels = samples.shape
        depth = samples.dtype.itemsize
        step = depth * channels
        rows = max(1, (1 << 19) // (width * step))
        if above_last is None:
            above_last = np.zeros((1, width * step), dtype=np.uint8)
        for top in range(0, height, rows):
            band = np.ascontiguousarray(samples[top : top + rows], f">u{depth}").view(np.uint8)
            band = band.reshape(-1, width * step)
            above = np.concatenate([above_last, band[:-1]])
            left, corner = np.zeros_like(band), np.zeros_like(band)
            left[:, step:], corner[:, step:] = band[:, :-step], above[:, :-step]
            a, b, c = left.astype(np.int16), above.astype(np.int16), corner.astype(np.int16)
            to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
            best = np.where((to_a <= to_b) & (to_a <= to_c), left, np.where(to_b <= to_c, above, corner))
            lines = np.empty((len(band), 1 + width * step), dtype=np.uint8)
            lines[:, 0], lines[:, 1:] = 4, band - best  # bytes wrap, as PNG wants
            yield packer.compress(lines.tobytes())
            above_last = band[-1:].copy()
    yield packer.flush()


def write_tiff(
    samples: NDArray[Any],
    *,
    exif: Image.Exif | None,
    xmp: bytes | None,
    icc: bytes | None,
    dpi: tuple[float, float] | None,
) -> bytes:
    """A TIFF file of 8 or 16 bits, little-endian, deflated, with horizontal prediction.

    For 8 bits too, because Pillow cannot write the camera's and the place's directories of EXIF into a compressed one.

    Args:
        samples: uint8 or uint16, [H,W,3] or [H,W,4] (straight alpha).
        exif: tags to keep beside the ones that describe the pixels; they are added to it.
    """
    height = samples.shape[0]
    rows = tiff_rows(samples.shape, samples.dtype.itemsize)
    strips = [tiff_strip(samples[top : top + rows]) for top in range(0, height, rows)]
    sizes = [len(strip) for strip in strips]
    head = tiff_head(samples.shape, samples.dtype.itemsize, sizes, exif=exif, xmp=xmp, icc=icc, dpi=dpi)
    return b"".join([head, *strips])


def tiff_rows(shape: tuple[int, ...], depth: int) -> int:
    """How many rows a strip of our TIFF files has: about 256 kB before compression. ``depth`` is in bytes a channel."""
    return max(1, (1 << 18) // (shape[1] * shape[2] * depth))


def tiff_strip(samples: NDArray[Any]) -> bytes:
    """One strip, uint8 or uint16 [h,W,C]: each sample less the one before it, deflated."""
    band = samples.copy()
    band[:, 1:] -= samples[:, :-1]  # wraps, as TIFF's predictor 2 wants
    return zlib.compress(band.astype(f"<u{band.dtype.itemsize}").tobytes(), 6)


def tiff_head(
    shape: tuple[int, ...],
    depth: int,
    sizes: Sequence[int],
    *,
    exif: Image.Exif | None,
    xmp: bytes | None,
    icc: bytes | None,
    dpi: tuple[float, float] | None,
    big: bool = False,
) -> bytes:
    """A TIFF file up to its strips, which follow one after the other. Its length does not depend on their sizes.

    Args:
        shape: H, W and C of the pixels.
        depth: bytes a channel.
        sizes: of the strips, in bytes.
        exif: tags to keep beside the ones that describe the pixels; they are added to it.
        big: BigTIFF, whose offsets have 64 bits; for files of 4 GiB and more.
    """
    from PIL import Image
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    height, width, channels = shape
    tags = Image.Exif() if exif is None else exif
    tags.endian = "<"
    tags[256], tags[257], tags[258] = width, height, (8 * depth,) * channels
    tags[259], tags[262], tags[277], tags[278] = 8, 2, channels, tiff_rows(shape, depth)
    tags[284], tags[317] = 1, 2
    if channels == 4:
        tags[338] = 2
    if dpi is not None:
        tags[282], tags[283], tags[296] = dpi[0], dpi[1], 2
    if xmp is not None:
        tags[700] = xmp
    if icc is not None:
        tags[34675] = icc
    start = b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" if big else b"II*\0\x08\0\0\0"
    directory = ImageFileDirectory_v2(start)
    for tag, value in tags.items():
        directory[tag] = value
    directory[279] = tuple(sizes)
    # Pillow counts strip offsets from the end of the directory when it writes one.
    directory[273] = tuple(accumulate(sizes[:-1], initial=0))
    for tag in (273, 279):
        directory.tagtype[tag] = 16 if big else 4  # long: Pillow would choose short for a small first strip
    return start + directory.tobytes(len(start))
