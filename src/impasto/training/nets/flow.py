"""A flow on latents: the velocity that carries normal numbers to what an encoder gives, and the way along it.

velocity = LatentFlow(size=64)                      # seed torch before
drawn = FlowWay(velocity, mean, deviation)(normals)  # [N,Z] N(0,1) -> latents [N,Z]
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FREQUENCIES = 6
"""Octaves in which the time is told, from half a turn over 0..1 on."""


class _Block(nn.Module):
    """x + linear(silu(linear(norm(x)) + time)): ``[N,W], [N,W] -> [N,W]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)  # depth does not make the start any harder
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y: Tensor = x + self.second(F.silu(self.first(self.norm(x) + time)))
        return y


class LatentFlow(nn.Module):
    """The velocity at a place and a time: ``[N,Z]``, ``[N]`` in 0..1 -> ``[N,Z]``, float32.

    A residual multi-layer perceptron. At time 0 places are N(0,1), at time 1 they are standardised latents.

    Args:
        size: Z.
        width: of the layers.
        blocks: residual blocks.
    """

    frequencies: Tensor

    def __init__(self, size: int, width: int = 256, blocks: int = 3) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("frequencies", math.pi / 2 * 2.0 ** torch.arange(FREQUENCIES), persistent=False)
        self.time = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.first = nn.Linear(size, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.norm, self.last = nn.LayerNorm(width), nn.Linear(width, size)
        nn.init.zeros_(self.last.weight)  # it stands still at first
        nn.init.zeros_(self.last.bias)

    def forward(self, place: Tensor, time: Tensor) -> Tensor:
        turns = time[:, None] * self.frequencies
        told = self.time(torch.cat((turns.sin(), turns.cos()), 1))
        x = self.first(place)
        for block in self.blocks:
            x = block(x, told)
        velocity: Tensor = self.last(self.norm(x))
        return velocity


class FlowWay(nn.Module):
    """Along the flow from time 0 to 1 by Heun's method: N(0,1) ``[N,Z]`` -> latents ``[N,Z]``.

    Args:
        velocity: what was learnt.
        mean, deviation: [Z] of the latents, by which they were standardised.
        steps: each takes two looks at the velocity, the last takes one (Karras et al. 2022, algorithm 1).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, velocity: LatentFlow, mean: Tensor, deviation: Tensor, steps: int = 16) -> None:
        super().__init__()
        self.velocity, self.steps = velocity, steps
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, normals: Tensor) -> Tensor:
        place, stride = normals, 1 / self.steps
        clock = torch.zeros_like(normals[:, 0])  # [N]
        for step in range(self.steps):
            now = self.velocity(place, clock + step * stride)
            if step < self.steps - 1:
                then = self.velocity(place + stride * now, clock + (step + 1) * stride)
                now = (now + then) / 2
            place = place + stride * now
        return place * self.deviation + self.mean
