"""``--stroke`` and ``--detail``: how large strokes are, and how much of the photo's finest layer is brought back."""

from __future__ import annotations

from typing import Annotated

import typer

from impasto.runtime.stroke import parse_stroke

StrokeSize = Annotated[
    str | None,
    typer.Option(
        "--stroke",
        metavar="SHARE|PX|auto",
        help="How large strokes are: a share of the long side (0.01, 1%), pixels (24px), or auto: as in a preview of "
        "512 pixels, whatever the size. Without it, the painter's own pixels.",
    ),
]
Detail = Annotated[
    float,
    typer.Option("--detail", min=0, max=1, help="Bring back the photo's finest layer: 0 for none of it, 1 for all."),
]


def checked_stroke(stroke: str | None) -> str | None:
    """The same text; ImpastoError where it is no size of strokes, before anything is loaded or painted."""
    if stroke is not None:
        parse_stroke(stroke)
    return stroke
