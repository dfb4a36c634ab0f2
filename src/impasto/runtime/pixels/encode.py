"""float32 RGB, alpha and PictureInfo -> file bytes."""

from __future__ import annotations

from importlib import import_module
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from impasto.errors import PictureError
from impasto.runtime.pixels import deep
from impasto.runtime.pixels.metadata import PictureInfo, exif_for, xmp_for
from impasto.runtime.pixels.packet import COMMENT, without_recipe

QUALITY = {"JPEG": 92, "WEBP": 90, "AVIF": 80}
"""The quality (1 to 100) that each lossy format is written with unless another is asked for."""

PLUGINS = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "WEBP": "WebPImagePlugin",
    "AVIF": "AvifImagePlugin",
}
_LONGEST = {"JPEG": 65535, "WEBP": 16383, "AVIF": 65535}  # pixels a side that the format can say
_DEEP = ("PNG", "TIFF")
_JPEG_BLOCK = 65000  # bytes that one metadata block of a JPEG can hold, less some for its header

F32 = NDArray[np.float32]


def losses(kind: str, alpha: F32 | None, info: PictureInfo) -> tuple[str, ...]:
    """What writing as format ``kind`` cannot keep: sentences to say aloud."""
    notes = []
    if kind == "JPEG" and alpha is not None and float(alpha.min()) < 1.0:
        notes.append("JPEG has no transparency: the picture was laid on white.")
    if info.depth == 16 and kind not in _DEEP:
        notes.append(f"16 bits were read in full, but {_title(kind)} keeps 8: write PNG or TIFF to keep them.")
    if kind == "JPEG":
        for name, block in (("EXIF", info.exif), ("XMP", info.xmp)):
            if block is not None and len(block) > _JPEG_BLOCK:
                notes.append(f"The {name} data is too long for JPEG and was left out.")
        if info.recipe is not None and len(info.recipe) > _JPEG_BLOCK - len(COMMENT):
            notes.append("The recipe is too long for JPEG and was left out: write PNG to keep it.")
    return tuple(notes)


def check_encodable(kind: str, width: int, height: int, quality: int | None) -> None:
    """Refuse what a format cannot hold, or a quality that does not exist, with a PictureError."""
    if quality is not None and not (isinstance(quality, int) and 1 <= quality <= 100):
        raise PictureError(f"Quality {quality} does not exist: give a whole number from 1 to 100.")
    longest = _LONGEST.get(kind)
    if longest is not None and max(width, height) > longest:
        raise PictureError(
            f"{_title(kind)} holds at most {longest} pixels a side and the picture is {width}x{height}: "
            "write PNG or TIFF, or make it smaller."
        )


def encode(rgb: F32, alpha: F32 | None, info: PictureInfo, kind: str, *, strip: bool, quality: int | None) -> bytes:
    """The bytes of a picture file.

    Args:
        rgb: float32 [H,W,3] in 0..1; values outside are clipped.
        alpha: float32 [H,W] in 0..1, or None.
        info: what to carry along.
        kind: ``"JPEG"``, ``"PNG"``, ``"WEBP"``, ``"AVIF"`` or ``"TIFF"``.
        strip: leave EXIF, XMP, dpi and text out; the colour profile and the recipe stay.
        quality: 1 to 100 for the lossy formats, or None for `QUALITY`.

    Raises:
        PictureError: too large for the format, a quality that does not exist, or the encoder fails.
    """
    height, width = rgb.shape[:2]
    check_encodable(kind, width, height, quality)
    exif = None if strip else exif_for(info, (width, height))
    xmp = xmp_for(info, strip=strip)
    dpi = None if strip else info.dpi
    try:
        if kind == "TIFF":
            samples = quantized(rgb, alpha, 65535 if info.depth == 16 else 255)
            return deep.write_tiff(samples, exif=exif, xmp=xmp, icc=info.icc, dpi=dpi)
        if kind == "PNG" and info.depth == 16:
            samples = quantized(rgb, alpha, 65535)
            block = None if exif is None else exif.tobytes().removeprefix(b"Exif\0\0")
            return deep.write_deep_png(samples, exif=block, xmp=xmp, icc=info.icc, dpi=dpi)
        if kind == "JPEG" and alpha is not None:
            rgb, alpha = flattened(rgb, alpha), None
        samples = quantized(rgb, alpha, 255)
        if kind == "PNG" and info.grey and info.icc is None and alpha is None and (samples == samples[..., :1]).all():
            samples = samples[..., 0]  # a grey picture that is still grey stays a grey file
        image = Image.fromarray(samples)
        options = save_options(kind, info, quality, strip=strip, exif=exif)
        import_module(f"PIL.{PLUGINS[kind]}")  # registers it: Pillow would load every plugin it has
        out = BytesIO()
        image.save(out, format=kind, **options)
        return out.getvalue()
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, OverflowError) as error:
        raise PictureError(
            f"The picture could not be written as {_title(kind)} ({error}): try another format or strip its metadata."
        ) from error
    except MemoryError as error:
        raise PictureError(f"The picture ({width}x{height}) does not fit into memory: make it smaller.") from error


