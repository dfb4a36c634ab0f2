"""A model file gets a painter in eight bits beside its own, where that is worth having."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from impasto.errors import TrainingError
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.bands import Goal
from impasto.runtime.bundle import Bundle, Manifest, write_bundle
from impasto.runtime.engine import Engine, pad_to_rule
from impasto.runtime.picture import Picture
from impasto.runtime.planes import to_planes
from impasto.runtime.precision import INT8_PAINTER
from impasto.runtime.style import StyleModel
from impasto.training.data import ImageFolder
from impasto.training.deliver import foresee
from impasto.training.quantize import BAR, Feeds, Quantized, choose

FASTER = 1.4
"""How many times as fast as float32 a painter in int8 must be."""

CALIBRATION, CALIBRATION_SIZE = 6, 256
"""Photos that ranges are measured on, in every named style, and their long side in pixels."""

TRIALS, TRIAL_SIZE = 3, 512
"""Other photos on which pictures and times are compared, and their long side in pixels."""

ROUNDS = 15


@dataclass(frozen=True, slots=True)
class WithInt8:
    """What was found, and the manifest of the file that was written."""

    manifest: Manifest
    found: Quantized
    faster: float
    size: int


def add_int8(
    model: str | Path,
    out: str | Path,
    photos: str | Path,
    *,
    threads: int | None = None,
    bar: float = BAR,
    faster: float = FASTER,
    force: bool = False,
    overwrite: bool = False,
    progress: OnProgress = silent,
) -> WithInt8:
    """Write a style model with a painter in int8 beside its own (replacing one that is there).

    Args:
        model: a style model with named styles: a file, or the name of a bundled one.
        out: the file to write.
        photos: a folder of photos, at least two; some are for ranges and others for comparing, evenly drawn.
        threads: CPU threads at which times are compared; None: all usable cores.
        bar: dB of PSNR that every named style must reach; layers stay float32 for it as needed.
        faster: how many times as fast as float32 it must be, by the median over rounds in turns.
        force: write it even if it is slower than that.
        overwrite: replace an existing file.
        progress: told of each stage.

    Raises:
        TrainingError: there are no styles or too few photos, no layer can be int8 at that bar, or it is too slow.
        BundleError, PictureError, UnknownName: the model, a photo or the output cannot be used.
    """
    foresee(Path(out), overwrite=overwrite)
    painter = StyleModel.load(model)
    if not painter.styles:
        raise TrainingError(f"{painter.bundle.path} names no styles to try int8 with: export it with styles.")
    learn, judge = _drawn(photos)
    _, graph = painter.bundle.graph("painter")
    pictures = [_planes(painter, path, TRIAL_SIZE) for path in judge]
    codes = {name: painter.code(name)[None] for name in painter.styles}
    trial = {name: [{**feeds, "code": code} for feeds in pictures] for name, code in codes.items()}

    def calibration() -> Iterator[Feeds]:
        for path in learn:
            feeds = _planes(painter, path, CALIBRATION_SIZE)
            yield from ({**feeds, "code": code} for code in codes.values())

    spec = painter.bundle.manifest.graphs["painter"]

    def finish(painted: NDArray[np.float32], feeds: Feeds) -> NDArray[np.float32]:
        goal = Goal.of(spec, feeds["code"][0])
        return painted if goal is None else goal.matched(painted[0], None, None)

    found = choose(graph, calibration(), trial, bar=bar, finish=finish, progress=progress)
    progress(Progress(0, None, "stages", "timing"))
    feeds = next(iter(trial.values()))[0]
    cpu = ("CPUExecutionProvider",)
    slow, quick = (Engine(one, threads=threads, providers=cpu) for one in (graph, found.graph))
    ratio = speed_ratio(lambda: slow.run(feeds), lambda: quick.run(feeds))
    if ratio < faster and not force:
        raise TrainingError(
            f"In int8 this painter is {ratio:.2f} times as fast as in float32, less than {faster:g} "
            f"(at {found.mean:.1f} dB): keep float32, or add it all the same with --force."
        )
    manifest = _described(painter.bundle.manifest, found, ratio, len(pictures), slow.threads)
    members = {name: painter.bundle.read(name) for name in painter.bundle.manifest.members}
    members[manifest.graphs[INT8_PAINTER].member] = found.graph
    written = write_bundle(out, manifest, members, overwrite=overwrite)
    Bundle.open(Path(out), kind="style")  # a file that we cannot open is not one to hand on
    return WithInt8(written, found, ratio, Path(out).stat().st_size)


def speed_ratio(slow: Callable[[], object], quick: Callable[[], object], *, rounds: int = ROUNDS) -> float:
    """How many times as fast ``quick`` is: the median over rounds, in each of which the two take turns."""
    ratios = []
    for _ in range(rounds + 1):
        moments = [time.perf_counter()]
        for run in (slow, quick):
            run()
            moments.append(time.perf_counter())
        ratios.append((moments[1] - moments[0]) / max(moments[2] - moments[1], 1e-9))
    return median(ratios[1:])  # the first allocates memory


def _drawn(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """Photos for ranges and others for comparing, drawn evenly from a folder in the order of their names."""
    files = ImageFolder(folder).files
    if len(files) < 2:
        raise TrainingError(f"{folder} has one photo: give two or more, to measure ranges on and to compare.")
    count = min(len(files), CALIBRATION + TRIALS)
    drawn = [files[at * len(files) // count] for at in range(count)]
    every = count // min(TRIALS, count // 2)
    judge = drawn[every - 1 :: every]
    return [path for path in drawn if path not in judge], judge


def _planes(painter: StyleModel, path: Path, size: int) -> Feeds:
    """What the painter takes for a photo, its code excepted."""
    picture = Picture.open(path).resized(size)
    planes = to_planes(picture.rgb)
    spec = painter.bundle.manifest.graphs["painter"]
    padded, _ = pad_to_rule(planes, spec.minimum, spec.multiple)
    return {"photo": padded, **painter.beside(planes, picture.alpha)}


def _described(manifest: Manifest, found: Quantized, ratio: float, photos: int, threads: int) -> Manifest:
    spec = replace(manifest.graphs["painter"], member=f"{INT8_PAINTER}.onnx")
    pairs = f"{TRIAL_SIZE} px, {photos * len(found.psnr)} pairs"
    figures: Mapping[str, float] = {
        f"psnr_int8_vs_fp32 mean of styles, {pairs}": found.mean,
        f"psnr_int8_vs_fp32 worst style, {pairs}": found.worst,
        f"psnr_int8_vs_fp32 worst picture, {pairs}": found.worst_picture,
        f"speed_int8_vs_fp32 onnxruntime, {TRIAL_SIZE} px, CPU threads {threads}": ratio,
    }
    old = {key: value for key, value in manifest.quality.items() if "int8_vs_fp32" not in key}
    rounded = {key: round(value, 2) for key, value in figures.items()}
    return replace(manifest, graphs={**manifest.graphs, INT8_PAINTER: spec}, quality={**old, **rounded})
