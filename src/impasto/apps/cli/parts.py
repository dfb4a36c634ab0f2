"""Pictures that do not fit into memory: ``--max-memory``, and painting from file to file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from impasto.apps.cli.plan import Job
from impasto.apps.cli.terminal import default_of, progress_bar
from impasto.runtime.fitting import file_limit
from impasto.runtime.memory import parse_size
from impasto.runtime.style import StyleModel

if TYPE_CHECKING:
    from impasto.runtime.mural import Mural

MaxMemory = Annotated[
    str | None,
    typer.Option(
        "--max-memory",
        metavar="SIZE",
        help="Stay within so much memory, such as 1GB: what is larger is painted in parts. Without it, half of what "
        "is free.",
    ),
]


def allowed_memory(text: str | None) -> int | None:
    """The bytes that ``--max-memory`` allows; None where it was not given."""
    return None if text is None else parse_size(text)


def paint_in_parts(
    painter: StyleModel,
    job: Job,
    code: Any,
    *,
    size: int | None,
    max_memory: int | None,
    max_pixels: int | None,
    bar: bool,
    stroke: str | None = default_of(StyleModel.paint, "stroke"),
    **options: Any,
) -> Mural | None:
    """Paint a picture from file to file where it is too large to be held whole.

    Args:
        painter: the model.
        job: what is read and written; a stream is not painted in this way.
        code: the style code [D].
        size, stroke, max_memory, max_pixels, options: see `impasto.runtime.mural.paint_file`.
        bar: show how far it is.

    Returns:
        What was painted; None where the picture fits, and nothing was done.
    """
    if job.source is None or job.target is None or not job.source.is_file():
        return None
    limit = file_limit(painter, job.source, size=size, stroke=stroke, max_memory=max_memory, max_pixels=max_pixels)
    if limit is None:
        return None
    from impasto.runtime.mural import paint_file

    with progress_bar(2, quiet=not bar) as report:
        return paint_file(
            painter,
            job.source,
            job.target,
            code,
            size=size,
            stroke=stroke,
            max_memory=limit,
            max_pixels=max_pixels,
            progress=report,
            **options,
        )
