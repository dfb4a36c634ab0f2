"""The style family: a mapping network, modulated convolutions, noise, skip outputs; a residual discriminator.

After Karras et al. 2019 (StyleGAN) and 2020 (StyleGAN2), in plain PyTorch. Departures, for networks that learn on two
cores: activations are scaled in place of kernels (the same result, and an inference engine can lay the kernel out
once); a convolution that doubles the size works at the small size and its output is interpolated, which costs a
quarter and cannot make a checkerboard; the discriminator halves by the mean of 2x2 pixels, not by a wider blur, and
convolves at the small size. Weights are scaled at run time as in the paper, so its learning rate (about 0.002) holds.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.training.nets.blocks import SlowLinear
from impasto.training.nets.gan_spec import EMBEDDING, GanGenerator, GanSpec, Head
from impasto.training.nets.layers import (
    ACTIVATIONS,
    EPS,
    GAINS,
    Act,
    Activation,
    Conv,
    Linear,
    PixelNorm,
    halve,
    resize,
)

MAPPING_RATE = 0.03
"""An optimiser's step is so much smaller a share of the mapping's weights than of the others'.

0.01 in the paper, more here because our runs are shorter.
"""

GROUP = 4
"""Pictures whose spread the discriminator is told of together."""


class StyledConv(nn.Module):
    """A convolution whose input channels are scaled by an affine function of w. ``[N,I,H,W], [N,W] -> [N,O,H,W]``.

    Output channels are divided by the norm of the scaled kernel unless ``demodulate`` is off (Karras et al. 2020,
    equations 1 to 3), and multiplied by ``gain``. Weights have deviation 1, see ``layers.Conv``.
    """

    def __init__(
        self, inputs: int, outputs: int, w_size: int, kernel: int = 3, *, demodulate: bool = True, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.demodulate, self.gain = demodulate, gain
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.rate = (1.0 if demodulate else gain) * (inputs * kernel * kernel) ** -0.5
        self.affine = Linear(w_size, inputs, start=1.0, equal=True)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        scale = self.affine(w)  # [N,I]
        kernel = self.weight * self.rate
        y = F.conv2d(x * scale.to(x.dtype)[:, :, None, None], kernel, padding=kernel.shape[2] // 2)
        if self.demodulate:
            with torch.autocast(x.device.type, enabled=False):
                energy = kernel.float().square().sum((2, 3)).T  # [I,O]
                size = self.gain * torch.rsqrt(scale.float().square() @ energy + EPS)  # [N,O]
            y = y * size.to(y.dtype)[:, :, None, None]
        return y


class StyledLayer(nn.Module):
    """Modulated 3x3 convolution, doubling if asked, noise, bias, activation: ``[N,I,h,w] -> [N,O,H,W]``.

    Args:
        inputs, outputs: channels.
        size: (H, W) of the output.
        spec: for the length of w, activation, interpolation and noise.
        up: whether the output has twice the input's size.
    """

    fixed_noise: Tensor

    def __init__(
        self, inputs: int, outputs: int, size: tuple[int, int], w_size: int, spec: GanSpec, *, up: bool
    ) -> None:
        super().__init__()
        self.mode, self.up, self.noise, self.name = spec.up, up, spec.noise, spec.activation
        self.conv = StyledConv(inputs, outputs, w_size, gain=GAINS[spec.activation])
        self.bias = nn.Parameter(torch.zeros(outputs))
        if spec.noise:
            self.strength = nn.Parameter(torch.zeros(()))
            self.register_buffer("fixed_noise", torch.randn(1, 1, *size))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = self.conv(x, w)
        if self.up:
            x = resize(x, self.mode)
        if self.noise:
            noise = self.fixed_noise
            if self.training:
                noise = torch.randn(x.shape[0], *noise.shape[1:], device=x.device, dtype=x.dtype)
            x = x + (noise * self.strength).to(x.dtype)
        return ACTIVATIONS[self.name](x + self.bias.to(x.dtype)[:, None, None])


class StyleGenerator(GanGenerator):
    """``synthesis`` takes one w [N,W] for all layers, or one for each [N,L,W] (style mixing).

    In training mode noise comes from torch's default generator, so seed that to repeat a step. In evaluation mode it is
    a buffer: the same z, the same picture.
    """

    has_mapping = True

    def __init__(self, spec: GanSpec) -> None:
        super().__init__(spec)
        self.w_size = spec.latent
        steps: list[nn.Module] = []
        inputs = self.latent.size
        for _ in range(spec.mapping_layers):
            std = GAINS["leaky_relu"] * inputs**-0.5
            steps += [SlowLinear(inputs, spec.latent, std=std, rate=MAPPING_RATE * std), Act("leaky_relu")]
            inputs = spec.latent
        self.steps = nn.Sequential(*steps)
        self.norm = PixelNorm()
        (height, width), *larger = spec.levels
        channels, *thinner = spec.widths
        self.base = nn.Parameter(torch.randn(1, channels, height, width))
        layers = [StyledLayer(channels, channels, (height, width), self.w_size, spec, up=False)]
        gain = 0.5 * len(spec.levels) ** -0.5  # their sum is about as large as a picture at the start
        pictures = [StyledConv(channels, spec.channels, self.w_size, 1, demodulate=False, gain=gain)]
        for size, outputs in zip(larger, thinner, strict=True):
            layers.append(StyledLayer(channels, outputs, size, self.w_size, spec, up=True))
            layers.append(StyledLayer(outputs, outputs, size, self.w_size, spec, up=False))
            pictures.append(StyledConv(outputs, spec.channels, self.w_size, 1, demodulate=False, gain=gain))
            channels = outputs
        self.styled, self.pictures = nn.ModuleList(layers), nn.ModuleList(pictures)
        self.offset = nn.Parameter(torch.zeros(spec.channels, 1, 1))
        self.layers = len(layers)

    def mapping(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``z`` [N,Z], ``labels`` [N,C] one-hot (a row of zeros: unknown) or None -> w [N,W], float32."""
        joined = self.latent(self.norm(z.float()), labels)
        if self.latent.embed is not None:  # a row of zeros stays one
            joined = torch.cat((joined[:, : self.latent_size], self.norm(joined[:, -EMBEDDING:])), 1)
        w: Tensor = self.steps(joined)
        return w.float()

    def synthesis(self, w: Tensor) -> Tensor:
        """w [N,W] or [N,L,W] -> picture [N,c,H,W], about -1..1, float32."""
        ws = [w] * self.layers if w.ndim == 2 else [w[:, i] for i in range(self.layers)]
        x: Tensor = self.styled[0](self.base.expand(w.shape[0], -1, -1, -1), ws[0])
        picture = self.pictures[0](x, ws[0]).float()
        for i, to_picture in enumerate(list(self.pictures)[1:], 1):
            x = self.styled[2 * i - 1](x, ws[2 * i - 1])
            x = self.styled[2 * i](x, ws[2 * i])
            picture = resize(picture, "bilinear") + to_picture(x, ws[2 * i]).float()
        return self._picture(picture + self.offset)


