"""Picture: the one form in which pixels move through impasto.

>>> Picture.open("photo.jpg").resized(512).save("small.png")                  # doctest: +SKIP

What a person's file held is kept or the loss is said aloud (`PictureInfo.notes`, `Picture.losses`): orientation is
applied once, colours are converted to sRGB, alpha, 16 bits, EXIF, XMP and dpi travel to the output. An output has an
sRGB profile if, and only if, the input had a profile; without one a file is sRGB by convention.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from impasto.errors import PictureError
from impasto.runtime.files import SUFFIXES, Source, check_target, format_for, read_source, write_atomic
from impasto.runtime.pixels.color import color_stats, keep_colors, rgb_stats
from impasto.runtime.pixels.decode import DEFAULT_MAX_PIXELS, Decoded, decode, decode_pil
from impasto.runtime.pixels.encode import encode, losses, quantized
from impasto.runtime.pixels.metadata import PictureInfo

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["DEFAULT_MAX_PIXELS", "Picture", "PictureInfo", "color_stats", "keep_colors", "resize_plane", "rgb_stats"]

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A still picture in memory.

    Attributes:
        rgb: float32 [H,W,3] in 0..1, sRGB (gamma-encoded), upright.
        alpha: float32 [H,W] in 0..1 (0 is transparent; rgb is not premultiplied), or None for an opaque picture.
        info: what travels to the output beside the pixels.

    Raises:
        PictureError: the arrays have other types or shapes.
    """

    rgb: F32
    alpha: F32 | None = None
    info: PictureInfo = field(default_factory=PictureInfo)

    def __post_init__(self) -> None:
        if self.rgb.dtype != np.float32 or self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.size == 0:
            raise PictureError(
                f"A picture is float32 [H,W,3] with pixels, not {self.rgb.dtype} {list(self.rgb.shape)}: "
                "use Picture.from_array."
            )
        if self.alpha is not None and (self.alpha.dtype != np.float32 or self.alpha.shape != self.rgb.shape[:2]):
            raise PictureError(
                f"Alpha is float32 {list(self.rgb.shape[:2])} for this picture, not {self.alpha.dtype} "
                f"{list(self.alpha.shape)}: use Picture.from_array."
            )

    def __repr__(self) -> str:
        width, height = self.size
        extra = "" if self.alpha is None else ", alpha"
        return (
            f"Picture({width}x{height}{extra}, {self.info.depth} bit{', ' * bool(self.info.format)}{self.info.format})"
        )

    @classmethod
    def open(cls, source: Source, *, max_pixels: int | None = DEFAULT_MAX_PIXELS) -> Picture:
        """Read JPEG, PNG, WebP, AVIF, TIFF, GIF or BMP; of several frames or pages, the first.

        Args:
            source: a path, the bytes of a file, or a file open in binary mode.
            max_pixels: refuse larger pictures before decoding them; None for no limit.

        Raises:
            PictureError: missing, a folder, not permitted, empty, not a picture, damaged, cut short or too large.
        """
        data, kind, name = read_source(source)
        return cls._of(decode(data, kind, name, max_pixels))

    @classmethod
    def from_pil(cls, image: Image.Image) -> Picture:
        """The same from an image that Pillow holds: turned upright, converted to sRGB.

        Raises:
            PictureError: no pixels, or a mode that cannot be read.
        """
        return cls._of(decode_pil(image))

    @classmethod
    def _of(cls, decoded: Decoded) -> Picture:
        return cls(decoded.rgb, decoded.alpha, decoded.info)

    @classmethod
    def from_array(cls, array: NDArray[Any]) -> Picture:
        """A picture of an array; the array is copied.

        Args:
            array: [H,W] grey, [H,W,1] grey, [H,W,3] RGB or [H,W,4] RGBA, sRGB; uint8 0..255, uint16 0..65535 or any
                float 0..1 (values outside are clipped).

        Raises:
            PictureError: another type or shape, no pixels, or NaN.
        """
        array = np.asarray(array)
        if array.ndim == 2:
            array = array[..., None]
        if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
            raise PictureError(f"An array of shape {list(array.shape)} is no picture: give [H,W], [H,W,3] or [H,W,4].")
        levels = {"uint8": 255, "uint16": 65535}.get(array.dtype.name)
        if levels is not None:
            values = np.divide(array, np.float32(levels), dtype=np.float32)
        elif array.dtype.kind == "f":
            values = _clipped(array)
        else:
            raise PictureError(f"An array of {array.dtype} is no picture: give uint8, uint16 or floats in 0..1.")
        rgb = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else np.ascontiguousarray(values[..., :3])
        alpha = np.ascontiguousarray(values[..., 3]) if values.shape[2] == 4 else None
        return cls(rgb, alpha, PictureInfo(depth=16 if levels == 65535 else 8, grey=values.shape[2] == 1))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]

    def to_pil(self) -> Image.Image:
        """An 8-bit image of Pillow: mode RGB, or RGBA where there is alpha."""
        from PIL import Image

        return Image.fromarray(quantized(self.rgb, self.alpha, 255))

    def with_rgb(self, rgb: NDArray[Any]) -> Picture:
        """The same picture with other colours; alpha and info stay.

        Args:
            rgb: floats [H,W,3] of this picture's size, sRGB 0..1 (values outside are clipped).

        Raises:
            PictureError: another size or type, or NaN.
        """
        rgb = np.asarray(rgb)
        if rgb.shape != self.rgb.shape or rgb.dtype.kind != "f":
            raise PictureError(
                f"The new colours are {rgb.dtype} {list(rgb.shape)}, but this picture needs floats "
                f"{list(self.rgb.shape)}: resize one of them first."
            )
        return replace(self, rgb=_clipped(rgb))

    def resized(self, long_side: int) -> Picture:
        """The picture with its longer side at ``long_side`` pixels, larger or smaller; the shape is kept.

        Lanczos on the gamma-encoded values, in floating point. Colours are weighted by alpha, so that what lies under
        transparent pixels does not bleed into the edge.

        Raises:
            PictureError: below 1 pixel, or so large that the result has more than `DEFAULT_MAX_PIXELS`.
        """
        if long_side < 1:
            raise PictureError(f"A picture cannot be {long_side} pixels long: give a size from 1 on.")
        if long_side == max(self.size):
            return self
        size = resized_size(self.size, long_side)
        if size[0] * size[1] > DEFAULT_MAX_PIXELS:
            raise PictureError(
                f"{size[0]}x{size[1]} is more than {DEFAULT_MAX_PIXELS:,} pixels: choose a smaller size."
            )
        rgb, alpha = resample(self.rgb, self.alpha, size)
        return replace(self, rgb=rgb, alpha=alpha)

    def losses(self, target: str | os.PathLike[str]) -> tuple[str, ...]:
        """What saving under this name (or as this format) cannot keep: sentences, empty if everything is kept.

        Raises:
            PictureError: the suffix or format cannot be written.
        """
        return losses(_format(target), self.alpha, self.info)

    def to_bytes(self, format: str, *, strip: bool = False, quality: int | None = None) -> bytes:
        """The bytes of a picture file.

        Args:
            format: ``"jpeg"``, ``"png"``, ``"webp"``, ``"avif"``, ``"tiff"``, or a suffix such as ``".jpg"``.
            strip: leave out EXIF (places, times, cameras), XMP and dpi; the colour profile stays.
            quality: 1 to 100 for JPEG, WebP and AVIF (92, 90 and 80 unless given).

        Raises:
            PictureError: the format is not known, cannot hold the picture, or the quality does not exist.
        """
        return encode(self.rgb, self.alpha, self.info, _format(format), strip=strip, quality=quality)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        strip: bool = False,
        quality: int | None = None,
    ) -> tuple[str, ...]:
        """Write the picture in the format of the suffix, all of it or nothing; a missing folder is created.

        Args:
            path: where, ending in .jpg, .jpeg, .png, .webp, .avif, .tif or .tiff.
            overwrite: replace what is there.
            strip: as in `to_bytes`.
            quality: as in `to_bytes`.

        Returns:
            What the format could not keep, as `losses` says it.

        Raises:
            PictureExists: something is there and ``overwrite`` is False.
            PictureError: the place or the format cannot be written.
        """
        check_target(path, overwrite=overwrite)
        kind = format_for(path)
        write_atomic(path, self.to_bytes(kind, strip=strip, quality=quality), overwrite=overwrite)
        return losses(kind, self.alpha, self.info)


