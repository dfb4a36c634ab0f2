"""``impasto styles``: list the named styles of a model, or paint a photo in all of them on one labelled sheet."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from impasto.apps.cli.painter import (
    Engine,
    KeepColors,
    MaxPixels,
    Model,
    Overwrite,
    Strength,
    Threads,
    load_painter,
)
from impasto.apps.cli.sheet import Tile, contact_sheet
from impasto.apps.cli.terminal import default_of, progress_bar, put, put_json, say
from impasto.errors import ImpastoError, PictureError
from impasto.progress import Progress
from impasto.runtime.bundle import Bundle, StyleInfo
from impasto.runtime.files import check_target
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel


def styles(
    photo: Annotated[str | None, typer.Argument(metavar="PHOTO", help="The photo for --sheet.")] = None,
    sheet: Annotated[
        str | None,
        typer.Option(
            "--sheet",
            "-o",
            "--output",
            metavar="OUT",
            help="Paint PHOTO in every style, on one labelled picture.",
        ),
    ] = None,
    between: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--between", metavar="A B", help="Paint the way from one style (name, picture, .npy) to another instead."
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("-n", "--count", min=2, max=1000, help="Pictures of --between; 7 without it.")
    ] = None,
    photo_option: Annotated[
        str | None, typer.Option("--photo", metavar="PHOTO", help="The same as PHOTO; --between can do without one.")
    ] = None,
    thumb: Annotated[
        int, typer.Option("--thumb", min=64, max=1024, help="Long side of each picture on the sheet, in pixels.")
    ] = default_of(contact_sheet, "thumb"),
    strength: Strength = default_of(StyleModel.paint, "strength"),
    keep_colors: KeepColors = default_of(StyleModel.paint, "keep_colors"),
    overwrite: Overwrite = default_of(Picture.save, "overwrite"),
    model: Model = default_of(StyleModel.load, "name_or_path"),
    engine: Engine = default_of(StyleModel.load, "engine"),
    threads: Threads = default_of(StyleModel.load, "threads"),
    max_pixels: MaxPixels = default_of(Picture.open, "max_pixels"),
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line instead of text.")] = False,
) -> None:
    """List the named styles, or paint a photo in all of them on one labelled sheet."""
    if photo is not None and photo_option is not None:
        raise ImpastoError(f"Two photos are given, {photo} and {photo_option}: name one of them.")
    photo = photo_option if photo is None else photo
    if count is not None and between is None:
        raise ImpastoError("-n says how long a way between two styles is: add --between A B, or leave it out.")
    if between is not None and sheet is None:
        raise ImpastoError("Where the way between the two styles should go is not said: add -o OUT.png.")
    if sheet is None:
        if photo is not None:
            raise ImpastoError(f"What should become of {photo} is not said: add --sheet OUT.png, or use 'stylize'.")
        _list(Bundle.open(model, kind="style").manifest.styles, json)
        return
    if photo is None and between is None:
        raise PictureError(f"A sheet needs a photo to paint: write 'impasto styles --sheet {sheet} photo.jpg'.")
    check_target(sheet, overwrite=overwrite)
    if Path(sheet).resolve() in {Path(one).resolve() for one in (photo, *(between or ())) if one is not None}:
        raise PictureError(f"{sheet} is the photo itself, or a style, and it would be lost: choose another output.")
    if between is not None:
        from impasto.apps.cli.between import STEPS, paint_between

        painter = load_painter(model, engine=engine, threads=threads)
        length = STEPS if count is None else count
        shown: dict[str, Any] = {"thumb": thumb, "strength": strength, "keep_colors": keep_colors}
        rules: dict[str, Any] = {"max_pixels": max_pixels, "overwrite": overwrite, "json": json}
        paint_between(painter, between, sheet, photo, count=length, **shown, **rules)
        return
    assert photo is not None
    started = time.perf_counter()
    original = Picture.open(photo, max_pixels=max_pixels)
    for note in original.info.notes:
        say(f"{photo}: {note}")
    painter = load_painter(model, engine=engine, threads=threads)
    if not painter.styles:
        raise ImpastoError(f"The model {model} has no named styles, so there is nothing to put on a sheet.")
    # Twice the size of the thumbnail: small enough to be quick, large enough for strokes to look as in a real picture.
    small = original.resized(2 * thumb)
    tiles = [Tile(small.to_pil(), "The photo", Path(photo).name, "")]
    with progress_bar(len(painter.styles), quiet=json) as report:
        for done, info in enumerate(painter.styles.values()):
            report(Progress(done, len(painter.styles), "styles", info.title))
            painted = painter.paint(small, info.name, strength=strength, keep_colors=keep_colors)
            tiles.append(Tile(painted.to_pil(), info.title, f"{info.artist}, {info.year}", info.name))
    page = Picture.from_pil(contact_sheet(tiles, thumb=thumb))
    page.save(sheet, overwrite=overwrite)
    if json:
        seconds = round(time.perf_counter() - started, 4)
        put_json({"input": photo, "output": sheet, "styles": list(painter.styles), "seconds": seconds})
    else:
        put(sheet)


def _list(infos: tuple[StyleInfo, ...], json: bool) -> None:
    if json:
        for info in infos:
            put_json(info.to_fields())
        return
    widths = [max((len(getattr(info, field)) for info in infos), default=0) for field in ("name", "title", "artist")]
    for info in infos:
        columns = zip((info.name, info.title, info.artist), widths, strict=True)
        put("  ".join(f"{text:<{width}}" for text, width in columns) + f"  {info.year}")
