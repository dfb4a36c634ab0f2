"""``impasto dream``: paint a photo in styles that no painting has; ``impasto models dream``: let a model do so."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from impasto.apps.cli.painter import Engine, KeepColors, MaxPixels, Model, Overwrite, Strength, Threads, load_painter
from impasto.apps.cli.recipes import NO_RECIPE, WithRecipe, recipe_line
from impasto.apps.cli.scene import scene
from impasto.apps.cli.sheet import Tile, contact_sheet, fitted
from impasto.apps.cli.terminal import default_of, progress_bar, put, put_json, say
from impasto.errors import ImpastoError, PictureError, PictureExists
from impasto.progress import Progress
from impasto.runtime.dream import dream as dream_codes
from impasto.runtime.files import SUFFIXES, check_target
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel, save_code


def dream(
    photo: Annotated[
        str | None, typer.Argument(metavar="PHOTO", help="The photo to paint; without it, a drawn landscape.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the first style; the next ones follow it.")] = 0,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=1000, help="How many styles.")] = 9,
    sheet: Annotated[
        str | None, typer.Option("--sheet", metavar="OUT", help="Write all of them on one labelled picture.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="OUT", help="A folder for <photo>-dream-<seed>; with -n 1 also a file."),
    ] = None,
    save_style: Annotated[
        str | None,
        typer.Option(
            "--save-style", metavar="FOLDER", help="Keep each style as dream-<seed>.npy, for 'stylize --style'."
        ),
    ] = None,
    strength: Strength = default_of(StyleModel.paint, "strength"),
    keep_colors: KeepColors = default_of(StyleModel.paint, "keep_colors"),
    size: Annotated[
        int | None, typer.Option("--size", min=1, help="Scale the photo to this long side, in pixels, before painting.")
    ] = None,
    thumb: Annotated[
        int, typer.Option("--thumb", min=64, max=1024, help="Long side of each picture on the sheet, in pixels.")
    ] = default_of(contact_sheet, "thumb"),
    overwrite: Overwrite = default_of(Picture.save, "overwrite"),
    model: Model = default_of(StyleModel.load, "name_or_path"),
    engine: Engine = default_of(StyleModel.load, "engine"),
    threads: Threads = default_of(StyleModel.load, "threads"),
    max_pixels: MaxPixels = default_of(Picture.open, "max_pixels"),
    recipe: WithRecipe = True,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per file, not its path.")] = False,
) -> None:
    """Paint a photo in styles that never existed. The same seed gives the same style, everywhere.

    Prints the path of each file that it writes.
    """
    if sheet is None and output is None and save_style is None:
        raise ImpastoError("Where the dreams should go is not said: add --sheet OUT.png, or -o FOLDER.")
    seeds = list(range(seed, seed + count))
    targets = _targets(photo, output, seeds, overwrite)
    codes_to = {one: Path(save_style) / f"dream-{one}.npy" for one in seeds} if save_style is not None else {}
    for path in codes_to.values():
        if path.exists() and not overwrite:
            raise PictureExists(f"{path} exists already: choose another folder or add --overwrite.")
    if sheet is not None:
        refuse_target(sheet, [*_given(photo), *map(str, targets.values())], overwrite=overwrite)
    original = scene() if photo is None else Picture.open(photo, max_pixels=max_pixels)
    for note in original.info.notes:
        say(f"{photo}: {note}")
    painter = load_painter(model, engine=engine, threads=threads)
    codes = dream_codes(painter, seed, count)
    if size is not None:
        original = original.resized(size)
    # Twice the size of the thumbnail: small enough to be quick, large enough for strokes to look as in a real picture.
    shown = original if targets or size is not None else original.resized(2 * thumb)
    tiles = []
    begun = time.perf_counter()
    with progress_bar(count, quiet=json) as report:
        for done, (one, code) in enumerate(zip(seeds, codes, strict=True)):
            report(Progress(done, count, "styles", f"dream {one}"))
            started = time.perf_counter()
            if one in codes_to:
                save_code(codes_to[one], code, overwrite=overwrite)
                _tell(codes_to[one], {"seed": one, "model": painter.bundle.manifest.name}, json)
            if not targets and sheet is None:
                continue
            painted = painter.paint(shown, code, strength=strength, keep_colors=keep_colors)
            if sheet is not None:
                # As small as it will be shown: a thousand pictures at the photo's own size would fill the memory.
                tiles.append(Tile(fitted(painted.to_pil(), thumb), f"Dream {one}", f"--seed {one} -n 1", ""))
            if one in targets:
                line = NO_RECIPE
                if recipe:
                    used = {"strength": strength, "keep_colors": keep_colors, "size": size}
                    style = [(f"dream {one}", 1.0, code)]
                    line = recipe_line(painter, style, code, used, engine=engine, command="dream")
                painted = replace(painted, info=replace(painted.info, recipe=line))
                for note in painted.save(targets[one], overwrite=overwrite):
                    say(f"{targets[one]}: {note}")
                seconds = round(time.perf_counter() - started, 4)
                _tell(targets[one], {"input": photo, "seed": one, "strength": strength, "seconds": seconds}, json)
    if sheet is not None:
        Picture.from_pil(contact_sheet(tiles, thumb=thumb)).save(sheet, overwrite=overwrite)
        seconds = round(time.perf_counter() - begun, 4)
        _tell(Path(sheet), {"input": photo, "seeds": [seeds[0], seeds[-1]], "seconds": seconds}, json)


def know(
    model: Annotated[str, typer.Argument(help="A style model: one of 'impasto models list', or a file.")],
    paintings: Annotated[str, typer.Argument(help="A folder of paintings, a few hundred or more.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="OUT", help="The new model file, NAME.impasto.")],
    count: Annotated[
        int | None, typer.Option("-n", "--count", min=1, help="Look at no more paintings than this.")
    ] = None,
    overwrite: Overwrite = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the path.")] = False,
) -> None:
    """Let a style model dream: it looks at a folder of paintings and learns what styles are like.

    Writes a new file, which has all that the old one has.
    """
    from impasto.training.dreams import PAINTINGS, add_dreams

    at_most = PAINTINGS if count is None else count
    with progress_bar(at_most, quiet=json) as report:
        add_dreams(model, paintings, output, count=at_most, overwrite=overwrite, progress=report)
    if json:
        put_json({"output": output, "bytes": Path(output).stat().st_size})
    else:
        put(output)


def refuse_target(target: str, kept: list[str], *, overwrite: bool) -> None:
    """Refuse a picture to be written that exists, cannot be written, or is one of the files in use.

    Raises:
        PictureError: see above.
    """
    if Path(target).resolve() in {Path(one).resolve() for one in kept}:
        raise PictureError(f"{target} is the photo itself, or another output, and it would be lost: choose another.")
    check_target(target, overwrite=overwrite)


def _given(photo: str | None) -> list[str]:
    return [] if photo is None else [photo]


def _targets(photo: str | None, output: str | None, seeds: list[int], overwrite: bool) -> dict[int, Path]:
    """Where the picture of each seed goes; nothing where no output was asked for. All are refused, or none."""
    if output is None:
        return {}
    if output == "":
        raise PictureError("-o is empty: give a file or a folder to it.")
    place, source = Path(output), Path(photo or "landscape.png")
    if place.is_dir() or place.suffix.lower() not in SUFFIXES:
        suffix = source.suffix if source.suffix.lower() in SUFFIXES else ".png"
        targets = {seed: place / f"{source.stem}-dream-{seed}{suffix}" for seed in seeds}
    elif len(seeds) == 1:
        targets = {seeds[0]: place}
    else:
        raise PictureError(f"{len(seeds)} pictures cannot all be written to {output}: give a folder to -o, or -n 1.")
    for target in targets.values():
        refuse_target(str(target), _given(photo), overwrite=overwrite)
    return targets


def _tell(path: Path, fields: dict[str, Any], json: bool) -> None:
    if json:
        put_json({"output": str(path)} | fields)
    else:
        put(str(path))
