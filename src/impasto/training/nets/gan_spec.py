"""What a pair of adversarial networks is made of, and what all families of them share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from impasto.training.nets.layers import Activation, Down, Linear, Normalisation, Up

Kind = Literal["dcgan", "resnet", "style", "r3"]

EMBEDDING = 32
"""Numbers that stand for a class beside the latent."""

FAMILIES: dict[str, dict[str, Any]] = {
    "style": {},
    "dcgan": {
        "max_width": 256,
        "critic_max_width": 256,
        "activation": "relu",
        "norm": "batch",
        "critic_norm": "batch",
        "up": "transposed",
        "down": "stride",
        "output": "tanh",
    },
    "resnet": {
        "activation": "relu",
        "critic_activation": "relu",
        "norm": "batch",
        "critic_norm": "spectral",
        "up": "nearest",
        "down": "average",
        "output": "tanh",
    },
    "r3": {"norm": "none"},
}
"""kind -> the defaults in which a family differs from those of ``GanSpec``, which are the style family's."""

# What a family cannot be built with otherwise, because it is what makes the family.
_FIXED: dict[str, dict[str, tuple[str, ...]]] = {
    "style": {"norm": ("none",), "critic_norm": ("none",), "up": ("nearest", "bilinear")},
    "r3": {"norm": ("none",), "critic_norm": ("none",), "up": ("nearest", "bilinear")},
}


class GanSpec(BaseModel):
    """A generator and a discriminator. One spec for all families; variation is data.

    Pictures are ``height`` x ``width``; a network starts from a base of 2 to 8 pixels per side and doubles it. The
    channels at a level of h x w pixels are ``base_width * 64 / sqrt(h w)``, rounded to a multiple of 8, at most
    ``max_width``: the same at the same level whatever the size of the picture, so that a picture of twice the side
    costs about 1.4 times as much, not four times.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = "style"
    height: int = Field(default=64, ge=16, le=256)
    width: int = Field(default=64, ge=16, le=256)
    channels: Literal[1, 3, 4] = Field(default=3, description="grey, RGB, or RGB and alpha")
    classes: int = Field(default=0, ge=0, le=10_000, description="0 = no labels")
    latent: int = Field(default=128, ge=2, le=1024, description="length of z")
    base_width: int = Field(default=32, ge=4, le=512, description="channels of the generator at 64 x 64 pixels")
    max_width: int = Field(default=128, ge=8, le=1024, multiple_of=8, description="channels of the generator at most")
    critic_base_width: int = Field(default=32, ge=4, le=512, description="channels of the discriminator at 64 x 64")
    critic_max_width: int = Field(default=128, ge=8, le=1024, multiple_of=8)
    blocks: int = Field(default=1, ge=1, le=4, description="residual blocks per level (r3)")
    activation: Activation = "leaky_relu"
    critic_activation: Activation = "leaky_relu"
    norm: Normalisation = Field(default="none", description="of the generator")
    critic_norm: Normalisation = Field(default="none", description="of the discriminator")
    up: Up = "bilinear"
    down: Down = Field(default="average", description="of the discriminator (dcgan, resnet)")
    output: Literal["tanh", "none"] = Field(default="none", description="what the generator's picture goes through")
    mapping_layers: int = Field(default=2, ge=1, le=8, description="layers from z to w (style)")
    noise: bool = Field(default=True, description="fresh noise at every level while training (style)")

    @model_validator(mode="before")
    @classmethod
    def _family(cls, table: Any) -> Any:
        if isinstance(table, dict) and isinstance(kind := table.get("kind", "style"), str):
            return FAMILIES.get(kind, {}) | table
        return table

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if not self._steps():
            raise ValueError(
                f"a picture of {self.height} x {self.width} pixels is no base of 2 to 8 per side times a power of two: "
                "take sides such as 32, 48, 64, 96, 128, one at most four times the other"
            )
        for key, allowed in _FIXED.get(self.kind, {}).items():
            if getattr(self, key) not in allowed:
                raise ValueError(f"{key} of a {self.kind} network must be {' or '.join(allowed)}")
        return self

    def _steps(self) -> list[int]:
        """How often the size may be doubled, all possibilities."""
        sides = self.height, self.width
        return [k for k in range(1, 8) if all(side % 2**k == 0 and 2 <= side >> k <= 8 for side in sides)]

    @property
    def levels(self) -> tuple[tuple[int, int], ...]:
        """Sizes (h, w) from the base to the picture. The base has 4 to 8 pixels per side where that can be."""
        steps = self._steps()
        wide = [k for k in steps if min(self.height, self.width) >> k >= 4]
        doublings = max(wide or steps)
        return tuple((self.height >> k, self.width >> k) for k in range(doublings, -1, -1))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the generator at each of ``levels``."""
        return tuple(_channels(size, self.base_width, self.max_width) for size in self.levels)

    @property
    def critic_widths(self) -> tuple[int, ...]:
        """Channels of the discriminator at each of ``levels``."""
        return tuple(_channels(size, self.critic_base_width, self.critic_max_width) for size in self.levels)


