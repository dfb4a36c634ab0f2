"""From coarse to fine: what a smaller painting adds to the photo lies under the larger one; in torch.

A painter sees about a hundred pixels, so in one pass it finds strokes and no larger forms. Painted at half the size,
those forms are half as many pixels; the difference between that painting and the photo in the painting's colours is
enlarged and laid under the photo before it is painted at its own size. It is how painters work, and how Gatys et al.
2017 ("Controlling perceptual factors in neural style transfer", section 6) keep large forms in large pictures.
``runtime/underpaint.py`` does the same in numpy.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from impasto.runtime.underpaint import LEAST
from impasto.training.nets.blocks import invert_symmetric, transform_colors, unpack_symmetric
from impasto.training.nets.pyramid import doubled, halved
from impasto.training.nets.style import COLORS, Painter, StyleSpec, code_scale
from impasto.training.nets.style_teacher import ridge


class Coarser(nn.Module):
    """The code of a painting seen at half its size, from its code: ``[N,D] -> [N,D]``, a linear map.

    What bands and colours are at half the size is nearly a linear function of what they are; of the learnt part it
    tells about half. A map leaves every code, blended or dreamt, a single one.
    """

    typical: Tensor
    spread: Tensor

    def __init__(self, spec: StyleSpec) -> None:
        super().__init__()
        self.map = nn.Linear(spec.code_size, spec.code_size)
        nn.init.eye_(self.map.weight)
        nn.init.zeros_(self.map.bias)
        typical, spread = code_scale(spec)
        self.register_buffer("typical", typical, persistent=False)
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, code: Tensor) -> Tensor:
        halves: Tensor = self.map((code - self.typical) / self.spread).float() * self.spread + self.typical
        return halves

    @torch.no_grad()
    def fit(self, codes: Tensor, halves: Tensor) -> None:
        """Ridge regression from codes [M,D] to those of the same paintings at half the size, [M,D]."""
        weight, bias = ridge((codes - self.typical) / self.spread, (halves - self.typical) / self.spread)
        self.map.weight.copy_(weight)
        self.map.bias.copy_(bias)

    @torch.no_grad()
    def table(self) -> Tensor:
        """Matrix and offset for codes in their own numbers, float32 [D,D+1]: what a model file holds."""
        weight = self.map.weight.double() * self.spread.double()[:, None] / self.spread.double()
        bias = self.map.bias.double() * self.spread.double() + self.typical.double()
        return torch.cat((weight, (bias - weight @ self.typical.double())[:, None]), 1).float()

    @torch.no_grad()
    def fill(self, table: Tensor) -> None:
        """The inverse of :meth:`table`."""
        weight, offset, spread = table[:, :-1].double(), table[:, -1].double(), self.spread.double()
        typical = self.typical.double()
        self.map.weight.copy_(weight / spread[:, None] * spread)
        self.map.bias.copy_((offset + weight @ typical - typical) / spread)


def tinted(photo: Tensor, stats: Tensor, code: Tensor) -> Tensor:
    """A photo [N,3,H,W] of colours ``stats`` [N,9] with those of a code [N,D]; not clamped."""
    whiten = invert_symmetric(stats[:, 3:])
    shift = -(unpack_symmetric(whiten) * stats[:, None, :3]).sum(2)
    return transform_colors(transform_colors(photo, whiten, shift), code[:, -6:], code[:, -COLORS:-6])


def grounded(
    painter: Painter,
    coarser: nn.Module | None,
    photo: Tensor,
    stats: Tensor,
    code: Tensor,
    grain: Callable[[int, int], Tensor],
    level: int | None = None,
) -> tuple[Tensor, Tensor]:
    """What is painted in place of a photo, and its colours; the photo itself where nothing lies under.

    Args:
        painter: with its spec.
        coarser: see above; None only where nothing lies under.
        photo: [N,3,H,W], RGB 0..1; H and W multiples of 8, and of that times 2 for every painting that lies under: for
            fewer of them there are fewer.
        stats: the photo's colours, [N,9].
        code: [N,D].
        grain: gives noise for a picture of height and width: [N,4,H/8,W/8].
        level: how many paintings lie under; None: what the spec says.
    """
    level = painter.spec.under if level is None else level
    sides = photo.shape[2:]
    while level and any(side % (8 << level) or side >> level < LEAST for side in sides):
        level -= 1
    if not level:
        return photo, stats
    assert coarser is not None
    small = halved(photo)
    _, under = underpaint(painter, coarser, small, stats, coarser(code), grain, level - 1)
    added = under.clamp(0, 1) - tinted(small, stats, code)
    return tinted(photo, stats, code) + painter.spec.ground * doubled(added), code[:, -COLORS:]


def underpaint(
    painter: Painter,
    coarser: nn.Module | None,
    photo: Tensor,
    stats: Tensor,
    code: Tensor,
    grain: Callable[[int, int], Tensor],
    level: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Paint a photo from coarse to fine, as ``spec.under`` says; see :func:`grounded`.

    Returns:
        The painting before its bands are brought up, and after; both [N,3,H,W], not clamped.
    """
    seen, colors = grounded(painter, coarser, photo, stats, code, grain, level)
    raw = painter.raw(seen, colors, code, grain(*photo.shape[2:]))
    return raw, painter.finished(raw, code)
