"""Masks inside a recipe: small pictures, so that what was painted in parts can be painted again without their files.

A mask travels as a WebP without loss, which is shorter than a PNG. It is the mask itself at its own size, never a
coarser one: one that is too long as it is stays outside, and is known by its file's name and sha256.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from impasto.errors import PictureError
from impasto.runtime.masks import LARGEST_SIDE, open_mask
from impasto.runtime.picture import Picture

if TYPE_CHECKING:
    from PIL import Image

F32 = NDArray[np.float32]

LONGEST = 32_768
"""Letters that all masks of a recipe may take together, as they are written: four for three bytes."""

_HOPELESS = 8  # a hasty PNG that is so many times too long makes no WebP that is short enough
_DIGITS = frozenset("0123456789abcdef")


def packed(plane: F32) -> bytes | None:
    """A mask as a lossless WebP, or None where it is longer than a recipe may hold.

    Args:
        plane: float32 [h,w] in 0..1, as ``open_mask`` gives it. Values are rounded to 8 bits: those of a file with 8
            bits a pixel and at most 4096 pixels a side come back exactly, others to within 1/510.
    """
    from PIL import Image

    levels = np.rint(plane * 255).astype(np.uint8)
    image = Image.fromarray(levels)
    # Seconds are not spent on what can come to nothing: a photograph for a mask.
    if letters(_saved(image, "PNG", compress_level=1)) > _HOPELESS * LONGEST:
        return None
    data = _saved(image.convert("RGB"), "WEBP", lossless=True)
    return data if letters(data) <= LONGEST else None


def _saved(image: Image.Image, kind: str, **how: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **how)
    return stream.getvalue()


def unpacked(data: bytes) -> F32:
    """The mask [h,w] in 0..1 again.

    Raises:
        PictureError: it is no picture, or larger than any mask that is kept.
    """
    return open_mask(Picture.open(data, max_pixels=LARGEST_SIDE**2))


def letters(data: bytes) -> int:
    """How many letters so many bytes are in base64."""
    return (len(data) + 2) // 3 * 4


def fitting(masks: Mapping[str, bytes | None]) -> dict[str, bytes]:
    """Those of some masks that a recipe holds: the smallest first, until they are too long together.

    Args:
        masks: of :func:`packed`, by the sha256 of their files.
    """
    out: dict[str, bytes] = {}
    room = LONGEST
    for name, data in sorted(masks.items(), key=lambda one: (len(one[1] or b""), one[0])):
        if data is not None and letters(data) <= room:
            room -= letters(data)
            out[name] = data
    return out


def written(masks: Mapping[str, bytes]) -> dict[str, str]:
    """Masks as a recipe has them: in base64."""
    return {name: base64.b64encode(data).decode() for name, data in masks.items()}


def held_masks(value: Any) -> dict[str, bytes]:
    """The same again, which anybody may have written: what is no small WebP or PNG is refused, and nothing is decoded.

    Raises:
        PictureError: the sentence goes on from "The recipe".
    """
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise PictureError("is damaged (masks: should be a table of texts)")
    out = {}
    for name, text in value.items():
        if len(name) != 64 or not set(name) <= _DIGITS:
            raise PictureError("is damaged (masks: should be named by 64 hexadecimal digits)")
        try:
            out[name] = base64.b64decode(text.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise PictureError("is damaged (masks: is no base64)") from error
        # A PNG is what a browser makes of a mask that was brushed in it.
        known = out[name].startswith(b"\x89PNG") or (out[name][:4] == b"RIFF" and out[name][8:12] == b"WEBP")
        if not known or len(text) > LONGEST:
            raise PictureError("is damaged (masks: should be small WebP or PNG files)")
    return out
