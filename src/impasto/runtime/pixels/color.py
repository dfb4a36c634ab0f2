"""Colour helpers: pure functions of float32 arrays, RGB in 0..1 (sRGB, gamma-encoded)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from impasto.errors import PictureError, UnknownName

F32 = NDArray[np.float32]

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of R, G, B in luma (ITU-R BT.601)."""

_BAND = 1 << 16  # pixels worked on at once: small enough for the cache, large enough that numpy's overhead vanishes


KEEP_COLORS = ("off", "luminance", "histogram")
"""What may be kept of the photo's colours: nothing; all but light and dark; how often each occurs."""


def color_mode(keep_colors: bool | str) -> str:
    """One of :data:`KEEP_COLORS`; True is ``"luminance"`` and False ``"off"``.

    Raises:
        UnknownName: there is no such way to keep colours.
    """
    if isinstance(keep_colors, bool):
        return "luminance" if keep_colors else "off"
    if keep_colors not in KEEP_COLORS:
        raise UnknownName("way to keep colours", str(keep_colors), KEEP_COLORS)
    return keep_colors


def keep_colors(painted_rgb: F32, photo_rgb: F32) -> F32:
    """The painting's light and dark with the photo's colours.

    Works in Y'CbCr with the BT.601 weights: Y' from the painting, Cb and Cr from the photo. On gamma-encoded values
    these weights follow the perceived lightness of saturated reds and blues more closely than BT.709's do (blue:
    L* 0.32, BT.601 0.11, BT.709 0.07), and unlike CIELAB it costs no cube roots. Where the result leaves the cube of
    valid colours its chroma is reduced towards grey, by just enough, instead of clipping the channels: clipping
    would change hue and light both, and shows as flat blotches.

    Args:
        painted_rgb: float32 [H,W,3] in 0..1.
        photo_rgb: float32 [H,W,3] in 0..1, the same size.

    Returns:
        float32 [H,W,3] in 0..1, whose luma is the painting's.

    Raises:
        PictureError: the two differ in size.
    """
    if painted_rgb.shape != photo_rgb.shape or painted_rgb.ndim != 3 or painted_rgb.shape[2] != 3:
        raise PictureError(
            f"The painting is {_size(painted_rgb)} and the photo {_size(photo_rgb)}: make them the same size first."
        )
    out = np.empty(painted_rgb.shape, dtype=np.float32)
    rows = max(1, _BAND // max(1, painted_rgb.shape[1]))
    for top in range(0, painted_rgb.shape[0], rows):
        band = slice(top, top + rows)
        photo = np.asarray(photo_rgb[band], dtype=np.float32)
        luma = np.clip(_luma(np.asarray(painted_rgb[band], dtype=np.float32)), 0.0, 1.0)  # [h,W,1]
        chroma = photo - _luma(photo)  # [h,W,3], of luma 0
        # The largest share of the chroma that keeps every channel inside 0..1: upwards there is 1 - luma of room,
        # downwards luma. (High and low of the three channels one by one: three times faster than a reduction.)
        high = np.maximum(np.maximum(chroma[..., 0], chroma[..., 1]), chroma[..., 2])[..., None]
        low = -np.minimum(np.minimum(chroma[..., 0], chroma[..., 1]), chroma[..., 2])[..., None]
        share = np.minimum((1.0 - luma) / np.maximum(high, 1e-6), luma / np.maximum(low, 1e-6))
        out[band] = np.clip(luma + chroma * np.minimum(share, 1.0), 0.0, 1.0)
    return out


def _luma(rgb: F32) -> F32:
    # Not a matrix product: BLAS would wake its threads for it, which costs more than the sum where cores are busy.
    weighted: F32 = rgb[..., 0] * LUMA[0] + rgb[..., 1] * LUMA[1] + rgb[..., 2] * LUMA[2]
    return weighted[..., None]


COLOR_FLOOR = 0.03
"""Deviation that a picture's colours are taken to have at least in every direction."""


def rgb_stats(rgb: F32, alpha: F32 | None = None) -> F32:
    """Mean and population standard deviation of R, G and B over the pixels of a picture.

    Computed on every pixel, to float32's last bits. With ``alpha`` each pixel counts by its opacity, so that what lies
    under transparent pixels does not matter; a picture without any opaque pixel counts as if it were opaque.

    Args:
        rgb: float32 [H,W,3].
        alpha: float32 [H,W] in 0..1, or None.

    Returns:
        float32 [6]: mean R, G, B, then standard deviation R, G, B.

    Raises:
        PictureError: not [H,W,3], without pixels, or of another size than alpha.
    """
    return as_rgb_stats(*_moments(rgb, alpha))


def as_rgb_stats(mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> F32:
    """:func:`rgb_stats` of what has this mean [3] and covariance [3,3]."""
    return np.concatenate([mean, np.sqrt(covariance.diagonal())]).astype(np.float32)


def color_stats(rgb: F32, alpha: F32 | None = None) -> F32:
    """Mean of R, G and B, and the spread of the colours around it.

    The spread is the symmetric matrix S = (covariance + COLOR_FLOOR^2)^(1/2): S applied to white noise has the colours
    of the picture, and its inverse makes them white. The floor keeps a nearly flat or grey picture from being blown up
    to noise.

    Args:
        rgb, alpha: as :func:`rgb_stats` takes them.

    Returns:
        float32 [9]: mean R, G, B, then S as rr, rg, rb, gg, gb, bb.

    Raises:
        PictureError: as :func:`rgb_stats`.
    """
    return as_color_stats(*_moments(rgb, alpha))


def as_color_stats(mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> F32:
    """:func:`color_stats` of what has this mean [3] and covariance [3,3]."""
    values, vectors = np.linalg.eigh(covariance + COLOR_FLOOR**2 * np.eye(3))
    spread = (vectors * np.sqrt(values)) @ vectors.T
    return np.concatenate([mean, spread[np.triu_indices(3)]]).astype(np.float32)


def _moments(rgb: F32, alpha: F32 | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [3] and covariance [3,3] of the colours; see ``rgb_stats``."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise PictureError(f"Colour statistics need an array [H,W,3] with pixels: this one is {list(rgb.shape)}.")
    if alpha is not None and alpha.shape != rgb.shape[:2]:
        raise PictureError(f"The alpha is {_size(alpha)} and the picture {_size(rgb)}: pass them at one size.")
    pixels = rgb.reshape(-1, 3)
    weights = None if alpha is None else alpha.reshape(-1)
    total = float(len(pixels)) if weights is None else float(weights.sum(dtype=np.float64))
    if total <= 0.0:
        weights, total = None, float(len(pixels))
    # Sums around a pixel of the picture, not around zero: the difference of two large sums would lose the deviation
    # of a nearly flat picture.
    origin = pixels[len(pixels) // 2]
    first, second = np.zeros(3), np.zeros((3, 3))
    for start in range(0, len(pixels), _BAND):
        # One channel at a time: faster than sums along a last axis of 3.
        band = [pixels[start : start + _BAND, i] - origin[i] for i in range(3)]
        weight = None if weights is None else weights[start : start + _BAND].astype(np.float64)
        for i, part in enumerate(band):
            share = part if weight is None else part * weight
            first[i] += share.sum()
            for j in range(i, 3):
                # Float32 loses nothing here: numpy adds in pairs, and bands are added in float64.
                second[i, j] += (share * band[j]).sum()
    mean = first / total
    covariance = second / total - np.outer(mean, mean)
    covariance = np.triu(covariance) + np.triu(covariance, 1).T
    np.fill_diagonal(covariance, np.maximum(covariance.diagonal(), 0.0))
    return mean + origin, covariance


def _size(array: NDArray[np.float32]) -> str:
    return f"{array.shape[1]}x{array.shape[0]}" if array.ndim >= 2 else f"of shape {list(array.shape)}"
