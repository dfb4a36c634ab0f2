"""Folders of pictures as an endless, repeatable stream of crops.

Everything is a function of (seed, index): a batch can be made again at any time, in any process, so a resumed run
sees exactly what an undisturbed one would have.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from impasto.errors import TrainingError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp"})

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]

T = TypeVar("T")


class ImageFolder:
    """The pictures below a folder, decoded once and kept in memory while they fit.

    Args:
        folder: searched recursively; hidden files are passed over.
        smallest: pictures with a shorter side are left out.
        memory: bytes of decoded pictures to keep.

    Attributes:
        files: paths, sorted; index i of every method is a position here.
        skipped: files that could not be read or are too small, with the reason.

    Raises:
        TrainingError: no such folder, or no usable picture in it.
    """

    def __init__(self, folder: str | Path, *, smallest: int = 64, memory: int = 4 << 30) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise TrainingError(f"There is no folder {self.folder}: give a folder of pictures.")
        self.files: list[Path] = []
        self.skipped: dict[Path, str] = {}
        for path in sorted(self.folder.rglob("*")):
            if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
                continue
            try:
                with Image.open(path) as image:
                    size = min(image.size)
            except Exception as error:
                self.skipped[path] = f"it cannot be read ({type(error).__name__})"
                continue
            if size < smallest:
                self.skipped[path] = f"its short side of {size} px is below {smallest}"
            else:
                self.files.append(path)
        if not self.files:
            raise TrainingError(
                f"{self.folder} has no picture of at least {smallest} px a side ({len(self.skipped)} passed over): "
                "give a folder of larger ones."
            )
        self._room = memory
        self._kept: dict[int, Pixels] = {}
        self._stats: dict[int, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return len(self.files)

    def pixels(self, index: int) -> Pixels:
        """Picture ``index`` as uint8 RGB [H,W,3], upright.

        Raises:
            TrainingError: the file is damaged, or gone.
        """
        found = self._kept.get(index)
        if found is None:
            try:
                with Image.open(self.files[index]) as image:
                    found = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
            except Exception as error:  # Pillow raises a dozen unrelated classes on damaged files
                reason = " ".join(str(error).split())
                raise TrainingError(f"{self.files[index]} cannot be read ({reason}): mend or remove it.") from error
            if found.nbytes <= self._room:
                self._room -= found.nbytes
                self._kept[index] = found
        return found

    def stats(self, index: int) -> NDArray[np.float32]:
        """Mean and deviation of R, G, B over the whole picture, 0..1: float32 [6]."""
        found = self._stats.get(index)
        if found is None:
            flat = self.pixels(index).reshape(-1, 3).astype(np.float32) / 255
            found = self._stats[index] = np.concatenate((flat.mean(0), flat.std(0)))
        return found

    def crop(self, index: int, box: Box, size: int) -> Pixels:
        """The part ``box`` (left, top, right, bottom in pixels, fractions allowed) at ``size`` x ``size`` pixels."""
        image = Image.fromarray(self.pixels(index))
        if (box[2] - box[0], box[3] - box[1]) == (size, size) and all(v == int(v) for v in box):
            return np.asarray(image.crop(tuple(int(v) for v in box)))  # type: ignore[arg-type]
        return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def random_square(rng: np.random.Generator, width: int, height: int, side: float) -> Box:
    """A square of ``side`` pixels (cut to the picture's short side) at a random place of a picture."""
    side = float(min(side, width, height))
    left, top = (float(np.floor(rng.random() * (edge - side + 1e-9))) for edge in (width, height))
    return left, top, left + side, top + side


class EndlessSampler:
    """Item k of an endless stream that goes through everything once, in random order, before it starts again.

    Args:
        count: number of items.
        seed: of the order.
        weights: how often each item comes in one round, relative to 1; None = all once. Fractions are drawn by
            systematic sampling, so a round holds floor or ceil of the weight of each.
    """

    def __init__(self, count: int, seed: int, weights: NDArray[np.float64] | None = None) -> None:
        self._seed = seed
        self._weights = np.ones(count) if weights is None else np.asarray(weights, np.float64)
        if len(self._weights) != count or (self._weights < 0).any() or not self._weights.sum() > 0:
            raise TrainingError("The weights cannot be used: give one per picture, none below 0 and not all 0.")
        self.round = max(1, int(self._weights.sum()))
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((self._seed, epoch))
        ends = np.cumsum(self._weights) * (self.round / self._weights.sum())
        order = np.searchsorted(ends, np.arange(self.round) + rng.random(), side="right").clip(max=len(ends) - 1)
        rng.shuffle(order)
        return order

    def __getitem__(self, index: int) -> int:
        epoch, place = divmod(index, self.round)
        return int(self._order(epoch)[place])


def pattern_weights(files: list[Path], patterns: Mapping[str, float]) -> NDArray[np.float64]:
    """A weight per file: that of the first pattern (as in a shell, on the file name) that fits, else 1.

    Raises:
        TrainingError: a pattern that fits no file, which is surely a slip.
    """
    weights = np.ones(len(files))
    taken = np.zeros(len(files), bool)
    for pattern, weight in patterns.items():
        fits = np.array([fnmatchcase(path.name, pattern) for path in files])
        if not fits.any():
            raise TrainingError(f"The weight pattern {pattern!r} fits no file of {files[0].parent}: correct it.")
        weights[fits & ~taken] = weight
        taken |= fits
    return weights


class Prefetch(Generic[T]):
    """``make(first), make(first + 1), ...`` made ahead by one thread. Close it, or use it in a ``with``."""

    def __init__(self, make: Callable[[int], T], first: int, ahead: int = 3) -> None:
        self._queue: queue.Queue[T | BaseException] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(make, first), daemon=True)
        self._thread.start()

    def _run(self, make: Callable[[int], T], index: int) -> None:
        item: T | BaseException
        while not self._stop.is_set():
            try:
                item = make(index)
            except BaseException as error:  # handed to the consumer, who raises it
                item = error
            while not self._stop.is_set():
                try:
                    self._queue.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if isinstance(item, BaseException):
                return
            index += 1

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    def __enter__(self) -> Prefetch[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._stop.set()
        self._thread.join(timeout=10)
