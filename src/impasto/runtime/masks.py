"""Masks: where in a photo it is painted, and how strongly.

A mask is a picture stretched over the photo: what is opaque in it where a part of it is transparent, so that a cut-out
is a mask; else what is light. 1 is painted in full, 0 is left as it is.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from impasto.errors import ImpastoError, PictureError, UnknownName
from impasto.runtime.canvas import Surface, resampled
from impasto.runtime.files import open_source
from impasto.runtime.fitting import header
from impasto.runtime.picture import DEFAULT_MAX_PIXELS, Picture, resized_size
from impasto.runtime.pixels.color import LUMA
from impasto.runtime.tiles import Area

F32 = NDArray[np.float32]
MaskSource: TypeAlias = str | Path | bytes | Picture | NDArray[Any]
Foreground = Literal["auto", "protect"]
FOREGROUNDS: tuple[str, ...] = get_args(Foreground)

FEATHER = 0.004
"""How wide soft edges are unless told, as a share of the photo's long side: some 4 pixels of a thousand."""

LARGEST_SIDE = 4096
"""Pixels of a mask's long side that are kept: more make no difference that a feathered edge would show."""

_WHOLE = 16_000_000  # pixels up to which a mask is decoded whole
_EDGE = 2.563  # from 10 to 90 % of an edge that a Gaussian has blurred, in deviations
_FINE = 4.0  # deviations in pixels beyond which a mask is made smaller before it is blurred
_SNAP = 1e-5  # what is so close to 0 or 1 is meant to be it


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Where a photo is painted; what several of the fields say holds together (their product).

    Attributes:
        paint: it is painted where this is light: a file, the bytes of one, a picture or an array [h,w] in 0..1.
        protect: it is painted where this is dark.
        foreground: ``"auto"``: what stands in front is found, and only that is painted; ``"protect"``: only the rest.
        feather: how wide soft edges become, from 10 to 90 percent: a share of the photo's long side, 0 to 0.5; or
            pixels of the photo, as ``"12px"``. 0: masks are taken as sharp as they are.

    Raises:
        UnknownName: there is no such way to find a foreground.
        ImpastoError: the feather cannot be used.
    """

    paint: MaskSource | None = None
    protect: MaskSource | None = None
    foreground: str | None = None
    feather: float | str = FEATHER

    def __post_init__(self) -> None:
        if self.foreground is not None and self.foreground not in FOREGROUNDS:
            raise UnknownName("foreground", self.foreground, FOREGROUNDS)
        feather_pixels(self.feather, 1)

    def opened(self) -> Self:
        """The same with its files read, so that they are read once for many photos.

        Raises:
            PictureError: a file cannot be read.
        """
        paint = None if self.paint is None else open_mask(self.paint)
        return replace(self, paint=paint, protect=None if self.protect is None else open_mask(self.protect))

    @property
    def mark(self) -> str:
        """A name for it that changes with it: 64 hexadecimal digits."""
        parts: list[object] = [self.foreground, self.feather]
        for source in (self.paint, self.protect):
            plane = None if source is None else open_mask(source)
            parts.append(None if plane is None else [plane.shape, hashlib.sha256(plane.tobytes()).hexdigest()])
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def over(self, photo: Surface) -> Cover:
        """The mask laid over a photo.

        Raises:
            PictureError: a file cannot be read.
            ImpastoError: no foreground is found.
            EngineError: it is to be found and OpenCV is not installed.
        """
        size = photo.width, photo.height
        width = feather_pixels(self.feather, max(size))
        planes = []
        if self.paint is not None:
            planes.append(feathered(open_mask(self.paint), size, width))
        if self.protect is not None:
            planes.append(1.0 - feathered(open_mask(self.protect), size, width))
        if self.foreground is not None:
            from impasto.runtime.foreground import find_foreground

            found = feathered(find_foreground(photo), size, width)
            planes.append(found if self.foreground == "auto" else 1.0 - found)
        return Cover(planes, size)


class Cover:
    """Planes [h,w] in 0..1 of any sizes, stretched over a photo of ``size`` (width, height) and multiplied."""

    def __init__(self, planes: Sequence[F32], size: tuple[int, int]) -> None:
        self._planes, self._size = list(planes), size

    def at(self, area: Area) -> F32:
        """How strongly each pixel of a part of the photo is painted: float32 [h,w] in 0..1."""
        out = np.ones((area.height, area.width), np.float32)
        for plane in self._planes:
            out *= stretched(plane, self._size, area)
        return out


def open_mask(source: MaskSource) -> F32:
    """The values of a mask, at its own size or with 4096 pixels a side.

    Args:
        source: a picture file or its bytes; a picture; or an array [h,w] of floats in 0..1, of booleans, or of uint8.

    Returns:
        float32 [h,w] in 0..1.

    Raises:
        PictureError: the file cannot be read, or the array is no mask.
    """
    if isinstance(source, np.ndarray):
        return _of_array(source)
    if isinstance(source, Picture):
        return _limited(_values(source.rgb, source.alpha))
    if isinstance(source, bytes):
        return open_mask(Picture.open(source))
    with open_source(source) as (file, kind, name):
        width, height, _ = header(file, kind, name, DEFAULT_MAX_PIXELS)
        if width * height > _WHOLE:
            return _read_in_strips(file, kind, name)
    return open_mask(Picture.open(source))


def feather_pixels(feather: float | str, long_side: int) -> float:
    """The width of soft edges in pixels of a photo.

    Raises:
        ImpastoError: it is neither a share from 0 to 0.5 nor pixels.
    """
    text = str(feather).strip().lower()
    share = not text.endswith("px")
    try:
        number = float(text if share else text[:-2])
    except ValueError:
        number = math.nan
    if not (0 <= number <= 0.5 if share else 0 <= number < math.inf):
        raise ImpastoError(
            f"The feather {feather} cannot be used: give a share of the long side from 0 to 0.5, or pixels like 12px."
        )
    return number * long_side if share else number


def feathered(plane: F32, size: tuple[int, int], width: float) -> F32:
    """A mask with soft edges.

    Args:
        plane: float32 [h,w] in 0..1.
        size: width and height of the photo that it will be stretched over.
        width: of an edge, from 10 to 90 percent, in pixels of the photo.

    Returns:
        float32, blurred by a Gaussian; smaller than it was where that loses nothing. What was 0 or 1 all around stays.
    """
    across, down = (width / _EDGE * side / whole for side, whole in zip(plane.shape[::-1], size, strict=True))
    if max(across, down) <= 0.1:
        return plane
    sides = [
        max(1, round(side * min(1.0, _FINE / max(spread, 1e-9))))
        for side, spread in zip(plane.shape[::-1], (across, down), strict=True)
    ]
    across, down = across * sides[0] / plane.shape[1], down * sides[1] / plane.shape[0]
    if (sides[0], sides[1]) != plane.shape[::-1]:
        plane = _resized(plane, (sides[0], sides[1]))
    soft = _blurred(_blurred(plane, down).T, across).T
    soft[soft > 1 - _SNAP] = 1.0
    soft[soft < _SNAP] = 0.0
    return np.ascontiguousarray(soft)


def stretched(plane: F32, size: tuple[int, int], area: Area) -> F32:
    """The part of a mask that lies over an area of a photo of ``size`` (width, height): float32 [h,w], bilinear."""
    if plane.shape == size[::-1]:
        return plane[area.top : area.bottom, area.left : area.right]
    across, down = plane.shape[1] / size[0], plane.shape[0] / size[1]
    right, bottom = min(area.right * across, plane.shape[1]), min(area.bottom * down, plane.shape[0])
    return _resized(plane, (area.width, area.height), (area.left * across, area.top * down, right, bottom))


def _resized(plane: F32, size: tuple[int, int], box: tuple[float, float, float, float] | None = None) -> F32:
    from PIL import Image

    # Not Picture.resized's Lanczos: it overshoots, and a mask would leave marks beside its edges.
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR, box))


def _blurred(plane: F32, spread: float) -> F32:
    """Down the columns, by a Gaussian of this deviation in pixels; beyond its borders the plane goes on as it ends."""
    reach = math.ceil(3 * spread)
    if reach == 0:
        return plane
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / spread) ** 2)
    kernel /= kernel.sum()
    framed = np.pad(plane, ((reach, reach), (0, 0)), mode="edge")
    out = np.zeros_like(plane)
    for offset, weight in enumerate(kernel):
        out += np.float32(weight) * framed[offset : offset + len(plane)]
    return out


def _of_array(array: NDArray[Any]) -> F32:
    if array.ndim != 2 or array.size == 0 or not (array.dtype.kind == "f" or array.dtype.name in ("bool", "uint8")):
        raise PictureError(
            f"A mask is an array [h,w] of floats, booleans or uint8, not {array.dtype} {list(array.shape)}: convert it."
        )
    values = array.astype(np.float32) / np.float32(255 if array.dtype == np.uint8 else 1)
    if not ((values >= 0) & (values <= 1)).all():
        raise PictureError("A mask goes from 0, the photo, to 1, painted in full: bring the array into 0 to 1.")
    return _limited(values)


def _values(rgb: F32, alpha: F32 | None) -> F32:
    if alpha is not None and float(alpha.min()) < 1.0:
        return alpha
    return _brightness(rgb)


def _brightness(rgb: F32) -> F32:
    # Of a grey pixel exactly its grey, which the weighted sum has only but for its last bits.
    grey = (rgb[..., 0] == rgb[..., 1]) & (rgb[..., 1] == rgb[..., 2])
    luma = np.clip(rgb[..., 0] * LUMA[0] + rgb[..., 1] * LUMA[1] + rgb[..., 2] * LUMA[2], 0.0, 1.0)
    values: F32 = np.where(grey, rgb[..., 0], luma)
    return values


def _limited(plane: F32) -> F32:
    if max(plane.shape) <= LARGEST_SIDE:
        return plane
    return _resized(np.ascontiguousarray(plane), resized_size((plane.shape[1], plane.shape[0]), LARGEST_SIDE))


def _read_in_strips(file: Any, kind: str, name: str) -> F32:
    """A mask that would take much memory, by way of the disk, in its reduced size."""
    import tempfile  # few need it, and it brings much

    from impasto.runtime.pixels.strips import decode_to_canvas

    canvas, _ = decode_to_canvas(file, kind, name, Path(tempfile.gettempdir()))
    with canvas:
        size = canvas.width, canvas.height
        if max(size) > LARGEST_SIDE:
            size = resized_size(size, LARGEST_SIDE)
        light, opaque = np.empty(size[::-1], np.float32), np.ones(size[::-1], np.float32)
        for area, rgb, alpha in resampled(canvas, size):
            light[area.top : area.bottom] = _brightness(rgb)
            if alpha is not None:
                opaque[area.top : area.bottom] = alpha
    return opaque if float(opaque.min()) < 1.0 else light
