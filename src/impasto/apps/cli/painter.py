"""The options that every painting verb has, and the model that they ask for."""

from __future__ import annotations

from typing import Annotated

import typer

from impasto.apps.cli.ahead import started
from impasto.apps.cli.terminal import default_of, say
from impasto.errors import ImpastoError, UnknownName
from impasto.runtime.bundle import Bundle
from impasto.runtime.engine import ENGINES
from impasto.runtime.pixels.color import KEEP_COLORS
from impasto.runtime.precision import PRECISIONS
from impasto.runtime.style import StyleModel

Engine = Annotated[str, typer.Option("--engine", help=f"What runs the model: {' or '.join(ENGINES)}.")]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        help=f"What the painter computes in: {', '.join(PRECISIONS[:-1])} (faster, nearly the same picture), "
        f"or {PRECISIONS[-1]}: int8 where the model has it and onnxruntime runs it.",
    ),
]
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
KeepColors = Annotated[
    str,
    typer.Option(
        "--keep-colors",
        metavar=f"[{'|'.join(KEEP_COLORS)}]",
        help="Keep the colours of the photo: all but light and dark (luminance, also without a word), or how often "
        "each occurs (histogram).",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]


def load_painter(
    model: str,
    *,
    engine: str,
    threads: int | None,
    precision: str = default_of(StyleModel.load, "precision"),
) -> StyleModel:
    """A model whose painter is loaded, so that whatever is wrong with it or the engine shows before any picture.

    Raises:
        ImpastoError: the model, the engine, the number of threads or the precision cannot be used.
    """
    chosen = next((known for known in ENGINES if known == engine), None)
    if chosen is None:
        raise UnknownName("engine", engine, ENGINES)
    exact = next((known for known in PRECISIONS if known == precision), None)
    if exact is None:
        raise UnknownName("precision", precision, PRECISIONS)
    painter = started(model, chosen, threads, exact) or StyleModel.load(
        model, engine=chosen, threads=threads, precision=exact
    )
    _ = painter.device  # Loads it.
    for note in painter.notes:
        say(note)
    return painter


def only_style(model: str) -> str:
    """The name of the one style of a model that was made for one (``impasto train style-one``).

    Raises:
        ImpastoError: the model cannot be used, or has another number of named styles, so that one must be chosen.
    """
    styles = Bundle.open(model, kind="style").manifest.styles
    if len(styles) != 1:
        raise ImpastoError("Missing option '--style': give a name (see 'impasto styles'), a picture or a .npy code.")
    return styles[0].name
