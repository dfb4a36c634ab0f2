"""Other ways to look at a picture while it is painted: turned, mirrored, in other colours.

A painting by optimisation ends up pleasing one network, weights and all, and a part of what it found there no other
network sees. The same network shown the picture turned, or in swapped colours, is another judge: it finds other
features at each place, and what all of them agree on is rather in the picture than in the weights. Photo and paintings
are shown in the same way, so layout and manner stay what they were.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class View(NamedTuple):
    """One way to look.

    Attributes:
        turned: rows and columns change places.
        mirrored: left and right change places.
        colors: which channel takes the place of each.
        negative: what is light is dark.
    """

    turned: bool = False
    mirrored: bool = False
    colors: tuple[int, int, int] = (0, 1, 2)
    negative: bool = False

    def of(self, planes: Tensor) -> Tensor:
        """A picture [1,3,H,W], RGB 0..1, or a map [1,1,H,W], as it is seen."""
        if self == PLAIN:
            return planes
        seen = self._placed(planes)
        if planes.shape[1] == 3:
            seen = seen[:, self.colors]
            seen = 1 - seen if self.negative else seen
        return seen.contiguous(memory_format=torch.channels_last)

    def undone(self, slope: Tensor) -> Tensor:
        """The gradient [1,3,...] of what is seen as that of the picture."""
        if self == PLAIN:
            return slope
        order = sorted(range(3), key=self.colors.__getitem__)
        slope = self._placed_back(slope[:, order])
        return (-slope if self.negative else slope).contiguous()

    def _placed(self, planes: Tensor) -> Tensor:
        planes = planes.flip(3) if self.mirrored else planes
        return planes.transpose(2, 3) if self.turned else planes

    def _placed_back(self, planes: Tensor) -> Tensor:
        planes = planes.transpose(2, 3) if self.turned else planes
        return planes.flip(3) if self.mirrored else planes


PLAIN = View()

OTHERS = (
    View(turned=True, negative=True),
    View(turned=True, colors=(2, 1, 0)),
    View(colors=(2, 0, 1), negative=True),
    View(mirrored=True, colors=(2, 1, 0)),
    View(turned=True, colors=(2, 0, 1), negative=True),
)
"""From the first on; the picture as it is comes last."""


def order_of(others: int, steps: int) -> list[tuple[View, int]]:
    """The views of one size of the pyramid, and how many steps are taken under each.

    Args:
        others: how many views come before the picture as it is.
        steps: in all. Each other view takes ``1 / (others + 1)`` of them, rounded up, and the picture as it is what is
            left, at least one where there are so many.
    """
    share = -(-steps // (others + 1))
    order: list[tuple[View, int]] = []
    for view in OTHERS[:others]:
        taken = min(share, steps - 1)
        if taken > 0:
            order.append((view, taken))
            steps -= taken
    return [*order, (PLAIN, steps)]
