"""``impasto walk`` and ``impasto mix``: between the pictures that a generator draws."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from impasto.apps.cli.drawer import (
    STREAM,
    Class,
    From,
    Json,
    Model,
    Truncation,
    load_generator,
    one_target,
    parse_seeds,
    prior_of,
    take_turns,
    write_picture,
)
from impasto.apps.cli.painter import Engine, Overwrite, Threads
from impasto.apps.cli.terminal import default_of, progress_bar, put, put_json
from impasto.errors import ImpastoError, PictureError
from impasto.progress import Progress
from impasto.runtime.frames import FILMS, about, check_film, grid, origin, write_film
from impasto.runtime.generator import Generator
from impasto.runtime.picture import Picture

MOST_SEEDS = 16
"""On a side of the grid of ``mix``."""


def walk(
    model: Model,
    seeds: Annotated[str, typer.Option("--seeds", metavar="A,B,...", help="Where the way leads past.")],
    frames: Annotated[int, typer.Option("--frames", min=2, help="Pictures in all.")] = default_of(
        Generator.walk, "frames"
    ),
    fps: Annotated[float, typer.Option("--fps", help="Pictures in a second.")] = default_of(write_film, "fps"),
    loop: Annotated[bool, typer.Option("--loop", help="Come back to the first, so that the film can repeat.")] = (
        default_of(Generator.walk, "loop")
    ),
    classes: Class = None,
    truncation: Truncation = default_of(Generator.walk, "truncation"),
    prior: From = default_of(Generator.walk, "prior"),
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="OUT", help=f"A film: {', '.join(FILMS)}.")
    ] = None,
    overwrite: Overwrite = default_of(write_film, "overwrite"),
    engine: Engine = default_of(Generator.load, "engine"),
    threads: Threads = default_of(Generator.load, "threads"),
    json: Json = False,
) -> None:
    """Film the way from one drawn picture to the next."""
    keys = parse_seeds(seeds, "--seeds")
    # Before the model loads where we can, as the format may be wrong or its encoder missing.
    if output is not None:
        check_film(output, overwrite=overwrite)
    drawer = load_generator(model, engine=engine, threads=threads)
    target = Path(f"{drawer.name}-walk.gif" if output is None else output)
    check_film(target, overwrite=overwrite)
    started = time.perf_counter()
    way = drawer.walk(
        keys,
        frames=frames,
        classes=take_turns(classes, 0, len(keys)),
        truncation=truncation,
        loop=loop,
        prior=prior_of(prior),
    )
    with progress_bar(frames, quiet=json) as report:

        def shown() -> Iterator[Picture]:
            for done, frame in enumerate(way):
                report(Progress(done, frames, "frames", drawer.name))
                yield frame

        told = {"model": drawer.name, "sha256": drawer.bundle.sha256, "seeds": keys, "truncation": truncation}
        write_film(target, shown(), fps=fps, about=told, overwrite=overwrite)
    if json:
        width, height = drawer.size
        seconds = round(time.perf_counter() - started, 4)
        sizes = {"frames": frames, "fps": fps, "width": width, "height": height}
        put_json({"output": str(target), **told, **sizes, "seconds": seconds})
    else:
        put(str(target))


def mix(
    model: Model,
    a: Annotated[str, typer.Argument(metavar="A", help="Seeds that give the coarse layers, such as 1 or 1,2,3.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Seeds that give the fine layers.")],
    layers: Annotated[
        int | None, typer.Option("--layers", min=0, help="How many layers are coarse; without it, half of them.")
    ] = default_of(Generator.mix, "layers"),
    classes: Class = None,
    truncation: Truncation = default_of(Generator.mix, "truncation"),
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="OUT", help="A picture file, a folder, or - for stdout.")
    ] = None,
    overwrite: Overwrite = default_of(Picture.save, "overwrite"),
    engine: Engine = default_of(Generator.load, "engine"),
    threads: Threads = default_of(Generator.load, "threads"),
    json: Json = False,
) -> None:
    """Mix the styles of drawn pictures: a grid with A down its left side, B along its top, and what they make."""
    rows, columns = parse_seeds(a, "A"), parse_seeds(b, "B")
    if json and output == STREAM:
        raise PictureError("Standard output cannot carry both a picture and --json: give -o a file.")
    if max(len(rows), len(columns)) > MOST_SEEDS:
        raise ImpastoError(
            f"A grid of {len(rows)} by {len(columns)} seeds is too large: give at most {MOST_SEEDS} each."
        )
    if classes and len(classes) > 1:
        raise ImpastoError("Two classes cannot be mixed in one picture: give one --class for all.")
    asked = classes[0] if classes else None
    drawer = load_generator(model, engine=engine, threads=threads)
    name = f"{drawer.name}-mix-{rows[0]}-{columns[0]}.png"
    target = one_target(output, name, overwrite=overwrite)
    started = time.perf_counter()
    # The mixes first: a model that cannot mix says so at once.
    mixed = [[drawer.mix(r, c, layers, classes=asked, truncation=truncation)[0] for c in columns] for r in rows]
    cells: list[Picture | None] = [None]
    cells += [drawer.sample(seed, classes=asked, truncation=truncation)[0] for seed in columns]
    for seed, row in zip(rows, mixed, strict=True):
        cells += [drawer.sample(seed, classes=asked, truncation=truncation)[0], *row]
    told = {**about(mixed[0][0]), "a": rows, "b": columns, **({} if asked is None else {"class": asked})}
    whole = replace(grid(cells, len(columns) + 1), info=origin(told, grey=drawer.channels == 1))
    written = write_picture(whole, target, ".png", overwrite=overwrite, quality=None)
    if json:
        width, height = whole.size
        seconds = round(time.perf_counter() - started, 4)
        put_json({"output": written, **told, "width": width, "height": height, "seconds": seconds})
    elif target is not None:
        put(written)
