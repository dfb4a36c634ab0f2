"""A labelled contact sheet: one picture per style, its title below it."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

PAPER = (250, 249, 246)
INK = (34, 32, 30)
GREY = (122, 117, 110)
ACCENT = (150, 70, 40)
# Wider than tall, as screens are.
SHEET_ASPECT = 1.5
# Pillow's own font has few letters beyond ASCII.
_LOOKALIKES = {
    "–": "-",
    "—": "-",
    "−": "-",
    "’": "'",
    "‘": "'",
    "ø": "o",
    "Ø": "O",
    "ł": "l",
    "Ł": "L",
    "ß": "ss",
    "æ": "ae",
}

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Tile(NamedTuple):
    """One picture of the sheet: its title, a line about it, and the name to type for it (or nothing)."""

    picture: Image.Image
    title: str
    about: str
    name: str


def contact_sheet(tiles: Sequence[Tile], *, thumb: int = 256) -> Image.Image:
    """Lay pictures out in rows, with their titles.

    Args:
        tiles: at least one; the pictures are scaled to the same box.
        thumb: long side of each picture, in pixels.

    Returns:
        An RGB picture, about one and a half times as wide as tall.
    """
    pictures = [fitted(tile.picture, thumb) for tile in tiles]
    width, height = (max(side) for side in zip(*(picture.size for picture in pictures), strict=True))
    unit = max(thumb // 32, 6)  # Below this, letters cannot be read.
    width = max(width, unit * 24)  # Titles need room under a narrow picture.
    gap, title_line, line = unit * 4, round(unit * 2.6), round(unit * 2.2)
    step_x, step_y = width + gap, height + unit + title_line + 2 * line + gap
    columns = min(range(1, len(tiles) + 1), key=lambda count: _awkwardness(count, len(tiles), step_x / step_y))
    rows = math.ceil(len(tiles) / columns)
    page = Image.new("RGB", (columns * step_x + gap, rows * step_y + gap // 2), PAPER)
    draw = ImageDraw.Draw(page)
    for index, (tile, picture) in enumerate(zip(tiles, pictures, strict=True)):
        left, top = gap + index % columns * step_x, gap + index // columns * step_y
        # Pictures stand on one line, so that the titles do.
        page.paste(picture, (left, top + height - picture.height))
        below = top + height + unit
        for text, size, color, advance in (
            (tile.title, unit * 2.0, INK, title_line),
            (tile.about, unit * 1.6, GREY, line),
            (tile.name, unit * 1.6, ACCENT, line),
        ):
            fitting, font = _fitting(text, size, width)
            draw.text((left, below), fitting, color, font)
            below += advance
    return page


def _awkwardness(columns: int, count: int, step_aspect: float) -> float:
    """How far a number of columns is from the wanted shape, and how empty it leaves the last row."""
    rows = math.ceil(count / columns)
    return abs(math.log(columns / rows * step_aspect / SHEET_ASPECT)) + (rows * columns - count) / count


def fitted(picture: Image.Image, thumb: int) -> Image.Image:
    """Scaled to a long side of ``thumb``, on the paper where it is transparent."""
    scale = thumb / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    small = picture.convert("RGBA").resize((width, height), Image.Resampling.LANCZOS)
    return Image.alpha_composite(Image.new("RGBA", small.size, (*PAPER, 255)), small).convert("RGB")


def _font(size: float) -> Font:
    return ImageFont.load_default(size)


def _spelt(text: str, font: Font) -> str:
    """The text with every letter that the font lacks replaced: by its base letter, or a question mark."""
    missing = bytes(font.getmask("\uffff"))
    spelt = ""
    for letter in text:
        bases = [letter, *unicodedata.normalize("NFKD", letter), _LOOKALIKES.get(letter, "?")]
        spelt += next(base for base in bases if base == "?" or bytes(font.getmask(base)) != missing)
    return spelt


def _fitting(text: str, size: float, width: int) -> tuple[str, Font]:
    """The text and its font so that it is no wider than ``width``: first set a little smaller, then cut short."""
    for share in (1.0, 0.9, 0.8):
        font = _font(size * share)
        spelt = _spelt(text, font)
        if font.getlength(spelt) <= width:
            return spelt, font
    while spelt and font.getlength(spelt + "...") > width:
        spelt = spelt[:-1].rstrip(" ,")
    return spelt + "...", font
