"""The colours of one picture given to another: its whole distribution, not only its mean.

Preserving the colours of the photo by matching distributions is due to Gatys et al., "Preserving Color in Neural
Artistic Style Transfer" (2016, arXiv:1606.05897), who match before the transfer; here what was painted is matched, so
that it does for any painter. Two steps: the linear map of least cost that gives the colours their mean and covariance
(Pitie and Kokaram, "The linear Monge-Kantorovitch linear colour mapping", 2007), then a curve for each of R, G and B
that gives the channel its histogram. The first does what curves cannot (turn blues into greens), the second what no
linear map can, and it leaves no value outside the photo's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from impasto.errors import PictureError
from impasto.runtime.canvas import Sheet, Surface, moments_of
from impasto.runtime.pixels.color import COLOR_FLOOR
from impasto.runtime.tiles import Area

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

BAND = 1 << 18
"""Pixels that finishing works on at once; it makes several copies of them."""

GAIN = 6.0
"""What the linear map, or all of it together, may stretch differences by. Where a photo has two tones and nothing
between, an exact match would tear the painting's middle tones apart and blow its grain up to specks."""

LEAST_GAIN = 2.0
"""What curves may always stretch by, however much the linear map does."""

_LEVELS = 255  # bins between 0 and 1: those of 8 bits, for there most photos have their colours
_SAME = 1e-9  # shares that differ by less are one
_LOW, _HIGH = -1, 2  # what the linear map gives beyond is as rare as it is wrong


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """How the colours of a painting become those of a photo.

    Attributes:
        matrix: float32 [3,3], then
        shift: float32 [3] is added, then
        curves: float32 [3,n]: what values of each channel become, 0..1; n of them, evenly from -1 to 2.
    """

    matrix: F32
    shift: F32
    curves: F32

    def __call__(self, rgb: F32) -> F32:
        """float32 [h,w,3] of the painting to that of the photo, 0..1."""
        out = np.empty_like(rgb)
        for i, channel in enumerate(self._moved(rgb)):
            out[..., i] = np.interp(channel, _edges(), self.curves[i])
        return out

    def _moved(self, rgb: F32) -> Iterator[F32]:
        # Channel by channel, not a matrix product: see _luma in pixels/color.py.
        for row, shift in zip(self.matrix, self.shift, strict=True):
            yield rgb[..., 0] * row[0] + rgb[..., 1] * row[1] + rgb[..., 2] * row[2] + shift

    @property
    def numbers(self) -> F32:
        """All of it as one vector [n], which may be averaged over the frames of a film."""
        return np.concatenate([self.matrix.ravel(), self.shift, self.curves.ravel()])

    @classmethod
    def of_numbers(cls, numbers: F32) -> Self:
        """The match that has these :attr:`numbers`."""
        return cls(numbers[:9].reshape(3, 3), numbers[9:12], numbers[12:].reshape(3, -1))


def match_of(photo: Surface, painted: Surface) -> Match:
    """What gives a painting the colours of a photo; both are looked at in bands, every pixel of them.

    Pixels count by the photo's opacity. The two need not be of one size unless the photo has alpha.
    """
    if photo.alpha(Area(0, 0, 1, 1)) is None:
        weighing: Surface = painted
    else:
        weighing = _Weighed(painted, photo)
    (mean, covariance), (goal, spread) = moments_of(weighing), moments_of(photo)
    matrix = _linear(covariance, spread).astype(np.float32)
    shift = (goal - matrix @ mean).astype(np.float32)
    plain = Match(matrix, shift, np.empty((3, 0), np.float32))
    ours, theirs = np.zeros((3, len(_edges()) - 1)), np.zeros((3, _LEVELS + 1))
    for area in _bands(painted):
        weights = _weights(weighing.alpha(area))
        for i, channel in enumerate(plain._moved(painted.rgb(area))):
            ours[i] += _counted((channel - _LOW) * _LEVELS + 0.5, weights, ours.shape[1])
    for area in _bands(photo):
        rgb, weights = photo.rgb(area), _weights(photo.alpha(area))
        for i in range(3):
            theirs[i] += _counted(rgb[..., i] * _LEVELS + 0.5, weights, theirs.shape[1])
    steepest = max(LEAST_GAIN, GAIN / float(np.linalg.eigvalsh(matrix).max()))
    curves = [_curve(one, other, steepest) for one, other in zip(ours, theirs, strict=True)]
    return Match(matrix, shift, np.stack(curves).astype(np.float32))


