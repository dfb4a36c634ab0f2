"""The any-style painter: an encoder-decoder steered by a style code, and the encoder that makes the code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.runtime.laplacian import LEVELS
from impasto.runtime.pyramid import NUMBERS
from impasto.training.nets.blocks import (
    FixedNorm,
    ModulatedConv,
    ModulatedResidual,
    ModulatedUp,
    Norm,
    PatchConv,
    SlowLinear,
    channel_stats,
    color_stats,
    edge_pad,
    invert_symmetric,
    transform_colors,
    unpack_symmetric,
)
from impasto.training.nets.pyramid import band_stats, match_bands

COLORS = 9
"""Length of a picture's colour statistics: mean of R, G, B, then their spread (``blocks.color_stats``)."""

_BAND = (0.03, 0.0, 0.0, 0.03, 0.0, 0.03)
_REST = (0.2, 0.1, 0.1, 0.2, 0.1, 0.2)
"""Typical spreads of a band, and of what is left below the bands."""

GRAIN = 4
"""Channels of noise at 1/8 of the size: as one channel at 1/4 of the size, cells of 4x4 pixels."""

GRAIN_LEVEL = 0.1
"""How much of it is added to what the network sees of a photo, whose own deviation is 1."""

SEEN = 256
"""Width of the layer that a style code, and how sure the encoder is of it, are read from."""

UNSURE = -4.0
"""Log variance of every number of a code at the start: small, so that the painter learns to tell styles apart."""

_Width = Annotated[int, Field(ge=1, le=1024)]


REACH = 4.0
"""Paint lies within so many deviations of the mean colour, and the network sees the photo within as many."""


