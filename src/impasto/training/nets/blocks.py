"""The parts that networks are made of."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.runtime.pixels.color import COLOR_FLOOR

Norm = Literal["demod", "instance", "none"]

# A row per phase of the output pixel (even, odd), a row per input tap, a column per kernel tap: what a 3-tap kernel
# on a picture doubled by linear interpolation comes to on the picture before doubling.
_LINEAR_X2 = (
    ((0.75, 0.25, 0.0), (0.25, 0.75, 0.75), (0.0, 0.0, 0.25)),
    ((0.25, 0.0, 0.0), (0.75, 0.75, 0.25), (0.0, 0.25, 0.75)),
)


PATCH = 4


class SlowLinear(nn.Module):
    """A linear layer that learns at a tenth of the rate: y = rate (W x + b), with W as much larger at the start.

    A layer that steers others moves all of a picture at once. Karras et al. 2019 (StyleGAN, section 2) slow their
    mapping network down in the same way; at the full rate all styles drift together faster than they part.

    Args:
        inputs, outputs: features.
        std: of the effective weights at the start; the bias starts at 0.
        rate: what the optimiser's steps are multiplied by.
    """

    def __init__(self, inputs: int, outputs: int, *, std: float, rate: float = 0.1) -> None:
        super().__init__()
        self.rate = rate
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * (std / rate))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """``[N,I] -> [N,O]``."""
        return F.linear(x, self.weight * self.rate, self.bias * self.rate)


def edge_pad(x: Tensor, pixels: int) -> Tensor:
    """Repeat the outermost pixels outwards.

    Zeros would show a network where the border is, and it then paints there what a style loss wants and the content
    loss forbids elsewhere: frames and stripes along the border, and little in the middle.
    """
    return F.pad(x, (pixels,) * 4, mode="replicate")


class PatchConv(nn.Conv2d):
    """A 3x3 convolution over patches of 4x4 pixels: ``[N,3,H,W] -> [N,O,H/4,W/4]``, H and W multiples of 4.

    Pixel unshuffle, then convolution. Frozen for an export it is the same thing as one 12x12 convolution of stride 4,
    which saves a pass over the picture.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__(3 * PATCH * PATCH, outputs, 3)
        self._folded: Tensor | None = None
        self._cells: Tensor | None = None

    def cell_kernel(self) -> Tensor:
        """The kernel for a picture whose patches are of one grey each, given as a pixel a patch: [O,1,3,3]."""
        return self.weight.sum(1, keepdim=True) if self._cells is None else self._cells

    def freeze(self) -> None:
        """Hold the 12x12 kernel as a constant, and that for cells."""
        with torch.no_grad():
            self._cells = self.cell_kernel().clone()
            parts = self.weight.reshape(self.out_channels, 3, PATCH, PATCH, 3, 3)  # [O,c,dy,dx,ky,kx]
            side = 3 * PATCH
            self._folded = parts.permute(0, 1, 4, 2, 5, 3).reshape(self.out_channels, 3, side, side).clone()

    def thaw(self) -> None:
        """Undo ``freeze``."""
        self._folded = self._cells = None

    def forward(self, x: Tensor) -> Tensor:
        x = edge_pad(x, PATCH)
        if self._folded is not None:
            return F.conv2d(x, self._folded, self.bias, stride=PATCH)
        return super().forward(F.pixel_unshuffle(x, PATCH))


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
        self.scale = SlowLinear(style, inputs, std=0.3 * style**-0.5)
        self.affine = SlowLinear(style, 2 * outputs, std=0.3 * style**-0.5)

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
        return F.conv2d(edge_pad(x, 1), kernel, stride=self.stride)


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
        y = super()._convolve(x)
        if self._frozen is None:
            return F.pixel_shuffle(y, 2)
        # As two plain transpositions, rows then columns: onnxruntime runs them faster than its own DepthToSpace.
        n, c, h, w = y.shape
        y = y.reshape(n, c // 2, 2, h, w).permute(0, 1, 3, 4, 2).reshape(n, c // 2, h, 2 * w)
        return y.reshape(n, c // 4, 2, h, 2 * w).transpose(2, 3).reshape(n, c // 4, 2 * h, 2 * w)

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


def symmetric_root(matrix: Tensor, rounds: int = 16) -> Tensor:
    """Square root of symmetric positive definite matrices: ``[N,k,k] -> [N,k,k]``, in float64.

    Newton-Schulz iteration in the product form of Denman and Beavers (Higham 2008, "Functions of matrices", equation
    6.35): products only, so that it can be a part of an ONNX graph. 16 rounds are exact to 1e-9 where the smallest
    eigenvalue is at least 1/1000 of the trace.
    """
    y = matrix.double()
    size = y.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    one = torch.eye(matrix.shape[1], dtype=torch.float64, device=matrix.device)[None]
    y, z = y / size, one
    for _ in range(rounds):
        step = (3 * one - z @ y) / 2
        y, z = y @ step, step @ z
    return y * size.sqrt()


def color_stats(x: Tensor) -> Tensor:
    """Mean and spread of the colours: ``[N,3,H,W] -> float32 [N,9]``.

    The spread is S = (covariance + COLOR_FLOOR^2)^(1/2), symmetric: rr, rg, rb, gg, gb, bb. The floor keeps a nearly
    flat or grey picture from being blown up to noise.
    """
    pixels = x.float().flatten(2)  # [N,3,HW]
    mean = pixels.mean(2)
    centred = pixels - mean[:, :, None]
    # Products and sums rather than a matrix product: mixed precision would take that in bfloat16.
    parts = [(centred[:, i] * centred[:, j]).mean(1) for i in range(3) for j in range(i, 3)]
    root = symmetric_root(unpack_symmetric(torch.stack(parts, 1)) + COLOR_FLOOR**2 * torch.eye(3, device=x.device))
    return torch.cat((mean, root.float().flatten(1)[:, [0, 1, 2, 4, 5, 8]]), 1)


def unpack_symmetric(six: Tensor) -> Tensor:
    """Upper triangles as matrices: ``[N,6] -> [N,3,3]``."""
    return six[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)


def invert_symmetric(six: Tensor) -> Tensor:
    """Inverses of symmetric 3x3 matrices, all as upper triangles: ``[N,6] -> [N,6]`` (cofactors by determinant)."""
    cofactors = six[:, [3, 2, 1, 0, 1, 0]] * six[:, [5, 4, 4, 5, 2, 3]]
    cofactors = cofactors - six[:, [4, 1, 2, 2, 0, 1]] * six[:, [4, 5, 3, 2, 4, 1]]
    inverse: Tensor = cofactors / (six[:, :3] * cofactors[:, :3]).sum(1, keepdim=True)
    return inverse


def transform_colors(x: Tensor, six: Tensor, offset: Tensor) -> Tensor:
    """A symmetric matrix and an offset applied to every pixel. ``x`` [N,3,H,W], ``six`` [N,6], ``offset`` [N,3]."""
    matrix = unpack_symmetric(six)
    if torch.compiler.is_exporting():
        mixed = torch.matmul(matrix, x.flatten(2)).reshape_as(x)
    else:  # mixed precision would take a matrix product in bfloat16
        mixed = (matrix[:, :, :, None, None] * x[:, None]).sum(2)
    return mixed + offset[:, :, None, None]


class FixedNorm(nn.Module):
    """Gives every feature mean 0 and deviation 1 over the data, as it was before training. ``[N,D] -> [N,D]``.

    Data-dependent initialisation (Salimans and Kingma 2016): measured once with ``calibrate``, constant from then on.
    Without it the vectors that describe different paintings are nearly parallel (mean cosine 0.75 after 10,000
    pictures) and the painter hardly tells them apart. Running statistics do not do: they lag behind the weights, and
    do not belong to the averaged ones.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean) / self.deviation

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> Tensor:
        """Measure ``x`` [N,D], N at least 2, and give back its normalised form."""
        deviation, mean = torch.std_mean(x.float(), dim=0)
        self.mean.copy_(mean)
        # A feature that never moves stays silent rather than blow up its noise.
        self.deviation.copy_(deviation.clamp_min(1e-3 * float(deviation.mean()) + 1e-8))
        return self.forward(x)