def match_colors(painted: F32, photo: F32, alpha: F32 | None = None) -> F32:
    """A painting with the photo's distribution of colours.

    Args:
        painted, photo: float32 [H,W,3] in 0..1, of one size.
        alpha: float32 [H,W] in 0..1, the photo's opacity, by which its pixels count; None: all alike.

    Returns:
        float32 [H,W,3] in 0..1.

    Raises:
        PictureError: the two differ in size.
    """
    if painted.shape != photo.shape:
        raise PictureError(
            f"The painting is {list(painted.shape)} and the photo {list(photo.shape)}: make them the same size first."
        )
    match = match_of(Sheet(photo, alpha), Sheet(painted))
    out = np.empty_like(painted)
    for area in _bands(Sheet(painted)):
        out[area.top : area.bottom] = match(painted[area.top : area.bottom])
    return out


def _linear(covariance: F64, goal: F64) -> F64:
    """The symmetric T with T covariance T = goal, or nearly where that would stretch too much."""
    # The floor keeps a nearly flat painting from being blown up to noise.
    floor = COLOR_FLOOR**2 * np.eye(3)
    root, inverse = _power(covariance + floor, 0.5), _power(covariance + floor, -0.5)
    values, vectors = np.linalg.eigh(inverse @ _power(root @ (goal + floor) @ root, 0.5) @ inverse)
    linear: F64 = (vectors * np.minimum(values, GAIN)) @ vectors.T
    return linear


def _power(matrix: F64, exponent: float) -> F64:
    values, vectors = np.linalg.eigh(matrix)
    powered: F64 = (vectors * np.maximum(values, 1e-12) ** exponent) @ vectors.T
    return powered


def _edges() -> F64:
    """Where the painting's bins begin and end: half a level around each of 8 bits."""
    return (np.arange(_LOW * _LEVELS, _HIGH * _LEVELS + 2) - 0.5) / _LEVELS


def _curve(ours: F64, theirs: F64, steepest: float) -> F64:
    """What the edges of our bins become so that what is counted in them is spread as theirs is."""
    share = np.concatenate([[0.0], np.cumsum(ours)]) / ours.sum()
    goal = np.concatenate([[0.0], np.cumsum(theirs)]) / theirs.sum()
    values = (np.arange(len(goal)) - 0.5) / _LEVELS
    full = np.flatnonzero(ours)
    # Where a run of their bins is empty one share has many values: a bin of ours that begins there begins at its end,
    # and one that ends there ends at its beginning.
    begin = _value(share[full] + _SAME, goal, values, "right")
    end = np.maximum(begin, _value(share[full + 1] - _SAME, goal, values, "left"))
    places = np.stack([full, full + 1], axis=1).ravel()
    exact = np.interp(np.arange(len(share)), places, np.stack([begin, end], axis=1).ravel())
    # Halfway between the least curve above and the greatest below that nowhere rise faster: a jump becomes a slope.
    apart = steepest / _LEVELS * np.abs(np.subtract.outer(np.arange(len(exact)), np.arange(len(exact))))
    gentle: F64 = 0.5 * ((exact + apart).min(axis=1) + (exact - apart).max(axis=1))
    return np.clip(gentle, 0.0, 1.0)


def _value(shares: F64, goal: F64, values: F64, side: Literal["left", "right"]) -> F64:
    """Quantiles: the limit from the left or the right where there are several."""
    above = np.clip(np.searchsorted(goal, shares, side=side), 1, len(goal) - 1)
    width = np.maximum(goal[above] - goal[above - 1], 1e-300)
    part: F64 = np.clip((shares - goal[above - 1]) / width, 0.0, 1.0)
    return values[above - 1] + part * (values[above] - values[above - 1])


def _counted(places: F32, weights: F64 | None, count: int) -> NDArray[np.generic]:
    bins = np.clip(places.ravel(), 0, count - 1).astype(np.intp)
    return np.bincount(bins, weights, count)


def _weights(alpha: F32 | None) -> F64 | None:
    # A trace for what is transparent, so that a picture of nothing else has a histogram too.
    return None if alpha is None else alpha.ravel().astype(np.float64) + 1e-9


def _bands(surface: Surface) -> Iterator[Area]:
    return Area(0, 0, surface.height, surface.width).bands(BAND)


class _Weighed:
    """A painting with the photo's opacity."""

    def __init__(self, painted: Surface, photo: Surface) -> None:
        self.height, self.width = painted.height, painted.width
        self.rgb, self.alpha, self.put = painted.rgb, photo.alpha, painted.put
