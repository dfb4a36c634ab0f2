"""A folder of pictures of any kind, prepared for training a generator.

``picture_table`` says how a picture becomes a row of pixels; here is where pictures come from, which classes they have,
and what a person is told about them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from impasto.errors import TrainingError, UnknownName
from impasto.progress import OnProgress, silent
from impasto.runtime.picture import Picture
from impasto.training.data import SUFFIXES, Pixels
from impasto.training.nets.features import cache_folder
from impasto.training.picture_table import Facts, Source, open_table

MINIMUM = 16
"""Fewer pictures than this are refused: a network learns them by heart before it learns anything else."""

FEW = 100
"""Below this many a remark is made."""

MEMORY = 1 << 30
"""Bytes: a table up to this size is read into memory, a larger one is mapped from the disk."""

_NAMED = 5  # pictures left out that are named one by one


class PictureSet:
    """Pictures below a folder (or in an ``.npz``) at one size, for training a generator.

    A second start with the same files and settings opens the table that the first one made. ``.npz`` files hold
    ``images`` uint8 [N,H,W] or [N,H,W,C] and may hold ``labels`` [N] (whole numbers, below 0 = unknown) and ``classes``
    (names).

    Args:
        folder: searched recursively (hidden names are passed over), or an ``.npz`` file.
        height, width: of every row, pixels, at least 4.
        channels: 1 grey, 3 RGB or 4 RGBA; None = as the pictures are: 4 if any has transparency, 1 if all are grey,
            else 3. Where 1 or 3 is asked for, transparent parts are laid on white.
        labels: ``"folders"``: the sub-folder just below ``folder`` is a picture's class, and those at the top have
            none; ``"none"``: no classes.
        minimum: fewer readable pictures than this are refused.
        memory: see ``MEMORY``.
        cache: where tables are kept; None = the user's cache folder.
        progress: told of pictures prepared.

    Attributes:
        channels: 1, 3 or 4.
        grey: whether there is no colour in any of them, whatever the channels.
        names: of the pictures, relative to ``folder``, in the order of the rows.
        labels: int64 [N], an index into ``classes`` or -1 for unknown.
        classes: names, sorted; empty where there are fewer than two kinds.
        skipped: path -> why it was left out, a sentence.
        remarks: what a person should know, a sentence each.
        key: changes when a picture or a setting does.

    Raises:
        TrainingError: no such folder, no or too few readable pictures, or the table cannot be kept.
        UnknownName: ``labels`` is neither of the two.
    """

    def __init__(
        self,
        folder: str | Path,
        height: int,
        width: int,
        *,
        channels: int | None = None,
        labels: Literal["folders", "none"] = "folders",
        minimum: int = MINIMUM,
        memory: int = MEMORY,
        cache: Path | None = None,
        progress: OnProgress = silent,
    ) -> None:
        if channels not in (None, 1, 3, 4):
            raise TrainingError(f"Pictures cannot have {channels} channels: choose 1 (grey), 3 (RGB) or 4 (RGBA).")
        if labels not in ("folders", "none"):
            raise UnknownName("way to label", labels, ("folders", "none"))
        if min(height, width) < 4:
            raise TrainingError(f"Pictures of {width}x{height} are too small to learn: choose 4 px a side or more.")
        self.folder, self.height, self.width = Path(folder), height, width
        source = _npz(self.folder) if self.folder.suffix.lower() == ".npz" else _tree(self.folder)
        if not source.names:
            raise TrainingError(
                f"{self.folder} has no pictures: give a folder with {', '.join(sorted(SUFFIXES))} files in it."
            )
        root = cache_folder() / "pictures" if cache is None else cache
        table, facts, self.key = open_table(source, root, height, width, channels, progress)
        self._rows: Pixels = np.array(table) if table.nbytes <= memory else table
        self.channels, self.grey = facts.channels, not facts.coloured
        self.skipped = {source.where / name: reason for name, reason in facts.skipped.items()}
        kept = np.array([name not in facts.skipped for name in source.names])
        self.names = tuple(name for name, keep in zip(source.names, kept, strict=True) if keep)
        self._check(facts, minimum)
        self.labels, self.classes = _classes(source, kept, wanted=labels == "folders")
        self.remarks = tuple(self._remarks(facts, channels))

    def __len__(self) -> int:
        return len(self._rows)

    def array(self, index: int) -> Pixels:
        """Picture ``index``: uint8 [H,W,C], a copy."""
        return np.array(self._rows[index])

    def arrays(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> Pixels:
        """Pictures at ``indices``: uint8 [N,H,W,C], a copy."""
        return np.array(self._rows[np.asarray(indices, np.int64)])

    def _check(self, facts: Facts, minimum: int) -> None:
        if facts.count >= max(1, minimum):
            return
        first = next(iter(facts.skipped.values()), "")
        if facts.count == 0:
            raise TrainingError(
                f"None of the {len(facts.skipped)} pictures in {self.folder} can be read (the first: {first}): "
                "give a folder of sound ones."
            )
        damaged = f" ({len(facts.skipped)} more cannot be read)" if facts.skipped else ""
        raise TrainingError(
            f"{self.folder} has only {facts.count} picture{'s' * (facts.count > 1)}{damaged}: "
            f"give at least {minimum}, better {FEW} or more."
        )

    def _remarks(self, facts: Facts, asked: int | None) -> Iterator[str]:
        kind = {1: "grey", 3: "RGB", 4: "RGBA"}[self.channels]
        plain = f"grey, taken as {kind}" if self.grey and self.channels > 1 else kind
        yield f"{facts.count:,} pictures, {self.width}x{self.height} {plain}."
        if (facts.grey and facts.coloured) or 0 < facts.transparent < facts.count:
            kinds = {"grey": facts.grey, "in colour": facts.coloured, "with transparent parts": facts.transparent}
            mixed = ", ".join(f"{count:,} {name}" for name, count in kinds.items() if count)
            yield f"The pictures are of mixed kinds ({mixed}): all are taken as {kind}."
        if facts.transparent and self.channels != 4:
            yield f"{facts.transparent:,} pictures have transparent parts: these are laid on white."
        if facts.coloured and asked == 1:
            yield f"{facts.coloured:,} pictures are in colour: they are turned grey."
        if facts.enlarged:
            size = f"{self.width}x{self.height}"
            yield f"{facts.enlarged:,} pictures are smaller than {size} and were enlarged: a smaller size would do."
        if self.classes:
            unknown = int((self.labels < 0).sum())
            rest = f"; {unknown:,} pictures have none" if unknown else ""
            yield f"{len(self.classes)} classes ({_shortened(self.classes)}){rest}."
        if facts.count < FEW:
            yield f"{facts.count} pictures are few: {FEW} or more give a generator something to vary."
        for reason in list(facts.skipped.values())[:_NAMED]:
            yield f"Left out: {reason}."
        if len(facts.skipped) > _NAMED:
            yield f"{len(facts.skipped) - _NAMED:,} more pictures cannot be read and are left out."


# Where pictures come from --------------------------------------------------------------------------------------------


def _tree(folder: Path) -> Source:
    """The pictures below a folder, sorted by path."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise TrainingError(f"{folder} {what}: give a folder of pictures, or an .npz file.")
    found: list[tuple[str, int, int]] = []
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        for name in files:
            path = Path(here, name)
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES and path.is_file():
                state = path.stat()
                found.append((path.relative_to(folder).as_posix(), state.st_size, state.st_mtime_ns))
    found.sort()
    names = [name for name, _, _ in found]
    tops = [name.split("/", 1)[0] if "/" in name else "" for name in names]
    classes = tuple(sorted(set(tops) - {""}))
    place = {name: i for i, name in enumerate(classes)} | {"": -1}
    labels = np.array([place[top] for top in tops], np.int64)
    return Source(folder, names, repr(found), lambda i: Picture.open(folder / names[i]), classes, labels)


