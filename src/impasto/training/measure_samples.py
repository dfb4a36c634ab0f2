"""Pictures that a generator makes, or made, as batches of 8-bit pixels to be measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from impasto.errors import TrainingError
from impasto.progress import OnProgress, Progress
from impasto.runtime.generator import Generator
from impasto.runtime.picture import Picture
from impasto.runtime.pixels.encode import quantized
from impasto.training.data import SUFFIXES, Pixels
from impasto.training.measure_features import BATCH
from impasto.training.pictures import PictureSet

LEAST = 6
"""Fewer pictures than this cannot be measured: one more than the neighbours that are looked at."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Pictures that a generator makes, or made.

    Attributes:
        count: how many.
        height, width, channels: of each.
        classes: names of the classes, empty where there are none.
        labels: the class of every picture of a folder, int64 [count], -1 unknown; None for a model, which is asked.
        batches: takes a class name for each picture (models with classes; None = as their seeds have it) and gives
            uint8 [n,H,W,C].
        remarks: a sentence each.
    """

    count: int
    height: int
    width: int
    channels: int
    classes: tuple[str, ...]
    labels: NDArray[np.int64] | None
    batches: Callable[[Sequence[str] | None], Iterator[Pixels]]
    remarks: tuple[str, ...] = ()


def open_samples(
    model: str | Path,
    *,
    count: int,
    seed: int = 0,
    truncation: float = 1.0,
    size: tuple[int, int] | None = None,
) -> Samples:
    """Samples of a model (drawn as they are asked for), or of a folder or ``.npz``.

    Raises:
        TrainingError: a folder without enough pictures, or arguments that only a model can follow.
        UnknownName, BundleError: there is no such model.
    """
    path = Path(model)
    if not (path.is_dir() or path.suffix.lower() == ".npz"):
        return _model_samples(Generator.load(model), count, seed, truncation)
    if truncation != 1:
        raise TrainingError(f"{model} holds finished pictures, which cannot be truncated: leave that out.")
    height, width = size or _first_size(path)
    made = PictureSet(path, height, width, minimum=LEAST)
    held = min(count, len(made))
    chosen = np.sort(np.random.Generator(np.random.PCG64(seed)).permutation(len(made))[:held])

    def batches(_: Sequence[str] | None) -> Iterator[Pixels]:
        for start in range(0, held, BATCH):
            yield made.arrays(chosen[start : start + BATCH])

    fewer = (f"{model} has {held} pictures where {count} were asked for.",) if held < count else ()
    return Samples(held, height, width, made.channels, made.classes, made.labels[chosen], batches, fewer)


def _model_samples(generator: Generator, count: int, seed: int, truncation: float) -> Samples:
    def batches(classes: Sequence[str] | None) -> Iterator[Pixels]:
        for start in range(0, count, BATCH):
            number = min(BATCH, count - start)
            asked = None if classes is None else classes[start : start + number]
            yield as_pixels(
                generator.sample(seed + start, number, classes=asked, truncation=truncation), generator.channels
            )

    sides = generator.height, generator.width, generator.channels
    return Samples(count, *sides, generator.classes, None, batches)


def classes_like(samples: Samples, real: PictureSet, seed: int) -> list[str] | None:
    """A class for each sample of a model, as often as the real pictures have it; None where the names disagree."""
    if samples.labels is not None or not samples.classes or set(real.classes) != set(samples.classes):
        return None
    drawn = np.random.Generator(np.random.PCG64(seed)).choice(real.labels[real.labels >= 0], samples.count)
    return [real.classes[label] for label in drawn]


def as_pixels(pictures: Sequence[Picture], channels: int) -> Pixels:
    """Pictures of one size as uint8 [N,H,W,C], rounded as a file would be; grey takes the first channel."""
    return np.stack([quantized(p.rgb, p.alpha if channels == 4 else None, 255)[..., :channels] for p in pictures])


def _first_size(path: Path) -> tuple[int, int]:
    if path.suffix.lower() == ".npz":
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                height, width = file["images"].shape[1:3]
                return int(height), int(width)
        except Exception as error:
            raise TrainingError(f"{path} has no array 'images' [N,H,W,C]: give another file.") from error
    for file_path in sorted(path.rglob("*")):
        if file_path.suffix.lower() in SUFFIXES and not file_path.name.startswith("."):
            with suppress(OSError), Image.open(file_path) as image:
                return image.height, image.width
    raise TrainingError(f"{path} has no pictures: give a folder of pictures, or a model file.")


def told(batches: Iterator[Pixels], total: int, what: str, progress: OnProgress) -> Iterator[Pixels]:
    """The same batches; ``progress`` hears of each."""
    done = 0
    for batch in batches:
        progress(Progress(done, total, "pictures", f"looking at {what}"))
        yield batch
        done += len(batch)
    progress(Progress(done, total, "pictures", f"looking at {what}"))
