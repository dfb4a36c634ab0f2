"""The article's building blocks as choices: convolution, pooling, resizing, activation, linear, normalisation.

Every choice is a name in one of the tables below, so that a spec can hold it. Layers keep float32 parameters and run
under bfloat16 autocast and in channels_last; sizes are [N,C,H,W] throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Literal["relu", "leaky_relu", "silu", "tanh", "sigmoid", "none"]
Normalisation = Literal["batch", "group", "instance", "pixel", "none", "spectral"]
Up = Literal["nearest", "bilinear", "transposed"]
Down = Literal["stride", "max", "average"]

SLOPE = 0.2
"""Of the leaky relu (Radford et al. 2016)."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, SLOPE),
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "none": lambda x: x,
}
"""name -> function of a tensor, same shape."""

GAINS: dict[str, float] = {
    "relu": 2**0.5,
    "leaky_relu": (2 / (1 + SLOPE**2)) ** 0.5,
    "silu": 1.68,
    "tanh": 1.59,
    "sigmoid": 1.85,
    "none": 1.0,
}
"""name -> factor that gives a standard normal input's image a mean square of 1 again (He et al. 2015)."""


class Act(nn.Module):
    """An activation by its name in ``ACTIVATIONS``."""

    def __init__(self, name: Activation) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.name](x)


class _Spectral(nn.Module):
    """Divides a kernel by its largest singular value (Miyato et al. 2018, section 2.1).

    One power iteration per training pass, as in the paper, none in evaluation. The kernel is taken as the matrix
    [O, I k k]. The left vector ``u`` is a buffer and so goes into a checkpoint; the right one is made from it.
    """

    u: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        u = F.normalize(torch.randn(len(matrix)), dim=0)
        for _ in range(10):  # at the start the norm must be right at once, not after ten steps
            u = F.normalize(matrix @ F.normalize(matrix.T @ u, dim=0), dim=0)
        self.register_buffer("u", u)

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            u = self.u
            with torch.no_grad():
                v = F.normalize(matrix.T @ u, dim=0)
                if self.training:
                    u = F.normalize(matrix @ v, dim=0)
                    self.u.copy_(u)
            return weight / (u @ (matrix @ v)).clamp_min(1e-8)


class Conv(nn.Conv2d):
    """y(i,j) = sum over p, q of x(i+p, j+q) k(p,q): ``[N,I,H,W] -> [N,O,H/stride,W/stride]``.

    p and q run from -(k-1)/2 to k/2 and over all input channels; outside the picture are zeros.

    Args:
        inputs, outputs: channels.
        kernel: its side; odd ones keep the size, an even one is for ``stride`` 2.
        stride: of the output.
        groups: as in ``torch.nn.Conv2d``.
        bias: with one number per output channel, 0 at the start.
        gain: factor on the initial deviation (inputs per output)^-1/2, see ``GAINS``.
        spectral: divide the kernel by its largest singular value.
        equal: keep weights of deviation 1 and multiply by the initial deviation at run time, so that an Adam step
            is the same share of every layer's weights ("equalised learning rate", Karras et al. 2018, section 4.1).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
        gain: float = 1.0,
        spectral: bool = False,
        equal: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=bias)
        std = gain * (inputs // groups * kernel * kernel) ** -0.5
        self.rate = std if equal else 1.0
        nn.init.normal_(self.weight, std=std / self.rate)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        self.spectral = _Spectral(self.weight) if spectral else None

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.rate == 1 else self.weight * self.rate
        weight = weight if self.spectral is None else self.spectral(weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, groups=self.groups)


class Linear(nn.Linear):
    """y = W x + b: ``[N,I] -> [N,O]``; ``start`` is what every bias is at first, the rest as for ``Conv``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        start: float = 0.0,
        gain: float = 1.0,
        spectral: bool = False,
        equal: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, bias=bias)
        std = gain * inputs**-0.5
        self.rate = std if equal else 1.0
        nn.init.normal_(self.weight, std=std / self.rate)
        if bias:
            nn.init.constant_(self.bias, start)
        self.spectral = _Spectral(self.weight) if spectral else None

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.rate == 1 else self.weight * self.rate
        return F.linear(x, weight if self.spectral is None else self.spectral(weight), self.bias)


