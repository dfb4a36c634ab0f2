"""Pictures of any size as rows of equal pixels, in one file on the disk.

How a picture becomes a row (the clean-resize protocol of Parmar et al. 2022, with Lanczos in place of bicubic): it is
decoded upright and in sRGB, cut to the wanted aspect around its centre, resized with an antialiased Lanczos filter in
floating point, clipped and rounded once. A picture with transparent parts takes a Hamming filter in its place. Colours
are weighted by alpha while they are resized, so that what lies under transparent pixels never bleeds into an edge, and
are straight (not premultiplied) in the table: a generator then makes straight RGBA, which is what every picture file
holds, and nobody has to divide by a small alpha afterwards. Where alpha is 0 there is no colour to learn: it is the
mean colour of the whole set, a constant that a generator gets for nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from impasto.errors import PictureError, TrainingError
from impasto.progress import OnProgress, Progress
from impasto.runtime.engine import usable_cores
from impasto.runtime.picture import Picture
from impasto.training.data import Pixels

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in grey (ITU-R BT.601, as Pillow has it)."""

_VERSION = 1  # of how rows are made: a change makes tables anew
_STALE = 86_400  # seconds after which the remains of a killed run are cleared away


@dataclass(slots=True)
class Facts:
    """What was seen while a table was made; kept beside it.

    Attributes:
        count: rows.
        channels: of a row, 1, 3 or 4.
        coloured, grey, transparent: how many pictures are in colour, are not, and have transparent parts.
        enlarged: how many are smaller than a row.
        mean: mean R, G and B of the whole set, weighted by alpha, 0..255.
        skipped: name -> why it has no row, a sentence without its full stop.
    """

    count: int = 0
    channels: int = 0
    coloured: int = 0
    grey: int = 0
    transparent: int = 0
    enlarged: int = 0
    mean: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """Pictures that can be had by number: a listing that changes when any of them does, and how to read one."""

    where: Path
    names: Sequence[str]
    listing: str
    read: Callable[[int], Picture]
    classes: tuple[str, ...]
    labels: NDArray[np.int64]


# One row -------------------------------------------------------------------------------------------------------------


