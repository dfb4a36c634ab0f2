"""Variational autoencoders: a spec becomes an encoder and a decoder, and for ``vae-gan`` a discriminator too.

spec = VaeSpec(height=64, width=64, channels=3)
nets = build_vae(spec)                     # seed torch before, the weights are drawn from its default generator
mean, logvar = nets["encoder"](picture)    # [8,3,64,64] in -1..1 -> [8,Z] each
picture = nets["decoder"](mean)            # [8,3,64,64]
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.training.losses.variational import LOGVAR_RANGE
from impasto.training.nets.gan_plain import PlainDiscriminator
from impasto.training.nets.gan_spec import GanSpec
from impasto.training.nets.layers import (
    GAINS,
    Act,
    Activation,
    Conv,
    Down,
    DownConv,
    Linear,
    Normalisation,
    Up,
    UpConv,
    make_norm,
)

VaeKind = Literal["vae", "vae-gan", "vq-vae"]


class VaeSpec(BaseModel):
    """An encoder and a decoder. Sizes and channels per level follow the rules of ``GanSpec``.

    ``vae``: Kingma and Welling 2014, convolutional. ``vae-gan``: its decoder is also judged by a discriminator
    (Larsen et al. 2016). ``vq-vae``: the latent is cut into short vectors, each of which is replaced by the nearest
    one of a learnt table (van den Oord et al. 2017); departure: one flat latent rather than a map of them, so that
    such a model is drawn from and exported like the others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: VaeKind = "vae"
    height: int = Field(default=64, ge=16, le=256)
    width: int = Field(default=64, ge=16, le=256)
    channels: Literal[1, 3, 4] = Field(default=3, description="grey, RGB, or RGB and alpha")
    latent: int = Field(default=128, ge=2, le=1024, description="length of z")
    base_width: int = Field(default=32, ge=4, le=512, description="channels at 64 x 64 pixels")
    max_width: int = Field(default=128, ge=8, le=1024, multiple_of=8, description="channels at most")
    blocks: int = Field(default=1, ge=0, le=4, description="residual blocks of the decoder per level but the largest")
    activation: Activation = "silu"
    norm: Normalisation = "group"
    up: Up = "nearest"
    down: Down = "stride"
    codes: int = Field(default=256, ge=2, le=8192, description="vectors in the table (vq-vae)")
    code_size: int = Field(default=8, ge=1, le=256, description="their length, of which latent is a multiple (vq-vae)")
    critic_base_width: int = Field(default=32, ge=4, le=512, description="of the discriminator (vae-gan)")
    critic_max_width: int = Field(default=128, ge=8, le=1024, multiple_of=8)
    critic_norm: Normalisation = "spectral"

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        try:
            _ = self.pair
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
        if self.kind == "vq-vae" and self.latent % self.code_size:
            raise ValueError(f"latent {self.latent} must be a multiple of code_size {self.code_size}")
        return self

    @property
    def pair(self) -> GanSpec:
        """The plain adversarial pair of the same sizes: the discriminator's spec, and the rule for levels."""
        return GanSpec(
            kind="dcgan",
            height=self.height,
            width=self.width,
            channels=self.channels,
            latent=self.latent,
            base_width=self.base_width,
            max_width=self.max_width,
            critic_base_width=self.critic_base_width,
            critic_max_width=self.critic_max_width,
            critic_norm=self.critic_norm,
        )

    @property
    def numbers(self) -> int:
        """Numbers in a picture: channels x height x width."""
        return self.channels * self.height * self.width