class StyleSpec(BaseModel):
    """What a style network is made of. One spec, one family; variation is data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["anystyle"] = "anystyle"
    fine: int = Field(default=32, ge=8, le=256, description="channels at 1/4 of the size")
    coarse: int = Field(default=80, ge=8, le=512, description="channels at 1/8 of the size")
    half: int = Field(default=16, ge=4, le=128, description="channels at 1/2 of the size")
    blocks: int = Field(default=4, ge=1, le=16, description="residual blocks at 1/8 of the size")
    norm: Norm = Field(default="demod", description="demod (tiles are exact) or instance (for comparison)")
    code: int = Field(default=128, ge=8, le=1024, description="length of the learnt part of a style code")
    hidden: int = Field(default=128, ge=8, le=1024, description="width of the mapping from code to modulation")
    shine: float = Field(default=0.3, ge=0, le=1, description="how much of the photo's pixels shows through the paint")
    eyes: tuple[_Width, _Width, _Width] = Field(default=(48, 96, 160), description="channels of the style encoder")
    bands: bool = Field(
        default=False, description="painted pictures are given the painting's covariances at every size of detail"
    )
    under: int = Field(default=0, ge=0, le=3, description="smaller paintings that lie under, each of half the size")
    ground: float = Field(default=0.6, ge=0, le=1, description="how much of them shows through")
    variational: bool = Field(default=False, description="codes are drawn around what the encoder sees, in training")

    @property
    def code_size(self) -> int:
        """Length of a whole code: the learnt part, how bands vary (where they count), mean and spread of colours."""
        return self.code + (NUMBERS if self.bands else 0) + COLORS

    @property
    def receptive_field(self) -> int | None:
        """Reach of an output pixel in input pixels, to one side; None where it is the whole picture."""
        if self.norm == "instance":
            return None
        fine = 1 + 1 + 1  # 3x3 at 1/4: first, joining, and the up-convolution out of it
        coarse = 2 * self.blocks + 1 + 1  # residual blocks, the up-convolution, and the stride-2 one
        return 8 * coarse + 4 * fine + 2 + 8  # the up-convolution at 1/2, and the pixel-unshuffle's own patch


def code_scale(spec: StyleSpec) -> tuple[Tensor, Tensor]:
    """What a network subtracts from a code, and divides it by: [D] each.

    It brings the colours to the size that the learnt part has.
    """
    bands, sizes = (
        ([*_BAND * LEVELS, *_REST, 0.5], [0.02] * 6 * LEVELS + [0.08] * 6 + [0.2]) if spec.bands else ([], [])
    )
    typical = [0.0] * spec.code + bands + [0.45] * 3 + [0.15, 0.1, 0.1, 0.15, 0.1, 0.15]
    return torch.tensor(typical), torch.tensor([1.0] * spec.code + sizes + [0.2] * 3 + [0.06] * 6)


class Painter(nn.Module):
    """Paints a photo in the manner that a style code says.

    photo [N,3,H,W] RGB 0..1 (H, W multiples of 8), photo_stats [N,9], code [N,D], grain [N,4,H/8,W/8] of mean 0 and
    deviation 1 -> painted [N,3,H,W] RGB 0..1.

    The photo's colours are whitened by its own mean and covariance and the paint is given the style's: for a network
    that copies what it sees this is a linear colour transfer (Hertzmann 2001, section 4.4; Pitie and Kokaram 2007), so
    that all it has to learn is the strokes. A share of the photo's own pixels shows through, the same everywhere: where
    the network may choose it leaves the photo as it is and strews strokes over it.

    Grain is noise, added to the photo that the network sees: on flat ground it could else only repeat itself every 8
    pixels. It is too faint to be seen where the photo has texture of its own, so strokes follow the photo there.
    """

    typical: Tensor
    spread: Tensor

    def __init__(self, spec: StyleSpec) -> None:
        super().__init__()
        self.spec = spec
        n, s = spec.norm, spec.hidden
        # Variance kept, so that styles differ from the first step on.
        self.mapping = nn.Sequential(
            SlowLinear(spec.code_size, s, std=(2 / 1.04 / spec.code_size) ** 0.5),
            nn.LeakyReLU(0.2),
            SlowLinear(s, s, std=(2 / 1.04 / s) ** 0.5),
            nn.LeakyReLU(0.2),
        )
        self.look = PatchConv(spec.fine)
        self.down = ModulatedConv(spec.fine, spec.coarse, s, stride=2, norm=n)
        self.blocks = nn.ModuleList(ModulatedResidual(spec.coarse, s, n) for _ in range(spec.blocks))
        self.up4 = ModulatedUp(spec.coarse, spec.fine, s, norm=n)
        self.join = ModulatedConv(spec.fine, spec.fine, s, norm=n)
        self.up2 = ModulatedUp(spec.fine, spec.half, s, norm=n)
        # The last one is never normalised: it says colours, and their size matters.
        self.up1 = ModulatedUp(spec.half, 3, s, norm="none", gain=0.5 / REACH)
        typical, spread = code_scale(spec)
        self.register_buffer("typical", typical, persistent=False)
        self.register_buffer("spread", spread, persistent=False)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """A painter whose codes said less of bands may learn on: what they lacked means nothing to it at first."""
        key, spec = f"{prefix}mapping.0.weight", self.spec
        known = state.get(key)
        if spec.bands and known is not None and known.shape[1] in (spec.code + COLORS, spec.code_size - 1):
            unknown = known.new_zeros(len(known), spec.code_size - known.shape[1])
            state[key] = torch.cat((known[:, :-COLORS], unknown, known[:, -COLORS:]), 1)
        super()._load_from_state_dict(state, prefix, *args)

    def forward(self, photo: Tensor, photo_stats: Tensor, code: Tensor, grain: Tensor) -> Tensor:
        return self.raw(photo, photo_stats, code, grain).clamp(0, 1)

    def raw(self, photo: Tensor, photo_stats: Tensor, code: Tensor, grain: Tensor) -> Tensor:
        """Before the clamp to 0..1 (what training wants: a clamped pixel has no gradient)."""
        style = self.mapping((code - self.typical) / self.spread)
        whiten = invert_symmetric(photo_stats[:, 3:])
        shift = -(unpack_symmetric(whiten) * photo_stats[:, None, :3]).sum(2)
        x = transform_colors(photo, whiten, shift).clamp(-REACH, REACH)
        # What adding the noise to x, as cells of 4x4 pixels, would come to.
        noise = F.conv2d(edge_pad(F.pixel_shuffle(grain, 2), 1), GRAIN_LEVEL * self.look.cell_kernel())
        fine = F.relu(self.look(x) + noise)  # [N,fine,H/4,W/4]
        y = F.relu(self.down(fine, style))  # [N,coarse,H/8,W/8]
        for block in self.blocks:
            y = block(y, style)
        y = F.relu(self.up4(y, style) + fine)  # [N,fine,H/4,W/4]
        y = F.relu(self.join(y, style))
        y = F.relu(self.up2(y, style))  # [N,half,H/2,W/2]
        paint = REACH * torch.tanh(self.up1(y, style).float())  # [N,3,H,W]
        return transform_colors(paint + self.spec.shine * x, code[:, -6:], code[:, -COLORS:-6])

    def finished(self, raw: Tensor, code: Tensor) -> Tensor:
        """``raw`` [N,3,H,W], which need not be within 0..1, with the bands that a code asks for, if it does."""
        if not self.spec.bands:
            return raw
        return match_bands(raw.clamp(0, 1), code[:, -COLORS:-6], code[:, self.spec.code : -COLORS])


class StyleEncoder(nn.Module):
    """Describes a painting as a style code. style [N,3,h,w] RGB 0..1 (multiples of 16) -> code [N,D].

    Channel means and deviations at three depths (as in AdaIN, Huang and Belongie 2017, but of a small network of its
    own) go through two linear layers; the painting's colour statistics are appended as they are (see
    ``blocks.color_stats``), and before them those of its bands (``pyramid.band_stats``) if the spec says so.
    """

    def __init__(self, spec: StyleSpec) -> None:
        super().__init__()
        self.bands = spec.bands
        a, b, c = spec.eyes
        self.conv1 = PatchConv(a)
        self.conv2 = nn.Conv2d(a, b, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(b, b, 3, padding=1)
        self.conv4 = nn.Conv2d(b, c, 3, stride=2, padding=1)
        self.norm = FixedNorm(2 * (a + b + c))
        self.head = nn.Sequential(nn.Linear(2 * (a + b + c), SEEN), nn.LeakyReLU(0.2), nn.Linear(SEEN, spec.code))
        self.whiten = FixedNorm(spec.code)

    def forward(self, style: Tensor) -> Tensor:
        return self.describe(style, self.look(style))

    def look(self, style: Tensor) -> Tensor:
        """What is seen of a painting, before it is put into a code: [N,3,h,w] -> [N,SEEN]."""
        seen: Tensor = self.head[1](self.head[0](self.norm(self.statistics(style))))
        return seen

    def describe(self, style: Tensor, seen: Tensor) -> Tensor:
        """The code [N,D] of paintings [N,3,h,w] and what ``look`` saw of them."""
        measured = [band_stats(style)] if self.bands else []
        return torch.cat((self.whiten(self.head[2](seen)), *measured, color_stats(style)), 1)

    def statistics(self, style: Tensor) -> Tensor:
        """Channel means and deviations at all depths: [N,3,h,w] -> float32 [N,2(a+b+c)]."""
        x = F.relu(self.conv1(style * 2 - 1))  # [N,a,h/4,w/4]
        stats = [channel_stats(x)]
        x = F.relu(self.conv3(F.relu(self.conv2(x))))  # [N,b,h/8,w/8]
        stats.append(channel_stats(x))
        x = F.relu(self.conv4(x))  # [N,c,h/16,w/16]
        stats.append(channel_stats(x))
        return torch.cat(stats, 1)

    @torch.no_grad()
    def calibrate(self, styles: Iterable[Tensor]) -> None:
        """Measure the norms on batches of paintings [N,3,h,w], before training."""
        statistics = torch.cat([self.statistics(batch) for batch in styles])
        self.whiten.calibrate(self.head(self.norm.calibrate(statistics)))


class StyleDoubt(nn.Module):
    """How unsure the encoder is of a code: ``seen`` [N,SEEN] -> log variances of its learnt part, float32 [N,code].

    The other half of a variational encoder (Kingma and Welling 2014, appendix C.2), used in training only: the encoder
    itself gives the mean, and so does the model file. A network of its own, so that a run may start from one without.
    """

    def __init__(self, spec: StyleSpec) -> None:
        super().__init__()
        self.guess = nn.Linear(SEEN, spec.code)
        nn.init.zeros_(self.guess.weight)
        nn.init.constant_(self.guess.bias, UNSURE)

    def forward(self, seen: Tensor) -> Tensor:
        logvar: Tensor = self.guess(seen)
        return logvar.float()


class StyleHint(nn.Module):
    """Guesses from a style code how strongly each feature channel answers to the painting: ``[N,D] -> [N,K]``.

    Used in training only: it makes the style encoder learn texture from the first step on, while the painter that it
    is for still paints badly.
    """

    def __init__(self, spec: StyleSpec, channels: int) -> None:
        super().__init__()
        self.guess = nn.Linear(spec.code_size, channels)
        self.norm = FixedNorm(channels)

    def forward(self, code: Tensor, energies: Tensor) -> Tensor:
        """Mean squared error of the guess. ``code`` [N,D], ``energies`` [N,K]: mean squared feature per channel."""
        return F.mse_loss(self.guess(code).float(), self.norm(self.scale(energies)).clamp(-4, 4))

    @staticmethod
    def scale(energies: Tensor) -> Tensor:
        """Energies span decades, so their logarithm is guessed."""
        return torch.log(energies + 1e-3 * energies.mean(1, keepdim=True) + 1e-12)
