"""Where in a picture its style is missing, and which places of a painting a painted picture resembles.

Functions of feature maps, one picture each: ``[1,C,H,W]``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from impasto.training.losses.perceptual import gram

F32 = NDArray[np.float32]

SIDE = 3
"""Positions on a side of the patches that are compared (Li and Wand 2016, section 3)."""

MARGIN = 3
"""Positions of relu3_1 that see the zeros around a picture: of those, borders would only be like borders."""

CELL = 4
"""Positions on a side of the cells of a painting whose use is told."""

_ROWS = 4096
"""Patches of a painting that are looked at together: what bounds the memory."""


def loss_places(features: Tensor, target: Tensor, eps: float = 1e-8) -> Tensor:
    """What each position adds to the relative Gram distance: ``[1,C,H,W] -> float32 [H,W]``, its mean the distance.

    With G = mean over positions p of f_p f_p^T, the painting's Gram matrix A and D = G - A, the squared distance
    ||D||^2 = <D, G> - <D, A> is the mean over p of f_p^T D f_p - <D, A>: an exact division of the style loss of Gatys
    et al. 2016 (equation 4) among places, here of ``perceptual.relative_gram_distance``. Above 0: the place has too
    much of what the painting has less of, or lacks what the painting has more of. Below 0: it makes up for others.

    Args:
        features: of the picture.
        target: the painting's Gram matrix [1,C,C] at the same layer.
        eps: as in ``relative_gram_distance``.
    """
    f = features.float().flatten(2)[0]  # [C,HW]
    ours, theirs = gram(features)[0], target[0].float()
    lacking = ours - theirs
    each = ((lacking @ f) * f).sum(0) - (lacking * theirs).sum()  # [HW]
    shares: Tensor = each / (ours.norm() * theirs.norm() + eps)
    return shares.reshape(features.shape[2:])


@dataclass(frozen=True, slots=True)
class Resemblance:
    """For places of a picture the most similar places of a painting, in positions of the feature maps.

    Attributes:
        ours: int [K,2]: row and column of the middle of each patch of the picture.
        theirs: int [K,2]: of the patch of the painting that is most like it.
        similarity: float32 [K]: normalised cross-correlation of the two, 0 to 1.
        texture: float32 [K]: how much the features differ within each patch of the picture; near 0 on flat ground.
        ours_shape, theirs_shape: height and width of the two feature maps.
        margin: positions along the borders of both that were left out.
    """

    ours: NDArray[np.int64]
    theirs: NDArray[np.int64]
    similarity: F32
    texture: F32
    ours_shape: tuple[int, int]
    theirs_shape: tuple[int, int]
    margin: int

    def uses(self) -> F32:
        """How often each position of the painting was the most similar one: float32 [h,w], sum K."""
        counts = np.zeros(self.theirs_shape, np.float32)
        np.add.at(counts, (self.theirs[:, 0], self.theirs[:, 1]), 1)
        return counts

    def uses_of_cells(self) -> F32:
        """The same of cells of 4x4 positions, float32 [h/4,w/4], without the margin: about as many as patches."""
        high, wide = self.theirs_shape
        counts = self.uses()[self.margin : high - self.margin, self.margin : wide - self.margin]
        high, wide = (-(-side // CELL) for side in counts.shape)
        whole = np.zeros((high * CELL, wide * CELL), np.float32)
        whole[: counts.shape[0], : counts.shape[1]] = counts
        summed: F32 = whole.reshape(high, CELL, wide, CELL).sum((1, 3), dtype=np.float32)
        return summed


@torch.no_grad()
def resemblance(features: Tensor, painting: Tensor, *, step: int = 2, margin: int = MARGIN) -> Resemblance:
    """The patch of a painting that is most like each patch of a picture, by their features.

    Normalised cross-correlation of patches of 3x3 positions, as Li and Wand 2016 match them (equation 3): the cosine of
    the angle between their features, as these are. Taking each channel's mean off, or dividing its deviation out, was
    tried: then flat ground of any colour is most like flat ground of any other.

    Args:
        features: of the picture, [1,C,H,W], H and W at least 3 and twice the margin.
        painting: of the painting, [1,C,h,w], likewise; every position of it is looked at.
        step: positions from one patch of the picture to the next.
        margin: positions along the borders of both to leave out.
    """
    ours_shape, theirs_shape = ((int(x.shape[2]), int(x.shape[3])) for x in (features, painting))
    features, painting = (
        x[:, :, margin : x.shape[2] - margin, margin : x.shape[3] - margin] for x in (features, painting)
    )
    patches = F.unfold(features.float(), SIDE, stride=step)[0].T  # [K,9C]
    ours = F.normalize(patches, dim=1)
    texture = patches.reshape(len(ours), -1, SIDE * SIDE).std(2).norm(dim=1)
    per_row = (int(features.shape[3]) - SIDE) // step + 1
    best = torch.full((len(ours),), -2.0)
    found = torch.zeros(len(ours), dtype=torch.long)
    height, width = painting.shape[2:]
    rows = max(1, _ROWS // max(1, width - SIDE + 1))
    for top in range(0, height - SIDE + 1, rows):
        part = F.unfold(painting[:, :, top : top + rows + SIDE - 1].float(), SIDE)[0]  # [9C,P]
        score, at = (ours @ F.normalize(part, dim=0)).max(1)
        better = score > best
        best = torch.where(better, score, best)
        found = torch.where(better, at + top * (width - SIDE + 1), found)
    reach = SIDE // 2 + margin
    across = width - SIDE + 1
    places = torch.arange(len(ours))
    return Resemblance(
        torch.stack((places // per_row * step + reach, places % per_row * step + reach), 1).numpy(),
        torch.stack((found // across + reach, found % across + reach), 1).numpy(),
        best.numpy(),
        texture.numpy(),
        ours_shape,
        theirs_shape,
        margin,
    )


def apart(found: Resemblance, count: int) -> list[int]:
    """The ``count`` most similar pairs (fewer where there are fewer), no two of them near each other in either picture.

    Only of the half of the patches with the most texture: flat ground is very like flat ground, and shows nothing.
    Near: closer than an eighth of the picture's longer side, in both directions.
    """
    chosen: list[int] = []
    least = [max(shape) / 8 for shape in (found.ours_shape, found.theirs_shape)]
    rough = found.texture >= np.median(found.texture)
    for k in np.argsort(np.where(rough, -found.similarity, np.inf), kind="stable")[: int(rough.sum())]:
        places = [(found.ours, least[0]), (found.theirs, least[1])]
        if all(np.abs(at[k] - at[j]).max() >= distance for j in chosen for at, distance in places):
            chosen.append(int(k))
            if len(chosen) == count:
                break
    return chosen


def half_lies_in(values: NDArray[np.floating]) -> float:
    """The least share of places, 0 to 1, that half of the sum of all values above 0 lies in; 0 where none is."""
    above = np.sort(np.maximum(values.ravel(), 0).astype(np.float64))[::-1]
    total = above.sum()
    if total <= 0:
        return 0.0
    return float((np.searchsorted(np.cumsum(above), total / 2) + 1) / above.size)
