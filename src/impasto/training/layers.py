"""The layers that compositions are stacked from, and whether a picture shows what was read from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from impasto.errors import TrainingError
from impasto.runtime.picture import Picture
from impasto.training.data import Pixels
from impasto.training.labelled import Head, Labelled

CLOSER = 0.5
"""Squared error with the part over that without it, or with another in its place, at most."""

VISIBLE = 0.02
"""A part that changes the picture by less than this in all (sum over pixels of the squared change of RGB in 0..1) is
hidden: two pixels by a tenth."""

TWINS = 0.012
"""Layers that differ by less than this everywhere (three steps of 255) are the same."""

Planes = NDArray[np.float32]


class Layers:
    """The pictures that compositions are stacked from: one folder for each layer, the lowest first by name.

    Args:
        folder: holds a folder for each layer, or one such folder for each variant. Layers are ordered by what stands
            after ``#`` in their names, if there is one; files by name.
        heads: of the compositions. A head called ``variant`` picks the variant; the others are the layers in order,
            their values the positions of the files.
        height, width: of the compositions.

    Attributes:
        heads: the same, values with equal layers put together.

    Raises:
        TrainingError: the folder does not fit the heads.
    """

    def __init__(self, folder: str | Path, heads: tuple[Head, ...], height: int, width: int) -> None:
        self.height, self.width = height, width
        root = Path(folder)
        names = [head.name for head in heads]
        self._variant = names.index("variant") if "variant" in names else None
        columns = [k for k in range(len(heads)) if k != self._variant]
        flat = bool(_pictures(next(iter(_folders(root)), root)))
        self._variants = [self._load(one) for one in ([root] if flat else _folders(root))]
        # A layer of one picture is the same in every composition, so nothing is asked about it.
        asked = [[len(layer) > 1 for layer in layers] for layers in self._variants]
        fits = bool(asked) and all(sum(one) == len(columns) and one == asked[0] for one in asked)
        left = iter(columns)
        self._columns = [next(left) if one else None for one in asked[0]] if fits else []
        for place, column in enumerate(self._columns):
            fits = fits and (column is None or all(_fits(heads[column], len(one[place])) for one in self._variants))
        if not fits or (self._variant is not None and not _fits(heads[self._variant], len(self._variants))):
            raise TrainingError(
                f"{folder} does not hold a folder of layers for each of {', '.join(names)}: give the folder that the "
                "compositions were made from."
            )
        self._twins = [self._first_twins(k, head) for k, head in enumerate(heads)]
        self._kept = [np.unique(first) for first in self._twins]
        self._files = [
            np.array([int(head.values[i]) for i in kept]) for head, kept in zip(heads, self._kept, strict=True)
        ]
        self.heads = tuple(
            Head(head.name, tuple("=".join(np.array(head.values)[first == i]) for i in kept))
            for head, first, kept in zip(heads, self._twins, self._kept, strict=True)
        )

    def relabel(self, labelled: Labelled) -> Labelled:
        """The same pictures with the values that cannot be told apart put together."""
        columns = [
            np.searchsorted(kept, first[labelled.labels[:, k]])
            for k, (first, kept) in enumerate(zip(self._twins, self._kept, strict=True))
        ]
        return replace(labelled, labels=np.stack(columns, 1), heads=self.heads)

    def _first_twins(self, column: int, head: Head) -> NDArray[np.int64]:
        """For each value the first one with the same layer in all variants."""
        if column == self._variant:
            return np.arange(len(head.values))
        place = self._columns.index(column)
        files = [int(value) for value in head.values]
        first = np.arange(len(files))
        for i in range(len(files)):
            for j in range(i):
                if all(np.abs(one[place][files[i]] - one[place][files[j]]).max() < TWINS for one in self._variants):
                    first[i] = j
                    break
        return first

    def _load(self, folder: Path) -> list[Planes]:
        """For each layer [V,H,W,4], colours multiplied by alpha: so they may be scaled, and stacked by one product."""
        return [np.stack([self._scaled(path) for path in _pictures(layer)]) for layer in _folders(folder)]

    def _scaled(self, path: Path) -> Planes:
        picture = Picture.open(path)
        alpha = np.ones(picture.rgb.shape[:2], np.float32) if picture.alpha is None else picture.alpha
        planes = np.concatenate((picture.rgb * alpha[..., None], alpha[..., None]), 2)
        if planes.shape[:2] != (self.height, self.width):
            size = (self.width, self.height)
            smaller = planes.shape[0] >= self.height
            way = Image.Resampling.BOX if smaller else Image.Resampling.NEAREST  # pixel art is enlarged plainly
            planes = np.stack([np.asarray(Image.fromarray(planes[..., c]).resize(size, way)) for c in range(4)], 2)
        return planes

    def stacks(self, values: NDArray[np.int64]) -> Planes:
        """The layers of compositions with these values [N,K]: [L,N,H,W,4], the lowest first."""
        variant = np.zeros(len(values), np.int64)
        if self._variant is not None:
            variant = self._indices(values, self._variant)
        rows = [
            np.stack([self._variants[v][place][i] for v, i in zip(variant, self._indices(values, column), strict=True)])
            for place, column in enumerate(self._columns)
        ]
        return np.stack(rows)

    def _indices(self, values: NDArray[np.int64], column: int | None) -> NDArray[np.int64]:
        if column is None:
            return np.zeros(len(values), np.int64)
        return np.asarray(self._files[column][values[:, column]], np.int64)

    def compose(self, stacks: Planes, ground: Planes, *, without: int | None = None) -> Planes:
        """Stack layers [L,N,H,W,4] on a ground [N,3]: float32 [N,H,W,3] in 0..1, one layer left out if wanted."""
        picture = np.broadcast_to(ground[:, None, None], (*stacks.shape[1:4], 3))
        for number, layer in enumerate(stacks):
            if number != without:
                picture = picture * (1 - layer[..., 3:]) + layer[..., :3]
        return np.asarray(picture, np.float32)

    def drawn(
        self, pictures: Pixels, values: NDArray[np.int64], others: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each part that was read is there, and whether it could be seen: bool [N,K] both.

        Args:
            pictures: uint8 [N,H,W,C].
            values: what was read, int64 [N,K].
            others: what each part might be instead, int64 [N,K]; a picture half way between the two shows neither.
        """
        x = np.asarray(pictures, np.float32) / np.float32(255)
        if x.shape[3] == 4:  # on a ground of our own, which is found again below
            x = x[..., :3] * x[..., 3:] + (1 - x[..., 3:]) / 2
        x = np.broadcast_to(x, (*x.shape[:3], 3))
        stacks = self.stacks(values)
        ground = _ground(x, stacks)
        whole = self.compose(stacks, ground)
        there, visible = (np.ones((len(x), len(self.heads)), bool) for _ in range(2))
        for place, column in enumerate(self._columns):
            if column is None:
                continue
            bare = self.compose(stacks, ground, without=place)
            change = np.square(whole - bare).sum(3)  # [N,H,W]
            empty = stacks[place, ..., 3].max((1, 2)) < TWINS
            visible[:, column] = empty | (change.sum((1, 2)) > VISIBLE)
            there[:, column] = _closer(x, whole, bare)
            if others is not None:
                swapped = values.copy()
                swapped[:, column] = others[:, column]
                stacks_swapped = stacks.copy()
                stacks_swapped[place] = self.stacks(swapped)[place]
                there[:, column] &= _closer(x, whole, self.compose(stacks_swapped, ground))
        return there, visible


def _closer(x: Planes, right: Planes, wrong: Planes) -> NDArray[np.bool_]:
    """Whether pictures [N,H,W,3] are well closer to the one than to the other, where the two differ: bool [N]."""
    where = np.square(right - wrong).sum(3) > 1e-4  # [N,H,W]
    near, far = ((np.square(x - each).sum(3) * where).sum((1, 2)) for each in (right, wrong))
    return np.asarray(near <= CLOSER * far)


def _ground(x: Planes, stacks: Planes) -> Planes:
    """The colour [N,3] of what no layer covers: the median; black where all is covered."""
    bare = (1 - stacks[..., 3]).prod(0) > 0.98  # [N,H,W]
    return np.stack([np.median(p[b], 0) if b.any() else np.zeros(3) for p, b in zip(x, bare, strict=True)]).astype(
        np.float32
    )


def _fits(head: Head, count: int) -> bool:
    """Whether every value is the position of one of ``count`` files."""
    return all(value.isdecimal() and int(value) < count for value in head.values)


def _folders(folder: Path) -> list[Path]:
    inside = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted(inside, key=lambda path: (path.name.rsplit("#", 1)[-1], path.name))


def _pictures(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png"))
