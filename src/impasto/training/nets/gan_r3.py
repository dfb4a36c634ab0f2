"""The r3 family: a residual pair of grouped convolutions, without normalisation and without tricks.

After Huang et al. 2024 ("The GAN is dead; long live the GAN!", section 3, configuration E): bottlenecks turned inside
out with a grouped 3x3 convolution in their middle, bilinear resizing, biases only, and the initialisation of Zhang et
al. 2019 (fix-up), which keeps the size of the features without a norm. It wants the relativistic loss with R1 and R2.

Departure: one block per level in place of two, because two cores have to train it (``GanSpec.blocks``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from impasto.training.nets.gan_spec import GanGenerator, GanSpec, Head
from impasto.training.nets.layers import GAINS, Act, Activation, Conv, Linear, Pool, resize

EXPAND = 2
"""The middle of a block has so many times the channels."""

GROUP = 16
"""Channels per group of the middle convolution."""


class _Block(nn.Module):
    """x + f(x), f = 1x1, grouped 3x3, 1x1. ``[N,C,H,W] -> [N,C,H,W]``.

    Fix-up with m = 3 layers in each of ``depth`` branches: the last is silent at the start and the others are scaled
    by depth^(-1/(2m-2)).
    """

    def __init__(self, channels: int, activation: Activation, depth: int) -> None:
        super().__init__()
        gain, middle = GAINS[activation], EXPAND * channels
        group = next(g for g in (GROUP, 8, 4, 2, 1) if middle % g == 0)
        small = depth ** (-1 / 4)
        self.branch = nn.Sequential(
            Conv(channels, middle, 1, gain=small),
            Act(activation),
            Conv(middle, middle, groups=middle // group, gain=gain * small),
            Act(activation),
            Conv(middle, channels, 1, gain=0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.branch(x)
        return y


class R3Generator(GanGenerator):
    """z scales a learnt picture of features; blocks and doublings follow; no layer after the last 1x1 convolution."""

    def __init__(self, spec: GanSpec) -> None:
        super().__init__(spec)
        size, widths = spec.levels[0], spec.widths
        depth = spec.blocks * len(widths)
        self.base = nn.Parameter(torch.randn(1, widths[0], *size))
        self.scale = Linear(self.w_size, widths[0])
        levels: list[nn.Module] = []
        narrow: list[nn.Module] = []
        inputs = widths[0]
        for outputs in widths:
            narrow.append(nn.Identity() if inputs == outputs else Conv(inputs, outputs, 1, bias=False))
            blocks = (_Block(outputs, spec.activation, depth) for _ in range(spec.blocks))
            levels.append(nn.Sequential(*blocks))
            inputs = outputs
        self.narrow, self.levels = nn.ModuleList(narrow), nn.ModuleList(levels)
        self.last = Conv(widths[-1], spec.channels, 1, gain=0.5)

    def synthesis(self, w: Tensor) -> Tensor:
        """w [N,W] -> picture [N,c,H,W], about -1..1, float32."""
        x = self.base * self.scale(w)[:, :, None, None]
        for i, (narrow, level) in enumerate(zip(self.narrow, self.levels, strict=True)):
            if i:  # a 1x1 convolution and a resize may be exchanged: the small one first is the cheap order
                x = resize(narrow(x), self.spec.up)
            x = level(x)
        return self._picture(self.last(x))


class R3Discriminator(nn.Module):
    """The generator's mirror image; at the base every channel is weighed over all places at once.

    picture [N,c,H,W] in -1..1, labels [N,C] one-hot (a row of zeros: unknown) or None -> logits [N], float32.
    """

    def __init__(self, spec: GanSpec) -> None:
        super().__init__()
        self.spec = spec
        widths = spec.critic_widths[::-1]
        depth = spec.blocks * len(widths)
        self.look = Conv(spec.channels, widths[0], 1)
        steps: list[nn.Module] = []
        for i, channels in enumerate(widths):
            if i:
                steps.append(Pool("average"))  # the same as bilinear interpolation
                if channels != widths[i - 1]:
                    steps.append(Conv(widths[i - 1], channels, 1, bias=False))
            steps += [_Block(channels, spec.critic_activation, depth) for _ in range(spec.blocks)]
        self.steps = nn.Sequential(*steps)
        h, w = spec.levels[0]
        # A depthwise convolution with a kernel as large as the base, written as what it is.
        self.weigh = nn.Parameter(torch.randn(widths[-1], h, w) * (h * w) ** -0.5)
        self.head = Head(widths[-1], spec)

    def forward(self, picture: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.steps(self.look(picture))
        features = (x.float() * self.weigh).sum((2, 3))  # [N,F]
        logits: Tensor = self.head(features, labels)
        return logits
