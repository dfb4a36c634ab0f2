"""``impasto generate``: draw new pictures."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from impasto.apps.cli.drawer import (
    STREAM,
    Class,
    From,
    Json,
    Model,
    Truncation,
    is_folder,
    load_generator,
    one_target,
    prior_of,
    take_turns,
    write_picture,
)
from impasto.apps.cli.painter import Engine, Overwrite, Threads
from impasto.apps.cli.plan import suffix_of
from impasto.apps.cli.terminal import default_of, progress_bar, put, put_json
from impasto.errors import ImpastoError, PictureError
from impasto.progress import Progress
from impasto.runtime.files import check_target
from impasto.runtime.frames import about, grid, origin
from impasto.runtime.generator import Generator
from impasto.runtime.picture import DEFAULT_MAX_PIXELS, Picture


def generate(
    model: Model,
    count: Annotated[
        int | None, typer.Option("-n", "--count", min=1, help="How many; without it, 1, or as many as the grid holds.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of the first picture; the next have the next seeds.")
    ] = default_of(Generator.sample, "seed"),
    classes: Class = None,
    truncation: Truncation = default_of(Generator.sample, "truncation"),
    prior: From = default_of(Generator.sample, "prior"),
    layout: Annotated[
        str | None, typer.Option("--grid", metavar="COLUMNSxROWS", help="One picture of many, such as 8x4.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="OUT", help="A folder, a file for one picture or a grid, or - for stdout."
        ),
    ] = None,
    format: Annotated[str | None, typer.Option("--format", help="Write jpg, png, webp, avif or tif.")] = None,
    quality: Annotated[
        int | None, typer.Option("--quality", min=1, max=100, help="Of JPEG, WebP and AVIF: 1 to 100.")
    ] = default_of(Picture.save, "quality"),
    overwrite: Overwrite = default_of(Picture.save, "overwrite"),
    engine: Engine = default_of(Generator.load, "engine"),
    threads: Threads = default_of(Generator.load, "threads"),
    json: Json = False,
) -> None:
    """Draw new pictures. The same seed gives the same picture, everywhere.

    Prints the path of each picture; seed and model are written into it.
    """
    suffix = ".png" if format is None else suffix_of(format)
    if json and output == STREAM:
        raise PictureError("Standard output cannot carry both a picture and --json: give -o a file.")
    cells = None if layout is None else parse_grid(layout)
    total = count or (1 if cells is None else cells[0] * cells[1])
    if cells is not None and total > cells[0] * cells[1]:
        raise ImpastoError(
            f"{total} pictures do not fit into a grid of {layout}: leave -n out or make the grid larger."
        )
    drawer = load_generator(model, engine=engine, threads=threads)
    asked: dict[str, Any] = {"truncation": truncation, "prior": prior_of(prior)}
    if cells is not None:
        _refuse_large(drawer, *cells)
        target = one_target(output, f"{drawer.name}-{seed}-{seed + total - 1}{suffix}", overwrite=overwrite)
        started = time.perf_counter()
        pictures: list[Picture | None] = []
        with progress_bar(total, quiet=json) as report:
            for start, size in _batches(total, drawer.batch):
                report(Progress(start, total, "pictures", drawer.name))
                pictures += drawer.sample(seed + start, size, classes=take_turns(classes, start, size), **asked)
        whole = grid(pictures + [None] * (cells[0] * cells[1] - total), cells[0])
        told = {key: value for key, value in about(whole).items() if key not in ("seed", "class")}
        told |= {"seeds": [seed, seed + total - 1]} | ({"classes": classes} if classes else {})
        whole = replace(whole, info=origin(told, grey=whole.info.grey))
        written = write_picture(whole, target, suffix, overwrite=overwrite, quality=quality)
        _tell(whole, written, started, json)
        return
    targets = _targets(drawer.name, seed, total, output, suffix, overwrite)
    with progress_bar(total, quiet=json) as report:
        for start, size in _batches(total, drawer.batch):
            report(Progress(start, total, "pictures", drawer.name))
            started = time.perf_counter()
            drawn = drawer.sample(seed + start, size, classes=take_turns(classes, start, size), **asked)
            for picture, target in zip(drawn, targets[start : start + size], strict=True):
                written = write_picture(picture, target, suffix, overwrite=overwrite, quality=quality)
                _tell(picture, written, started, json)


def parse_grid(text: str) -> tuple[int, int]:
    """Columns and rows of ``8x4``.

    Raises:
        ImpastoError: it is not of this form.
    """
    found = re.fullmatch(r"([1-9]\d{0,3})[xX×]([1-9]\d{0,3})", text.strip())
    if found is None:
        raise ImpastoError(f"The grid {text!r} cannot be made: write columns and rows, such as 8x4.")
    return int(found[1]), int(found[2])


def _batches(total: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(size, total - start)) for start in range(0, total, size)]


def _refuse_large(drawer: Generator, columns: int, rows: int) -> None:
    if columns * rows * drawer.width * drawer.height > DEFAULT_MAX_PIXELS:
        raise PictureError(f"A grid of {columns}x{rows} has over {DEFAULT_MAX_PIXELS:,} pixels: make it smaller.")


def _targets(name: str, seed: int, total: int, output: str | None, suffix: str, overwrite: bool) -> list[Path | None]:
    """Where each picture goes, all refused or none."""
    if total == 1:
        return [one_target(output, f"{name}-{seed}{suffix}", overwrite=overwrite)]
    if output == "":
        raise PictureError("-o is empty: give a folder to it.")
    if output == STREAM or (output is not None and not is_folder(output)):
        where = "standard output" if output == STREAM else output
        raise PictureError(f"{total} pictures cannot all be written to {where}: give a folder to -o, or add --grid.")
    targets = [Path(output or ".") / f"{name}-{seed + k}{suffix}" for k in range(total)]
    for target in targets:
        check_target(target, overwrite=overwrite)
    return [*targets]


def _tell(picture: Picture, written: str, started: float, json: bool) -> None:
    if json:
        width, height = picture.size
        seconds = round(time.perf_counter() - started, 4)
        put_json({"output": written, **about(picture), "width": width, "height": height, "seconds": seconds})
    elif written != STREAM:
        put(written)
