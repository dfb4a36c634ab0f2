"""The options that every painting verb has, and the model that they ask for."""

from __future__ import annotations

from typing import Annotated

import typer

from impasto.apps.cli.ahead import started
from impasto.apps.cli.terminal import say
from impasto.errors import UnknownName
from impasto.runtime.engine import ENGINES
from impasto.runtime.style import StyleModel

Engine = Annotated[str, typer.Option("--engine", help=f"What runs the model: {' or '.join(ENGINES)}.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads; without it, as many as there are cores.")
]
Model = Annotated[
    str, typer.Option("--model", metavar="NAME|FILE", help="The model: one of 'impasto models list', or a file.")
]
MaxPixels = Annotated[
    int, typer.Option("--max-pixels", min=1, help="Refuse pictures of more pixels than this, before they fill memory.")
]
Strength = Annotated[
    float, typer.Option("--strength", min=0, max=1, help="From 0, the photo as it is, to 1, the style in full.")
]
KeepColors = Annotated[bool, typer.Option("--keep-colors", help="Keep the colours of the photo, take only strokes.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]


def load_painter(model: str, *, engine: str, threads: int | None) -> StyleModel:
    """A model whose painter is loaded, so that whatever is wrong with it or the engine shows before any picture.

    Raises:
        ImpastoError: the model, the engine or the number of threads cannot be used.
    """
    chosen = next((known for known in ENGINES if known == engine), None)
    if chosen is None:
        raise UnknownName("engine", engine, ENGINES)
    painter = started(model, chosen, threads) or StyleModel.load(model, engine=chosen, threads=threads)
    _ = painter.device  # Loads it.
    for note in painter.notes:
        say(note)
    return painter
