"""What travels from the picture that was read to the one that is written, beside the pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from impasto.runtime.pixels.packet import holds_recipe, with_recipe, without_recipe

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class PictureInfo:
    """What a picture carries beside its pixels.

    Attributes:
        exif: an EXIF block (a small TIFF file, without the leading ``Exif\\0\\0``), or None. Orientation is 1 where it
            is given, pixel dimensions and the embedded thumbnail are left out; writing adds the dimensions.
        xmp: an XMP packet in UTF-8, or None.
        dpi: dots per inch across and down, or None.
        icc: the sRGB profile to write with the pixels, or None where the source had no profile (then the file is
            plainly sRGB by convention). Never any other colour space: the pixels are sRGB already.
        depth: bits a channel of the source, 8 or 16. PNG and TIFF are written at this depth.
        grey: whether the source had no colour.
        format: what the source was, such as ``"JPEG"``; empty for a picture that came from an array.
        notes: sentences to say aloud about what reading could not keep.
        text: keyword and text of chunks to write into a PNG (keywords of 1 to 79 Latin letters).
        recipe: how the picture was painted (see ``impasto.runtime.recipe``), written into the XMP packet of every
            format even where the rest is stripped; empty: none, nor one that ``xmp`` holds; None: what ``xmp`` holds.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    icc: bytes | None = None
    depth: int = 8
    grey: bool = False
    format: str = ""
    notes: tuple[str, ...] = ()
    text: tuple[tuple[str, str], ...] = ()
    recipe: str | None = None


_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x8769, 0x8825, 0xA005
_ORIENTATION, _COLOR_SPACE, _WIDTH, _HEIGHT = 0x0112, 0xA001, 0xA002, 0xA003

# Tags of the first directory that describe how a TIFF file stores its pixels, or repeat what is carried elsewhere
# (dpi, profile, XMP, thumbnails): wrong or dangerous in any other file.
# fmt: off
_STORAGE = frozenset({
    254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 282, 283, 284, 288, 289, 290,
    291, 292, 293, 296, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 333, 334, 336, 338, 339, 340, 341,
    342, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 700, 34377, 34675, 37724,
})
# fmt: on


def clean_exif(exif: Image.Exif, *, converted: bool) -> bytes | None:
    """An EXIF block fit for any output: upright, without storage tags, dimensions and thumbnail.

    Args:
        exif: as Pillow read it.
        converted: whether the pixels were converted to sRGB, which the block then has to say.

    Raises:
        Exception: whatever Pillow raises on a damaged block.
    """
    from PIL import Image

    clean = Image.Exif()
    clean.endian = exif.endian or "<"
    for tag, value in exif.items():
        if tag not in _STORAGE and tag not in (_EXIF_IFD, _GPS_IFD):
            clean[tag] = value
    if _ORIENTATION in clean:
        clean[_ORIENTATION] = 1
    # get_ifd answers {} for a directory that is not there.
    detail = {tag: value for tag, value in exif.get_ifd(_EXIF_IFD).items() if tag not in (_WIDTH, _HEIGHT)}
    if detail:
        if _INTEROP_IFD in detail:
            # It names Adobe RGB or sRGB: untrue after a conversion. Pillow's own TIFF files point it into nowhere.
            interop = {} if converted else _quietly(exif, _INTEROP_IFD)
            if interop:
                detail[_INTEROP_IFD] = interop
            else:
                del detail[_INTEROP_IFD]
        if converted and _COLOR_SPACE in detail:
            detail[_COLOR_SPACE] = 1
        clean[_EXIF_IFD] = detail
    gps = dict(exif.get_ifd(_GPS_IFD))
    if gps:
        clean[_GPS_IFD] = gps
    return clean.tobytes().removeprefix(b"Exif\0\0") if len(clean) else None


def _quietly(exif: Image.Exif, tag: int) -> dict[int, object]:
    """A directory that may be damaged without the rest of the block being so; empty if it is."""
    try:
        return dict(exif.get_ifd(tag))
    except Exception:
        return {}


def exif_for(info: PictureInfo, size: tuple[int, int]) -> Image.Exif | None:
    """The EXIF block of ``info`` for an output of (width, height), with these dimensions in it."""
    if info.exif is None:
        return None
    from PIL import Image

    exif = Image.Exif()
    exif.load(info.exif)
    detail = exif.get_ifd(_EXIF_IFD)
    if detail:
        if _INTEROP_IFD in detail:
            detail[_INTEROP_IFD] = dict(exif.get_ifd(_INTEROP_IFD))
        detail[_WIDTH], detail[_HEIGHT] = size
        exif[_EXIF_IFD] = detail
    if _GPS_IFD in exif:
        exif[_GPS_IFD] = dict(exif.get_ifd(_GPS_IFD))
    return exif


_XMP_UPRIGHT = (
    (re.compile(rb'(tiff:Orientation\s*=\s*["\'])\d+(["\'])'), rb"\g<1>1\2"),
    (re.compile(rb"(<tiff:Orientation>)\s*\d+\s*(</tiff:Orientation>)"), rb"\g<1>1\2"),
    (re.compile(rb'\s(?:tiff:ImageWidth|tiff:ImageLength|exif:Pixel[XY]Dimension)\s*=\s*["\']\d*["\']'), b""),
    (re.compile(rb"<(tiff:ImageWidth|tiff:ImageLength|exif:Pixel[XY]Dimension)>\s*\d*\s*</\1>"), b""),
)


def clean_xmp(xmp: object) -> bytes | None:
    """An XMP packet that says upright and names no dimensions, or None if there is none."""
    data = xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp
    if not isinstance(data, bytes) or not data.strip(b"\0 \r\n\t"):
        return None
    for pattern, new in _XMP_UPRIGHT:
        data = pattern.sub(new, data)
    return data


def xmp_for(info: PictureInfo, *, strip: bool) -> bytes | None:
    """The XMP packet of ``info`` for an output, with the recipe; only that where the rest is stripped."""
    kept = None if strip else info.xmp
    if info.recipe is None:
        return kept
    return with_recipe(kept, info.recipe) if info.recipe else without_recipe(kept)


def untold(info: PictureInfo) -> PictureInfo:
    """``info`` for other pixels than those that its packet may hold a recipe of."""
    return replace(info, recipe="") if info.recipe is None and holds_recipe(info.xmp) else info


def clean_dpi(dpi: object) -> tuple[float, float] | None:
    """Dots per inch as two sane floats, or None."""
    try:
        across, down = (float(value) for value in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # Readers fill in 1 where a file says nothing.
    return (across, down) if 2 <= across <= 65535 and 2 <= down <= 65535 else None
