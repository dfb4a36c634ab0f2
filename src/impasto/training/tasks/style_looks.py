"""Pictures of the any-style task: as tensors, and as a grid to look at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from impasto.training.data import ImageFolder, Pixels
from impasto.training.nets.blocks import color_stats
from impasto.training.nets.style import GRAIN, Painter
from impasto.training.nets.underpaint import underpaint


@torch.no_grad()
def looks(
    painter: Painter,
    encoder: nn.Module,
    coarser: nn.Module | None,
    photos: ImageFolder,
    style_crop: Callable[[int], Pixels],
    styles: int,
    device: torch.device,
    *,
    count: int = 5,
    size: int = 256,
) -> Pixels:
    """Paintings across, photos down, always the same ones. uint8 RGB.

    Args:
        style_crop: gives painting k of ``styles``, uint8 [s,s,3].
        count: of either.
        size: of each, pixels.
    """
    rng = np.random.default_rng(5)
    shown = rng.choice(len(photos), count, replace=len(photos) < count)
    crops = [style_crop(int(k)) for k in rng.choice(styles, count, replace=styles < count)]
    codes = encoder(floats(stack(crops), device))
    top = [np.full((size, size, 3), 255, np.uint8)]
    top += [np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.LANCZOS)) for crop in crops]
    rows = [np.concatenate(top, 1)]

    def grain(height: int, width: int) -> Tensor:
        return made_grain(count, height, width, seed=5).to(device)

    for index in shown:
        height, width = photos.pixels(int(index)).shape[:2]
        side = min(height, width)
        box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
        photo = photos.crop(int(index), box, size)
        x = floats(stack([photo] * count), device)
        _, finished = underpaint(painter, coarser, x, color_stats(x), codes, grain)
        painted = finished.clamp(0, 1).mul(255).round().byte()
        rows.append(np.concatenate([photo, *painted.permute(0, 2, 3, 1).cpu().numpy()], 1))
    return np.concatenate(rows, 0)


def made_grain(count: int, height: int, width: int, *, seed: int) -> Tensor:
    """Noise of mean 0 and deviation 1, even in +-sqrt(3): [N,4,H/8,W/8], the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, GRAIN, height // 8, width // 8, generator=generator) * 2 - 1) * 3**0.5


def stack(pictures: list[Pixels]) -> Tensor:
    """uint8 [H,W,3] each -> [N,3,H,W], channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(pictures))).permute(0, 3, 1, 2)


def floats(pixels: Tensor, device: torch.device) -> Tensor:
    """uint8 [N,3,H,W] -> float32 0..1 on a device, channels last."""
    return pixels.to(device).contiguous(memory_format=torch.channels_last).float().div_(255)
