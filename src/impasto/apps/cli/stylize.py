"""``impasto stylize``: paint pictures in the manner of others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from impasto.apps.cli.blend import Wanted, label_of, parse_style, weight_of
from impasto.apps.cli.cluster import Cluster
from impasto.apps.cli.control import Asked, Feather, Foreground, MaskFile, PaletteCount, Protect, SaveStyle
from impasto.apps.cli.film import Crf, End, Morph, Start, Steady, VideoCodec, clip_among, paint_film
from impasto.apps.cli.one import Settings, paint_job
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
from impasto.apps.cli.parts import MaxMemory, allowed_memory
from impasto.apps.cli.plan import Job, plan_jobs, reported_folder, suffix_of
from impasto.apps.cli.recipes import NO_RECIPE, WithRecipe, recipe_line
from impasto.apps.cli.several import Jobs, Resume, one_by_one, tell_all
from impasto.apps.cli.stroke import Detail, StrokeSize, checked_stroke
from impasto.apps.cli.terminal import default_of, say
from impasto.errors import PictureError
from impasto.runtime.picture import Picture
from impasto.runtime.style import Code, StyleModel


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
            metavar="STYLE[:WEIGHT][@MASK]",
            help="A name (see 'impasto styles'), a picture, or a saved code (.npy). Give several for a blend, or each "
            "with a mask of its own. A model of one style needs none.",
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
    mask: MaskFile = None,
    protect: Protect = None,
    foreground: Foreground = None,
    feather: Feather = None,
    palette: PaletteCount = default_of(StyleModel.paint, "palette"),
    save_style: SaveStyle = None,
    stroke: StrokeSize = default_of(StyleModel.paint, "stroke"),
    detail: Detail = default_of(StyleModel.paint, "detail"),
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
    jobs: Jobs = None,
    resume: Resume = None,
    cluster: Cluster = None,
    recipe: WithRecipe = True,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per picture, not its path.")] = False,
) -> None:
    """Paint pictures in the manner of others.

    Prints the path of each painted picture.
    """
    wanted = [parse_style(text) for text in style or [only_style(model)]]
    allowed = allowed_memory(max_memory)
    asked = Asked(
        mask=mask, protect=protect, foreground=foreground, feather=feather, palette=palette, save_style=save_style
    )
    asked.check(wanted, keep_colors, overwrite)
    checked_stroke(stroke)
    film: dict[str, Any] = {"steady": steady, "codec": codec, "crf": crf, "start": start, "end": end}
    unfit = {
        "format": format,
        "quality": quality,
        "jobs": jobs,
        "resume": resume,
        "cluster": cluster,
        "no-recipe": None if recipe else True,
    }
    clip = clip_among(inputs, {**film, "morph": morph}, unfit)
    if clip is not None:

        def load() -> StyleModel:
            painter = load_painter(model, engine=engine, threads=threads, precision=precision)
            asked.save(lambda: painter.code([(one.style, weight_of(one)) for one in wanted]), overwrite)
            return painter

        paint_film(
            clip,
            output,
            wanted,
            load,
            morph=bool(morph),
            json=json,
            strength=strength,
            keep_colors=keep_colors,
            stroke=stroke,
            detail=detail,
            size=size,
            strip=strip,
            overwrite=overwrite,
            max_pixels=max_pixels,
            max_memory=allowed,
            **asked.film(wanted, morph=bool(morph)),
            **film,
        )
        return
    suffix = None if format is None else suffix_of(format)
    kept = [*(one.style for one in wanted), *asked.kept(wanted)]
    scatter = None
    if cluster is not None:
        from impasto.apps.cli.errands import plan_errands

        scatter = plan_errands(inputs, output, suffix=suffix, kept=kept)
    folder = None if scatter else reported_folder(inputs, output, suffix)
    if resume and folder is None and scatter is None:
        raise PictureError("--resume goes on with a folder or pattern painted into a folder: give one, and -o FOLDER.")
    planned = (
        []
        if scatter
        else plan_jobs(
            inputs,
            output=output,
            label=label_of(wanted),
            suffix=suffix,
            # Which of those that exist are finished is known once the report is read.
            overwrite=overwrite or (folder is not None and resume is not False),
            kept=kept,
        )
    )
    _refuse_streams(planned, json)
    painter = load_painter(model, engine=engine, threads=threads, precision=precision)
    codes = [painter.code(one.style) for one in wanted]
    code = blend(painter, wanted, codes)
    asked.save(lambda: code, overwrite)
    painted = asked.painted(painter, wanted, codes, code)

    settings = Settings(
        style=[one.told for one in wanted],
        suffix=suffix,
        strength=strength,
        keep_colors=keep_colors,
        stroke=stroke,
        detail=detail,
        size=size,
        quality=quality,
        strip=strip,
        max_pixels=max_pixels,
        max_memory=allowed,
        **asked.settings(painter, wanted),
    )
    told = [(one.style, weight_of(one), known) for one, known in zip(wanted, codes, strict=True)]
    line = recipe_line(painter, told, code, settings, engine=engine) if recipe else NO_RECIPE
    settings = replace(settings, recipe=line)
    loading = {"name_or_path": model, "engine": engine, "threads": threads, "precision": precision}
    if scatter is not None and cluster is not None:
        from impasto.apps.cli.cluster import paint_scattered

        failed = paint_scattered(
            scatter,
            painter,
            painted,
            settings,
            loading,
            cluster=cluster,
            resume=resume,
            overwrite=overwrite,
            workers=jobs,
            json=json,
        )
    elif folder is not None or jobs is not None:
        from impasto.apps.cli.folder import paint_folder

        failed = paint_folder(
            planned,
            painter,
            painted,
            settings,
            loading,
            folder=folder,
            resume=resume,
            overwrite=overwrite,
            workers=jobs,
            json=json,
        )
    else:
        bar = len(planned) == 1 and not json

        def paint(job: Job) -> dict[str, Any]:
            return paint_job(painter, painted, job, settings, overwrite=overwrite, bar=bar)

        failed = tell_all(len(planned), one_by_one(planned, paint, lone=len(planned) == 1), json=json)
    if failed:
        raise typer.Exit(1)


def blend(painter: StyleModel, wanted: Sequence[Wanted], codes: Sequence[Code]) -> Code:
    """The style code that the ``--style`` options ask for.

    Args:
        codes: float32 [D] of each.

    Returns:
        float32 [D].
    """
    if len(wanted) == 1 and wanted[0].weight is not None:
        say(f"One style alone needs no weight, so {wanted[0].weight:g} is ignored: use --strength for a lighter hand.")
    return painter.code([(code, weight_of(one)) for one, code in zip(wanted, codes, strict=True)])


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
