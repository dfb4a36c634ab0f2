"""How fast generators learn and draw: our loop against a plain one, pictures per second.

    python benchmarks/generator_speed.py --threads 2

For every preset and size the same two networks learn the same pictures with the same losses and penalties: once by
impasto's loop as it is (bfloat16, channels_last, prefetched batches, averaging), once by the loop that tutorials have
(float32, NCHW, one batch after the other, no average). They take turns, a block of steps each, in one process; the
medians are shown. Then the default's generator, exported and untrained, draws with onnxruntime. Needs the extra
``[train]``; pictures are drawn by code.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from impasto.progress import Progress
from impasto.runtime.generator import Generator
from impasto.training.deliver import deliver
from impasto.training.journal import Journal
from impasto.training.loop import run, set_threads
from impasto.training.presets import gan_recipe
from impasto.training.recipe_gan import GanRecipe
from impasto.training.tasks.gan import GanTask

DEFAULT = "medium"
PRESETS = (DEFAULT, "dcgan", "resnet", "r3")
PICTURES = 64
DRAWN = 64
"""Pictures of a block of drawing."""


@dataclass(frozen=True, slots=True)
class Row:
    """Pictures per second, medians over blocks."""

    preset: str
    size: int
    ours: float
    plain: float

    @property
    def ratio(self) -> float:
        """Times that ours is faster."""
        return self.ours / self.plain


class PlainLoop:
    """The same task, learnt in the plainest way."""

    def __init__(self, recipe: GanRecipe) -> None:
        self.task = GanTask(recipe.model_copy(update={"precision": "fp32"}))
        for module in self.task.modules.values():
            module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        # The task lays pictures out for the layout that it knows to be fast; here they stay as they come.
        self.task._augmented = lambda pictures, chance: pictures.contiguous()  # type: ignore[method-assign]
        optim = recipe.optim
        self.optimizers = {
            turn.name: torch.optim.Adam(
                [p for name in turn.networks for p in self.task.modules[name].parameters()],
                lr=optim.lr,
                betas=optim.betas,
            )
            for turn in self.task.turns
        }

    def step(self, step: int) -> None:
        """One update of each network."""
        batch = self.task.batch(step)
        for turn in self.task.turns:
            for name, module in self.task.modules.items():
                module.requires_grad_(name in turn.networks)
            optimizer = self.optimizers[turn.name]
            optimizer.zero_grad()
            loss, _ = self.task.loss(turn.name, batch, step)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        self.task._judged.clear()


def pictures(path: Path, size: int) -> Path:
    """An ``.npz`` of smooth noise, uint8 [N,size,size,3]."""
    coarse = np.random.default_rng(0).random((PICTURES, 8, 8, 3))
    fine = coarse.repeat(size // 8, 1).repeat(size // 8, 2)
    np.savez(path, images=(fine * 255).astype(np.uint8))
    return path


def measure(preset: str, size: int, block: int, rounds: int, folder: Path) -> tuple[Row, Path]:
    """Time one preset at one size; the run folder that it leaves can be exported."""
    data = pictures(folder / f"{preset}-{size}.npz", size)
    # A block has every step that penalties are taken at as often as any other block.
    quiet = ["watch_every=0", "measure_every=0", "sample_every=1000000", "save_every=1000000"]
    recipe = gan_recipe(data, size=size, preset=preset, steps=block * (rounds + 1), overrides=quiet, cache=folder)
    plain = PlainLoop(recipe)
    ours_seconds, plain_seconds = [], []
    started = time.perf_counter()

    def after(progress: Progress) -> None:
        nonlocal started
        if progress.done % block:
            return
        ours_seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        for step in range(progress.done - block, progress.done):
            plain.step(step)
        plain_seconds.append(time.perf_counter() - started)
        started = time.perf_counter()

    journal = Journal(folder / f"run-{preset}-{size}")
    run(GanTask(recipe, cache=folder), journal, progress=after)
    seen = recipe.images_seen(block)
    # The first round warms up.
    ours, theirs = (seen / statistics.median(seconds[1:]) for seconds in (ours_seconds, plain_seconds))
    return Row(preset, size, round(ours, 2), round(theirs, 2)), journal.folder


def drawing(run_folder: Path, out: Path, threads: int, rounds: int) -> float:
    """Pictures per second with onnxruntime, from a seed to a ``Picture``; the median of several rounds."""
    deliver(run_folder, out)
    generator = Generator.load(out, threads=threads)
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        generator.sample(seed=1, count=DRAWN)
        seconds.append(time.perf_counter() - started)
    return DRAWN / statistics.median(seconds[1:])


def table(rows: Sequence[Row], drawn: dict[int, float]) -> str:
    """Markdown."""
    lines = ["| preset | size | ours, pictures/s | plain loop | ratio |", "|---|---|---|---|---|"]
    lines += [f"| {r.preset} | {r.size} | {r.ours:.1f} | {r.plain:.1f} | {r.ratio:.2f} |" for r in rows]
    lines += [f"\n{DEFAULT} draws {speed:.0f} pictures/s at {size}x{size}." for size, speed in drawn.items()]
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; a wrong one ends the program with code 2."""
    parser = argparse.ArgumentParser(description="How fast generators learn and draw.")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--sizes", nargs="+", type=int, choices=(32, 64, 128, 256), default=[64, 128])
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (%(default)s)")
    parser.add_argument("--block", type=int, default=8, help="steps in a block (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="blocks of each that count (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args(arguments)
    if min(options.threads, options.block, options.rounds) < 1:
        parser.error("--threads, --block and --rounds are numbers from 1 on.")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """0."""
    options = parse(arguments)
    set_threads(options.threads)
    rows: list[Row] = []
    drawn: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in options.sizes:
            for preset in options.presets:
                row, left = measure(preset, size, options.block, options.rounds, folder)
                rows.append(row)
                print(f"{preset} {size}: {row.ratio:.2f}", file=sys.stderr, flush=True)
                if preset == DEFAULT:
                    drawn[size] = drawing(left, folder / f"draw-{size}.impasto", options.threads, options.rounds)
    print(table(rows, drawn))
    if options.json:
        found: dict[str, Any] = {"rows": [asdict(row) for row in rows], "drawn": drawn, "threads": options.threads}
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