def _npz(path: Path) -> Source:
    """The pictures in an ``.npz``."""
    try:
        state = path.stat()
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in ("images", "labels", "classes") if name in file.files}
    except Exception as error:  # not there, no zip, pickled, cut short: numpy has a class of error for each
        reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
        raise TrainingError(f"{path} cannot be read ({reason}): give an .npz that numpy.savez wrote.") from error
    images = held.get("images")
    if images is None or images.dtype != np.uint8 or not _is_pictures(images.shape):
        raise TrainingError(
            f"{path} does not fit: it needs an array 'images', uint8 [N,H,W] or [N,H,W,C], C 1, 3 or 4."
        )
    labels = np.asarray(held.get("labels", np.full(len(images), -1)))
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise TrainingError(f"{path} does not fit: 'labels' must be {len(images)} whole numbers, one per picture.")
    values, labels = np.unique(labels, return_inverse=True)
    unknown = int((values < 0).sum())
    labels = np.maximum(labels.astype(np.int64).reshape(-1) - unknown, -1)
    names = tuple(str(name) for name in held["classes"]) if "classes" in held else ()
    known = [int(value) for value in values[unknown:]]
    if names and known and known[-1] >= len(names):
        raise TrainingError(f"{path} does not fit: it has label {known[-1]}, but only {len(names)} names in 'classes'.")
    classes = tuple(names[value] if names else str(value) for value in known)
    listing = repr((state.st_size, state.st_mtime_ns, images.shape))
    digits = len(str(len(images)))
    numbers = [f"{i:0{digits}d}" for i in range(len(images))]
    return Source(path, numbers, listing, lambda i: Picture.from_array(images[i]), classes, labels)


def _is_pictures(shape: tuple[int, ...]) -> bool:
    return len(shape) in (3, 4) and min(shape[1:]) > 0 and (len(shape) == 3 or shape[3] in (1, 3, 4))


def _classes(source: Source, kept: NDArray[np.bool_], *, wanted: bool) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels of the kept pictures, and the names of the classes that still have one."""
    labels = source.labels[kept]
    present = np.unique(labels)
    if not wanted or len(present) < 2:  # one kind of picture: there is nothing to tell apart
        return np.full(len(labels), -1, np.int64), ()
    known = present[present >= 0]
    renumbered = np.where(labels < 0, -1, np.searchsorted(known, labels))
    return renumbered.astype(np.int64), tuple(source.classes[i] for i in known)


def _shortened(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
