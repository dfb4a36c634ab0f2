"""``impasto stylize``: paint pictures in the manner of others."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from impasto.apps.cli.blend import Wanted, label_of, parse_style, weight_of
from impasto.apps.cli.film import Crf, End, Morph, Start, Steady, VideoCodec, clip_among, paint_film
from impasto.apps.cli.painter import (
    Engine,
    KeepColors,
    MaxPixels,
    Model,
    Overwrite,
    Precision,
    Strength,
    Threads,
    load_painter,
    only_style,
)
from impasto.apps.cli.parts import MaxMemory, allowed_memory, paint_in_parts
from impasto.apps.cli.plan import STREAM, Job, plan_jobs, suffix_of
from impasto.apps.cli.terminal import (
    ReaderLeftError,
    default_of,
    explain,
    progress_bar,
    put,
    put_bytes,
    put_json,
    say,
    trace,
)
from impasto.errors import PictureError
from impasto.progress import Progress
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel

STREAM_SUFFIX = ".png"
"""What standard output gets without ``--format``: it keeps transparency and all 16 bits."""


def stylize(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN",
            help="Pictures, folders, quoted patterns like 'photos/**/*.jpg', or - for standard input; or a video.",
        ),
    ],
    style: Annotated[
        list[str] | None,
        typer.Option(
            "--style",
            "-s",
            metavar="STYLE[:WEIGHT]",
            help="A name (see 'impasto styles'), a picture, or a saved code (.npy). Give several for a blend. "
            "A model of one style needs none.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="A file, a folder (inputs keep their names and subfolders), or - for standard output. "
            "Without it: <name>-<style> beside each input.",
        ),
    ] = None,
    strength: Strength = default_of(StyleModel.paint, "strength"),
    keep_colors: KeepColors = default_of(StyleModel.paint, "keep_colors"),
    size: Annotated[
        int | None, typer.Option("--size", min=1, help="Scale the photo to this long side, in pixels, before painting.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", help="Write jpg, png, webp, avif or tif; without it, the format of the input."),
    ] = None,
    quality: Annotated[
        int | None, typer.Option("--quality", min=1, max=100, help="Of JPEG, WebP and AVIF: 1 to 100.")
    ] = default_of(Picture.save, "quality"),
    strip: Annotated[
        bool, typer.Option("--strip", help="Leave the photo's metadata (place, camera, date) out.")
    ] = default_of(Picture.save, "strip"),
    overwrite: Overwrite = default_of(Picture.save, "overwrite"),
    model: Model = default_of(StyleModel.load, "name_or_path"),
    engine: Engine = default_of(StyleModel.load, "engine"),
    threads: Threads = default_of(StyleModel.load, "threads"),
    precision: Precision = default_of(StyleModel.load, "precision"),
    max_pixels: MaxPixels = default_of(Picture.open, "max_pixels"),
    max_memory: MaxMemory = default_of(StyleModel.paint, "max_memory"),
    steady: Steady = None,
    morph: Morph = None,
    codec: VideoCodec = None,
    crf: Crf = None,
    start: Start = None,
    end: End = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per picture, not its path.")] = False,
) -> None:
    """Paint pictures in the manner of others.

    Prints the path of each painted picture.
    """
    wanted = [parse_style(text) for text in style or [only_style(model)]]
    allowed = allowed_memory(max_memory)
    film: dict[str, Any] = {"steady": steady, "codec": codec, "crf": crf, "start": start, "end": end}
    clip = clip_among(inputs, {**film, "morph": morph}, {"format": format, "quality": quality})
    if clip is not None:
        paint_film(
            clip,
            output,
            wanted,
            lambda: load_painter(model, engine=engine, threads=threads, precision=precision),
            morph=bool(morph),
            json=json,
            strength=strength,
            keep_colors=keep_colors,
            size=size,
            strip=strip,
            overwrite=overwrite,
            max_pixels=max_pixels,
            max_memory=allowed,
            **film,
        )
        return
    suffix = None if format is None else suffix_of(format)
    jobs = plan_jobs(
        inputs,
        output=output,
        label=label_of(wanted),
        suffix=suffix,
        overwrite=overwrite,
        kept=[one.style for one in wanted],
    )
    _refuse_streams(jobs, json)
    painter = load_painter(model, engine=engine, threads=threads, precision=precision)
    code = blend(painter, wanted)

    def paint(job: Job) -> dict[str, Any]:
        started = time.perf_counter()
        writing: dict[str, Any] = {"overwrite": overwrite, "strip": strip, "quality": quality}
        painting: dict[str, Any] = {"strength": strength, "keep_colors": keep_colors, "max_memory": allowed}
        mural = paint_in_parts(
            painter,
            job,
            code,
            size=size,
            max_pixels=max_pixels,
            bar=len(jobs) == 1 and not json,
            **painting,
            **writing,
        )
        if mural is not None:
            (width, height), notes, lost = mural.size, mural.notes, mural.lost
        else:
            photo = Picture.open(sys.stdin.buffer.read() if job.source is None else job.source, max_pixels=max_pixels)
            if size is not None:
                photo = photo.resized(size)
            painted = painter.paint(photo, code, **painting)
            (width, height), notes = painted.size, painted.info.notes
            if job.target is None:
                kind = suffix or STREAM_SUFFIX
                put_bytes(painted.to_bytes(kind, strip=strip, quality=quality))
                lost = painted.losses(kind)
            else:
                lost = painted.save(job.target, **writing)
        return {
            "input": STREAM if job.source is None else str(job.source),
            "output": STREAM if job.target is None else str(job.target),
            "style": [{"style": one.style, "weight": weight_of(one)} for one in wanted],
            "strength": strength,
            "width": width,
            "height": height,
            "seconds": round(time.perf_counter() - started, 4),
            "notes": [*notes, *lost],
        }

    failed = paint_all(jobs, paint, json=json)
    if failed:
        raise typer.Exit(1)


def blend(painter: StyleModel, wanted: list[Wanted]) -> Any:
    """The style code that the ``--style`` options ask for.

    Returns:
        float32 [D].
    """
    if len(wanted) == 1 and wanted[0].weight is not None:
        say(f"One style alone needs no weight, so {wanted[0].weight:g} is ignored: use --strength for a lighter hand.")
    return painter.code([(one.style, weight_of(one)) for one in wanted])


def paint_all(jobs: list[Job], paint: Callable[[Job], dict[str, Any]], *, json: bool) -> int:
    """Paint every picture, go on past those that fail, and report each.

    Returns:
        How many failed. The only picture of a command does not fail quietly: its error is raised.
    """
    failed = 0
    with progress_bar(len(jobs), quiet=json) as report:
        for done, job in enumerate(jobs):
            name = "standard input" if job.source is None else str(job.source)
            report(Progress(done, len(jobs), "pictures", name))
            try:
                line = paint(job)
            except ReaderLeftError:
                raise
            # A fault in one picture, even one of ours, must not cost a night's work on all the others.
            except Exception as error:
                if len(jobs) == 1:
                    raise
                failed += 1
                trace()
                say(f"{name}: {explain(error)}")
                if json:
                    put_json({"input": name, "error": explain(error)})
                continue
            for note in line["notes"]:
                say(f"{name}: {note}")
            if json:
                put_json(line)
            elif job.target is not None:
                put(line["output"])
    if failed:
        say(f"{failed} of {len(jobs)} pictures could not be painted.")
    return failed


def _refuse_streams(jobs: list[Job], json: bool) -> None:
    """Refuse a stream that cannot carry a picture."""
    if any(job.target is None for job in jobs):
        if json:
            raise PictureError("Standard output cannot carry both a picture and --json: give -o a file.")
        if sys.stdout.isatty():
            raise PictureError("A picture would be written to the terminal: give -o a file, or send stdout to one.")
    if any(job.source is None for job in jobs) and sys.stdin.isatty():
        raise PictureError(
            "Standard input is the keyboard: send a picture to it, as in 'impasto stylize - < photo.jpg'."
        )
