"""How a cluster's speed goes with its workers, here, and what a million photos would take on machines like this one.

    python benchmarks/cluster.py --workers 1,2 --pictures 24

Every row is ``impasto stylize`` in a process of its own: without Ray (``--jobs``), or on a Ray cluster started here.
The estimate is arithmetic from the measured cost of one picture; no such cluster was run (docs/cluster.md).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scale import make_photo, sides
from stage import machine

MILLION = 10**6


@dataclass(frozen=True, slots=True)
class Run:
    """One command.

    Attributes:
        way: ``cluster`` or ``folder`` (workers without Ray).
        workers: asked for.
        seconds: of the command, from its start to its end.
        painting: seconds from the first order to the last result; with Ray, its workers start in them.
        busy: seconds that all workers together were at pictures; None without Ray, where nobody counts them.
        pictures, megapixels: painted in all.
    """

    way: str
    workers: int
    seconds: float
    painting: float
    busy: float | None
    pictures: int
    megapixels: float

    @property
    def rate(self) -> float:
        """Pictures per second while all workers paint: the start of Python, Ray and engines left out."""
        return self.pictures / self.painting if self.busy is None else self.workers * self.pictures / self.busy


def measure(way: str, workers: int, folder: Path, model: str, style: str) -> Run:
    """Paint the photos in ``folder/in``."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-c", "from impasto.apps.cli import main; main()", "stylize", str(folder / "in")]
    command += ["-o", str(out), "--model", model, "-s", style, "--jobs", str(workers), "--threads", "1", "--json"]
    command += ["--cluster", "local"] if way == "cluster" else []
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    if way == "folder":
        pixels = sum(line["width"] * line["height"] for line in lines) / 1e6
        # What each picture took, shared by those side by side, is what the workers painted in.
        painting = sum(line["seconds"] for line in lines) / workers
        return Run(way, workers, seconds, painting, None, len(lines), pixels)
    told = lines[-1]["throughput"]
    busy = sum(worker["busy"] for worker in told["workers"].values())
    return Run(way, workers, seconds, told["seconds"], busy, told["pictures"], told["megapixels"])


def table(runs: Sequence[Run]) -> str:
    """Markdown: a row per command; the gain is the rate as a multiple of that of the fewest workers, same way."""
    lines = [
        "| | workers | command, s | pictures/s, all of it | pictures/s, at work | MP/s, at work | gain |",
        "|---|---|---|---|---|---|---|",
    ]
    first: dict[str, float] = {}
    for one in runs:
        gain = one.rate / first.setdefault(one.way, one.rate)
        lines.append(
            f"| {one.way} | {one.workers} | {one.seconds:.1f} | {one.pictures / one.seconds:.3f} | {one.rate:.3f} "
            f"| {one.rate * one.megapixels / one.pictures:.2f} | {gain:.2f} |"
        )
    return "\n".join(lines)


def hours(rate: float, nodes: int, *, pictures: int = MILLION) -> float:
    """Hours that so many pictures take on nodes that paint ``rate`` pictures per second each, all of the time."""
    return pictures / (rate * nodes) / 3600


def estimate(run: Run, nodes: Sequence[int], file_mb: float) -> str:
    """Markdown: a million such photos on 1 ... N nodes like this machine with its workers, and what goes over the net.

    Args:
        run: the cluster's, with as many workers as a node has.
        file_mb: a photo and its painting, 10^6 bytes.
    """
    lines = ["| nodes | hours for a million | MB/s to and from storage |", "|---|---|---|"]
    lines += [f"| {n} | {hours(run.rate, n):.1f} | {run.rate * n * file_mb:.1f} |" for n in nodes]
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=_counts, default=(1, 2), help="Numbers of workers, such as 1,2.")
    parser.add_argument("--nodes", type=_counts, default=(1, 10, 100, 1000), help="For the estimate.")
    parser.add_argument("--pictures", type=int, default=24, help="Photos to paint in each run.")
    parser.add_argument("--megapixels", type=float, default=12.0, help="Of each photo.")
    parser.add_argument("--model", default="anystyle", help="The model.")
    parser.add_argument("--style", default="starry-night", help="A style of it.")
    parser.add_argument("--ways", type=lambda text: tuple(text.split(",")), default=("folder", "cluster"))
    parser.add_argument("--json", type=Path, help="Keep the figures in this file.")
    return parser.parse_args(arguments)


def _counts(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) if part.isdecimal() else 0 for part in text.split(","))
    if not all(numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers from 1.")
    return numbers


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = parse(arguments)
    host = machine()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "in").mkdir()
        first = folder / "in" / "0000.jpg"
        make_photo(first, *sides(options.megapixels))
        for index in range(1, options.pictures):
            shutil.copy(first, folder / "in" / f"{index:04}.jpg")
        runs = [
            measure(way, workers, folder, options.model, options.style)
            for way in options.ways
            for workers in options.workers
        ]
        files = [first, next((folder / "out").glob("*.jpg"))]
        file_mb = sum(file.stat().st_size for file in files) / 1e6
    print(f"{host['cpu']}, {host['cores']} cores, load {host['load']} at the start, one thread for each worker")
    print(", ".join(f"{name} {number}" for name, number in host["versions"].items()), end="\n\n")
    print(table(runs))
    whole = [one for one in runs if one.way == "cluster"][-1:]
    for one in whole:
        print(f"\nNodes like this machine with {one.workers} workers; photos of {options.megapixels:g} MP:\n")
        print(estimate(one, options.nodes, file_mb))
    if options.json:
        found = {"machine": host, "file_mb": file_mb, "runs": [asdict(one) | {"rate": one.rate} for one in runs]}
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
