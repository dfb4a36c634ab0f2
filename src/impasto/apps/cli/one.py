"""Painting one picture of a command, in the command's own process or in a worker's."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from impasto.apps.cli.control import Painted, mask_of
from impasto.apps.cli.parts import paint_in_parts
from impasto.apps.cli.plan import STREAM, Job
from impasto.apps.cli.terminal import put_bytes
from impasto.runtime.masks import Mask
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel

STREAM_SUFFIX = ".png"
"""What standard output gets without ``--format``: it keeps transparency and all 16 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all pictures of a command have in common; only JSON's kinds of values.

    Attributes:
        style: for the line about a picture: ``{"style": ..., "weight": ...}`` each.
        suffix: the format that was asked for, or None.
        strength, keep_colors, stroke, detail, size, quality, strip, max_pixels, max_memory: as the options of
            ``impasto stylize``.
        palette: R, G and B of the colours to keep to, or None.
        mask: what is told of ``--mask`` and its like: names, sha256 and settings; None for none.
        mask_files: where the files of the masks are.
        recipe: what the picture tells of how it was painted; empty for nothing.
    """

    style: Sequence[dict[str, Any]]
    suffix: str | None
    strength: float
    keep_colors: str
    stroke: str | None
    detail: float
    size: int | None
    quality: int | None
    strip: bool
    max_pixels: int
    max_memory: int | None
    palette: Sequence[Sequence[float]] | None = None
    mask: Mapping[str, Any] | None = None
    mask_files: Mapping[str, str] | None = None
    recipe: str = ""


def paint_job(
    painter: StyleModel,
    code: Painted,
    job: Job,
    settings: Settings,
    *,
    overwrite: bool,
    bar: bool = False,
    mask: Mask | None = None,
) -> dict[str, Any]:
    """Read, paint and write one picture.

    Args:
        code: float32 [D], or regions.
        overwrite: the target may exist.
        bar: show how far a picture is that is painted in parts.
        mask: in place of the one that the settings name files of.

    Returns:
        The line of ``--json``.

    Raises:
        ImpastoError: the picture cannot be read, painted or written.
        ReaderLeftError: nobody reads standard output any more.
    """
    started = time.perf_counter()
    writing: dict[str, Any] = {"overwrite": overwrite, "strip": settings.strip, "quality": settings.quality}
    painting: dict[str, Any] = {
        "strength": settings.strength,
        "keep_colors": settings.keep_colors,
        "stroke": settings.stroke,
        "detail": settings.detail,
        "mask": mask_of(settings) if mask is None else mask,
        "palette": settings.palette,
        "max_memory": settings.max_memory,
    }
    reading: dict[str, Any] = {"size": settings.size, "max_pixels": settings.max_pixels}
    mural = paint_in_parts(painter, job, code, bar=bar, recipe=settings.recipe, **reading, **painting, **writing)
    if mural is not None:
        (width, height), notes, lost = mural.size, mural.notes, mural.lost
    else:
        source = sys.stdin.buffer.read() if job.source is None else job.source
        photo = Picture.open(source, max_pixels=settings.max_pixels)
        if settings.size is not None:
            photo = photo.resized(settings.size)
        painted = painter.paint(photo, code, **painting)
        painted = replace(painted, info=replace(painted.info, recipe=settings.recipe))
        (width, height), notes = painted.size, painted.info.notes
        if job.target is None:
            kind = settings.suffix or STREAM_SUFFIX
            put_bytes(painted.to_bytes(kind, strip=settings.strip, quality=settings.quality))
            lost = painted.losses(kind)
        else:
            lost = painted.save(job.target, **writing)
    return {
        "input": STREAM if job.source is None else str(job.source),
        "output": STREAM if job.target is None else str(job.target),
        "style": list(settings.style),
        "strength": settings.strength,
        "width": width,
        "height": height,
        "seconds": round(time.perf_counter() - started, 4),
        "notes": [*notes, *lost],
    }