def save_options(
    kind: str, info: PictureInfo, quality: int | None, *, strip: bool, exif: Image.Exif | None
) -> dict[str, Any]:
    """What Pillow is told when it writes a format: quality, profile and metadata."""
    xmp = xmp_for(info, strip=strip)
    comment = None
    if kind == "JPEG" and info.recipe and xmp is not None and len(xmp) > _JPEG_BLOCK:
        # Both do not fit into one block: the photo's packet stays what it was, and the recipe gets a block of its own.
        xmp, comment = (None if strip else without_recipe(info.xmp)), COMMENT + info.recipe.encode("ascii")
    text = () if strip else info.text
    options = _options(kind, quality, xmp=xmp, exif=None if exif is None else exif.tobytes(), text=text)
    if comment is not None and len(comment) <= _JPEG_BLOCK:
        options["comment"] = comment
    if info.icc is not None:
        options["icc_profile"] = info.icc
    if info.dpi is not None and not strip and kind in ("JPEG", "PNG"):
        options["dpi"] = info.dpi
    return options


def _options(
    kind: str, quality: int | None, *, exif: bytes | None, xmp: bytes | None, text: tuple[tuple[str, str], ...]
) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if kind in QUALITY:
        options["quality"] = QUALITY[kind] if quality is None else quality
    if exif is not None and (kind != "JPEG" or len(exif) <= _JPEG_BLOCK):
        options["exif"] = exif
    if kind == "JPEG":
        options["subsampling"] = 0  # brush strokes are colour edges: halving the colour resolution smears them
        if xmp is not None and len(xmp) <= _JPEG_BLOCK:
            options["xmp"] = xmp
    elif kind == "PNG":
        if xmp is not None or text:
            from PIL.PngImagePlugin import PngInfo

            chunks = PngInfo()
            for keyword, words in text:
                chunks.add_text(keyword, words)
            if xmp is not None:
                chunks.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
            options["pnginfo"] = chunks
    else:
        if xmp is not None:
            options["xmp"] = xmp
        if kind == "AVIF":
            options["subsampling"] = "4:4:4"
            options["speed"] = 8  # ten times faster than the default 6, at the same size and nearly the same quality
    return options


def quantized(rgb: F32, alpha: F32 | None, levels: int) -> NDArray[Any]:
    """uint8 (levels 255) or uint16 (65535) [H,W,3], or [H,W,4] with alpha; rounded to the nearest."""
    kind = np.uint8 if levels == 255 else np.uint16
    out = np.empty((*rgb.shape[:2], 3 if alpha is None else 4), dtype=kind)
    out[..., :3] = to_levels(rgb, levels)
    if alpha is not None:
        out[..., 3] = to_levels(alpha, levels)
    return out


def to_levels(values: F32, levels: int) -> F32:
    """0..1 as 0..levels, half a level up: converting it to whole numbers, which cuts, rounds to the nearest."""
    scaled: F32 = np.multiply(values, np.float32(levels), dtype=np.float32)
    np.add(scaled, np.float32(0.5), out=scaled)
    return np.clip(scaled, 0.0, np.float32(levels), out=scaled)


def flattened(rgb: F32, alpha: F32) -> F32:
    """float32 [H,W,3]: the picture laid on white."""
    share = alpha[..., None]
    return rgb * share + (1.0 - share)


def _title(kind: str) -> str:
    return {"WEBP": "WebP"}.get(kind, kind)
