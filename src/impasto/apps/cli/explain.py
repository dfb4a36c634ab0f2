"""``impasto explain``: what happened, as a page. ``impasto explain style`` tells what a style did to a photo."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from impasto.apps.cli.options import TYPER_OPTIONS
from impasto.apps.cli.painter import MaxPixels, Model, Overwrite, Threads, only_style
from impasto.apps.cli.terminal import default_of, progress_bar, put, put_json, say
from impasto.apps.cli.trainer import need
from impasto.apps.html import check_page, write_page
from impasto.errors import PictureError
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel

if TYPE_CHECKING:
    from impasto.runtime.style import Style

app = typer.Typer(help="Explain what happened, as a page.", no_args_is_help=True, **TYPER_OPTIONS)


@app.callback()
def explain() -> None:
    """Explain what happened, as a page."""


@app.command("style")
def explain_style(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="The photo to paint.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="PAGE", help="The page to write, ending in .html.")],
    style: Annotated[
        str | None,
        typer.Option(
            "--style",
            "-s",
            metavar="PICTURE|NAME|CODE.npy",
            help="The painting. Of a named style or a code less can be told, because the painting is not known.",
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=64, max=2048, help="Long side of the working picture, in pixels.")
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", help="Whose features the style is measured by: vgg16 or vgg19.")
    ] = None,
    model: Model = default_of(StyleModel.load, "name_or_path"),
    threads: Threads = default_of(StyleModel.load, "threads"),
    max_pixels: MaxPixels = default_of(Picture.open, "max_pixels"),
    overwrite: Overwrite = default_of(Picture.save, "overwrite"),
    json: Annotated[bool, typer.Option("--json", help="All figures as a line of JSON on standard output.")] = False,
) -> None:
    """Tell on one page what a style did to a photo.

    Which layers it came through, where the painting's style is still missing, and which places of the painting the
    strokes resemble. The page needs nothing beside it and asks for nothing from elsewhere.
    """
    started = time.perf_counter()
    check_page(output, overwrite=overwrite)
    wanted = only_style(model) if style is None else style
    if Path(output).resolve() in {Path(photo).resolve(), Path(wanted).resolve()}:
        raise PictureError(f"{output} is the photo or the painting itself, and it would be lost: choose another page.")
    need("torch", "onnx")
    from impasto.apps.explain_page import Told, style_page
    from impasto.training.explain import explain_style as explain_it
    from impasto.training.loop import set_threads

    set_threads(threads)
    painter = StyleModel.load(model, threads=threads)
    opened = Picture.open(photo, max_pixels=max_pixels)
    for note in opened.info.notes:
        say(f"{photo}: {note}")
    # Defaults are the library's, which imports torch: --help can do without.
    given: dict[str, Any] = {"size": size, "network": network}
    given = {name: value for name, value in given.items() if value is not None}
    with progress_bar(2, quiet=json) as report:
        found = explain_it(
            painter,
            opened,
            _style(painter, wanted, max_pixels),
            threads=threads,
            progress=report,
            **given,
        )
    for remark in found.remarks:
        say(remark)
    command = shlex.join(["impasto", "explain", "style", photo, "--style", wanted, "-o", output])
    name = Path(wanted).stem if found.painting is not None else wanted
    told = Told(Path(photo).stem, name, painter.bundle.manifest.name, command)
    write_page(output, style_page(found, told), overwrite=overwrite)
    if json:
        seconds = round(time.perf_counter() - started, 4)
        put_json({"input": photo, "style": wanted, "output": output, "seconds": seconds} | found.to_fields())
    else:
        put(output)


def _style(painter: StyleModel, wanted: str, max_pixels: int) -> Style:
    """The painting where it is a picture's file; else what ``StyleModel.code`` is to make of it."""
    path = Path(wanted)
    named = wanted in painter.styles or (not path.suffix and path.name == wanted and not path.exists())
    return wanted if named or path.suffix.lower() == ".npy" else Picture.open(path, max_pixels=max_pixels)
