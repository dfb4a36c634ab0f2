"""Options whose value may be left out: ``--keep-colors`` alone, ``--palette`` alone.

Typer has no such options. Before it reads the arguments, those that stand alone are given their value here. What comes
next is only taken for the value where it can be one, so that ``--keep-colors photo.jpg`` means what it always did.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches


def completed(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``--keep-colors`` and ``--palette`` followed by a value, as ``--name=value``."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    out, rest = [], list(arguments[:end])
    while rest:
        word = rest.pop(0)
        # Imported where they are needed: the help of a command, or a slip in its name, should not wait for numpy.
        if word == "--keep-colors":
            from impasto.runtime.pixels.color import color_mode

            word = f"{word}={rest.pop(0) if rest and _is_mode(rest[0]) else color_mode(True)}"
        elif word == "--palette":
            from impasto.runtime.palette import COLORS

            word = f"{word}={rest.pop(0) if rest and _is_number(rest[0]) else COLORS}"
        out.append(word)
    return [*out, *arguments[end:]]


def _is_mode(word: str) -> bool:
    from impasto.runtime.pixels.color import KEEP_COLORS

    if word in KEEP_COLORS:
        return True
    # A slip of the pen, unless it is a picture or folder: the sentence about it offers the right word.
    return "." not in word and not os.path.lexists(word) and bool(get_close_matches(word, KEEP_COLORS, cutoff=0.7))


def _is_number(word: str) -> bool:
    return word.lstrip("+-").isdecimal() and not os.path.lexists(word)
