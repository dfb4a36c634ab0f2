"""What a painter gains by learning one painting: the any-style model against one trained for each painting.

    python benchmarks/style_one.py PHOTOS PAINTINGS OUT --eval STYLE_EVAL --minutes 10 --learn OTHER_PHOTOS

For every painting ``impasto train style-one`` makes OUT/models-<size>/<painting>.impasto; one that is there already is
kept, so that the command can be repeated. Both paint every photo in the manner of every painting, into OUT/any and
OUT/one, and the yardstick scores the two folders; see style_quality.py for what it is. Prints a table and writes
OUT/results.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sheet import contact_sheet, photo_square
from style_quality import SIDE, UsageError, _count, _share, evaluate, impasto_painter, name_of, pictures, say

ANY, ONE = "any", "one"
FIGURES = ("style_gap", "content_lost", "quality")


def learn(painting: Path, model: Path, options: argparse.Namespace) -> float:
    """Train for one painting: seconds that it took, the export in them.

    Raises:
        UsageError: it failed, or was stopped before its end.
    """
    words: list[str | Path] = ["train", "style-one", painting, "--output", model, "--run", model.with_suffix(".run")]
    if (model.with_suffix(".run") / "checkpoint.safetensors").exists():
        words.append("--resume")
    else:
        words += ["--minutes", str(options.minutes), "--size", options.size, "--model", options.model]
    words += ["--photos", options.learn] if options.learn else []
    words += ["--threads", str(options.threads)] if options.threads else []
    started = time.perf_counter()
    code = "import sys; from impasto.apps.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], stdout=subprocess.DEVNULL)
    if done.returncode or not model.exists():
        raise UsageError(
            f"Learning {painting.name} did not come to its end: the same command again goes on from there."
        )
    return time.perf_counter() - started


def paint(photos: Sequence[Path], painting: Path, model: str | Path, out: Path, options: argparse.Namespace) -> None:
    """Paint every photo, as a centred square, in the manner of one painting."""
    painter = impasto_painter(model, strength=options.strength, threads=options.threads, engine="onnxruntime")
    for photo in photos:
        painter(photo_square(photo, SIDE), painting).save(out / name_of(photo, painting))


def table(results: Mapping[str, Any]) -> str:
    """Markdown: a line for each network and figure; gap and loss are best at 0, quality at 1."""
    lines = ["| network | figure | any-style | style-one | ratio |", "|---|---|---|---|---|"]
    for network, ours in results["scores"][ONE].items():
        theirs = results["scores"][ANY][network]
        for figure in FIGURES:
            ratio = ours[figure] / theirs[figure] if theirs[figure] else float("inf")
            lines.append(f"| {network} | {figure} | {theirs[figure]:.4f} | {ours[figure]:.4f} | {ratio:.2f} |")
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in results["seconds"].items())
    lines.append(f"\n{results['pairs']} pairs, strength {results['strength']:g}, size {results['size']}; {times}")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> None:
    """Learn, paint, score.

    Raises:
        UsageError: see the message.
        ImpastoError: a model or a picture cannot be used.
    """
    photos, paintings = pictures(options.photos), pictures(options.paintings)[: options.limit]
    models = options.out / f"models-{options.size}"
    for folder in (models, options.out / ANY, options.out / ONE):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (ANY, ONE):  # of other photos or paintings: they would be scored with ours
        for old in (options.out / folder).glob("*__*.png"):
            old.unlink()
    kept = options.out / "seconds.json"
    seconds: dict[str, float] = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    for number, painting in enumerate(paintings, 1):
        model = models / f"{painting.stem}.impasto"
        say(f"{number}/{len(paintings)} {painting.name}")
        if not model.exists():
            seconds[f"{painting.stem}, {options.size}"] = round(learn(painting, model, options), 1)
            kept.write_text(json.dumps(seconds, indent=1) + "\n", "utf-8")
        paint(photos, painting, options.model, options.out / ANY, options)
        paint(photos, painting, model, options.out / ONE, options)
    folders = [options.out / ANY, options.out / ONE]
    page = contact_sheet(photos, paintings, folders, cell=options.cell, name=name_of)
    page.save(options.out / "sheet.jpg", quality=92)
    say(f"{options.out / 'sheet.jpg'}: {page.width}x{page.height}")
    if options.eval is None:
        say(f"To score {folders[0]} and {folders[1]}: the same command with --eval STYLE_EVAL.")
        return
    results = {
        "pairs": len(photos) * len(paintings),
        "strength": options.strength,
        "size": options.size,
        "minutes": options.minutes,
        "cores": options.threads or os.cpu_count(),
        "seconds": {name: value for name, value in seconds.items() if name.endswith(options.size)},
        "scores": {
            folder.name: evaluate(options.eval, options.photos, options.paintings, folder) for folder in folders
        },
    }
    (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(table(results))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; a wrong one ends the program with code 2."""
    parser = argparse.ArgumentParser(description="The any-style model against one trained for each painting.")
    parser.add_argument("photos", type=Path, help="a folder: what is painted and scored")
    parser.add_argument("paintings", type=Path, help="a folder")
    parser.add_argument("out", type=Path, help="a folder for models, pictures and results.json")
    parser.add_argument("--learn", type=Path, help="photos to learn on, others than PHOTOS; drawn scenes by default")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training a painting (%(default)g)")
    parser.add_argument("--size", choices=("full", "small"), default="full", help="of what is trained (%(default)s)")
    parser.add_argument("--model", default="anystyle", help="what is trained further, and compared with (%(default)s)")
    parser.add_argument("--strength", type=_share, default=1.0, help="0 to 1, of both (%(default)g)")
    parser.add_argument("--limit", type=_count, help="only the first so many paintings")
    parser.add_argument("--threads", type=_count, help="CPU threads; all cores by default")
    parser.add_argument("--cell", type=_count, default=192, help="side of a picture on the sheet (%(default)s)")
    parser.add_argument("--eval", type=Path, help="the yardstick, style_eval.py")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 with one sentence on stderr."""
    from impasto import ImpastoError

    options = parse(arguments)
    try:
        run(options)
    except (UsageError, ImpastoError) as error:
        say(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
