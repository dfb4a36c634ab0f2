"""Style crops and their Gram vectors, kept on disk: what a run of the any-style task would compute again and again."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from impasto.errors import TrainingError
from impasto.training.data import Pixels

_Layout = tuple[type, tuple[int, ...]]
"""dtype and shape of a table."""


class StyleStats:
    """Style crops and their Gram vectors, made once and kept on disk, the vectors in half precision.

    A painting's statistics cost a pass through the feature network; a run sees each crop many times. The files are
    sparse: an entry takes room when it is first made. Several runs may share them at once: what each would write is
    the same.

    Args:
        folder: where they are kept, in a folder for each key.
        key: all that the statistics depend on.
        entries: number of style crops.
        sizes: length of each layer's Gram vector.
        side: of a crop, pixels.

    Raises:
        TrainingError: there is no room, or the folder cannot be written.
    """

    def __init__(self, folder: Path, key: str, entries: int, sizes: list[int], side: int) -> None:
        self.sizes = sizes
        layout: dict[str, _Layout] = {
            "gram": (np.float16, (entries, sum(sizes))),
            "norm": (np.float32, (entries, len(sizes))),
            "crop": (np.uint8, (entries, side, side, 3)),
            "made": (np.bool_, (entries,)),
        }
        tables = _tables(folder / hashlib.sha256(key.encode()).hexdigest()[:16], layout)
        self._unit, self._norm, self._crops, self._made = (tables[name] for name in layout)

    def crop(self, entry: int, make: Callable[[int], Pixels]) -> Pixels:
        """The crop of an entry, uint8 [s,s,3]."""
        if not self._made[entry]:
            self._crops[entry] = make(entry)
            self._made[entry] = True
        kept: Pixels = self._crops[entry]
        return kept

    def missing(self, entries: list[int]) -> list[int]:
        """Positions in ``entries`` that are not kept yet."""
        return [i for i, entry in enumerate(entries) if self._norm[entry, 0] == 0]

    def put(self, entry: int, vectors: list[Tensor]) -> None:
        """Keep one entry: a vector per layer, float32 [K_l]."""
        norms = [float(v.norm()) for v in vectors]
        self._unit[entry] = torch.cat([v / max(n, 1e-12) for v, n in zip(vectors, norms, strict=True)]).cpu().numpy()
        self._norm[entry] = norms  # last: it marks the entry as whole

    def get(self, entries: list[int], device: torch.device) -> list[Tensor]:
        """Gram vectors per layer, float32 [N,K_l]."""
        unit = torch.split(torch.from_numpy(self._unit[entries]).to(device).float(), self.sizes, dim=1)
        norm = torch.from_numpy(self._norm[entries]).to(device)
        return [u * norm[:, i : i + 1] for i, u in enumerate(unit)]


def _tables(folder: Path, layout: Mapping[str, _Layout]) -> dict[str, NDArray[Any]]:
    """Tables on disk, writable, by name; made anew where they are missing or not whole."""
    with suppress(OSError, ValueError):
        return _open_tables(folder, layout)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True, exist_ok=True)
        for name, (dtype, shape) in layout.items():
            np.lib.format.open_memmap(part / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
        shutil.rmtree(folder, ignore_errors=True)
        # All of them at once: tables made by two processes must not be mixed, and a table in use not be cut short.
        with suppress(OSError):  # unless another process was quicker
            part.rename(folder)
        return _open_tables(folder, layout)
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"Style statistics cannot be kept in {folder.parent} ({error}): make room, or set IMPASTO_CACHE."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _open_tables(folder: Path, layout: Mapping[str, _Layout]) -> dict[str, NDArray[Any]]:
    tables: dict[str, NDArray[Any]] = {}
    for name, (dtype, shape) in layout.items():
        path = folder / f"{name}.npy"
        # To write, numpy would open a file that is cut short as well, and fill it up; to read, it refuses.
        found = np.lib.format.open_memmap(path, mode="r")
        if found.shape != shape or found.dtype != dtype:
            raise ValueError(f"{path.name} is of another shape")
        tables[name] = np.lib.format.open_memmap(path, mode="r+")
    return tables
