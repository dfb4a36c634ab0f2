"""``impasto styles --between A B``: the way from one style to another, on one sheet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from impasto.apps.cli.blend import Wanted
from impasto.apps.cli.scene import scene
from impasto.apps.cli.sheet import Tile, contact_sheet
from impasto.apps.cli.terminal import progress_bar, put, put_json, say
from impasto.progress import Progress
from impasto.runtime.dream import between
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel

STEPS = 7
"""Pictures, both ends among them, where none is asked for."""


def paint_between(
    painter: StyleModel,
    ends: Sequence[str],
    sheet: str,
    photo: str | None,
    *,
    count: int = STEPS,
    thumb: int,
    strength: float,
    keep_colors: str,
    max_pixels: int,
    overwrite: bool,
    json: bool,
) -> None:
    """Paint a photo in ``count`` styles from ``ends[0]`` to ``ends[1]`` and write them as one labelled picture.

    Args:
        painter: the model.
        ends: two names, picture files or saved codes.
        sheet: the file to write; it was looked at already.
        photo: a file, or None for a drawn landscape.
        count: 2 or more.
        thumb, strength, keep_colors, max_pixels, overwrite, json: as the options.

    Raises:
        ImpastoError: a style, the photo or the sheet cannot be used.
    """
    started = time.perf_counter()
    original = scene() if photo is None else Picture.open(photo, max_pixels=max_pixels)
    for note in original.info.notes:
        say(f"{photo}: {note}")
    codes = between(painter, ends[0], ends[1], count)
    # Twice the size of the thumbnail: small enough to be quick, large enough for strokes to look as in a real picture.
    small = original.resized(2 * thumb)
    tiles = []
    with progress_bar(count, quiet=json) as report:
        for done, code in enumerate(codes):
            report(Progress(done, count, "styles", f"{done} of {count - 1}"))
            painted = painter.paint(small, code, strength=strength, keep_colors=keep_colors)
            tiles.append(Tile(painted.to_pil(), *_label(painter, ends, done, count)))
    Picture.from_pil(contact_sheet(tiles, thumb=thumb)).save(sheet, overwrite=overwrite)
    if json:
        seconds = round(time.perf_counter() - started, 4)
        put_json({"input": photo, "output": sheet, "between": list(ends), "count": count, "seconds": seconds})
    else:
        put(sheet)


def _label(painter: StyleModel, ends: Sequence[str], step: int, count: int) -> tuple[str, str, str]:
    """Title, a line about it, and the name to type for it."""
    if step not in (0, count - 1):
        return f"{round(100 * step / (count - 1))} %", "", ""
    name = ends[0] if step == 0 else ends[1]
    if name in painter.styles:
        info = painter.styles[name]
        return info.title, f"{info.artist}, {info.year}", name
    return Wanted(name, None).label, Path(name).name, ""
