"""``impasto web build``: the page as a folder of static files that paints in the browser itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from impasto.apps.cli.options import TYPER_OPTIONS
from impasto.apps.cli.painter import Model, Overwrite
from impasto.apps.cli.terminal import put, put_json, say
from impasto.runtime.bundle import Bundle, bundled_models
from impasto.runtime.style import DEFAULT_MODEL

app = typer.Typer(help="The page as static files.", no_args_is_help=True, **TYPER_OPTIONS)


@app.callback()
def web() -> None:
    """The page as static files that paint in the browser itself."""


@app.command("build")
def build(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")],
    model: Model = DEFAULT_MODEL,
    generator: Annotated[
        list[str] | None,
        typer.Option(
            "--generator",
            metavar="NAME|FILE",
            help="A generator for the tab 'Invent', several; without it all bundled.",
        ),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option("--runtime", metavar="FOLDER", help="A folder with onnxruntime-web's files, instead of npm."),
    ] = None,
    overwrite: Overwrite = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Write the page as a folder for any static host: photos are painted in the browser and never leave it.

    npm fetches onnxruntime-web, once; the site itself asks no other host for anything.
    """
    from impasto.apps.web.site import build_site

    drawers = generator or [
        name for name, path in bundled_models().items() if Bundle.open(path).manifest.kind == "generator"
    ]
    path, size = build_site(out, style=model, generators=drawers, runtime=runtime, overwrite=overwrite)
    if json:
        put_json({"path": str(path), "bytes": size, "model": model, "generators": drawers})
        return
    put(str(path))
    say(f"{size / 1e6:.1f} MB. To look at it: python -m http.server --directory {path} --bind 127.0.0.1")
