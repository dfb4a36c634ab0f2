"""How far the bands of a picture are from those of the paintings: a term of what a painting by optimisation is held to.

Features are taken of neighbourhoods, and leave it to chance how strongly colours vary at each size of detail; another
network sees that at once. A Laplacian pyramid (Burt and Adelson 1983; ``nets/pyramid.py``) says it in a few numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.runtime.laplacian import LEVELS, STEP
from impasto.runtime.pyramid import BAND_FLOOR, LOW_FLOOR
from impasto.training.nets.blocks import symmetric_root
from impasto.training.nets.pyramid import halved, split


class BandDistance:
    """The squared distance of spreads, relative to the painting's, as a mean over the bands.

    A spread is the root of a covariance, so that fine bands count as much as coarse ones. 0 = reached; the mean colour
    counts as a band of its own, in deviations of what is below the bands.

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
            self._targets = [_described(picture, _shares(opaque, picture)) for picture, opaque in paintings]
        self._pooled: list[list[Tensor] | None] | None = None

    def __call__(self, picture: Tensor) -> Tensor:
        """[1,3,H,W], RGB 0..1, to a number with a gradient."""
        if self._pooled is None:
            self._pooled = [_shares(where, picture) for where in self._wheres]
        bands = split(_edged(picture))
        total = picture.new_zeros(())
        for weight, shares, (spreads, mean) in zip(self._weights, self._pooled, self._targets, strict=True):
            ours, middle = _moments(bands, shares)
            size = spreads.square().sum((1, 2))
            apart = (ours - spreads).square().sum((1, 2)) / size
            moved = (middle - mean).square().sum() / size[-1]
            total = total + weight * (apart.sum() + moved) / (LEVELS + 2)
        return total


def _described(picture: Tensor, shares: list[Tensor] | None) -> tuple[Tensor, Tensor]:
    return _moments(split(_edged(picture)), shares)


def _moments(bands: Sequence[Tensor], shares: Sequence[Tensor] | None) -> tuple[Tensor, Tensor]:
    """Spreads [LEVELS+1,3,3] and mean colour [3]; ``shares`` [1,P] of each band's positions."""
    roots, mean = [], bands[0].new_zeros(3)
    for level, band in enumerate(bands):
        pixels, floor = band.flatten(2)[0], BAND_FLOOR  # [3,P]
        share = 1 / pixels.shape[1] if shares is None else shares[level]
        if level == LEVELS:
            mean = (pixels * share).sum(1)
            pixels, floor = pixels - mean[:, None], LOW_FLOOR
        covariance = (pixels * share) @ pixels.T + floor**2 * torch.eye(3, dtype=band.dtype, device=band.device)
        roots.append(symmetric_root(covariance[None])[0].to(band.dtype))
    return torch.stack(roots), mean


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
