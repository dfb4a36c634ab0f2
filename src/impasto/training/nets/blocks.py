"""The parts that networks are made of."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["demod", "instance", "none"]

# A row per phase of the output pixel (even, odd), a row per input tap, a column per kernel tap: what a 3-tap kernel
# on a picture doubled by linear interpolation comes to on the picture before doubling.
_LINEAR_X2 = (
    ((0.75, 0.25, 0.0), (0.25, 0.75, 0.75), (0.0, 0.0, 0.25)),
    ((0.25, 0.0, 0.0), (0.75, 0.75, 0.25), (0.0, 0.25, 0.75)),
)


class ModulatedConv(nn.Module):
    """A 3x3 convolution steered by a style vector.

    Style-modulated convolution of Karras et al. 2020 (StyleGAN2, equations 1 to 3): input channels are scaled by the
    style, and output channels divided by the norm that the scaled kernel has, which stands for instance
    normalisation without looking at the picture. We scale the activations in place of the kernel: the result is the
    same, the kernel stays constant, and so an inference engine can lay it out once.

    Departures: the style also sets a gain and a bias per output channel (the paper adds noise and a constant bias);
    ``norm="instance"`` divides by the picture's own deviation (Dumoulin et al. 2017) for comparison; ``norm="none"``
    leaves the size to the weights, for a last layer whose outputs mean something.

    Args:
        inputs, outputs: channels.
        style: length of the style vector.
        stride: 1 or 2.
        norm: see above.
        gain: what the gain is where the style says nothing; small in residual branches.
    """

    def __init__(
        self, inputs: int, outputs: int, style: int, *, stride: int = 1, norm: Norm = "demod", gain: float = 1.0
    ) -> None:
        super().__init__()
        self.stride, self.norm, self.gain = stride, norm, gain
        self._frozen: tuple[Tensor, Tensor] | None = None
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3) * (inputs * 9) ** -0.5)
        self.scale = nn.Linear(style, inputs)
        self.affine = nn.Linear(style, 2 * outputs)
        for layer in (self.scale, self.affine):
            nn.init.normal_(layer.weight, std=0.4 * style**-0.5)
            nn.init.zeros_(layer.bias)

    def kernel(self) -> Tensor:
        """The kernel that is convolved: [O',I,3,3]."""
        return self.weight

    def freeze(self) -> None:
        """Hold what depends on the weights alone as constants, for an export."""
        with torch.no_grad():
            self._frozen = self.kernel().clone(), self.weight.square().sum((2, 3)).T.contiguous()

    def thaw(self) -> None:
        """Undo ``freeze``."""
        self._frozen = None

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """``x`` [N,I,H,W], ``style`` [N,S] -> [N,O,H/stride,W/stride]."""
        scale = 1 + self.scale(style)  # [N,I]
        gain, bias = self.affine(style).float().chunk(2, dim=1)
        gain = self.gain * (1 + gain)  # [N,O]
        if self.norm == "demod":
            energy = self._frozen[1] if self._frozen else self.weight.square().sum((2, 3)).T  # [I,O]
            gain = gain * torch.rsqrt(scale.float().square() @ energy + 1e-6)
        y = self._convolve(x * scale.to(x.dtype)[:, :, None, None])
        if self.norm == "instance":
            y = F.instance_norm(y)
        steered: Tensor = y * gain.to(y.dtype)[:, :, None, None] + bias.to(y.dtype)[:, :, None, None]
        return steered

    def _convolve(self, x: Tensor) -> Tensor:
        kernel = self._frozen[0] if self._frozen else self.kernel()
        return F.conv2d(x, kernel, stride=self.stride, padding=1)


class ModulatedUp(ModulatedConv):
    """Doubles the size by linear interpolation, then a modulated 3x3 convolution: no checkerboard by construction.

    Resize-convolution (Odena et al. 2016), folded: interpolation and kernel together are one 3x3 convolution with
    four times the outputs at the small size, followed by a pixel shuffle (``folded = True``, a quarter of the
    arithmetic per output and no large intermediate). Constant inputs give constant outputs away from the border.
    """

    taps: Tensor

    def __init__(self, inputs: int, outputs: int, style: int, *, norm: Norm = "demod", gain: float = 1.0) -> None:
        super().__init__(inputs, outputs, style, norm=norm, gain=gain)
        self.register_buffer("taps", torch.tensor(_LINEAR_X2), persistent=False)

    def kernel(self) -> Tensor:
        """[O,I,3,3] -> [4 O,I,3,3], in pixel-shuffle order."""
        # Two small matrix products rather than one einsum over all: the exporter folds either, training pays less.
        rows = torch.einsum("pak,oikl->opial", self.taps, self.weight)
        both = torch.einsum("qbl,opial->opqiab", self.taps, rows)
        return both.flatten(0, 2)

    def _convolve(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(super()._convolve(x), 2)

    def unfolded(self, x: Tensor) -> Tensor:
        """The slow twin of the convolution: interpolate, then convolve. Equal away from the border."""
        return F.conv2d(F.interpolate(x, scale_factor=2, mode="bilinear"), self.weight, padding=1)


class ModulatedResidual(nn.Module):
    """x + conv(relu(conv(x))), both modulated. ``[N,C,H,W] -> [N,C,H,W]`` (He et al. 2016)."""

    def __init__(self, channels: int, style: int, norm: Norm = "demod") -> None:
        super().__init__()
        self.first = ModulatedConv(channels, channels, style, norm=norm)
        self.second = ModulatedConv(channels, channels, style, norm=norm, gain=0.3)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        change: Tensor = self.second(F.relu(self.first(x, style)), style)
        return x + change


def channel_stats(x: Tensor) -> Tensor:
    """Mean and deviation of every channel: ``[N,C,H,W] -> float32 [N,2C]``."""
    x = x.float()
    mean = x.mean((2, 3))
    deviation = ((x - mean[:, :, None, None]).square().mean((2, 3)) + 1e-6).sqrt()
    return torch.cat((mean, deviation), dim=1)


class RunningNorm(nn.Module):
    """Mean 0 and deviation 1 of every feature over the data, by running statistics. ``[N,D] -> [N,D]``.

    Batch normalisation (Ioffe and Szegedy 2015) that divides by the running statistics in training too, as it will be
    used: it holds for batches of any size, and nothing leaks from one picture of a batch to another. Without it the
    vectors that describe different paintings are nearly parallel, and what follows hardly tells them apart.

    Args:
        features: D.
        momentum: weight of a new batch once the first few have been averaged.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, features: int, momentum: float = 0.01) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if self.training:
            self._update(x.detach())
        return (x - self.mean) * torch.rsqrt(self.variance + 1e-6)

    @torch.no_grad()
    def _update(self, x: Tensor) -> None:
        self.count += 1
        weight = torch.clamp(1 / self.count, min=self.momentum)
        # Spread around the running mean: right for a batch of one as well.
        self.mean.lerp_(x.mean(0), weight)
        self.variance.lerp_((x - self.mean).square().mean(0) if self.count > 1 else x.var(0, correction=0), weight)