class _Residual(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), half as wide inside: ``[N,C,h,w]``, same shape (He et al. 2016)."""

    def __init__(self, channels: int, spec: VaeSpec) -> None:
        super().__init__()
        gain, spectral, inner = GAINS[spec.activation], spec.norm == "spectral", max(8, channels // 2)
        self.change = nn.Sequential(
            make_norm(spec.norm, channels),
            Act(spec.activation),
            Conv(channels, inner, gain=gain, spectral=spectral),
            make_norm(spec.norm, inner),
            Act(spec.activation),
            # Small at first, so that depth does not make the start any harder.
            Conv(inner, channels, gain=0.3 * gain, spectral=spectral),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.change(x)
        return y


class Encoder(nn.Module):
    """Picture ``[N,c,H,W]`` in -1..1 -> mean and log variance of its latent, ``[N,Z]`` each, float32.

    One halving convolution per level, then a linear layer. The log variance lies within ``LOGVAR_RANGE``; that of a
    ``vq-vae`` is the least of it, since its latent is not spread out.
    """

    def __init__(self, spec: VaeSpec) -> None:
        super().__init__()
        self.spec = spec
        gain, spectral = GAINS[spec.activation], spec.norm == "spectral"
        widths = spec.pair.widths[::-1]
        steps: list[nn.Module] = [Conv(spec.channels, widths[0], spectral=spectral), Act(spec.activation)]
        for inputs, outputs in pairwise(widths):
            steps.append(DownConv(inputs, outputs, spec.down, gain=gain, spectral=spectral))
            steps += [make_norm(spec.norm, outputs), Act(spec.activation)]
        self.steps = nn.Sequential(*steps, nn.Flatten())
        h, w = spec.pair.levels[0]
        outputs = spec.latent * (1 if spec.kind == "vq-vae" else 2)
        self.head = Linear(widths[-1] * h * w, outputs, gain=0.5)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        told: Tensor = self.head(self.steps(picture)).float()
        if self.spec.kind == "vq-vae":
            return told, torch.full_like(told, LOGVAR_RANGE[0])
        mean, logvar = told.chunk(2, dim=1)
        return mean, logvar.clamp(*LOGVAR_RANGE)


class Means(nn.Module):
    """An encoder's means alone, ``[N,c,H,W] -> [N,Z]``: what goes into a model file for ``reconstruct``."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, picture: Tensor) -> Tensor:
        mean: Tensor = self.encoder(picture)[0]
        return mean


class Codebook(nn.Module):
    """A table of vectors that latents are rounded to (van den Oord et al. 2017, section 3).

    The table follows the running mean of the vectors that are nearest to each entry (appendix A.1), so it has no
    gradient and its buffers belong to a checkpoint.

    Args:
        codes: K, entries.
        size: d, their length.
        decay: of the running means.
    """

    table: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, codes: int, size: int, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        table = torch.randn(codes, size)
        self.register_buffer("table", table)
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", table.clone())

    def nearest(self, vectors: Tensor) -> Tensor:
        """Number of the nearest entry of each of the vectors ``[M,d]``: int64 [M]."""
        with torch.autocast(vectors.device.type, enabled=False):  # entries lie closer together than bfloat16 can tell
            # |a - b|^2 without |a|^2, which all entries share
            return (self.table.square().sum(1) - 2 * vectors.float() @ self.table.T).argmin(1)

    def forward(self, z: Tensor) -> Tensor:
        """``z`` [N,Z], Z a multiple of d, with every d numbers replaced by the nearest entry. No gradient."""
        vectors = z.float().reshape(-1, self.table.shape[1])
        return self.table[self.nearest(vectors)].reshape(z.shape)

    def used(self, z: Tensor) -> Tensor:
        """How many entries the latents ``z`` [N,Z] are rounded to. A scalar, float32."""
        vectors = z.detach().float().reshape(-1, self.table.shape[1])
        present = torch.zeros(len(self.table), device=z.device)
        present[self.nearest(vectors)] = 1
        return present.sum()

    @torch.no_grad()
    def learn(self, z: Tensor, random: torch.Generator) -> None:
        """Move the entries towards the latents ``z`` [N,Z] that are nearest to them; one call per step.

        An entry that hardly anything is near to is moved onto one of the latents, drawn with ``random`` (a CPU
        generator): it would otherwise stay unused for ever.
        """
        vectors = z.detach().float().reshape(-1, self.table.shape[1])
        if not vectors.isfinite().all():
            return  # the step is thrown away by the loop, and the table must not remember it
        chosen = F.one_hot(self.nearest(vectors), len(self.table)).to(vectors.dtype)  # [M,K]
        self.counts.lerp_(chosen.sum(0), 1 - self.decay)
        with torch.autocast(z.device.type, enabled=False):
            self.sums.lerp_(chosen.T @ vectors, 1 - self.decay)
        rows = torch.randint(len(vectors), (len(self.table),), generator=random).to(vectors.device)
        idle = self.counts < 0.02 * len(vectors) / len(self.table)
        share = len(vectors) / len(self.table)
        self.counts.copy_(torch.where(idle, share, self.counts))
        self.sums.copy_(torch.where(idle[:, None], vectors[rows] * share, self.sums))
        self.table.copy_(self.sums / self.counts[:, None])


