"""Pictures as tensors and back, and at other sizes, for painting by optimisation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def planes(rgb: NDArray[np.float32], device: torch.device) -> Tensor:
    """[H,W,3] -> [1,3,H,W], channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(rgb)).to(device).permute(2, 0, 1)[None]


def plane(values: NDArray[np.float32], size: tuple[int, int], device: torch.device) -> Tensor:
    """[H,W] -> [1,1,h,w] at (width, height)."""
    return scaled(torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)[None, None], size)


def pixels(picture: Tensor) -> NDArray[np.float32]:
    """[1,3,H,W] -> [H,W,3] in 0..1."""
    values: NDArray[np.float32] = picture[0].permute(1, 2, 0).clamp(0, 1).float().cpu().numpy()
    return values


def scaled(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """At (width, height), in 0..1."""
    if picture.shape[2:] == (size[1], size[0]):
        return picture
    return F.interpolate(picture, (size[1], size[0]), mode="bicubic", antialias=True).clamp(0, 1)


def enlarged(picture: Tensor, size: tuple[int, int], detail: Tensor | None) -> Tensor:
    """At (width, height), with what ``detail`` of that size has and loses when it is as small as ``picture``."""
    large = scaled(picture, size)
    if detail is None:
        return large
    blurred = scaled(scaled(detail, (picture.shape[3], picture.shape[2])), size)
    return (large + detail - blurred).clamp(0, 1)
