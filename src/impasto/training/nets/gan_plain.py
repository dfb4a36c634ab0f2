"""The plain families: ``dcgan``, the article's pair, and ``resnet``."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from impasto.training.nets.gan_spec import GanGenerator, GanSpec, Head
from impasto.training.nets.layers import GAINS, Act, Conv, DownConv, Linear, Pool, UpConv, make_norm, resize


class PlainGenerator(GanGenerator):
    """z through a linear layer, then one doubling convolution per level (Radford et al. 2016).

    Departure: initial weights are scaled to keep the variance rather than drawn with deviation 0.02, because the
    normalisation may be left out.
    """

    def __init__(self, spec: GanSpec) -> None:
        super().__init__(spec)
        self.size, widths = spec.levels[0], spec.widths
        gain, spectral = GAINS[spec.activation], spec.norm == "spectral"
        self.widest = widths[0]
        self.first = Linear(self.w_size, widths[0] * self.size[0] * self.size[1], spectral=spectral)
        steps: list[nn.Module] = [make_norm(spec.norm, widths[0]), Act(spec.activation)]
        for inputs, outputs in pairwise(widths[:-1]):
            steps.append(UpConv(inputs, outputs, spec.up, bias=spec.norm != "batch", gain=gain, spectral=spectral))
            steps += [make_norm(spec.norm, outputs), Act(spec.activation)]
        steps.append(UpConv(widths[-2], spec.channels, spec.up, gain=gain, spectral=spectral))
        self.steps = nn.Sequential(*steps)

    def synthesis(self, w: Tensor) -> Tensor:
        """w [N,W] -> picture [N,c,H,W], about -1..1, float32."""
        x = self.first(w).reshape(-1, self.widest, *self.size)
        return self._picture(self.steps(x))


class PlainDiscriminator(nn.Module):
    """One halving convolution per level, then a linear layer (Radford et al. 2016).

    picture [N,c,H,W] in -1..1, labels [N,C] one-hot (a row of zeros: unknown) or None -> logits [N], float32. The
    first layer has no normalisation, as in the paper.
    """

    def __init__(self, spec: GanSpec) -> None:
        super().__init__()
        self.spec = spec
        widths = spec.critic_widths[::-1][1:]
        gain, spectral = GAINS[spec.critic_activation], spec.critic_norm == "spectral"
        steps: list[nn.Module] = [
            DownConv(spec.channels, widths[0], spec.down, gain=gain, spectral=spectral),
            Act(spec.critic_activation),
        ]
        for inputs, outputs in pairwise(widths):
            bias = spec.critic_norm != "batch"
            steps.append(DownConv(inputs, outputs, spec.down, bias=bias, gain=gain, spectral=spectral))
            steps += [make_norm(spec.critic_norm, outputs), Act(spec.critic_activation)]
        self.steps = nn.Sequential(*steps, nn.Flatten())
        h, w = spec.levels[0]
        self.head = Head(widths[-1] * h * w, spec, spectral=spectral)

    def forward(self, picture: Tensor, labels: Tensor | None = None) -> Tensor:
        logits: Tensor = self.head(self.steps(picture), labels)
        return logits


class _UpBlock(nn.Module):
    """``[N,I,h,w] -> [N,O,2h,2w]``, residual. The first convolution works before the doubling, for its cost."""

    def __init__(self, inputs: int, outputs: int, spec: GanSpec) -> None:
        super().__init__()
        gain, spectral = GAINS[spec.activation], spec.norm == "spectral"
        self.mode = spec.up
        self.before = nn.Sequential(make_norm(spec.norm, inputs), Act(spec.activation))
        self.transposed = spec.up == "transposed"
        if self.transposed:
            self.first: nn.Module = UpConv(inputs, outputs, spec.up, gain=gain, spectral=spectral)
        else:
            self.first = Conv(inputs, outputs, gain=gain, spectral=spectral)
        self.second = nn.Sequential(
            make_norm(spec.norm, outputs),
            Act(spec.activation),
            Conv(outputs, outputs, gain=gain, spectral=spectral),
        )
        self.skip = Conv(inputs, outputs, 1, spectral=spectral)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(self.before(x))
        if not self.transposed:
            y = resize(y, self.mode)
        straight = resize(self.skip(x), "nearest" if self.transposed else self.mode)
        joined: Tensor = (self.second(y) + straight) * 0.5**0.5
        return joined


class ResidualGenerator(GanGenerator):
    """z through a linear layer, then one residual block per doubling (Miyato et al. 2018, appendix)."""

    def __init__(self, spec: GanSpec) -> None:
        super().__init__(spec)
        self.size, widths = spec.levels[0], spec.widths
        spectral = spec.norm == "spectral"
        self.widest = widths[0]
        self.first = Linear(self.w_size, widths[0] * self.size[0] * self.size[1], spectral=spectral)
        self.blocks = nn.Sequential(*(_UpBlock(a, b, spec) for a, b in pairwise(widths)))
        self.last = nn.Sequential(
            make_norm(spec.norm, widths[-1]),
            Act(spec.activation),
            Conv(widths[-1], spec.channels, gain=GAINS[spec.activation], spectral=spectral),
        )

    def synthesis(self, w: Tensor) -> Tensor:
        """w [N,W] -> picture [N,c,H,W], about -1..1, float32."""
        x = self.first(w).reshape(-1, self.widest, *self.size)
        return self._picture(self.last(self.blocks(x)))


class _DownBlock(nn.Module):
    """``[N,I,H,W] -> [N,O,H/2,W/2]``, residual. The second convolution works after the halving, for its cost."""

    def __init__(self, inputs: int, outputs: int, spec: GanSpec) -> None:
        super().__init__()
        gain, spectral = GAINS[spec.critic_activation], spec.critic_norm == "spectral"
        # Kernels of norm 1 shrink what passes already: halving it again, level by level, leaves no logit to learn from.
        self.scale = 1.0 if spectral else 0.5**0.5
        self.main = nn.Sequential(
            make_norm(spec.critic_norm, inputs),
            Act(spec.critic_activation),
            Conv(inputs, inputs, gain=gain, spectral=spectral),
            make_norm(spec.critic_norm, inputs),
            Act(spec.critic_activation),
            DownConv(inputs, outputs, "stride", gain=gain, spectral=spectral)
            if spec.down == "stride"
            else nn.Sequential(Pool(spec.down), Conv(inputs, outputs, gain=gain, spectral=spectral)),
        )
        self.skip = nn.Sequential(
            Pool("average" if spec.down == "stride" else spec.down), Conv(inputs, outputs, 1, spectral=spectral)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = (self.main(x) + self.skip(x)) * self.scale
        return y


class ResidualDiscriminator(nn.Module):
    """Residual blocks with pooling, features summed over all places (Miyato et al. 2018).

    picture [N,c,H,W] in -1..1, labels [N,C] one-hot (a row of zeros: unknown) or None -> logits [N], float32.
    """

    def __init__(self, spec: GanSpec) -> None:
        super().__init__()
        self.spec = spec
        spectral, widths = spec.critic_norm == "spectral", spec.critic_widths[::-1]
        pairs = pairwise(widths)
        self.look = Conv(spec.channels, widths[0], spectral=spectral)
        self.blocks = nn.Sequential(*(_DownBlock(a, b, spec) for a, b in pairs))
        self.last = Act(spec.critic_activation)
        self.sums = spectral  # as in the paper; without kernels of norm 1 a sum is too large
        self.head = Head(widths[-1], spec, spectral=spectral)

    def forward(self, picture: Tensor, labels: Tensor | None = None) -> Tensor:
        features = self.last(self.blocks(self.look(picture))).float()
        features = features.sum((2, 3)) if self.sums else features.mean((2, 3))
        logits: Tensor = self.head(features, labels)
        return logits
