"""What one step of the any-style task is about: its pictures, before and after they are painted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class StyleBatch:
    """One step's pictures, uint8 and on the CPU."""

    photos: Tensor  # [N,3,c,c]
    styles: Tensor  # [N,3,s,s]
    entries: list[int]  # which kept style crop each is
    selves: Tensor  # [K,3,s,s]: the first K photos as if they were paintings
    lessons: list[int]  # more kept style crops, for the encoder alone
    index: int = 0  # of the batch: all chance in a step is a function of it and of the recipe's seed


@dataclass(frozen=True, slots=True)
class Painted:
    """A batch, painted: N photos in the manner of N paintings, then the first K photos in their own."""

    photos: Tensor  # [N,3,c,c], 0..1
    styles: Tensor  # [N,3,s,s], 0..1
    raw: Tensor  # [N+K,3,c,c], before the clamp to 0..1
    finished: Tensor  # [N+K,3,c,c], with the bands of the code, where that is asked for; before the clamp
    codes: Tensor  # [N,D] as the encoder gave them
    used: Tensor  # [N,D] as the painter was given them: drawn around those where the encoder is variational, or taught
    logvar: Tensor | None  # [N,D-9]

    @property
    def pictures(self) -> Tensor:
        """Photos in the manner of paintings, [N,3,c,c] in 0..1.

        The clamp's own gradient: what is out of range is called back by the range penalty alone. Letting the other
        losses pull on clamped pixels as well makes them run away.
        """
        return self.finished[: len(self.photos)].clamp(0, 1)

    @property
    def excess(self) -> Tensor:
        """How far the pictures' pixels are out of range, on average; before their bands were brought up, and after."""
        kinds = (self.raw,) if self.finished is self.raw else (self.raw, self.finished)
        ours = torch.stack([kind[: len(self.photos)] for kind in kinds])
        return (ours - ours.clamp(0, 1)).abs().mean()