class _DownBlock(nn.Module):
    """Two convolutions with a halving between them, and a straight way past both. ``[N,I,H,W] -> [N,O,H/2,W/2]``."""

    def __init__(self, inputs: int, outputs: int, activation: Activation) -> None:
        super().__init__()
        gain = GAINS[activation]
        self.act = Act(activation)
        self.first = Conv(inputs, inputs, equal=True)
        self.second = Conv(inputs, outputs, gain=gain, equal=True)
        self.skip = Conv(inputs, outputs, 1, bias=False, equal=True)
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        y = halve(self.act(self.first(x)))
        y = self.act(self.second(y)) * self.gain
        joined: Tensor = (y + self.skip(halve(x))) * 0.5**0.5
        return joined


class Spread(nn.Module):
    """Appends one channel: the mean deviation of the features over pictures of a group. ``[N,C,h,w] -> [N,C+1,h,w]``.

    Minibatch standard deviation (Karras et al. 2018). In evaluation mode it is the running mean of what training saw,
    so that a picture's logit does not depend on its neighbours.
    """

    typical: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("typical", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        if not self.training:
            return torch.cat((x, self.typical.to(x.dtype).expand(n, 1, h, w)), 1)
        group = next(g for g in range(min(GROUP, n), 0, -1) if n % g == 0)
        parts = x.float().reshape(group, n // group, -1)
        spread = (parts.var(0, correction=0) + 1e-8).sqrt().mean(1)  # [N/group]
        with torch.no_grad():
            self.typical.lerp_(spread.mean(), 0.01)
        return torch.cat((x, spread.to(x.dtype).repeat(group)[:, None, None, None].expand(n, 1, h, w)), 1)


class StyleDiscriminator(nn.Module):
    """picture [N,c,H,W] in -1..1, labels [N,C] one-hot (a row of zeros: unknown) or None -> logits [N], float32."""

    def __init__(self, spec: GanSpec) -> None:
        super().__init__()
        self.spec = spec
        activation = spec.critic_activation
        gain = GAINS[activation]
        widths = spec.critic_widths[::-1]
        self.look = nn.Sequential(Conv(spec.channels, widths[0], 1, gain=gain, equal=True), Act(activation))
        self.blocks = nn.Sequential(*(_DownBlock(a, b, activation) for a, b in pairwise(widths)))
        (h, w), top = spec.levels[0], widths[-1]
        self.spread = Spread()
        self.last = nn.Sequential(
            Conv(top + 1, top, gain=gain, equal=True),
            Act(activation),
            nn.Flatten(),
            Linear(top * h * w, top, gain=gain, equal=True),
            Act(activation),
        )
        self.head = Head(top, spec, equal=True)

    def forward(self, picture: Tensor, labels: Tensor | None = None) -> Tensor:
        features = self.last(self.spread(self.blocks(self.look(picture))))
        logits: Tensor = self.head(features, labels)
        return logits
