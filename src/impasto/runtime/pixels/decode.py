"""File bytes -> float32 RGB, alpha and PictureInfo. Everything a hostile or damaged file can do ends here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from impasto.errors import PictureError
from impasto.runtime.pixels import deep, icc
from impasto.runtime.pixels.metadata import PictureInfo, clean_dpi, clean_exif, clean_xmp

DEFAULT_MAX_PIXELS = 200_000_000
"""Pictures of more pixels are refused unless the caller allows more: 200 million take 2.4 GB as float32 RGB."""

# Pillow's readers by format, called directly: Image.open would load all plugins to try them in turn, and would
# apply its own process-wide pixel limit instead of ours.
_READERS = {
    "JPEG": ("JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PngImagePlugin", "PngImageFile"),
    "WEBP": ("WebPImagePlugin", "WebPImageFile"),
    "AVIF": ("AvifImagePlugin", "AvifImageFile"),
    "TIFF": ("TiffImagePlugin", "TiffImageFile"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
}
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Decoded(NamedTuple):
    """Pixels of a picture, upright and in sRGB: rgb float32 [H,W,3], alpha float32 [H,W] or None, and the rest."""

    rgb: NDArray[np.float32]
    alpha: NDArray[np.float32] | None
    info: PictureInfo


def decode(data: bytes, kind: str, name: str, max_pixels: int | None) -> Decoded:
    """Decode a picture file.

    Args:
        data: the whole file.
        kind: its format, as `impasto.runtime.files.sniff` gives it.
        name: what to call it in messages.
        max_pixels: the most pixels allowed, or None for no limit.

    Raises:
        PictureError: too large, damaged, cut short, or of a kind of pixels that cannot be read.
    """
    reader = reader_of(kind)

    def opener() -> ImageFile.ImageFile:
        image: ImageFile.ImageFile = reader(BytesIO(data))
        return image

    with one_sentence(name):
        image = opener()
        check_size(image, name, max_pixels)
        return _decode_image(image, kind, data, opener)


def reader_of(kind: str) -> Any:
    """Pillow's class for a format: takes an open file, gives an image that is not loaded yet."""
    module, cls = _READERS[kind]
    reader: Any = getattr(import_module(f"PIL.{module}"), cls)
    return _unlimited_tiff(reader) if kind == "TIFF" else reader


def check_size(image: Image.Image, name: str, max_pixels: int | None) -> None:
    """Refuse a picture without pixels, or of more than ``max_pixels``, with a PictureError."""
    width, height = image.size
    if width < 1 or height < 1:
        raise PictureError(f"{name} has no pixels ({width}x{height}): make it again.")
    if max_pixels is not None and width * height > max_pixels:
        raise PictureError(
            f"{name} is {width}x{height} ({width * height:,} pixels), more than the limit of {max_pixels:,}: "
            "shrink it or raise max_pixels."
        )


