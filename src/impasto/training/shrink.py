"""A painter of half the width that starts from what the whole one knows.

Filters are kept by the size of their weights (Li et al. 2017, "Pruning filters for efficient convnets", section 3.1),
with one departure: channels that are added to one another (both ends of a skip connection) are kept or dropped
together, by the sum of what all layers that touch them say.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.training.nets.blocks import ModulatedConv, ModulatedResidual
from impasto.training.nets.style import Painter, StyleSpec

LEAST = {"fine": 8, "coarse": 8, "half": 4}
"""What ``StyleSpec`` allows."""


def halved(spec: StyleSpec) -> StyleSpec:
    """The spec with half the channels everywhere in the picture's path; codes and their mapping stay as they are.

    The mapping costs nothing, being run once a picture; with it a code means the same to both.
    """
    return spec.model_copy(update={name: max(least, getattr(spec, name) // 2) for name, least in LEAST.items()})


@dataclass(frozen=True, slots=True)
class _Link:
    """Where a group of channels is an output or an input of a convolution."""

    conv: ModulatedConv
    output: bool

    def strength(self) -> Tensor:
        """[C]: size of the weights at each channel, relative to the layer's mean."""
        norms = self.conv.weight.square().sum((1, 2, 3) if self.output else (0, 2, 3)).sqrt()
        return norms / norms.mean().clamp_min(1e-12)


@torch.no_grad()
def shrunk(painter: Painter) -> Painter:
    """A painter of ``halved(painter.spec)`` with the strongest channels of ``painter``, in evaluation mode.

    It is a start to distil from, not a likeness: what the dropped channels did is missing.
    """
    small = Painter(halved(painter.spec))
    small.mapping.load_state_dict(painter.mapping.state_dict())
    blocks = [block for block in painter.blocks if isinstance(block, ModulatedResidual)]
    p, spec = painter, small.spec
    look = p.look.weight.square().sum((1, 2, 3)).sqrt()
    fine = _strongest(spec.fine, [_Link(p.down, False), _Link(p.up4, True), _Link(p.join, False)], look / look.mean())
    trunk = [_Link(p.down, True), _Link(p.up4, False)]
    trunk += [link for block in blocks for link in (_Link(block.first, False), _Link(block.second, True))]
    coarse = _strongest(spec.coarse, trunk)
    joined = _strongest(spec.fine, [_Link(p.join, True), _Link(p.up2, False)])
    half = _strongest(spec.half, [_Link(p.up2, True), _Link(p.up1, False)])
    small.look.weight.copy_(p.look.weight[fine])
    assert small.look.bias is not None and p.look.bias is not None
    small.look.bias.copy_(p.look.bias[fine])
    _take(small.down, p.down, fine, coarse)
    for mine, theirs in zip(small.blocks, blocks, strict=True):
        assert isinstance(mine, ModulatedResidual)
        inner = _strongest(spec.coarse, [_Link(theirs.first, True), _Link(theirs.second, False)])
        _take(mine.first, theirs.first, coarse, inner)
        _take(mine.second, theirs.second, inner, coarse)
    _take(small.up4, p.up4, coarse, fine)
    _take(small.join, p.join, fine, joined)
    _take(small.up2, p.up2, joined, half)
    _take(small.up1, p.up1, half, torch.arange(3))
    return small.eval().requires_grad_(False)


def _strongest(count: int, links: list[_Link], strength: Tensor | None = None) -> Tensor:
    """Numbers of the ``count`` strongest channels of a group, in order."""
    total = torch.stack([link.strength() for link in links]).sum(0)
    if strength is not None:
        total = total + strength
    return total.topk(count).indices.sort().values


def _take(mine: ModulatedConv, theirs: ModulatedConv, inputs: Tensor, outputs: Tensor) -> None:
    """Copy the part of a layer that leads from the channels ``inputs`` to the channels ``outputs``."""
    mine.weight.copy_(theirs.weight[outputs][:, inputs])
    mine.scale.weight.copy_(theirs.scale.weight[inputs])
    mine.scale.bias.copy_(theirs.scale.bias[inputs])
    both = torch.cat((outputs, outputs + theirs.weight.shape[0]))  # gains, then biases
    mine.affine.weight.copy_(theirs.affine.weight[both])
    mine.affine.bias.copy_(theirs.affine.bias[both])
