"""``impasto stylize clip.mp4``: the options that videos have, and painting one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from impasto.apps.cli.blend import Wanted, label_of, weight_of
from impasto.apps.cli.plan import STREAM
from impasto.apps.cli.terminal import progress_bar, put, put_json, say
from impasto.errors import ImpastoError, PictureError
from impasto.runtime.style import StyleModel
from impasto.runtime.video.kinds import CONTAINERS, is_clip

# Without a default here: the library's are taken, and an option that was given with a picture is noticed.
Steady = Annotated[
    bool | None,
    typer.Option("--steady/--no-steady", help="Of a video: follow the motion, so that it does not flicker (default)."),
]
Morph = Annotated[
    bool | None,
    typer.Option("--morph", help="Of a video: move from each --style to the next, instead of blending them."),
]
VideoCodec = Annotated[
    str | None,
    typer.Option("--codec", help="Of a video: h264, h265, vp9, av1 or ffv1 (lossless); without it, as -o is played."),
]
Crf = Annotated[
    int | None, typer.Option("--crf", min=0, help="Of a video: quality, 0 the best; h264 has 18 unless given.")
]
Start = Annotated[
    float | None, typer.Option("--start", min=0, metavar="SECONDS", help="Of a video: leave out what comes before.")
]
End = Annotated[
    float | None,
    typer.Option("--end", min=0, metavar="SECONDS", help="Of a video: leave out what comes from there on."),
]


def clip_among(inputs: Sequence[str], given: Mapping[str, Any], unfit: Mapping[str, Any]) -> Path | None:
    """The video that the inputs name, or None for pictures.

    Args:
        inputs: as for ``plan_jobs``.
        given: options that only videos have, by name; None or False where not given.
        unfit: options that only pictures have, likewise.

    Raises:
        PictureError: several inputs and a video among them, or an option that does not fit.
    """
    clips = [text for text in inputs if text and text != STREAM and is_clip(text)]
    if not clips:
        for name, value in given.items():
            if value is not None:
                raise PictureError(f"--{name} is for videos, and {inputs[0]} is none: leave it out.")
        return None
    if len(inputs) > 1:
        raise PictureError(f"A video is painted in a command of its own: give {clips[0]} alone.")
    for name, value in unfit.items():
        if value is not None:
            raise PictureError(f"--{name} is for pictures, and {clips[0]} is a video: leave it out.")
    return Path(clips[0])


def clip_target(clip: Path, output: str | None, label: str) -> Path:
    """Where the painted video goes: a file, into a folder, or beside the clip; PictureError for standard output."""
    suffix = clip.suffix if clip.suffix.lower() in CONTAINERS else ".mp4"
    if output is None:
        return clip.with_name(f"{clip.stem}-{label}{suffix}")
    if output == STREAM:
        raise PictureError("A video cannot be written to standard output: give -o a file.")
    if not output:
        raise PictureError("-o is empty: give a file or a folder to it.")
    path = Path(output)
    ends_as_folder = output.endswith(tuple(sep for sep in (os.sep, os.altsep) if sep))
    return path / f"{clip.stem}{suffix}" if path.is_dir() or ends_as_folder or not path.suffix else path


def paint_film(
    clip: Path,
    output: str | None,
    wanted: Sequence[Wanted],
    load: Callable[[], StyleModel],
    *,
    morph: bool,
    json: bool,
    **options: Any,
) -> None:
    """Paint one video and tell of it.

    Args:
        clip, output: as :func:`clip_target` takes them.
        wanted: the styles: a blend, or with ``morph`` one after another.
        load: gives the model, once everything else is known to be right.
        options: of ``stylize_clip``; those that are None are left to it.

    Raises:
        ImpastoError: see ``stylize_clip``.
    """
    from impasto.runtime.video.clip import check_clip, stylize_clip
    from impasto.runtime.video.work import parts_folder

    if morph and len(wanted) < 2:
        raise ImpastoError("--morph moves from one style to the next: give --style twice or more.")
    if morph and any(one.weight is not None for one in wanted):
        raise ImpastoError("Styles have no weights with --morph, which moves from one to the next: leave them out.")
    target = clip_target(clip, output, label_of(wanted))
    settings = {name: value for name, value in options.items() if value is not None}
    early = ("codec", "crf", "overwrite", "steady")
    check_clip(target, **{name: settings[name] for name in early if name in settings})
    model = load()
    styles = [one.style for one in wanted] if morph else [[(one.style, weight_of(one)) for one in wanted]]
    try:
        # The number of frames is known later; the bar takes it from the first report.
        with progress_bar(2, quiet=json) as report:
            painted = stylize_clip(clip, target, model, styles, on_progress=report, **settings)
    except KeyboardInterrupt:
        if parts_folder(target).exists():
            say(f"The finished parts of {target} are kept: the same command goes on from there.")
        raise
    for note in painted.notes:
        say(f"{clip}: {note}")
    if painted.resumed and not json:
        say(f"{clip}: {painted.resumed} of {painted.frames} frames had been painted before.")
    if not json:
        put(str(target))
        return
    new = painted.frames - painted.resumed
    put_json(
        {
            "input": str(clip),
            "output": str(target),
            "style": [{"style": one.style, "weight": None if morph else weight_of(one)} for one in wanted],
            "morph": morph,
            "width": painted.width,
            "height": painted.height,
            "frames": painted.frames,
            "resumed": painted.resumed,
            "codec": painted.codec,
            "crf": painted.crf,
            "cuts": painted.cuts,
            "seconds": round(painted.seconds, 4),
            "fps": round(new / painted.seconds, 3) if painted.seconds > 0 else 0.0,
            "notes": list(painted.notes),
        }
    )
