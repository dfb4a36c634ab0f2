"""Adversarial pairs: a spec becomes a generator and a discriminator. ``PAIRS`` is the one table of families.

spec = GanSpec(kind="style", height=64, width=64, channels=3)
nets = build_gan(spec)                      # seed torch before, the weights are drawn from its default generator
picture = nets["generator"](torch.randn(8, spec.latent))      # [8,3,64,64]
logits = nets["discriminator"](picture)                       # [8]
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from impasto.training.nets.gan_plain import (
    PlainDiscriminator,
    PlainGenerator,
    ResidualDiscriminator,
    ResidualGenerator,
)
from impasto.training.nets.gan_r3 import R3Discriminator, R3Generator
from impasto.training.nets.gan_spec import FAMILIES, GanGenerator, GanSpec, Kind
from impasto.training.nets.gan_style import StyleDiscriminator, StyleGenerator

__all__ = ["FAMILIES", "PAIRS", "GanGenerator", "GanSpec", "Kind", "build_gan"]

PAIRS: dict[str, tuple[Callable[[GanSpec], GanGenerator], Callable[[GanSpec], nn.Module]]] = {
    "dcgan": (PlainGenerator, PlainDiscriminator),
    "resnet": (ResidualGenerator, ResidualDiscriminator),
    "style": (StyleGenerator, StyleDiscriminator),
    "r3": (R3Generator, R3Discriminator),
}


def build_gan(spec: GanSpec) -> dict[str, nn.Module]:
    """``{"generator": G, "discriminator": D}``, in training mode, float32, drawn from torch's default generator."""
    generator, discriminator = PAIRS[spec.kind]
    return {"generator": generator(spec), "discriminator": discriminator(spec)}
