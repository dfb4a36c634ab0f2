"""``--style NAME|PICTURE|CODE.npy[:WEIGHT]``: what was asked for, and how outputs are named after it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from impasto.errors import ImpastoError

LONGEST_LABEL = 80


class Wanted(NamedTuple):
    """One ``--style``. ``style`` is a name or a path; ``weight`` None where none was given."""

    style: str
    weight: float | None

    @property
    def label(self) -> str:
        """A short name that can stand in a file name: the style's, or the stem of its file."""
        if any(sep in self.style for sep in ("/", "\\")) or Path(self.style).suffix:
            return Path(re.split(r"[/\\]", self.style)[-1]).stem or "style"
        return self.style


def parse_style(text: str) -> Wanted:
    """Take the weight off a ``--style``.

    A colon counts only where a number follows it to the end, so that ``C:/arts/sea.jpg`` and ``12:30 sea.jpg`` are
    paths; a text that is an existing file as a whole is that file.

    Raises:
        ImpastoError: the text is empty, or the weight is not above 0 and finite.
    """
    style, colon, tail = text.rpartition(":")
    if not colon or not style or os.path.lexists(text):
        style, tail = text, ""
    if not text.strip():
        raise ImpastoError("A --style is empty: give a name (see 'impasto styles'), a picture or a .npy code.")
    try:
        weight = float(tail)
    except ValueError:
        return Wanted(text, None)
    if not (weight > 0 and math.isfinite(weight)):
        raise ImpastoError(f"The weight in --style {text} must be a number above 0: write {style}:0.5, for example.")
    return Wanted(style, weight)


def label_of(styles: Sequence[Wanted]) -> str:
    """The part of an output's name that tells the style: ``starry-night``, or ``starry-night+great-wave``."""
    return "+".join(wanted.label for wanted in styles)[:LONGEST_LABEL]


def weight_of(wanted: Wanted) -> float:
    """The weight in the blend: 1 where none was given."""
    return 1.0 if wanted.weight is None else wanted.weight
