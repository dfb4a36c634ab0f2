"""A feature network of a few channels, and settings that paint with it in moments."""

from __future__ import annotations

from unittest.mock import patch

import torch

from impasto.training.nets import features
from impasto.training.nets.features import Vgg
from impasto.training.paint_spec import PaintSpec

SPEC = PaintSpec(
    start="photo",
    size=64,
    steps=4,
    coarsest=32,
    views=0,
    style_layers=("relu1_1", "relu2_1", "relu3_1"),
    content_layers=("relu2_2", "relu3_1"),
    precision="fp32",
)


def tiny_vgg(seed: int = 0) -> Vgg:
    """Random weights of about unit gain, up to relu3_1."""
    with patch.object(features, "WIDTHS", (6, 8, 8, 8, 8)):
        net = Vgg("vgg16", ("relu1_1", "relu2_1", "relu2_2", "relu3_1"))
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in net.order:
            conv = net.conv(layer)
            conv.weight.copy_(torch.randn(conv.weight.shape, generator=random) * (2 / conv.weight[0].numel()) ** 0.5)
            assert conv.bias is not None
            conv.bias.copy_(0.1 * torch.randn(conv.bias.shape, generator=random))
    return net.eval().requires_grad_(False)
