"""A critic of small parts of a picture: is this paint, or a photo made to look like it?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from impasto.training.nets.layers import GAINS, Act, Conv, DownConv, Linear
from impasto.training.nets.style import StyleSpec, code_scale


class PatchCritic(nn.Module):
    """One logit per patch, and not one per picture: it can judge strokes and not what is painted.

    picture [N,3,H,W] RGB 0..1 (H, W multiples of 2^L, L = len(widths)), code [N,D] -> logits [N,H/2^L,W/2^L], float32.
    With the default widths a logit sees 38 x 38 pixels.

    PatchGAN (Isola et al. 2017, section 3.2.2) with two departures: kernels are divided by their largest singular value
    (Miyato et al. 2018) in place of batch normalisation, whose statistics would tell the critic which of two batches it
    is shown; and the code takes part as a projection (Miyato and Koyama 2018, equation 3), so that paint of the wrong
    style is no paint either.

    Args:
        spec: the style network whose codes it is told.
        widths: channels at 1/2, 1/4, ... of the size.
        conditional: whether it looks at the code at all.
    """

    typical: Tensor
    spread: Tensor

    def __init__(self, spec: StyleSpec, widths: Sequence[int] = (32, 64, 128), *, conditional: bool = True) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for inputs, outputs in pairwise((3, *widths)):
            steps += [DownConv(inputs, outputs, "stride", gain=GAINS["leaky_relu"], spectral=True), Act("leaky_relu")]
        last = widths[-1]
        self.steps = nn.Sequential(*steps, Conv(last, last, spectral=True), Act("leaky_relu"))
        self.score = Conv(last, 1, 1, spectral=True)
        self.embed = Linear(spec.code_size, last, bias=False, spectral=True) if conditional else None
        typical, spread = code_scale(spec)
        self.register_buffer("typical", typical, persistent=False)
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, picture: Tensor, code: Tensor) -> Tensor:
        features = self.steps(picture * 2 - 1)  # [N,C,h,w]
        logits: Tensor = self.score(features).float()[:, 0]  # [N,h,w]
        if self.embed is not None:
            with torch.autocast(picture.device.type, enabled=False):
                wanted = self.embed((code.float() - self.typical) / self.spread)  # [N,C]
                logits = logits + (wanted[:, :, None, None] * features.float()).sum(1)
        return logits
