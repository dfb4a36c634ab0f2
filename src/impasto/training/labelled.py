"""Pictures of which it is known what they show: parts of compositions, or classes."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from impasto.errors import TrainingError
from impasto.progress import OnProgress, silent
from impasto.training.pictures import PictureSet

TABLE = "factors.tsv"
"""Beside the pictures: a header, then a line for each: its file, and one value for each part, tabs between."""


@dataclass(frozen=True, slots=True)
class Head:
    """One question about a picture.

    Attributes:
        name: such as ``"eyes"``.
        values: the answers there are, at least two.
    """

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Pictures and the answers.

    Attributes:
        pictures: all of the set; some may have no label.
        rows: int64 [N], positions in ``pictures``.
        labels: int64 [N,K], index into ``heads[k].values``.
        heads: K of them.
    """

    pictures: PictureSet
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    heads: tuple[Head, ...]

    def __len__(self) -> int:
        return len(self.rows)


def labelled_parts(
    folder: str | Path, height: int, width: int, *, channels: int | None = None, progress: OnProgress = silent
) -> Labelled:
    """A folder of pictures with a ``factors.tsv``. A column that has the same value everywhere asks nothing.

    Raises:
        TrainingError: the table is missing, does not fit the folder, or no column has two values.
    """
    path = Path(folder) / TABLE
    names, lines = _read_table(path)
    pictures = PictureSet(folder, height, width, channels=channels, labels="none", minimum=2, progress=progress)
    places = {name: i for i, name in enumerate(pictures.names)}
    kept = [line for line in lines if line[0] in places]
    if len(kept) < 2:
        raise TrainingError(f"{path} names none of the pictures in {folder}: put the table beside its own pictures.")
    heads, columns = [], []
    for number, name in enumerate(names, 1):
        values = sorted({line[number] for line in kept}, key=_by_number)
        if len(values) > 1:
            heads.append(Head(name, tuple(values)))
            index = {value: i for i, value in enumerate(values)}
            columns.append([index[line[number]] for line in kept])
    if not heads:
        raise TrainingError(f"{path} has no column with two values: there is nothing to tell apart.")
    rows = np.array([places[line[0]] for line in kept], np.int64)
    return Labelled(pictures, rows, np.array(columns, np.int64).T, tuple(heads))


def labelled_classes(
    data: str | Path, height: int, width: int, *, channels: int | None = None, progress: OnProgress = silent
) -> Labelled:
    """A folder with a sub-folder for each class, or an ``.npz`` with ``labels``: one question, ``"class"``.

    Raises:
        TrainingError: the pictures have no two classes.
    """
    pictures = PictureSet(data, height, width, channels=channels, minimum=2, progress=progress)
    rows = np.flatnonzero(pictures.labels >= 0)
    if len(pictures.classes) < 2:
        raise TrainingError(f"{data} has no two classes: give a folder with one sub-folder for each, or an .npz.")
    return Labelled(pictures, rows, pictures.labels[rows][:, None], (Head("class", pictures.classes),))


def _read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Names of the columns after the first, and the lines."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file, delimiter="\t")
    except FileNotFoundError as error:
        raise TrainingError(f"There is no {path}: give a folder of pictures with the table of their parts.") from error
    except (OSError, ValueError, csv.Error) as error:
        raise TrainingError(f"{path} cannot be read ({error}): make the table again.") from error
    if len(header) < 2 or len(set(header)) < len(header) or any(len(line) != len(header) for line in lines):
        raise TrainingError(f"{path} is not a table of a file and its parts in every line: make it again.")
    return header[1:], lines


def _by_number(value: str) -> tuple[int, str]:
    return (int(value), "") if value.isdecimal() else (1 << 62, value)
