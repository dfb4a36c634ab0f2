"""Paint a video: its frames one by one, steadied, in parts that a later call can go on from."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import impasto
from impasto.errors import ImpastoError, PictureError, PictureExists
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.canvas import Sheet
from impasto.runtime.files import place_new
from impasto.runtime.picture import DEFAULT_MAX_PIXELS, Picture
from impasto.runtime.pixels.color import color_mode
from impasto.runtime.steady import Steadier, load_cv
from impasto.runtime.stroke import Stroke, parse_detail, working_size
from impasto.runtime.style import Code, StyleModel
from impasto.runtime.video.footage import Footage, Reader, Shot, open_footage
from impasto.runtime.video.joining import Window, check_joining, join, kept_tracks
from impasto.runtime.video.reel import PartWriter, Reel, check_reel, reel_for
from impasto.runtime.video.work import Work

if TYPE_CHECKING:
    from impasto.runtime.control import Palette
    from impasto.runtime.masks import Cover, Mask, MaskSource

PART_SECONDS = 4.0
"""A part is as much of a clip as lasts so long: what a killed process loses at most."""


@dataclass(frozen=True, slots=True)
class Painted:
    """What became of a clip.

    Attributes:
        output: the video.
        width, height: of its frames, in pixels.
        frames: how many there are.
        resumed: how many of them an earlier call had painted.
        seconds: how long the painting of the others took.
        codec, crf: how it is encoded.
        cuts: between scenes, where it was steadied.
        notes: what could not be kept, a sentence each.
    """

    output: Path
    width: int
    height: int
    frames: int
    resumed: int
    seconds: float
    codec: str
    crf: int | None
    cuts: int
    notes: tuple[str, ...]


def check_clip(
    target: str | os.PathLike[str],
    *,
    codec: str | None = None,
    crf: int | None = None,
    overwrite: bool = False,
    steady: bool = True,
) -> None:
    """Refuse an output early: before the model is loaded and the clip is read. Raises as :func:`stylize_clip`."""
    path = Path(target)
    check_reel(path, codec=codec, crf=crf)
    if path.is_dir():
        raise PictureError(f"{path} is a folder: name a video file to write in it.")
    if not overwrite and os.path.lexists(path):
        raise PictureExists(f"{path} exists already: choose another name or allow overwriting.")
    if steady:
        load_cv()


def stylize_clip(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    model: StyleModel,
    styles: Sequence[Any],
    *,
    strength: float = 1.0,
    keep_colors: bool | str = "off",
    mask: Mask | MaskSource | None = None,
    palette: Palette | None = None,
    stroke: Stroke | None = None,
    detail: float = 0.0,
    steady: bool = True,
    size: int | None = None,
    codec: str | None = None,
    crf: int | None = None,
    start: float | None = None,
    end: float | None = None,
    strip: bool = False,
    overwrite: bool = False,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
    max_memory: int | None = None,
    part_seconds: float = PART_SECONDS,
    on_progress: OnProgress = silent,
) -> Painted:
    """Paint a video. Its sound, times, turn, colour coding, chapters and metadata are kept.

    Memory does not grow with the length. Finished parts lie in a hidden folder beside the output until the video is
    whole; the same call goes on from them after it was stopped or killed.

    Args:
        source: a video file.
        target: where, ending in one of ``kinds.CONTAINERS``.
        model: paints.
        styles: one style (anything that ``StyleModel.code`` takes), or several: the clip moves from the first to the
            last, evenly over its length.
        strength, keep_colors, stroke, detail: see :meth:`StyleModel.paint`.
        mask: see there; one still mask for all frames, without a foreground to be found.
        palette: see there; only where there is one style.
        steady: see :mod:`impasto.runtime.steady`; without it each frame is painted as a photo would be.
        size: long side of the frames, in pixels (both sides become even); None: as they are.
        codec, crf: see ``reel.CODECS``.
        start, end: take only this part of the clip, in seconds from its first frame.
        strip: leave metadata out.
        overwrite: replace what is there, and parts of a call with other settings.
        max_pixels: refuse frames of more.
        max_memory: see :meth:`StyleModel.paint`.
        part_seconds: see :data:`PART_SECONDS`.
        on_progress: called with the frames done, and ``fps`` in its numbers.

    Raises:
        PictureExists: the target exists, or parts of another painting of it.
        PictureError: the video cannot be read or written.
        UnknownName: there is no such style, codec or kind of video.
        ImpastoError: a number is out of range, or a code is not one of this model.
    """
    output = Path(target)
    check_clip(output, codec=codec, crf=crf, overwrite=overwrite, steady=steady)
    if output.exists() and Path(source).exists() and output.samefile(source):
        raise PictureError(f"{output} is the clip itself, and it would be lost: choose another output.")
    laid, colors = _controls(model, styles, keep_colors, mask, palette)
    codes = [model.code(style) for style in styles]
    if not codes:
        raise ImpastoError("A clip needs a style: give one, or several to move between.")
    footage = open_footage(source, end=end)
    shown, window = _chosen(footage, start, end)
    frame_size = _frame_size(footage, size, max_pixels)
    parse_detail(detail)
    working = working_size(stroke, frame_size)
    reel, notes = reel_for(output, footage, frame_size, codec=codec, crf=crf)
    tracks, lost = kept_tracks(footage, reel, output)
    check_joining(reel, footage, tracks, output)
    plan = {
        "impasto": impasto.__version__,
        "source": footage.mark,
        "model": [model.bundle.sha256, model.graph, model.device.split(",")[0]],
        "codes": [hashlib.sha256(code.tobytes()).hexdigest() for code in codes],
        "painting": [strength, color_mode(keep_colors), working, detail, steady, start, end, part_seconds],
        "control": [None if laid is None else laid.mark, None if colors is None else colors.tolist()],
        "reel": reel.described(),
    }
    work = Work(output, plan, fresh=overwrite)
    try:
        resumed = sum(len(part.times) for part in work.parts)
        began = time.perf_counter()
        painting: dict[str, Any] = {"strength": strength, "keep_colors": keep_colors, "max_memory": max_memory}
        painting |= {"stroke": stroke, "detail": detail, "palette": colors}
        painter = _Painter(model, codes, painting, footage, shown, Steadier() if steady else None, laid)
        damaged = _paint_parts(work, reel, painter, frame_size, part_seconds, on_progress)
        seconds = time.perf_counter() - began
        whole = work.folder / output.name
        parts = [(work.path(number), part) for number, part in enumerate(work.parts)]
        if not parts:
            raise PictureError(f"No frame of {footage.path.name} could be decoded: copy it again.")
        join(reel, parts, footage, tracks, window, whole, strip=strip)
        _place(whole, output, overwrite)
        work.remove()
    finally:
        work.close()
    if damaged:
        notes += (f"{damaged} damaged piece{'s' * (damaged > 1)} of it could not be decoded and is left out.",)
    width, height = reel.coded
    return Painted(
        output=output,
        width=width,
        height=height,
        frames=sum(len(part.times) for _, part in parts),
        resumed=resumed,
        seconds=seconds,
        codec=reel.codec,
        crf=reel.crf,
        cuts=painter.steadier.cuts if painter.steadier else 0,
        notes=(*footage.notes, *notes, *lost),
    )


def _controls(
    model: StyleModel,
    styles: Sequence[Any],
    keep_colors: bool | str,
    mask: Mask | MaskSource | None,
    palette: Palette | None,
) -> tuple[Mask | None, Code | None]:
    """The mask with its files read, and the colours to keep to; ImpastoError where a clip cannot have them."""
    if palette is None and mask is None:
        color_mode(keep_colors)
        return None, None
    from impasto.runtime.control import as_mask, checked_mode, colors_of
    from impasto.runtime.palette import checked_colors

    checked_mode(keep_colors, palette)
    laid = as_mask(mask)
    if laid is not None and laid.foreground is not None:
        raise ImpastoError(
            "A foreground is found in pictures, not in a video, where it would flicker: give one still mask instead."
        )
    if palette is not None and len(styles) > 1:
        raise ImpastoError("A palette is the colours of one style, and this clip moves between several: leave it out.")
    opened = None if laid is None else laid.opened()
    if palette is None:
        return opened, None
    return opened, colors_of(model, styles[0], palette) if isinstance(palette, int) else checked_colors(palette)


def morphed(codes: Sequence[Code], share: float) -> Code:
    """The code [D] at a share of the way, 0 to 1, from the first code to the last, resting a little at each.

    Between two codes the weight is the smoothstep 3 t^2 - 2 t^3.
    """
    way = min(max(share, 0.0), 1.0) * (len(codes) - 1)
    leg = min(int(way), max(len(codes) - 2, 0))
    t = way - leg
    weight = np.float32(t * t * (3 - 2 * t))
    if weight == 0:
        return codes[leg]
    return codes[leg + 1] if weight == 1 else codes[leg] + weight * (codes[leg + 1] - codes[leg])


class _Painter:
    """Paints the shots of a footage, in order."""

    def __init__(
        self,
        model: StyleModel,
        codes: Sequence[Code],
        painting: Mapping[str, Any],
        footage: Footage,
        shown: tuple[int, int],
        steadier: Steadier | None,
        mask: Mask | None = None,
    ) -> None:
        self._mask = mask
        self._cover: Cover | None = None
        self._model, self._codes, self._painting = model, codes, painting
        self.footage, self.shown, self.steadier = footage, shown, steadier

    def paint(self, shot: Shot) -> Any:
        """float32 [H,W,3]."""
        first, last = self.shown
        code = morphed(self._codes, (shot.time - first) / max(1, last - first))
        steadier = self.steadier
        rgb = shot.rgb
        if steadier is not None:
            rgb = steadier.look(rgb, float((shot.time - first) * self.footage.time_base))
        even = None if steadier is None else steadier.even
        painted = self._model.paint(Picture(rgb), code, even=even, **self._painting).rgb
        painted = painted if steadier is None else steadier.settle(painted)
        if self._mask is None:
            return painted
        from impasto.runtime.control import laid_over

        # After steadying, and over the frame as it was: what is not painted stays what it is.
        if self._cover is None:
            self._cover = self._mask.over(Sheet(shot.rgb))
        return laid_over(shot.rgb, painted, self._cover)


def _paint_parts(
    work: Work, reel: Reel, painter: _Painter, size: tuple[int, int], part_seconds: float, on_progress: OnProgress
) -> int:
    """Paint what is not finished yet; gives how many damaged packets were met."""
    if not (math.isfinite(part_seconds) and part_seconds > 0):
        raise ImpastoError(f"Parts of {part_seconds} seconds cannot be made: choose a number above 0.")
    footage, (first, last) = painter.footage, painter.shown
    total = int(((footage.times >= first) & (footage.times <= last)).sum())
    done = old = sum(len(part.times) for part in work.parts)
    if work.state and painter.steadier is not None:
        painter.steadier.restore({name[1:]: array for name, array in work.state.items() if name[0] == "s"})
    after = max(work.parts[-1].times) if work.parts else first - 1
    if done and after >= last:
        return 0
    length = max(1, round(Fraction(part_seconds) / footage.time_base))
    if done:
        on_progress(Progress(done, max(total, done), "frames"))
    began = time.perf_counter()
    with Reader(footage, size=size, after=after) as reader:
        for shots in _in_parts(reader, first, last, length):
            with work.writing() as file:
                writer = PartWriter(file, reel)
                for shot in shots:
                    writer.add(shot.time, painter.paint(shot))
                    done += 1
                    pace = (done - old) / max(1e-9, time.perf_counter() - began)
                    on_progress(Progress(done, max(total, done), "frames", f"{pace:.1f} fps", {"fps": pace}))
                part = writer.finish()
            state = {} if painter.steadier is None else painter.steadier.state()
            work.add(part, {"after": np.array([max(part.times)])} | {f"s{name}": a for name, a in state.items()})
        return reader.damaged


def _in_parts(shots: Iterator[Shot] | Reader, first: int, last: int, length: int) -> Iterator[Iterator[Shot]]:
    """The shots in runs; where a run ends depends on the times alone, so that it is the same after a stop."""
    stream = iter(shots)
    held = [shot] if (shot := next(stream, None)) is not None and shot.time <= last else []

    def run(number: int) -> Iterator[Shot]:
        while held:
            yield held.pop()
            following = next(stream, None)
            if following is None or following.time > last:
                return
            held.append(following)
            if (following.time - first) // length != number:
                return

    while held:
        yield run((held[0].time - first) // length)


def _chosen(footage: Footage, start: float | None, end: float | None) -> tuple[tuple[int, int], Window]:
    """The first and last time that is painted, and what is taken of the other tracks."""
    times, unit = footage.times, footage.time_base
    length = float((times[-1] - times[0] + footage.last) * unit)
    low, high = 0.0 if start is None else start, math.inf if end is None else end
    if not (0 <= low < high) or math.isnan(low) or math.isnan(high):
        raise ImpastoError(
            f"Nothing lies from {low:g} to {high:g} seconds: choose a start of 0 or more, and a later end."
        )
    since = (times - times[0]) * float(unit)
    # Half a unit of grace, since a person gives decimals and a clip has fractions.
    grace = 0.5 * float(unit)
    kept = times[(since >= low - grace) & (since < high - grace)]
    if not len(kept):
        raise ImpastoError(
            f"The clip is {length:.2f} seconds long and has no frame from {low:g} to {high:g}: choose others."
        )
    shown = int(kept[0]), int(kept[-1])
    if start is None and end is None:
        return shown, Window()
    later = times[times > shown[1]]
    close = int(later[0]) if len(later) else shown[1] + footage.last
    return shown, Window(None if start is None else shown[0] * unit, None if end is None else close * unit)


def _frame_size(footage: Footage, size: int | None, max_pixels: int | None) -> tuple[int, int]:
    width, height = footage.width, footage.height
    if size is not None:
        if size < 1:
            raise PictureError(f"A frame cannot be {size} pixels long: give a size from 1 on.")
        scale = size / max(width, height)
        # Even, as most codecs want it.
        width, height = (max(2, 2 * round(side * scale / 2)) for side in (width, height))
    if max_pixels is not None and width * height > max_pixels:
        raise PictureError(f"Frames of {width}x{height} have more than {max_pixels:,} pixels: choose a smaller size.")
    return width, height


def _place(whole: Path, output: Path, overwrite: bool) -> None:
    """Give the finished video its name."""
    try:
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        if overwrite:
            if output.exists():
                whole.chmod(output.stat().st_mode & 0o7777)
            whole.replace(output.resolve() if output.is_symlink() else output)
        else:
            place_new(whole, output)
    except FileExistsError:
        raise PictureExists(f"{output} exists already: choose another name or allow overwriting.") from None
    except OSError as error:
        raise PictureError(f"{output} cannot be written ({error.strerror or error}): choose another place.") from error
