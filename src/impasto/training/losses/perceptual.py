"""Losses that compare pictures through the features of a frozen network. Pure functions of tensors.

Feature maps are ``[N,C,H,W]``; every loss is a scalar, the mean over the batch, unless it says otherwise. Means and
deviations are taken in float32 whatever the features' precision; Gram products in the features' own, which is quicker.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F


def channel_normalised(features: Tensor, eps: float = 1e-5) -> Tensor:
    """Features with mean 0 and deviation 1 in every channel of every picture. ``[N,C,H,W] -> [N,C,H,W]``.

    It removes what style transfer is meant to change (Li et al. 2017, "Demystifying neural style transfer": style is
    in the channels' statistics), so that what is left to compare is the layout.
    """
    x = features.float()
    std, mean = torch.std_mean(x, dim=(2, 3), keepdim=True, correction=0)
    return (x - mean) / (std + eps)


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """How much of the layout is lost: 1 - cosine similarity of channel-normalised features, mean over positions.

    0 = identical, 1 = unrelated. The content loss of Gatys et al. 2016 (equation 1) with two departures: channels are
    normalised first, and the angle is compared in place of the squared difference, so that no layer needs a weight.

    Args:
        features: of the painted picture, [N,C,H,W].
        target: of the photo, same shape; already normalised or not, normalising twice changes nothing.
    """
    a, b = channel_normalised(features), channel_normalised(target)
    return 1 - F.cosine_similarity(a, b, dim=1).mean()


def gram(features: Tensor) -> Tensor:
    """Gram matrix G = F F^T / (H W) of Gatys et al. 2016 (equation 3, divided by the number of positions).

    ``[N,C,H,W] -> float32 [N,C,C]``.
    """
    f = features.flatten(2)
    return (f @ f.transpose(1, 2)).float() / f.shape[2]


@cache
def _triangle(channels: int) -> tuple[Tensor, Tensor]:
    """Flat indices of the upper triangle, and weights that keep the Frobenius norm (off-diagonals count twice)."""
    rows, cols = torch.triu_indices(channels, channels)
    weights = torch.full((len(rows),), math.sqrt(2.0))
    weights[rows == cols] = 1.0
    return rows * channels + cols, weights


def gram_vector(features: Tensor) -> Tensor:
    """The Gram matrix as a vector of its upper triangle with the same norm: ``[N,C,H,W] -> float32 [N,C(C+1)/2]``.

    Half the memory of the matrix, and distances between vectors are the Frobenius distances between matrices.
    """
    index, weights = _triangle(features.shape[1])
    return gram(features).flatten(1)[:, index.to(features.device)] * weights.to(features.device)


def channel_energies(vector: Tensor) -> Tensor:
    """The diagonal of a Gram matrix given as a vector: mean squared feature per channel, ``[N,C(C+1)/2] -> [N,C]``."""
    channels = int((math.isqrt(8 * vector.shape[1] + 1) - 1) // 2)
    places = torch.arange(channels, device=vector.device)
    return vector[:, places * channels - places * (places - 1) // 2]


def row_sums(vector: Tensor) -> Tensor:
    """What each channel shares with all channels, itself included: Gram vectors ``[N,C(C+1)/2] -> [N,C]``."""
    channels = int((math.isqrt(8 * vector.shape[1] + 1) - 1) // 2)
    index, weights = _triangle(channels)
    values = vector / weights.to(vector.device)
    rows, columns = (index // channels).to(vector.device), (index % channels).to(vector.device)
    below = torch.where(rows == columns, torch.zeros_like(values), values)  # the diagonal counts once
    total = values.new_zeros(len(vector), channels)
    return total.index_add(1, rows, values).index_add(1, columns, below)


def relative_gram_distance(a: Tensor, b: Tensor, eps: float = 1e-8) -> Tensor:
    """||A - B||^2 / (||A|| ||B||) for Gram vectors ``[N,K]``, one number per picture ``[N]``.

    The style loss of Gatys et al. 2016 (equation 4) made free of scale, so that layers can be averaged as they are:
    0 = the same statistics; 2 = orthogonal ones of equal size.
    """
    size: Tensor = a.norm(dim=1) * b.norm(dim=1)
    return (a - b).square().sum(1) / (size + eps)


def gram_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean relative Gram distance between two batches of features ``[N,C,H,W]``."""
    return relative_gram_distance(gram_vector(features), gram_vector(target)).mean()


def mean_deviation_loss(features: Tensor, target: Tensor, eps: float = 1e-8) -> Tensor:
    """Distance of channel means and deviations, relative to the target's size.

    The style loss of Huang and Belongie 2017 (AdaIN, equation 13), divided by the target's squared norms so that
    layers weigh the same.
    """
    total = features.new_zeros((), dtype=torch.float32)
    (s1, m1), (s2, m2) = (torch.std_mean(f.float(), dim=(2, 3), correction=0) for f in (features, target))
    for ours, theirs in ((m1, m2), (s1, s2)):
        total = total + ((ours - theirs).square().sum(1) / (theirs.square().sum(1) + eps)).mean()
    return total


def sliced_wasserstein_loss(features: Tensor, target: Tensor, directions: Tensor) -> Tensor:
    """Squared Wasserstein-2 distance of the features' distributions along fixed directions.

    Heitz et al. 2021, "A sliced Wasserstein loss for neural texture synthesis" (equation 5): project, sort, compare.
    It sees the whole distribution, where a Gram matrix sees second moments only.

    Args:
        features: [N,C,H,W].
        target: [N,C,h,w]; positions are resampled (nearest rank) if their number differs.
        directions: [C,D] unit columns, drawn by the caller so that the result is repeatable.
    """
    a = (features.float().flatten(2).transpose(1, 2) @ directions).sort(dim=1).values  # [N,HW,D]
    b = (target.float().flatten(2).transpose(1, 2) @ directions).sort(dim=1).values
    if b.shape[1] != a.shape[1]:
        ranks = (torch.arange(a.shape[1], device=b.device) + 0.5) * (b.shape[1] / a.shape[1])
        b = b[:, ranks.long().clamp_(max=b.shape[1] - 1)]
    return (a - b).square().mean()


def total_variation(picture: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels (anisotropic; Rudin et al. 1992). ``[N,C,H,W]``, any range."""
    across = (picture[..., :, 1:] - picture[..., :, :-1]).abs().mean()
    down = (picture[..., 1:, :] - picture[..., :-1, :]).abs().mean()
    return across + down


def unrest(picture: Tensor, photo: Tensor, *, window: int = 9, level: float = 0.03) -> Tensor:
    """Total variation where the photo has none: what a style loss strews over skies and walls.

    Every place weighs 1 / (1 + (a / level)^2), a being the photo's own variation around it, so that strokes may lie
    where the photo has texture and edges, and flat ground stays calm. An edge-aware smoothness term (as in Godard et
    al. 2017, equation 3, for depth), with the edges of a neighbourhood in place of a pixel's.

    Args:
        picture: what was painted, [N,C,H,W] in 0..1.
        photo: of the same shape.
        window: side of the neighbourhood, odd, in pixels.
        level: variation at which a place counts half.
    """
    with torch.no_grad():
        across, down = _differences(photo.float())
        around = F.avg_pool2d((across + down).mean(1, keepdim=True), window, 1, window // 2, count_include_pad=False)
        calm = 1 / (1 + (around / level).square())
    across, down = _differences(picture)
    return ((across + down).mean(1, keepdim=True) * calm).mean()


def _differences(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute differences to the neighbours on the right and below, 0 at the border: [N,C,H,W] both."""
    across = F.pad((picture[..., :, 1:] - picture[..., :, :-1]).abs(), (0, 1, 0, 0))
    return across, F.pad((picture[..., 1:, :] - picture[..., :-1, :]).abs(), (0, 0, 0, 1))
