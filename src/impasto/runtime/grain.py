"""Noise that a painter starts its strokes from where a photo is flat."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from impasto.runtime.engine import ruled
from impasto.runtime.manifest import GraphSpec

CELL = 8
"""Pixels."""

PERIOD = 128
"""The noise repeats itself after so many cells, each way."""


def grain(channels: int, height: int, width: int, *, top: int = 0, left: int = 0, seed: int = 0) -> NDArray[np.float32]:
    """A window into an endless carpet of noise, of mean 0 and deviation 1: float32 [1,channels,height,width].

    The carpet is a function of the seed and the place alone, so that a tile gets what the whole picture has there, and
    the same photo always comes out the same.

    Args:
        channels: independent carpets.
        height, width: of the window, in cells.
        top, left: where the window lies, in cells.
        seed: which carpet.
    """
    carpet = _carpet(channels, seed)
    rows, columns = (np.arange(start, start + size) % PERIOD for start, size in ((top, height), (left, width)))
    return np.ascontiguousarray(carpet[:, rows[:, None], columns])[None]


def grain_beside(
    spec: GraphSpec, height: int, width: int, *, top: int = 0, left: int = 0
) -> dict[str, NDArray[np.float32]]:
    """The painter's input of that name for a window of a picture, in pixels; nothing where it takes none."""
    found = {}
    for tensor in spec.inputs:
        if tensor.name == "grain":
            sides = (ruled(side, spec.minimum, spec.multiple) // CELL for side in (height, width))
            found["grain"] = grain(int(tensor.shape[1]), *sides, top=top // CELL, left=left // CELL)
    return found


@lru_cache(maxsize=2)
def _carpet(channels: int, seed: int) -> NDArray[np.float32]:
    random = np.random.Generator(np.random.PCG64(seed))
    # Even between -sqrt(3) and sqrt(3): plain numbers of the generator, which numpy will not come to draw otherwise.
    return ((random.random((channels, PERIOD, PERIOD)) * 2 - 1) * 3**0.5).astype(np.float32)