def fit(picture: Picture, height: int, width: int, *, ground: float | None = None) -> Pixels:
    """A picture as a row of a table: uint8 [H,W,4], straight alpha, made as the module's docstring says.

    Args:
        picture: of any size.
        height, width: wanted, pixels.
        ground: lay it on this grey (0..1) first, so that alpha is 255 everywhere; None keeps transparency.
    """
    across, down = picture.size
    scale = min(across / width, down / height)
    left, top = (across - width * scale) / 2, (down - height * scale) / 2
    # Rounding must not push the box over the edge by a hair: Pillow would refuse it.
    box = (max(0.0, left), max(0.0, top), min(across, left + width * scale), min(down, top + height * scale))

    def resized(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        image = Image.fromarray(np.ascontiguousarray(plane))  # mode F
        values = np.asarray(image.resize((width, height), kernel, box=box))
        return values.clip(0, 1)  # Lanczos overshoots at edges

    alpha = picture.alpha if picture.alpha is not None and float(picture.alpha.min()) < 1 else None
    rgb = picture.rgb
    if alpha is not None:
        rgb = rgb * alpha[..., None]
        if ground is not None:
            rgb, alpha = rgb + (np.float32(ground) * (1 - alpha))[..., None], None
    # The rings that Lanczos leaves at an edge would be ghosts around a cut-out: specks of alpha with wild colours.
    kernel = Image.Resampling.LANCZOS if alpha is None else Image.Resampling.HAMMING
    out = np.full((height, width, 4), 255, np.uint8)
    colours = np.stack([resized(rgb[..., c]) for c in range(3)], -1)  # [H,W,3]
    if alpha is not None:
        share = resized(alpha)
        out[..., 3] = _bytes(share)
        colours = np.minimum(colours / np.maximum(share, 1 / 512)[..., None], 1)
    out[..., :3] = _bytes(colours)
    return out


def _bytes(values: NDArray[np.float32]) -> Pixels:
    rounded: Pixels = np.rint(values * np.float32(255)).astype(np.uint8)
    return rounded


# The table on disk ---------------------------------------------------------------------------------------------------


def open_table(
    source: Source, root: Path, height: int, width: int, channels: int | None, progress: OnProgress
) -> tuple[Pixels, Facts, str]:
    """The rows of all readable pictures, made where they are not kept yet.

    Args:
        source: the pictures.
        root: the folder that holds a folder for every table.
        height, width: of a row, pixels.
        channels: of a row; None = as the pictures are (``PictureSet`` says how).
        progress: told of pictures prepared.

    Returns:
        uint8 [N,H,W,C], mapped from the disk and read-only; what was seen; and the table's name, which changes
        whenever a picture or a setting does.

    Raises:
        TrainingError: there is no room, or the folder cannot be written.
    """
    settings = _digest(repr((_VERSION, str(source.where.resolve()), height, width, channels)))
    key = f"{settings}-{_digest(source.listing)}"
    made = _open(root / key, height, width)
    if made is None:
        _make(root, key, source, (height, width), channels, progress)
        made = _open(root / key, height, width)
    if made is None:
        raise TrainingError(f"The prepared pictures in {root} cannot be read back: check the disk, and try again.")
    return *made, key


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _open(folder: Path, height: int, width: int) -> tuple[Pixels, Facts] | None:
    """The table and its facts; None where they are missing or not whole."""
    try:
        facts = Facts(**json.loads((folder / "facts.json").read_text("utf-8")))
        shape = (facts.count, height, width, facts.channels)
        if (folder / "rows.u8").stat().st_size != int(np.prod(shape)):
            return None
        if not facts.count:  # nothing to map: numpy refuses an empty file
            return np.zeros(shape, np.uint8), facts
        return np.memmap(folder / "rows.u8", np.uint8, "r", shape=shape), facts
    except (OSError, ValueError, TypeError):
        return None


def _make(
    root: Path, key: str, source: Source, size: tuple[int, int], channels: int | None, progress: OnProgress
) -> None:
    """Make the table in a folder of its own and put it in place in one step."""
    part = root / f".{key}.{os.getpid()}.part"
    try:
        part.mkdir(parents=True, exist_ok=True)
        _clear(root, key)
        need, free = len(source.names) * size[0] * size[1] * 4, shutil.disk_usage(root).free
        if need > free:
            raise OSError(f"{need / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
        # Plain writes, not a map: on a full disk a write raises, while a map kills the process.
        with (part / "rows.u8").open("w+b") as file:
            facts = _write_rows(file, source, size, channels, progress)
            _finish_rows(file, facts, size[0] * size[1])
            file.flush()
            os.fsync(file.fileno())  # the name must not outlive the bytes if the power goes
        (part / "facts.json").write_text(json.dumps(asdict(facts)), "utf-8")
        if _open(root / key, *size) is None:  # another process may have been quicker
            shutil.rmtree(root / key, ignore_errors=True)
            with suppress(OSError):  # as above, but only just now; what is amiss otherwise shows when it is opened
                part.rename(root / key)
    except OSError as error:
        raise TrainingError(
            f"The prepared pictures cannot be kept in {root} ({error.strerror or error}): "
            "make room, or set IMPASTO_CACHE to another folder."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _clear(root: Path, key: str) -> None:
    """Remove tables of an earlier state of the same folder, and what killed processes left."""
    for old in root.glob(f"{key.split('-')[0]}-*"):
        if old.name != key:
            shutil.rmtree(old, ignore_errors=True)
    for old in root.glob(".*.part"):
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > _STALE:
                shutil.rmtree(old, ignore_errors=True)


def _write_rows(
    file: BinaryIO, source: Source, size: tuple[int, int], channels: int | None, progress: OnProgress
) -> Facts:
    """Every readable picture as RGBA, one after the other."""
    facts = Facts(channels=channels or 0)
    height, width = size
    total, weight = np.zeros(3), 0.0
    ground = None if channels in (None, 4) else 1.0

    def row(index: int) -> tuple[Pixels, bool, bool] | str:
        try:
            picture = source.read(index)
        except PictureError as error:
            return str(error).rstrip(".")
        clear = picture.alpha is not None and float(picture.alpha.min()) < 1
        small = picture.size[0] < width or picture.size[1] < height
        return fit(picture, height, width, ground=ground), clear, small

    for index, made in enumerate(_in_order(row, len(source.names))):
        if isinstance(made, str):
            facts.skipped[source.names[index]] = made
        else:
            pixels, clear, small = made
            colours, alpha = pixels[..., :3], pixels[..., 3].astype(np.float64)
            plain = not np.ptp(colours, axis=2)[alpha > 0].any()
            facts.transparent += clear
            facts.grey += plain
            facts.coloured += not plain
            facts.enlarged += small
            total += np.einsum("hwc,hw->c", colours, alpha)
            weight += float(alpha.sum())
            if channels == 1:
                pixels[..., 0] = np.rint(colours @ np.array(LUMA))
            file.write(pixels.tobytes())
            facts.count += 1
        progress(Progress(index + 1, len(source.names), "pictures"))
    facts.mean = (total / max(weight, 1.0)).tolist()
    if channels is None:
        facts.channels = 4 if facts.transparent else 3 if facts.coloured else 1
    return facts


def _in_order(work: Callable[[int], Any], count: int) -> Iterator[Any]:
    """``work(0), work(1), ...`` by several threads, only a few ahead so that memory stays bounded."""
    threads = usable_cores()
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for index in range(count):
                waiting.append(pool.submit(work, index))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # an error or Ctrl-C must not wait for work that nobody wants
                future.cancel()


def _finish_rows(file: BinaryIO, facts: Facts, area: int) -> None:
    """Take the channels that are wanted out of the RGBA rows in place, and give transparent pixels the mean colour.

    A row never grows, so what is written stays behind what is still to be read.
    """
    mean = np.rint(facts.mean).astype(np.uint8)
    done = 0
    for start, count in _blocks(facts.count, max(1, (1 << 24) // (4 * area))):
        file.seek(start * area * 4)
        pixels = np.frombuffer(file.read(count * area * 4), np.uint8).reshape(-1, 4).copy()
        if facts.channels == 4:
            pixels[pixels[:, 3] == 0, :3] = mean
        file.seek(done)
        done += file.write(np.ascontiguousarray(pixels[:, : facts.channels]).tobytes())
    file.truncate(done)


def _blocks(count: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, size):
        yield start, min(size, count - start)
