"""Sums over positions, with gradients written out: of features, of their products, and of features with the photo's.

Automatic differentiation keeps a copy of the layer for each step of such a sum, and most of the time of a painting went
into moving these about. Here rows are worked on in slices that stay in the cache, nothing but the features is kept for
the way back, and the slope of F F^T is one matrix product in place of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

SLICE = 1 << 18
"""Numbers that are worked on at once on a CPU: 1 MB of float32."""


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weights: Tensor | None, exact: bool) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(rows, weights)
        wide = _wide(rows)
        total = rows.new_zeros(rows.shape[1], dtype=wide)
        second = rows.new_zeros(rows.shape[1], rows.shape[1], dtype=wide)
        for part in _slices(rows):
            x = rows[part].to(wide) if exact else rows[part]
            weighted = x if weights is None else x * weights[part].to(x)
            total += weighted.sum(0, dtype=wide)
            if exact:
                second.addmm_(weighted.T, x)
            else:
                second += weighted.T @ x
        return total, second

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        rows, weights = ctx.saved_tensors
        # x^T x has the slope x (D + D^T). The difference of two paintings is in D, so fewer bits do from here on.
        both = (slopes[1] + slopes[1].T).to(rows.dtype)
        slope = torch.addmm(slopes[0].to(rows.dtype), rows, both)
        return slope if weights is None else slope * weights.to(slope), None, None


class _Layout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, photo: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(rows, photo, share)
        wide = _wide(rows)
        sums = rows.new_zeros(3, 1, rows.shape[1], dtype=wide)
        for part in _slices(rows):
            x, weight = rows[part].to(wide), share[part].to(wide).T
            sums[0].addmm_(weight, x)
            sums[1].addmm_(weight, x * x)
            sums[2].addmm_(weight, x * photo[part].to(wide))
        return sums[0, 0], sums[1, 0], sums[2, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        rows, photo, share = ctx.saved_tensors
        slope = torch.empty_like(rows)
        for part in _slices(rows):
            # Each to one kind of number first: of two kinds, torch multiplies one pair at a time.
            x, y, weight = (one[part].to(slopes[0]) for one in (rows, photo, share))
            slope[part] = torch.addcmul(slopes[0], x, 2 * slopes[1]).addcmul_(y, slopes[2]).mul_(weight)
        return slope, None, None


def moment_sums(rows: Tensor, weights: Tensor | None = None, *, exact: bool = True) -> tuple[Tensor, Tensor]:
    """Sums of F [C] and of F F^T [C,C] over positions; float32 at least.

    Args:
        rows: features, [P,C].
        weights: how much each position counts, [P,1]; None for 1.
        exact: multiply in float32 even if the features have fewer bits: a covariance is a small difference.
    """
    total, second = _Moments.apply(rows, weights, exact)  # type: ignore[no-untyped-call]
    return total, second


def layout_sums(rows: Tensor, photo: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of x, x^2 and x y over positions, [C] each; float32 at least. Only ``rows`` gets a gradient.

    Args:
        rows: features x, [P,C].
        photo: those of the photo, y, [P,C].
        share: how much each position counts, [P,1].
    """
    mean, square, product = _Layout.apply(rows, photo, share)  # type: ignore[no-untyped-call]
    return mean, square, product


def _slices(rows: Tensor) -> Iterator[slice]:
    step = max(1, SLICE // rows.shape[1]) if rows.device.type == "cpu" else max(1, len(rows))
    for first in range(0, len(rows), step):
        yield slice(first, first + step)


def _wide(values: Tensor) -> torch.dtype:
    """float32, or float64 if they are."""
    return torch.promote_types(values.dtype, torch.float32)
