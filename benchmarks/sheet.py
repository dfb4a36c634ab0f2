"""A labelled contact sheet: a column per photo, a row per painting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

PAPER, INK = (250, 249, 246), (34, 32, 30)
GAP = 4


def photo_square(path: Path, side: int) -> Image.Image:
    """The photo upright, cropped to a centred square and scaled to ``side``, as the yardstick does it."""
    with Image.open(path) as image:
        return ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), (side, side), Image.Resampling.LANCZOS)


def contact_sheet(
    photos: Sequence[Path],
    paintings: Sequence[Path],
    folders: Sequence[Path],
    *,
    cell: int = 192,
    name: Callable[[Path, Path], str],
) -> Image.Image:
    """Lay the paintings of one folder out, or those of several beside one another.

    Args:
        photos, paintings: files; photos head the columns, paintings the rows.
        folders: where ``name(photo, painting)`` is looked for; a pair that a folder lacks stays empty.
        cell: side of one picture, in pixels.
        name: file name of a pair.

    Returns:
        An RGB image.
    """
    font = ImageFont.load_default(max(10, cell // 14))
    line = round(max(10, cell // 14) * 1.5)
    step_x, step_y = cell * len(folders) + GAP * 3, cell + GAP
    left, top = cell + GAP * 3, cell + line * (3 if len(folders) > 1 else 2)
    page = Image.new("RGB", (left + step_x * len(photos), top + (step_y + line) * len(paintings)), PAPER)
    draw = ImageDraw.Draw(page)
    for column, photo in enumerate(photos):
        x = left + step_x * column
        page.paste(photo_square(photo, cell), (x, line))
        draw.text((x, 0), _shortened(photo.stem, font, step_x - GAP), INK, font)
        for place, folder in enumerate(folders):
            if len(folders) > 1:
                draw.text((x + cell * place, cell + line), _shortened(folder.name, font, cell - GAP), INK, font)
    for row, painting in enumerate(paintings):
        y = top + (step_y + line) * row
        page.paste(photo_square(painting, cell), (0, y))
        draw.text((0, y + cell), _shortened(painting.stem, font, cell), INK, font)
        for column, photo in enumerate(photos):
            for place, folder in enumerate(folders):
                file = folder / name(photo, painting)
                if file.is_file():
                    page.paste(photo_square(file, cell), (left + step_x * column + cell * place, y))
    return page


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
