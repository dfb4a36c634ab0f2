"""What a style encoder learns to say: a style code worked out from the feature network's own statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from impasto.training.losses import perceptual
from impasto.training.nets.blocks import SlowLinear
from impasto.training.nets.style import Painter, StyleEncoder

FURTHEST = 8.0
"""What a number of a code may be at most: a painting like no other must not throw the painter off."""


class StyleTeacher(nn.Module):
    """A code of a painting from the Gram matrices that the style loss compares: ``[N,K_l]`` per layer -> ``[N,D]``.

    A painter that learns beside an untrained encoder is told next to nothing for a long while, and an encoder that
    learns through such a painter hardly learns. So the painter is given these codes at first, which say all that the
    style loss will ask for, and the encoder learns to tell them from the picture. The teacher is not needed after that.

    The logarithms of every channel's energy (the diagonal) and of what it shares with all others (the row sums), each
    standardised, all layers weighing the same, are reduced to their principal components. The numbers of a code are
    these components, with the square root of their deviations (whitened they would be noise for the most part: of 128
    components of 7,000 paintings the first has 36 times the deviation of the last), and a mean square of 1 over all.

    Args:
        widths: channels of each.
        code: length of the code.
    """

    mean: Tensor
    scale: Tensor
    basis: Tensor
    share: Tensor

    def __init__(self, widths: tuple[int, ...], code: int) -> None:
        super().__init__()
        total = 2 * sum(widths)
        self.register_buffer("mean", torch.zeros(total))
        self.register_buffer("scale", torch.ones(total))
        self.register_buffer("basis", torch.zeros(total, code))
        share = torch.cat([torch.full((2 * width,), (2 * width) ** -0.5) for width in widths])
        self.register_buffer("share", share, persistent=False)

    @torch.no_grad()
    def forward(self, grams: list[Tensor]) -> Tensor:
        code: Tensor = (self.standardised(self.statistics(grams)) @ self.basis).clamp(-FURTHEST, FURTHEST)
        return code

    def standardised(self, statistics: Tensor) -> Tensor:
        return (statistics - self.mean) * self.scale

    @staticmethod
    @torch.no_grad()
    def statistics(grams: list[Tensor]) -> Tensor:
        """Gram vectors ``[N,C(C+1)/2]``, one per layer, to ``[N, 2 * sum of C]``."""
        parts = []
        for vector in grams:
            energies = perceptual.channel_energies(vector)
            for values in (energies, perceptual.row_sums(vector)):
                parts.append(torch.log(values.clamp_min(0) + 1e-3 * values.mean(1, keepdim=True) + 1e-12))
        return torch.cat(parts, 1)

    @torch.no_grad()
    def calibrate(self, statistics: Tensor) -> None:
        """Find the components from the statistics [M,K] of paintings; those that they cannot show stay 0."""
        deviation, mean = torch.std_mean(statistics, dim=0)
        self.mean.copy_(mean)
        self.scale.copy_(self.share / deviation.clamp_min(1e-4))
        _, singular, right = torch.linalg.svd(self.standardised(statistics).double(), full_matrices=False)
        length = self.basis.shape[1]
        count = min(length, int((singular > 1e-4 * singular[0]).sum()))
        singular, right = singular[:count], right[:count]
        self.basis.zero_()
        self.basis[:, :count] = right.T / singular.sqrt() * (len(statistics) * length / singular.sum()) ** 0.5


@torch.no_grad()
def translate(painter: Painter, encoder: StyleEncoder, seen: Tensor, codes: Tensor, taught: Tensor) -> None:
    """Make a painter and an encoder that know each other speak the teacher's codes, as far as linear maps can.

    What the encoder sees is mapped to the teacher's codes in place of its own, and the painter is given a map from the
    teacher's codes to those it knows, by ridge regression both.

    Args:
        seen: what the encoder sees of some thousand paintings, [M,SEEN].
        codes: its codes of them, [M,D] without the colours.
        taught: the teacher's, [M,D].
    """
    linear, first = encoder.head[2], painter.mapping[0]
    assert isinstance(linear, nn.Linear) and isinstance(first, SlowLinear)
    weight, bias = ridge(seen, taught)
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)
    encoder.whiten.mean.zero_()
    encoder.whiten.deviation.fill_(1)
    weight, bias = ridge(taught, codes)
    known = first.weight[:, : taught.shape[1]].clone()
    first.weight[:, : taught.shape[1]] = known @ weight
    first.bias.add_(known @ bias)


def ridge(x: Tensor, y: Tensor, strength: float = 0.01) -> tuple[Tensor, Tensor]:
    """Weight [O,I] and bias [O] of the linear map from ``x`` [M,I] to ``y`` [M,O] of least squares, a little shrunk."""
    middle, centre = x.double().mean(0), y.double().mean(0)
    a, b = x.double() - middle, y.double() - centre
    inner = a.T @ a
    inner += strength * inner.diagonal().mean() * torch.eye(len(inner), dtype=inner.dtype, device=inner.device)
    weight = torch.linalg.solve(inner, a.T @ b).T
    return weight.float(), (centre - weight @ middle).float()
