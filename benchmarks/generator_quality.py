"""Our default against a plain DCGAN: the same pictures, as many of them seen, the same cores.

    python benchmarks/generator_quality.py OUT cats=FOLDER flowers=FOLDER --images 300000

Each pair of a data set and a contender is trained with ``impasto train gan``, measured with ``impasto measure
generator --baseline`` and written to ``OUT/results.json``. It takes hours, and may be stopped at any time: the same
command again goes on with the run that was stopped and skips what is done. ``--only cats/dcgan`` does one pair,
``--table`` prints what there is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONTENDERS: dict[str, list[str]] = {
    # What a newcomer gets who sets nothing.
    "default": [],
    # Radford et al. 2016 with the non-saturating loss that everybody takes, and with the article's own minimax.
    "dcgan": ["--preset", "dcgan"],
    "dcgan-minimax": ["--preset", "dcgan", "--set", "loss.kind=minimax"],
}
USUAL = ("default", "dcgan")
WANTED = 2.0
"""How many times smaller the default's distance is to be."""


class UsageError(Exception):
    """Something that was asked for cannot be done; says why, and what to do."""


def impasto(*words: str | Path) -> str:
    """Run ``impasto`` and give its standard output; what it says passes through.

    Raises:
        UsageError: it failed, or was stopped.
    """
    command = [sys.executable, "-c", "from impasto.apps.cli import main; main()", *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise UsageError(f"impasto {words[0]} ended with {done.returncode}: the same command again goes on from there.")
    return done.stdout


def train(run: Path, model: Path, folder: Path, contender: str, options: argparse.Namespace) -> float:
    """Train one contender, or go on with it, until its model file is there; gives the seconds that it took."""
    started = time.perf_counter()
    words: list[str | Path] = ["train", "gan", folder, "--run", run, "--output", model]
    if (run / "checkpoint.safetensors").exists():
        words.append("--resume")
    else:
        words += ["--size", str(options.size), "--images", str(options.images), *CONTENDERS[contender]]
    words += ["--threads", str(options.threads)] if options.threads else []
    impasto(*words)
    if not model.exists():
        raise UsageError(f"{run} was stopped before its end: the same command again goes on from there.")
    return time.perf_counter() - started


def judge(model: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one model file."""
    words: list[str | Path] = ["measure", "generator", model, folder, "--baseline", "--json"]
    words += ["--count", str(options.count)]
    words += ["--threads", str(options.threads)] if options.threads else []
    found: dict[str, Any] = json.loads(impasto(*words))
    return found


def load(path: Path) -> dict[str, Any]:
    """The results so far, by ``data/contender``.

    Raises:
        UsageError: the file is not ours.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError("no object")
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UsageError(f"{path} holds no results ({error}): move it away.") from error
    return found


def save(path: Path, results: dict[str, Any]) -> None:
    """Replace the results at once, so that a crash leaves the old ones."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    part.replace(path)


def distance(result: dict[str, Any]) -> tuple[str, float]:
    """Protocol and number of a result's Frechet distance."""
    return next((name, value) for name, value in result["figures"].items() if name.startswith(("fd_", "fid_")))


def table(results: dict[str, Any]) -> str:
    """Markdown: a line for each data set and contender."""
    lines = [
        "| data | contender | images seen | distance | of the default | real against real |",
        "|---|---|---|---|---|---|",
    ]
    for place, result in sorted(results.items()):
        data, contender = place.split("/")
        name, value = distance(result)
        ours = results.get(f"{data}/default")
        times = "" if ours is None else f"{value / max(distance(ours)[1], 1e-9):.2f}x"
        base = next((v for k, v in result["baseline"].items() if k.startswith(("fd_", "fid_"))), None)
        real = "" if base is None else f"{base:.3g} ({result['halves']} each)"
        lines.append(f"| {data} | {contender} | {result['images']:,} | {name} {value:.4g} | {times} | {real} |")
    for data in sorted({place.split("/")[0] for place in results}):
        pair = [results.get(f"{data}/{contender}") for contender in USUAL]
        if all(pair):
            ours, theirs = (distance(result)[1] for result in pair)
            verdict = "as wanted" if theirs >= WANTED * ours else f"wanted {WANTED:g}x"
            lines.append(
                f"\n{data}: the default is {theirs / max(ours, 1e-9):.2f} times closer than dcgan ({verdict})."
            )
    return "\n".join(lines)


def run(options: argparse.Namespace) -> None:
    """Train and measure what is asked for and not done yet.

    Raises:
        UsageError: see the message.
    """
    results_path = options.out / "results.json"
    results = load(results_path)
    for data, folder in options.data:
        for contender in options.contenders:
            place = f"{data}/{contender}"
            if options.table or (options.only and place not in options.only):
                continue
            asked = {"images": options.images, "size": options.size, "count": options.count}
            if all(results.get(place, {}).get(key) == value for key, value in asked.items()):
                say(f"{place} is done.")
                continue
            name = f"{data}-{contender}-{options.size}px-{options.images}"
            model = options.out / f"{name}.impasto"
            options.out.mkdir(parents=True, exist_ok=True)
            say(f"{place}: {options.images:,} pictures to see")
            seconds = 0.0 if model.exists() else train(options.out / "runs" / name, model, folder, contender, options)
            # Read again: another part may have been finished meanwhile, by another process.
            found = judge(model, folder, options)
            results = load(results_path) | {
                place: {
                    **asked,
                    "train_seconds": round(seconds, 1),
                    "cores": options.threads or os.cpu_count(),
                    **found,
                }
            }
            save(results_path, results)
    print(table(results))


def say(text: str) -> None:
    """Talk goes to stderr, the table to stdout."""
    print(text, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; a wrong one ends the program with code 2."""
    parser = argparse.ArgumentParser(description="Our default against a plain DCGAN.")
    parser.add_argument("out", type=Path, help="a folder for runs, models and results.json")
    parser.add_argument("data", nargs="*", type=_data, metavar="NAME=FOLDER", help="pictures to learn from")
    parser.add_argument("--images", type=_count, default=300_000, help="pictures that each sees (%(default)s)")
    parser.add_argument("--size", type=_count, default=64, help="pixels a side (%(default)s)")
    parser.add_argument("--count", type=_count, default=10_000, help="samples to measure (%(default)s)")
    parser.add_argument("--threads", type=_count, help="CPU threads; all cores by default")
    parser.add_argument(
        "--contenders", nargs="+", choices=CONTENDERS, default=list(USUAL), help="which (default and dcgan)"
    )
    parser.add_argument("--only", action="append", metavar="NAME/CONTENDER", help="only this pair (repeatable)")
    parser.add_argument("--table", action="store_true", help="train nothing, print what there is")
    options = parser.parse_args(arguments)
    known = {f"{data}/{contender}" for data, _ in options.data for contender in options.contenders}
    for place in options.only or ():
        if place not in known:
            parser.error(f"--only {place}: there is {', '.join(sorted(known)) or 'no data'}.")
    return options


def _data(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder) or "/" in name:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=FOLDER.")
    return name, Path(folder)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number from 1 on.")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 with one sentence on stderr."""
    options = parse(arguments)
    try:
        run(options)
    except UsageError as error:
        say(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