@contextmanager
def one_sentence(name: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes a PictureError about the file of that name."""
    # Decoders raise nearly anything on damaged bytes (OSError, SyntaxError, struct.error, KeyError, MemoryError...):
    # this is the one place that turns all of it into one sentence.
    try:
        yield
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(f"{name} is larger than its format's reader allows: shrink it first.") from error
    except MemoryError as error:
        raise PictureError(f"{name} does not fit into memory: shrink it first.") from error
    except Exception as error:
        raise PictureError(f"{name} is damaged or cut short ({_reason(error)}): copy or download it again.") from error


def decode_pil(image: Image.Image) -> Decoded:
    """The same for an image that Pillow holds already; the image is left as it is."""
    if image.width < 1 or image.height < 1:
        raise PictureError(f"The image has no pixels ({image.width}x{image.height}): make it again.")
    try:
        return _decode_image(image, image.format or "", b"", None)
    except PictureError:
        raise
    except Exception as error:
        raise PictureError(f"The image cannot be read ({_reason(error)}): convert it to RGB first.") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text[:120] if text else type(error).__name__


def _unlimited_tiff(reader: Any) -> Any:
    class Tiff(reader):  # type: ignore[misc]
        def load_prepare(self) -> None:
            # Pillow's reader asks its process-wide limit here once more; ours was asked already.
            if self._im is None:
                self.im = Image.new(self.mode, self._tile_size).im
            super().load_prepare()

    return Tiff


def _decode_image(image: Image.Image, kind: str, data: bytes, opener: deep.Opener | None) -> Decoded:
    notes: list[str] = []
    note_frames(image, kind, notes)
    samples = _deep_samples(image, kind, data, opener, notes)
    image.load()
    upright, exif, xmp = orientation(image, notes)
    profile, info = profile_and_info(image, kind, xmp)

    if samples is not None:
        samples = with_key(samples, image.info.get("transparency"))
        if upright is not None:
            samples = turn(samples, upright)
        rgb, alpha, info, converted = from_deep(samples, profile, info, notes)
    else:
        turned = image if upright is None else image.transpose(TURNS[upright])
        rgb, alpha, info, converted = from_pillow(turned, profile, info, notes)
    return Decoded(np.ascontiguousarray(rgb), alpha, with_exif(info, exif, converted, notes))


def note_frames(image: Image.Image, kind: str, notes: list[str]) -> None:
    """Say that the other frames or pages are left out, where there are some."""
    frames = _frames(image, kind)
    if frames > 1:
        what = "pages" if kind == "TIFF" else "frames"
        notes.append(f"{'It has' if kind == 'TIFF' else 'Animated:'} {frames} {what}; only the first is used.")


def profile_and_info(image: Image.Image, kind: str, xmp: bytes | None) -> tuple[bytes | None, PictureInfo]:
    """The colour profile that a file came with, and what is known of it before its pixels are looked at."""
    profile = image.info.get("icc_profile")
    info = PictureInfo(dpi=clean_dpi(image.info.get("dpi")), format=kind, xmp=xmp)
    return (profile if isinstance(profile, bytes) and profile else None), info


def with_exif(info: PictureInfo, exif: Image.Exif | None, converted: bool, notes: list[str]) -> PictureInfo:
    """``info`` with the EXIF block and all notes."""
    if exif is not None:
        try:
            info = replace(info, exif=clean_exif(exif, converted=converted))
        except Exception:  # EXIF is written by every camera in its own way; the pixels matter more
            notes.append("Its EXIF data is damaged and was left out.")
    return replace(info, notes=tuple(notes))


def _frames(image: Image.Image, kind: str) -> int:
    if kind in ("JPEG", "MPO"):
        return 1  # phones hide previews and depth maps behind the picture: no animation
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # a damaged later frame does not concern the first
        return 1


def orientation(image: Image.Image, notes: list[str]) -> tuple[int | None, Image.Exif | None, bytes | None]:
    """Which turn the loaded pixels still need (None: none), the EXIF block and the XMP packet."""
    xmp = clean_xmp(image.info.get("xmp") or image.info.get("XML:com.adobe.xmp"))
    try:
        exif = image.getexif()
        # Pillow's TIFF reader has turned the pixels and dropped the tag when it loaded them.
        tag = exif.get(0x0112, 1)
        return (tag if tag in TURNS else None), (exif if len(exif) else None), xmp
    except Exception:
        notes.append("Its EXIF data is damaged and was left out.")
        return None, None, xmp


def turn(samples: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Array [H,W,C] with the EXIF orientation (2 to 8) undone."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)  # orientation 5; 6, 7 and 8 are mirrors of it
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return samples


def _deep_samples(
    image: Image.Image, kind: str, data: bytes, opener: deep.Opener | None, notes: list[str]
) -> NDArray[np.uint16] | None:
    """uint16 [H,W,1..4] if the picture has 16 bits a channel and they can be had, else None."""
    if image.mode.startswith("I;16"):
        return sixteen_bit_grey(image, white_is_zero(image, kind))
    if opener is None or not isinstance(image, ImageFile.ImageFile):
        return None
    if kind == "PNG":
        depth = deep.deep_png_kind(data)
        return None if depth is None else deep.read_deep_png(image, opener, depth)
    if kind == "TIFF":
        rawmode = deep.deep_tiff_rawmode(image)
        if rawmode is not None:
            return deep.read_deep_tiff(image, opener, rawmode)
        note_lost_bits(image, notes)
    return None


def sixteen_bit_grey(image: Image.Image, inverted: bool) -> NDArray[np.uint16]:
    """uint16 [H,W,1] of an image that Pillow holds with 16 bits."""
    samples = np.array(image, dtype=np.uint16)[..., None]
    return 65535 - samples if inverted else samples


def white_is_zero(image: Image.Image, kind: str) -> bool:
    """Whether 0 means white in the samples as Pillow gives them."""
    return kind == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0


def note_lost_bits(image: Image.Image, notes: list[str]) -> None:
    """Say so where a TIFF has more bits than are read."""
    bits = getattr(image, "tag_v2", {}).get(258, (8,))
    if image.mode in ("RGB", "RGBA", "CMYK") and max(bits) > 8:
        notes.append(f"Stored with {max(bits)} bits a channel, of which 8 are read.")


def with_key(samples: NDArray[np.uint16], key: object) -> NDArray[np.uint16]:
    """Samples with an alpha channel where the file names one colour (an int or three) as transparent."""
    if samples.shape[2] not in (1, 3) or not isinstance(key, int | tuple):
        return samples
    same = samples == np.array(key, dtype=np.int64)
    alpha = np.where(same.all(axis=2, keepdims=True), np.uint16(0), np.uint16(65535))
    return np.concatenate([samples, alpha], axis=2)


_Parts = tuple[NDArray[np.float32], NDArray[np.float32] | None, PictureInfo, bool]


def from_deep(samples: NDArray[np.uint16], profile: bytes | None, info: PictureInfo, notes: list[str]) -> _Parts:
    """The same from samples of 16 bits, [H,W,1..4]."""
    channels = samples.shape[2]
    colour, alpha = samples, None
    if channels in (2, 4):
        colour, alpha = samples[..., :-1], unit(samples[..., -1])
    grey = channels <= 2
    info = replace(info, depth=16, grey=grey)
    if profile is not None:
        try:
            mode = "L" if grey else "RGB"
            if icc.is_srgb(profile, mode):
                return _rgb(unit(colour)), alpha, replace(info, icc=_kept(profile, mode)), False
            rgb = icc.to_srgb_deep(colour, profile)
            if rgb is None:
                eight = ((colour.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
                rgb = unit(np.asarray(icc.to_srgb(Image.fromarray(eight[..., 0] if grey else eight), profile)))
                info = replace(info, depth=8)
                notes.append("Its colour profile is made of tables: 16 bits were converted to sRGB at 8.")
            return rgb, alpha, replace(info, icc=icc.srgb_profile()), True
        except icc.ProfileError as error:
            notes.append(f"Its colour profile is {error} and was ignored.")
    return _rgb(unit(colour)), alpha, info, False


def _rgb(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values


def _kept(profile: bytes, mode: str) -> bytes:
    """The profile to write for pixels that were left alone: a grey one does not fit the RGB that is written."""
    return profile if mode == "RGB" else icc.srgb_profile()


def from_pillow(
    image: Image.Image,
    profile: bytes | None,
    info: PictureInfo,
    notes: list[str],
    ends: tuple[float, float] | None = None,
) -> _Parts:
    """Pixels of an image, or of a part of one.

    Args:
        image: loaded and upright.
        profile: its colour profile.
        info: what is known of it; depth, grey and icc are added.
        notes: sentences are added.
        ends: least and greatest value of the whole, where the image is a part of one of mode I or F.
    """
    mode = image.mode
    if mode in ("I", "F"):
        values = np.asarray(image).astype(np.float64)
        return _stretched(values, ends or limits(values), mode, notes), None, replace(info, grey=True), False
    alpha = None
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        straight = (image.convert("LA") if mode == "La" else image).convert("RGBA")
        alpha = unit(np.asarray(straight.getchannel("A")))
        image = straight.getchannel("R") if mode in ("LA", "La", "L", "1") else straight.convert("RGB")
    grey = image.mode in ("1", "L")
    info = replace(info, grey=grey)
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("RGB")

    if image.mode == "LAB":
        return unit(np.asarray(icc.lab_to_srgb(image))), alpha, replace(info, icc=icc.srgb_profile()), True
    if profile is not None:
        try:
            if icc.is_srgb(profile, image.mode):
                rgb = unit(np.asarray(image.convert("RGB")))
                return rgb, alpha, replace(info, icc=_kept(profile, image.mode)), False
            rgb = unit(np.asarray(icc.to_srgb(image, profile)))
            return rgb, alpha, replace(info, icc=icc.srgb_profile()), True
        except icc.ProfileError as error:
            notes.append(f"Its colour profile is {error} and was ignored.")
    if image.mode == "CMYK":
        notes.append("CMYK without a usable colour profile: the colours are approximate.")
    return unit(np.asarray(image.convert("RGB"))), alpha, info, False


def limits(values: NDArray[Any]) -> tuple[float, float]:
    """Least and greatest value; PictureError where some are no numbers."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(high - low):
        raise PictureError("The picture holds values that are no numbers: convert it to 8 or 16 bits first.")
    return low, high


def _stretched(
    values: NDArray[np.float64], ends: tuple[float, float], mode: str, notes: list[str]
) -> NDArray[np.float32]:
    """Grey of 32-bit integers (mode I) or floats (mode F), whose white nobody wrote down."""
    low, high = ends
    if mode == "I" and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    elif mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    else:
        notes.append(f"Its values run from {low:g} to {high:g}; they were stretched from black to white.")
    grey = (values - low) / max(high - low, 1e-30)
    return np.repeat(grey.astype(np.float32)[..., None], 3, axis=2)


def unit(values: NDArray[Any]) -> NDArray[np.float32]:
    """uint8 or uint16 samples as float32 in 0..1."""
    # Multiplying by 1/255 is twice as fast as dividing, but off by one last bit for some values.
    levels = np.float32(65535 if values.dtype == np.uint16 else 255)
    return np.asarray(np.divide(values, levels, dtype=np.float32), dtype=np.float32)