class Decoder(nn.Module):
    """Latent ``[N,Z]`` -> picture ``[N,c,H,W]``, float32: in -1..1 in evaluation, free in training.

    A linear layer, one doubling convolution per level, residual blocks in between. Training does without the clamp
    because what is out of range would have no gradient.

    Attributes:
        logvar: learnt log variance of a pixel, a scalar (Rybkin et al. 2021, sigma-VAE).
        codebook: of a ``vq-vae``, else None; latents are rounded to it in evaluation only, in training by the task.
    """

    def __init__(self, spec: VaeSpec) -> None:
        super().__init__()
        self.spec = spec
        self.logvar = nn.Parameter(torch.tensor(-2.0))  # about the variance of pictures around their mean
        self.codebook = Codebook(spec.codes, spec.code_size) if spec.kind == "vq-vae" else None
        gain, spectral, widths = GAINS[spec.activation], spec.norm == "spectral", spec.pair.widths
        self.size, self.widest = spec.pair.levels[0], widths[0]
        self.first = Linear(spec.latent, widths[0] * self.size[0] * self.size[1])
        steps: list[nn.Module] = [_Residual(widths[0], spec) for _ in range(spec.blocks)]
        for inputs, outputs in pairwise(widths[:-1]):
            steps += [make_norm(spec.norm, inputs), Act(spec.activation)]
            steps.append(UpConv(inputs, outputs, spec.up, gain=gain, spectral=spectral))
            steps += [_Residual(outputs, spec) for _ in range(spec.blocks)]
        steps += [make_norm(spec.norm, widths[-2]), Act(spec.activation)]
        steps.append(UpConv(widths[-2], widths[-1], spec.up, gain=gain, spectral=spectral))
        # Grey at first: what a random picture gets wrong would drown all else for the first hundreds of steps.
        steps += [Act(spec.activation), Conv(widths[-1], spec.channels, gain=0.1)]
        self.steps = nn.Sequential(*steps)

    def forward(self, z: Tensor) -> Tensor:
        if self.codebook is not None and not self.training:
            z = self.codebook(z)
        x = self.first(z).reshape(-1, self.widest, *self.size)
        # 8 bits of bfloat16 would be seen as steps in flat ground
        picture: Tensor = self.steps(x).float()
        return picture if self.training else picture.clamp(-1, 1)

    def noise(self) -> Tensor:
        """``logvar`` within what 8-bit pictures can have, so that flat pictures do not drive it to minus infinity."""
        return self.logvar.clamp(*LOGVAR_RANGE)


class Judge(PlainDiscriminator):
    """The discriminator of a ``vae-gan``: picture ``[N,c,H,W]`` in -1..1 -> logits ``[N]``."""

    def look(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``[N,F,h,w]`` of the last but one level, and logits ``[N]``.

        Larsen et al. 2016 compare pictures at the last but one of their convolutions (their equation 7).
        """
        acts = [place for place, step in enumerate(self.steps) if isinstance(step, Act)]
        at = acts[-2] if len(acts) > 1 else acts[-1]
        x = features = picture
        for place, step in enumerate(self.steps):
            x = step(x)
            if place == at:
                features = x
        logits: Tensor = self.head(x, None)
        return features, logits


def build_vae(spec: VaeSpec) -> dict[str, nn.Module]:
    """``{"encoder": E, "decoder": D}``, and ``"discriminator"`` for ``vae-gan``; in training mode, float32."""
    nets: dict[str, nn.Module] = {"encoder": Encoder(spec), "decoder": Decoder(spec)}
    if spec.kind == "vae-gan":
        nets["discriminator"] = Judge(spec.pair)
    return nets
