"""The classes of a generator: from what a person asks for to the numbers that the mapping takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from impasto.errors import ImpastoError, UnknownName

Array = NDArray[np.float32]
Classes: TypeAlias = str | int | Sequence[str | int] | None
"""One name (or number) for all, one per picture, or None."""

UNKNOWN = "unknown"
"""The class of a picture whose label is not known; a class that is really called so goes before."""


class Labels:
    """The classes of one model.

    Args:
        model: its name, for messages.
        names: of the classes, in the order of the label vector; empty for a model without classes.
    """

    def __init__(self, model: str, names: tuple[str, ...]) -> None:
        self.model, self.names = model, names

    def rows(self, asked: Classes, count: int, shares: NDArray[np.float64] | None = None) -> list[int]:
        """Number of each picture's class; ``len(names)`` stands for unknown; [] for a model without classes.

        Args:
            asked: classes, as a person gives them.
            count: N, pictures.
            shares: [N] in 0..1, decide where nothing is asked for.

        Raises:
            ImpastoError: there are none, as many do not fit, or nothing is asked for and nothing decides.
            UnknownName: there is no such class.
        """
        if not self.names:
            if asked is not None:
                raise ImpastoError(f"{self.model} knows no classes: leave the class out.")
            return []
        if asked is None:
            if shares is None:
                some = ", ".join(self.names[:8]) + ", ..." * (len(self.names) > 8)
                raise ImpastoError(f"{self.model} draws {len(self.names)} classes: say which of {some}.")
            return [int(share * len(self.names)) for share in shares]
        each = [asked] * count if isinstance(asked, str | int | np.integer) else list(asked)
        if len(each) != count:
            raise ImpastoError(f"{len(each)} classes do not go with {count} pictures: give one, or one for each.")
        return [self._row(one) for one in each]

    def told(self, rows: Sequence[int], index: int) -> dict[str, str]:
        """The class of one picture, for its metadata."""
        return {"class": (*self.names, UNKNOWN)[rows[index]]} if self.names else {}

    def one_hot(self, rows: Sequence[int]) -> Array:
        """float32 [N,C]; all zero where unknown."""
        return np.eye(len(self.names) + 1, len(self.names), dtype=np.float32)[list(rows)]

    def _row(self, asked: str | int) -> int:
        if isinstance(asked, str):
            if asked in self.names:
                return self.names.index(asked)
            if asked == UNKNOWN:
                return len(self.names)
        elif 0 <= asked < len(self.names):
            return int(asked)
        raise UnknownName(f"class in {self.model}", str(asked), self.names)