def _format(target: str | os.PathLike[str]) -> str:
    """JPEG for "jpeg", "jpg", ".jpg" and "a/b.jpg"."""
    name = os.fspath(target)
    bare = f".{name.lower()}"
    if bare in SUFFIXES:
        return SUFFIXES[bare]
    return SUFFIXES[name.lower()] if name.lower() in SUFFIXES else format_for(Path(name))


def _clipped(values: NDArray[Any]) -> F32:
    # The sum is NaN or infinite if any value is: one pass, no array of booleans.
    if not np.isfinite(values.sum(dtype=np.float64)):
        raise PictureError("The pixels hold values that are no numbers (NaN or infinite): check what made them.")
    clipped: F32 = np.clip(values, 0.0, 1.0, dtype=np.float32, casting="same_kind")
    return clipped


def resized_size(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """Width and height of a picture of ``size`` (width, height) once its longer side has ``long_side`` pixels."""
    width, height = size
    scale = long_side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def resample(
    rgb: F32, alpha: F32 | None, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> tuple[F32, F32 | None]:
    """A picture, or a part of one, at another size; see `Picture.resized`.

    Args:
        rgb: [H,W,3].
        alpha: [H,W], or None.
        size: width and height of the result.
        box: left, top, right and bottom of the part that is wanted; what lies around it is looked at, too.

    Returns:
        rgb [h,w,3] and alpha [h,w] or None, in 0..1.
    """
    out = np.empty((size[1], size[0], 3), dtype=np.float32)
    small = None
    if alpha is not None:
        small = resize_plane(alpha, size, box)
        share = np.maximum(small, 1e-6)
    for channel in range(3):
        plain = resize_plane(rgb[..., channel], size, box)
        if alpha is not None and small is not None:
            weighted = resize_plane(rgb[..., channel] * alpha, size, box) / share
            # Where all is transparent there is no weight to divide by: keep the colours that lie there.
            plain = np.where(small > 1 / 512, weighted, plain)
        out[..., channel] = plain
    np.clip(out, 0.0, 1.0, out=out)  # Lanczos overshoots at edges
    return out, None if small is None else np.clip(small, 0.0, 1.0)


def resize_plane(plane: F32, size: tuple[int, int], box: tuple[float, float, float, float] | None = None) -> F32:
    """One channel [H,W] at another size (width, height): Lanczos in floating point, which overshoots 0..1 at edges."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(plane))  # mode F
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS, box))
