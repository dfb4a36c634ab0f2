"""How far the bands of a picture are from those of the paintings: a term of what a painting by optimisation is held to.

Features are taken of neighbourhoods, and leave it to chance how strongly colours vary at each size of detail; another
network sees that at once. A Laplacian pyramid (Burt and Adelson 1983; ``nets/pyramid.py``) says it in a few numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.runtime.band_rows import BAND_FLOOR, LOW_FLOOR
from impasto.runtime.laplacian import LEVELS, STEP
from impasto.training.nets.blocks import symmetric_root
from impasto.training.nets.pyramid import halved, split


class BandDistance:
    """The squared distance of spreads, relative to the painting's, as a mean over the bands.

    A spread is the root of a covariance, so that fine bands count as much as coarse ones. 0 = reached; the mean colour
    counts as a band of its own, in deviations of what is below the bands. The mean absolute value of each band counts,
    too: a few glaring pixels on bare ground would make the same covariance.

    Args:
        paintings: pictures [1,3,h,w], RGB 0..1, and how much each place counts, [1,1,h,w] or None.
        wheres: for each, how much each place of the painted picture counts, [1,1,H,W] or None.
        weights: for each; their sum should be 1.
    """

    def __init__(
        self,
        paintings: Sequence[tuple[Tensor, Tensor | None]],
        wheres: Sequence[Tensor | None],
        weights: Sequence[float],
    ) -> None:
        self._weights = weights
        self._wheres = wheres
        with torch.no_grad():
            self._targets = [
                _moments(split(_edged(picture)), _shares(opaque, picture)) for picture, opaque in paintings
            ]
        self._pooled: list[list[Tensor] | None] | None = None

    def __call__(self, picture: Tensor) -> Tensor:
        """[1,3,H,W], RGB 0..1, to a number with a gradient."""
        if self._pooled is None:
            self._pooled = [_shares(where, picture) for where in self._wheres]
        bands = split(_edged(picture))
        total = picture.new_zeros(())
        for weight, shares, wanted in zip(self._weights, self._pooled, self._targets, strict=True):
            ours = _moments(bands, shares)
            size = wanted.spreads.square().sum((1, 2))
            apart = (ours.spreads - wanted.spreads).square().sum((1, 2)) / size
            moved = (ours.mean - wanted.mean).square().sum() / size[-1]
            thinner = (ours.sizes / wanted.sizes - 1).square().mean(1)
            total = total + weight * (apart.sum() + moved + thinner.sum()) / (2 * LEVELS + 2)
        return total


class _Described(NamedTuple):
    """Of a picture: spreads [LEVELS+1,3,3], mean colour [3], mean absolute values of the bands [LEVELS,3]."""

    spreads: Tensor
    mean: Tensor
    sizes: Tensor


def _moments(bands: Sequence[Tensor], shares: Sequence[Tensor] | None) -> _Described:
    """``shares`` [1,P] of each band's positions."""
    roots, sizes, mean = [], [], bands[0].new_zeros(3)
    for level, band in enumerate(bands):
        pixels, floor = band.flatten(2)[0], BAND_FLOOR  # [3,P]
        share = 1 / pixels.shape[1] if shares is None else shares[level]
        if level == LEVELS:
            mean = (pixels * share).sum(1)
            pixels, floor = pixels - mean[:, None], LOW_FLOOR
        else:
            sizes.append(((pixels.square() + floor**2).sqrt() * share).sum(1))
        covariance = (pixels * share) @ pixels.T + floor**2 * torch.eye(3, dtype=band.dtype, device=band.device)
        roots.append(symmetric_root(covariance[None])[0].to(band.dtype))
    return _Described(torch.stack(roots), mean, torch.stack(sizes))


def _shares(where: Tensor | None, like: Tensor) -> list[Tensor] | None:
    """How much the positions of each band count, [1,P] each, of a sum of 1."""
    if where is None:
        return None
    maps = [_edged(where.to(like.dtype))]
    for _ in range(LEVELS):
        maps.append(halved(maps[-1]))
    return [(one / one.sum().clamp(min=1e-12)).flatten(1) for one in maps]


def _edged(picture: Tensor) -> Tensor:
    """Continued to the right and down to multiples of ``STEP``, the edge repeated."""
    down, across = (-side % STEP for side in picture.shape[2:])
    return F.pad(picture, (0, across, 0, down), mode="replicate") if down or across else picture