def _channels(size: tuple[int, int], base: int, most: int) -> int:
    wanted = base * 64 / math.sqrt(size[0] * size[1])
    # Thin layers at the largest size save no time: they wait for memory.
    return min(most, max(8, math.floor(wanted / 8 + 0.5) * 8, min(16, base // 8 * 8)))


class Latent(nn.Module):
    """z with a few numbers for the class behind it: ``[N,Z], [N,C] -> [N,Z+E]``; zeros where the label is unknown."""

    def __init__(self, spec: GanSpec) -> None:
        super().__init__()
        self.size = spec.latent + (EMBEDDING if spec.classes else 0)
        # One-hot rows in, so the deviation of an embedding is that of the weights themselves.
        self.embed = Linear(spec.classes, EMBEDDING, bias=False, gain=spec.classes**0.5) if spec.classes else None

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.embed is None:
            return z
        if labels is None:
            return torch.cat((z, z.new_zeros(z.shape[0], EMBEDDING)), 1)
        return torch.cat((z, self.embed(labels.to(z.dtype)).to(z.dtype)), 1)


class GanGenerator(nn.Module, ABC):
    """What every generator offers. A subclass draws in ``synthesis``.

    Attributes:
        latent_size: Z, length of z (standard normal).
        w_size: W, length of what ``synthesis`` takes.
        has_mapping: whether a network makes w from z; if not, w is z with the label's embedding behind it.
        layers: L, how many w a picture takes where styles are mixed; 1 where they cannot be.
    """

    has_mapping = False
    layers = 1

    def __init__(self, spec: GanSpec) -> None:
        super().__init__()
        self.spec = spec
        self.latent_size = spec.latent
        self.latent = Latent(spec)
        self.w_size = self.latent.size

    def mapping(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``z`` [N,Z], ``labels`` [N,C] one-hot (a row of zeros: unknown) or None -> w [N,W]."""
        w: Tensor = self.latent(z, labels)
        return w

    @abstractmethod
    def synthesis(self, w: Tensor) -> Tensor:
        """w [N,W] -> picture [N,c,H,W], about -1..1, float32."""

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.synthesis(self.mapping(z, labels))

    def _picture(self, x: Tensor) -> Tensor:
        x = x.float()  # 8 bits of bfloat16 would be seen as steps in flat ground
        return torch.tanh(x) if self.spec.output == "tanh" else x


class Head(nn.Module):
    """Features [N,F] and labels -> logits [N], float32.

    A linear layer, plus the projection of the features onto the label's embedding (Miyato and Koyama 2018). A row of
    zeros, or no labels, leaves the projection out: such a picture is judged without its class.
    """

    def __init__(self, features: int, spec: GanSpec, *, spectral: bool = False, equal: bool = False) -> None:
        super().__init__()
        self.score = Linear(features, 1, spectral=spectral, equal=equal)
        self.embed = None
        if spec.classes:  # one-hot rows in: a projection as large as the score
            gain = (spec.classes / features) ** 0.5
            self.embed = Linear(spec.classes, features, bias=False, gain=gain, spectral=spectral, equal=equal)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        logits: Tensor = self.score(features).float()[:, 0]
        if self.embed is not None and labels is not None:
            with torch.autocast(features.device.type, enabled=False):
                logits = logits + (self.embed(labels.float()) * features.float()).sum(1)
        return logits
