"""Embedded colour profiles: from whatever a file says its numbers mean, to sRGB.

8-bit pixels go through LittleCMS (Pillow's ImageCms). Pillow offers it no 16-bit RGB, so 16-bit pixels go through the
same arithmetic written here, for the profiles that are curves and a matrix (nearly all RGB and grey ones); a test
holds the two together. ImageCms is imported only when a file has a profile.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK", b"Lab ": "LAB"}

# sRGB's primaries as seen under D50, the profile connection space's white: columns R, G, B (Bradford-adapted).
_SRGB_TO_XYZ = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)


class ProfileError(Exception):
    """The profile is damaged, or not for pixels of this kind."""


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """An sRGB profile, the same bytes on every call and every day."""
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = struct.pack(">6H", 2025, 1, 1, 0, 0, 0)  # LittleCMS writes the time of day here
    return bytes(profile)


def profile_space(profile: bytes) -> str:
    """The Pillow mode of the pixels that a profile describes: RGB, L, CMYK or LAB.

    Raises:
        ProfileError: not a profile, cut short, or for another kind of device.
    """
    if len(profile) < 132 or profile[36:40] != b"acsp" or int.from_bytes(profile[:4], "big") > len(profile):
        raise ProfileError("damaged")
    try:
        return _SPACES[profile[16:20]]
    except KeyError:
        raise ProfileError("of an unknown kind") from None


@lru_cache(maxsize=8)
def is_srgb(profile: bytes, mode: str) -> bool:
    """Whether a profile means sRGB (or grey with sRGB's curve), to within one level of 8 bits on a probe of colours.

    Such pixels are kept exactly as they are: most photographs, and every picture that impasto wrote itself.

    Args:
        profile: the profile's bytes.
        mode: Pillow's mode of the pixels that it came with.

    Raises:
        ProfileError: damaged, or not for pixels of this mode.
    """
    from PIL import Image

    if profile_space(profile) != mode:
        raise ProfileError("for another kind of picture")
    if mode not in ("RGB", "L"):
        return False
    if mode == "RGB":
        steps = np.linspace(0, 255, 9).round().astype(np.uint8)
        probe: NDArray[np.uint8] = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    else:
        probe = np.arange(256, dtype=np.uint8).reshape(16, 16)
    converted = np.asarray(_transform(mode, profile)(Image.fromarray(probe)))
    return int(np.abs(converted.astype(int) - probe.reshape(*probe.shape[:2], -1)).max()) <= 1


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """An image of mode RGB, L, CMYK or LAB, converted to sRGB at 8 bits.

    Raises:
        ProfileError: damaged, or not for pixels of this mode.
    """
    if profile_space(profile) != image.mode:
        raise ProfileError("for another kind of picture")
    return _transform(image.mode, profile)(image)


def lab_to_srgb(image: Image.Image) -> Image.Image:
    """An image of mode LAB (D50), converted to sRGB at 8 bits."""
    return _transform("LAB", None)(image)


@lru_cache(maxsize=8)
def _transform(mode: str, profile: bytes | None) -> Callable[[Image.Image], Image.Image]:
    """The function that takes an image of ``mode`` from ``profile`` (None: Lab itself) to sRGB."""
    from PIL import ImageCms

    try:
        source = ImageCms.createProfile("LAB") if profile is None else ImageCms.ImageCmsProfile(BytesIO(profile))
        # Relative colorimetric with black point compensation: what photo editors do by default. It keeps every
        # colour that sRGB can show, and the deepest ink black becomes black.
        built = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (OSError, ImageCms.PyCMSError, TypeError, ValueError) as error:
        raise ProfileError("damaged") from error

    def apply(image: Image.Image) -> Image.Image:
        result = ImageCms.applyTransform(image, built)
        assert result is not None  # it is None only when converting in place
        return result

    return apply


def to_srgb_deep(pixels: NDArray[np.uint16], profile: bytes) -> NDArray[np.float32] | None:
    """16-bit pixels converted to sRGB in floating point.

    Args:
        pixels: uint16 [H,W,3] for an RGB profile, [H,W,1] for a grey one.
        profile: the profile's bytes.

    Returns:
        float32 [H,W,3] in 0..1, or None if the profile is not curves and a matrix.

    Raises:
        ProfileError: damaged, or not for pixels of this kind.
    """
    if profile_space(profile) != {3: "RGB", 1: "L"}[pixels.shape[2]]:
        raise ProfileError("for another kind of picture")
    try:
        tags = _tags(profile)
        if b"A2B0" in tags or profile[20:24] != b"XYZ ":
            return None
        if pixels.shape[2] == 3:
            names = (b"rTRC", b"gTRC", b"bTRC", b"rXYZ", b"gXYZ", b"bXYZ")
            if any(name not in tags for name in names):
                return None
            curves = [_curve(tags[name]) for name in names[:3]]
            to_xyz = np.stack([_xyz(tags[name]) for name in names[3:]], axis=1)
            black = float(to_xyz[1] @ [curve[0] for curve in curves])
            matrix = np.linalg.inv(_SRGB_TO_XYZ) @ to_xyz
        else:
            if b"kTRC" not in tags:
                return None
            curves, matrix = [_curve(tags[b"kTRC"])], np.ones((3, 1))
            black = float(curves[0][0])
    except (struct.error, IndexError, KeyError, ValueError, OverflowError) as error:
        raise ProfileError("damaged") from error
    # Black point compensation: the profile's deepest black becomes black (at most from L* 50, as LittleCMS has it).
    black = min(max(black, 0.0), 0.184)
    out = np.empty((*pixels.shape[:2], 3), dtype=np.float32)
    rows = max(1, (1 << 18) // max(1, pixels.shape[1]))
    for top in range(0, pixels.shape[0], rows):
        band = pixels[top : top + rows]
        linear = np.stack([curve[band[..., i]] for i, curve in enumerate(curves)], axis=-1)
        out[top : top + rows] = _encode((linear @ matrix.astype(np.float32).T - black) / (1.0 - black))
    return out


def _encode(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear light to sRGB's gamma (IEC 61966-2-1), colours outside sRGB clipped."""
    linear = np.clip(linear, 0.0, 1.0)
    high = 1.055 * np.power(np.maximum(linear, 0.0031308), 1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, high).astype(np.float32)


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    tags = {}
    for i in range(min(count, 200)):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if offset + size > len(profile):
            raise ValueError("a tag lies outside the profile")
        tags[name] = profile[offset : offset + size]
    return tags


def _xyz(tag: bytes) -> NDArray[np.float64]:
    return np.array(struct.unpack_from(">3i", tag, 8)) / 65536.0


def _curve(tag: bytes) -> NDArray[np.float32]:
    """A tone curve as a table: float32 [65536], linear light for every 16-bit value."""
    x = np.linspace(0.0, 1.0, 65536)
    kind, count = tag[:4], 0
    if kind == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            y = x
        elif count == 1:
            y = x ** (struct.unpack_from(">H", tag, 12)[0] / 256.0)
        else:
            points = np.array(struct.unpack_from(f">{count}H", tag, 12)) / 65535.0
            y = np.interp(x, np.linspace(0.0, 1.0, count), points)
    elif kind == b"para":
        (form,) = struct.unpack_from(">H", tag, 8)
        g, *rest = (v / 65536.0 for v in struct.unpack_from(f">{(1, 3, 4, 5, 7)[form]}i", tag, 12))
        # The five forms of ICC.1 table 68, as the last one: (a x + b)^g + e from d on, c x + f below.
        a, b, c, d, e, f = 1.0, 0.0, 0.0, -1.0, 0.0, 0.0
        if form in (1, 2):
            a, b = rest[:2]
            d = -b / a
            e = f = rest[2] if form == 2 else 0.0
        elif form >= 3:
            a, b, c, d = rest[:4]
            e, f = rest[4:] if form == 4 else (0.0, 0.0)
        y = np.where(x >= d, np.maximum(a * x + b, 0.0) ** g + e, c * x + f)
    else:
        raise ValueError("a curve of an unknown kind")
    if not np.isfinite(y).all():
        raise ValueError("a curve without values")
    return np.clip(y, 0.0, 1.0).astype(np.float32)
