"""Losses on what adds up over the positions of a picture: sums of features, of their squares and products.

A picture that is too large for one pass is seen in tiles; sums over tiles are the sums over the whole, so a loss that
is a function of such sums has the same value, and the same gradient, however the picture was cut. All of them are free
of scale: layers, networks and picture sizes can be averaged as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def relative_gram(second: Tensor, target: Tensor, eps: float = 1e-12) -> Tensor:
    """||G - G'||^2 / (||G|| ||G'||): 0 = the same Gram matrix, 2 = orthogonal ones of equal size.

    The style loss of Gatys et al. 2016 (equation 4) as ``perceptual.relative_gram_distance`` has it, for matrices.

    Args:
        second: E[F F^T] of the painted picture, [C,C].
        target: that of the style, [C,C].
    """
    size: Tensor = second.norm() * target.norm()
    return (second - target).square().sum() / (size + eps)


class _RootTrace(torch.autograd.Function):
    """Trace of the root of a symmetric positive matrix. The gradient of tr(M^1/2) is M^-1/2 / 2."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, floor: float) -> Tensor:  # [C,C] -> scalar
        values, vectors = _eigh(matrix)
        # Of fewer positions than channels, or by rounding, eigenvalues are zero or a little below: no root, no slope.
        values = values.clamp(min=float(values[-1].abs()) * floor + torch.finfo(values.dtype).tiny)
        ctx.save_for_backward(values, vectors)
        trace: Tensor = values.sqrt().sum()
        return trace

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        values, vectors = ctx.saved_tensors
        return slopes[0] * 0.5 * (vectors * values.rsqrt()) @ vectors.T, None


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of a symmetric matrix, in its precision.

    LAPACK's float32 search can give up where variances lie far apart: it did on 128 channels with variances from 0 to
    2e8. In float64, and with a trifle on the diagonal, it found an answer there.
    """
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        wide = matrix.to(torch.float64, copy=True)
        wide.diagonal().add_(1e-9 * float(wide.diagonal().abs().mean()))
        values, vectors = torch.linalg.eigh(wide)
    return values.to(matrix), vectors.to(matrix)


def root_trace(matrix: Tensor, floor: float = 1e-7) -> Tensor:
    """tr(M^1/2) of a symmetric positive semi-definite matrix [C,C], with a gradient that stays finite.

    Args:
        floor: eigenvalues below this share of the largest count as so large.
    """
    root: Tensor = _RootTrace.apply((matrix + matrix.T) / 2, floor)  # type: ignore[no-untyped-call]
    return root


def matrix_root(matrix: Tensor) -> Tensor:
    """The symmetric root [C,C] of a symmetric positive semi-definite matrix [C,C]; takes no gradient."""
    with torch.no_grad():
        values, vectors = _eigh((matrix + matrix.T) / 2)
        root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        return root


def relative_wasserstein(mean: Tensor, second: Tensor, target_mean: Tensor, target_root: Tensor) -> Tensor:
    """Squared Wasserstein-2 distance of two Gaussians, as a share of the target's mean square.

    |m - m'|^2 + tr(S + S' - 2 (S'^1/2 S S'^1/2)^1/2), divided by |m'|^2 + tr S' (Dowson and Landau 1982). 0 = the same
    mean and covariance; 1 = what a picture of no features at all has. Beside the Gram matrix it weighs the directions
    in which features vary little by how much they vary, not by the square of it.

    Args:
        mean: E[F] of the painted picture, [C].
        second: E[F F^T], [C,C].
        target_mean: E[F] of the style, [C].
        target_root: the root of the style's covariance, [C,C] (see ``matrix_root``).
    """
    covariance = second - mean.outer(mean)
    size = target_root.square().sum()  # the trace of root x root
    spread = covariance.diagonal().sum() + size - 2 * root_trace(target_root @ covariance @ target_root)
    return ((mean - target_mean).square().sum() + spread) / (target_mean.square().sum() + size)


def lost_correlation(mean: Tensor, square: Tensor, product: Tensor, spread: Tensor, slack: float = 1e-4) -> Tensor:
    """How much of the layout is lost: 1 - the mean correlation of a channel with itself in the photo.

    Equal to half the mean squared distance of channel-normalised features, the content loss of Gatys et al. 2016
    (equation 1) with each channel brought to mean 0 and deviation 1 first: those are the style's to change. 0 = the
    same up to contrast, 1 = unrelated. Channels that the photo leaves dead do not count.

    Args:
        mean: E[x] of the painted picture's features, [C].
        square: E[x^2], [C].
        product: E[x y], y being the photo's features brought to mean 0 and deviation 1, [C].
        spread: the deviation of the photo's features before that, [C]; 0 for a dead channel.
        slack: share of the photo's variance added to the painted one's, so that a channel painted flat has a slope.
    """
    alive = spread > 0
    variance = (square - mean.square()).clamp(min=0) + slack * spread.square()
    correlation = product[alive] / variance[alive].sqrt()
    return 1 - correlation.sum() / alive.sum().clamp(min=1)


def squared_variation(picture: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels, across and down. ``[N,C,H,W]``, any range.

    Total variation (Rudin et al. 1992) with squares in place of absolute values: it has a smooth gradient, which a
    quasi-Newton method needs.
    """
    across = (picture[..., :, 1:] - picture[..., :, :-1]).square().mean()
    down = (picture[..., 1:, :] - picture[..., :-1, :]).square().mean()
    return across + down
