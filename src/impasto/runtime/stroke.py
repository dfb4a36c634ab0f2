"""How large strokes are, whatever the size of the picture.

A painter's strokes have a size in pixels of their own: :data:`OWN` stands for it. Strokes of S pixels are painted by
painting the picture at a *working size*, OWN / S of its own, and by bringing that up again
(:mod:`impasto.runtime.guided`). Strokes finer than the painter's own are painted on the picture enlarged.
"""

from __future__ import annotations

import math
import re
from typing import TypeAlias

from impasto.errors import ImpastoError, UnknownName
from impasto.runtime.picture import DEFAULT_MAX_PIXELS, resized_size

Stroke: TypeAlias = float | str
"""A share of the picture's long side (0.01), or text: ``"1%"``, ``"0.01"``, ``"24px"``, or ``"auto"``."""

OWN = 8
"""Pixels that count as the width of a painter's own stroke."""

AUTO = 1 / 64
"""The share that ``"auto"`` means: every picture is painted as its preview of 512 pixels is."""

COARSEST = 1 / 8
"""Of the long side: the picture is painted at 64 pixels, and coarser strokes would leave nothing of it."""

FINEST = 2
"""Pixels: the picture is painted four times as large, and finer strokes could not be seen in it."""

_WAYS = "write a share of the long side such as 0.01 or 1%, pixels such as 24px, or auto"


def parse_stroke(stroke: Stroke) -> tuple[float, str]:
    """What a size of strokes means.

    Returns:
        A number above 0 and its unit: ``"px"``, or ``"share"`` of the long side (at most :data:`COARSEST`).

    Raises:
        UnknownName: it is a word, and not ``auto``.
        ImpastoError: it is no size, or out of range.
    """
    if isinstance(stroke, str):
        text = stroke.strip().lower()
        if text == "auto":
            return AUTO, "share"
        found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(px|%|)", text)
        if found is None:
            if text.isalpha():
                raise UnknownName("size of strokes", stroke, ["auto"])
            raise ImpastoError(f"{stroke!r} is no size of strokes: {_WAYS}.")
        value, unit = float(found[1]), {"px": "px", "%": "share", "": "share"}[found[2]]
        value = value / 100 if found[2] == "%" else value
    else:
        value, unit = float(stroke), "share"
    if not (math.isfinite(value) and value > 0):
        raise ImpastoError(f"Strokes of {stroke} cannot be painted: {_WAYS}.")
    if unit == "px" and value < FINEST:
        raise ImpastoError(f"Strokes of {stroke} are too fine to be seen: give at least {FINEST}px.")
    if unit == "share" and value > COARSEST:
        hint = f" (for pixels write {stroke}px)" if value >= 1 else ""
        raise ImpastoError(
            f"Strokes of {stroke} are too coarse: a share of the picture's long side is at most {COARSEST:g}{hint}."
        )
    return value, unit


def parse_detail(detail: float) -> float:
    """The same number; ImpastoError unless it is 0 to 1."""
    if not 0.0 <= detail <= 1.0:
        raise ImpastoError(f"The detail {detail} cannot be used: choose a number from 0 to 1.")
    return detail


def working_size(stroke: Stroke | None, size: tuple[int, int]) -> tuple[int, int]:
    """The width and height at which a picture of ``size`` (width, height) is painted.

    Args:
        stroke: the size of strokes; None: the painter's own, which is ``size`` itself. A share that means strokes
            finer than :data:`FINEST` pixels is held there.

    Raises:
        ImpastoError: see :func:`parse_stroke`; or so many pixels are more than this picture can have of strokes, or
            so fine strokes more than can be painted.
    """
    if stroke is None:
        return size
    value, unit = parse_stroke(stroke)
    pixels = max(value if unit == "px" else value * max(size), FINEST)
    if pixels > COARSEST * max(size) and unit == "px":
        raise ImpastoError(
            f"Strokes of {stroke} are too coarse for a picture of {size[0]}x{size[1]}: give at most "
            f"{COARSEST * max(size):g}px, or a share such as auto."
        )
    working = resized_size(size, max(1, round(max(size) * OWN / pixels)))
    if working[0] * working[1] > max(DEFAULT_MAX_PIXELS, size[0] * size[1]):
        raise ImpastoError(
            f"For strokes of {pixels:g} pixels this picture would be painted at {working[0]}x{working[1]}, which is "
            f"more than {DEFAULT_MAX_PIXELS:,} pixels: choose coarser ones."
        )
    return working
