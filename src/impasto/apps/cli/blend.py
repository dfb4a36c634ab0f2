"""``--style NAME|PICTURE|CODE.npy[:WEIGHT][@MASK]``: what was asked for, and how outputs are named after it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from impasto.errors import ImpastoError
from impasto.runtime.files import READABLE_SUFFIXES

LONGEST_LABEL = 80


class Wanted(NamedTuple):
    """One ``--style``. ``style`` is a name or a path; ``weight`` and ``mask`` are None where none was given."""

    style: str
    weight: float | None
    mask: str | None = None

    @property
    def label(self) -> str:
        """A short name that can stand in a file name: the style's, or the stem of its file."""
        if any(sep in self.style for sep in ("/", "\\")) or Path(self.style).suffix:
            return Path(re.split(r"[/\\]", self.style)[-1]).stem or "style"
        return self.style

    @property
    def told(self) -> dict[str, Any]:
        """What ``--json`` tells of it."""
        plain: dict[str, Any] = {"style": self.style, "weight": weight_of(self)}
        return plain if self.mask is None else {**plain, "mask": self.mask}


def parse_style(text: str) -> Wanted:
    """Take the weight and the mask off a ``--style``.

    A colon counts only where a number follows it to the end, so that ``C:/arts/sea.jpg`` and ``12:30 sea.jpg`` are
    paths; an @ only where a picture follows it; a text that is an existing file as a whole is that file.

    Raises:
        ImpastoError: the text is empty, or the weight is not above 0 and finite.
    """
    whole, (text, mask) = text, _masked(text)
    style, colon, tail = text.rpartition(":")
    if not colon or not style or os.path.lexists(text):
        style, tail = text, ""
    if not whole.strip():
        raise ImpastoError("A --style is empty: give a name (see 'impasto styles'), a picture or a .npy code.")
    try:
        weight = float(tail)
    except ValueError:
        return Wanted(text, None, mask)
    if not (weight > 0 and math.isfinite(weight)):
        raise ImpastoError(f"The weight in --style {text} must be a number above 0: write {style}:0.5, for example.")
    return Wanted(style, weight, mask)


def _masked(text: str) -> tuple[str, str | None]:
    """A text without its mask, and the mask."""
    if "@" not in text or os.path.lexists(text):
        return text, None
    splits = [(text[:at], text[at + 1 :]) for at, letter in enumerate(text) if letter == "@" and 0 < at < len(text) - 1]
    there = [split for split in splits if os.path.lexists(split[1])]
    # Where no such file exists, the sentence should be about the mask.
    named = [split for split in splits if Path(split[1]).suffix.lower() in READABLE_SUFFIXES]
    return next(iter(there or named[-1:]), (text, None))


def label_of(styles: Sequence[Wanted]) -> str:
    """The part of an output's name that tells the style: ``starry-night``, or ``starry-night+great-wave``."""
    return "+".join(wanted.label for wanted in styles)[:LONGEST_LABEL]


def weight_of(wanted: Wanted) -> float:
    """The weight in the blend: 1 where none was given."""
    return 1.0 if wanted.weight is None else wanted.weight