EPS = 1e-6
"""Added where a size is divided by. Not smaller: the ONNX exporter takes "+ 1e-8" for nothing and leaves it out."""


class PixelNorm(nn.Module):
    """Divides every pixel by the root mean square of its channels (Karras et al. 2018). [N,C,...], same shape."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.float() * torch.rsqrt(x.float().square().mean(1, keepdim=True) + EPS)).to(x.dtype)


def make_norm(name: Normalisation, channels: int) -> nn.Module:
    """A normalisation of [N,C,H,W] by name; "spectral" is one of the weights, so nothing is done to the picture."""
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "group":
        groups = next(g for g in (8, 4, 2, 1) if channels % g == 0)
        return nn.GroupNorm(groups, channels)
    if name == "instance":
        return nn.GroupNorm(channels, channels)
    if name == "pixel":
        return PixelNorm()
    if name not in get_args(Normalisation):
        raise ValueError(f"no normalisation is called {name!r}")
    return nn.Identity()


def resize(x: Tensor, mode: Up) -> Tensor:
    """Twice the size, by repeating pixels or by linear interpolation: ``[N,C,H,W] -> [N,C,2H,2W]``."""
    if mode == "nearest":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def halve(x: Tensor) -> Tensor:
    """The mean of every 2x2 pixels: ``[N,C,H,W] -> [N,C,H/2,W/2]``.

    The same numbers as ``avg_pool2d``, in half the time in channels_last. StyleGAN2's wider filter [1,3,3,1] as a
    depthwise convolution took more time to learn through than all other convolutions together.
    """
    return F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)


class UpConv(nn.Module):
    """Twice the size and other channels: ``[N,I,H,W] -> [N,O,2H,2W]``.

    ``nearest`` and ``bilinear``: resize, then a 3x3 convolution, which has no checkerboard (Odena et al. 2016);
    ``transposed``: a transposed 4x4 convolution of stride 2 (the "fractionally strided" one of Radford et al. 2016).
    """

    def __init__(
        self, inputs: int, outputs: int, mode: Up, *, bias: bool = True, gain: float = 1.0, spectral: bool = False
    ) -> None:
        super().__init__()
        self.mode = mode
        if mode == "transposed":
            # Every output pixel sees 2 x 2 taps.
            self.weight = nn.Parameter(torch.randn(inputs, outputs, 4, 4) * gain * (4 * inputs) ** -0.5)
            self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
            self.spectral = _Spectral(self.weight) if spectral else None
        else:
            self.conv = Conv(inputs, outputs, bias=bias, gain=gain, spectral=spectral)

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "transposed":
            weight = self.weight if self.spectral is None else self.spectral(self.weight)
            return F.conv_transpose2d(x, weight, self.bias, stride=2, padding=1)
        y: Tensor = self.conv(resize(x, self.mode))
        return y


class Pool(nn.Module):
    """The largest or the mean of every 2x2 pixels: ``[N,C,H,W] -> [N,C,H/2,W/2]``."""

    def __init__(self, mode: Down) -> None:
        super().__init__()
        if mode == "stride":
            raise ValueError("a stride is no pooling")
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2) if self.mode == "max" else halve(x)


class DownConv(nn.Module):
    """Half the size and other channels: ``[N,I,H,W] -> [N,O,H/2,W/2]``.

    ``stride``: a 4x4 convolution of stride 2; ``max`` and ``average``: a 3x3 convolution, then pooling.
    """

    def __init__(
        self, inputs: int, outputs: int, mode: Down, *, bias: bool = True, gain: float = 1.0, spectral: bool = False
    ) -> None:
        super().__init__()
        if mode == "stride":
            self.conv = Conv(inputs, outputs, 4, stride=2, bias=bias, gain=gain, spectral=spectral)
            self.pool: nn.Module = nn.Identity()
        else:
            self.conv = Conv(inputs, outputs, bias=bias, gain=gain, spectral=spectral)
            self.pool = Pool(mode)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(self.conv(x))
        return y
