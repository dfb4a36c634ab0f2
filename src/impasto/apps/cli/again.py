"""``impasto again`` and ``impasto show``: what a painted picture tells of itself, and painting by it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from impasto import __version__
from impasto.apps.cli.control import MaskFile, Protect
from impasto.apps.cli.one import paint_job
from impasto.apps.cli.painter import MaxPixels, Overwrite, Threads, load_painter
from impasto.apps.cli.parts import MaxMemory, allowed_memory
from impasto.apps.cli.plan import Job, plan_jobs, suffix_of
from impasto.apps.cli.recipes import WithRecipe, told_settings
from impasto.apps.cli.remasked import MaskFiles, masks_again
from impasto.apps.cli.retold import settings_of
from impasto.apps.cli.several import one_by_one, tell_all
from impasto.apps.cli.stroke import StrokeSize, checked_stroke
from impasto.apps.cli.terminal import default_of, put_json, say
from impasto.errors import ImpastoError, PictureError
from impasto.runtime.bundle import bundled_models
from impasto.runtime.engine import ENGINES
from impasto.runtime.files import SUFFIXES
from impasto.runtime.picture import Picture
from impasto.runtime.pixels.color import KEEP_COLORS, color_mode
from impasto.runtime.precision import PRECISIONS
from impasto.runtime.recipe import Recipe, drawn_with, read_recipe, recipe_text
from impasto.runtime.style import StyleModel

BY_CODE = ("stylize", "dream")
"""Commands whose pictures a style model paints, so that codes and settings are all there is to it."""

BY_STEPS = "paint"
"""The command that optimises a picture, and needs the paintings for it."""

LABEL = "again"
_SHORT = 12  # digits of a sha256 that a person compares


def again(
    done: Annotated[str, typer.Argument(metavar="OUT", help="A picture that impasto painted.")],
    photos: Annotated[
        list[str], typer.Argument(metavar="PHOTO", help="The photo to paint in its manner; or several, or a folder.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="A file, a folder, or - for standard output; without it, <photo>-again, in the format of OUT.",
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=1, help="Scale the photo to this long side, in pixels, before painting.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option("--strength", min=0, max=1, help="From 0, the photo, to 1, the style in full.")
    ] = None,
    keep_colors: Annotated[
        str | None, typer.Option("--keep-colors", metavar="[MODE]", help=f"One of {', '.join(KEEP_COLORS)}.")
    ] = None,
    stroke: StrokeSize = None,
    detail: Annotated[
        float | None, typer.Option("--detail", min=0, max=1, help="Bring back the photo's finest layer: 0 to 1.")
    ] = None,
    mask: MaskFile = None,
    protect: Protect = None,
    mask_file: MaskFiles = None,
    no_mask: Annotated[
        bool,
        typer.Option("--no-mask", help="Paint all of the photo; styles that had places of their own are blended."),
    ] = False,
    format: Annotated[
        str | None, typer.Option("--format", help="Write jpg, png, webp, avif or tif; without it, the format of OUT.")
    ] = None,
    quality: Annotated[
        int | None, typer.Option("--quality", min=1, max=100, help="Of JPEG, WebP and AVIF: 1 to 100.")
    ] = None,
    strip: Annotated[
        bool | None, typer.Option("--strip/--no-strip", help="Leave the photo's metadata (place, camera, date) out.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME|FILE", help="Paint with this model, even if OUT was not."),
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", help=f"What runs the model: {' or '.join(ENGINES)}.")
    ] = None,
    style: Annotated[
        list[str] | None,
        typer.Option(
            "--style",
            "-s",
            metavar="PICTURE",
            help="Of what 'impasto paint' made: a painting that OUT was painted after. Repeatable; needless where it "
            "lies beside OUT.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="FILE", help="Of what 'impasto paint' made: weights of the feature network."),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="Of what 'impasto paint' made: cpu, cuda, mps ...")
    ] = None,
    threads: Threads = default_of(StyleModel.load, "threads"),
    precision: Annotated[
        str | None, typer.Option("--precision", help=f"What the painter computes in: {' or '.join(PRECISIONS)}.")
    ] = None,
    max_pixels: MaxPixels = default_of(Picture.open, "max_pixels"),
    max_memory: MaxMemory = default_of(StyleModel.paint, "max_memory"),
    overwrite: Overwrite = default_of(Picture.save, "overwrite"),
    recipe: WithRecipe = True,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per picture, not its path.")] = False,
) -> None:
    """Paint once more by the recipe that a painted picture carries: at another size, or another photo.

    What is not given is as it was. With the same photo, the picture is the same.
    """
    told = read_recipe(done)
    if told.command not in (*BY_CODE, BY_STEPS):
        raise ImpastoError(f"{done} was made by 'impasto {told.command}', which this impasto cannot repeat: update it.")
    given = {
        "size": size,
        "strength": strength,
        "keep_colors": keep_colors,
        "stroke": checked_stroke(stroke),
        "detail": detail,
        "quality": quality,
        "strip": strip,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    suffix = suffix_of(format) if format is not None else Path(done).suffix.lower()

    def plan(kept: Sequence[str]) -> list[Job]:
        return plan_jobs(
            photos,
            output=output,
            label=LABEL,
            suffix=_suffix_wanted(output, suffix, asked=format is not None),
            overwrite=overwrite,
            kept=[done, *kept],
        )

    if told.command == BY_STEPS:
        if engine is not None:
            raise ImpastoError(f"--engine runs models, and {done} was painted by optimisation: leave it out.")
        from impasto.apps.cli.repaint import paint_again

        if precision is not None:
            changed["precision"] = precision
        paint_again(
            told,
            done,
            photos,
            changed,
            masks=masks_again(told, done, mask=mask, protect=protect, files=mask_file or (), none=no_mask),
            style=style or (),
            weights=weights,
            output=output,
            plan=plan,
            load=lambda name, sha256: _beginner(told, done, name, sha256, model, threads),
            model=model,
            max_pixels=max_pixels,
            max_memory=allowed_memory(max_memory),
            device=device,
            threads=threads,
            overwrite=overwrite,
            recipe=recipe,
            json=json,
        )
        return
    if style or weights is not None or device is not None:
        raise ImpastoError(
            f"{done} holds its styles and has no use for --style, --weights or --device: leave them out."
        )
    settings, how = settings_of(told, changed, done)
    masks = masks_again(told, done, mask=mask, protect=protect, files=mask_file or (), none=no_mask)
    limited = settings.palette is not None or masks.has_palettes()
    if limited and keep_colors is not None and color_mode(keep_colors) != "off":
        say(f"{done} was painted with a palette, which the photo's colours leave no room for: it is left out.")
        settings, masks = replace(settings, palette=None), masks.without_palettes()
    settings = replace(settings, mask=masks.told)
    jobs = plan(masks.given)
    if any(job.target is None for job in jobs) and (json or sys.stdout.isatty()):
        raise PictureError("A picture would be mixed with other output: give -o a file.")
    painter = painter_for(
        told,
        done,
        model,
        engine=engine or how["engine"],
        threads=threads,
        precision=precision or how["precision"],
    )
    painted = masks.painted(told, painter)
    settings = replace(settings, suffix=suffix, max_pixels=max_pixels, max_memory=allowed_memory(max_memory))
    if recipe:
        bundle = painter.bundle
        line = replace(
            told,
            model=bundle.manifest.name,
            model_sha256=bundle.sha256,
            settings=told_settings(painter, settings, engine or how["engine"]),
            impasto=__version__,
        ).with_masks(masks.packed())
        settings = replace(settings, recipe=line.to_text())
    overall, bar = masks.overall(), len(jobs) == 1 and not json

    def paint(job: Job) -> dict[str, Any]:
        return paint_job(painter, painted, job, settings, overwrite=overwrite, bar=bar, mask=overall)

    if tell_all(len(jobs), one_by_one(jobs, paint, lone=len(jobs) == 1), json=json):
        raise typer.Exit(1)


def show(
    pictures: Annotated[list[str], typer.Argument(metavar="PICTURE", help="Pictures that impasto made.")],
) -> None:
    """Print the recipes that pictures carry, or what they were drawn with: one JSON object each."""
    for picture in pictures:
        text, _ = recipe_text(picture)
        drawn = drawn_with(picture) if text is None else None
        put_json(drawn if drawn is not None else read_recipe(picture).to_fields())


def painter_for(
    recipe: Recipe, done: str, model: str | None, *, engine: str, threads: int | None, precision: str
) -> StyleModel:
    """The model of a recipe, or the one that was asked for in its place.

    Raises:
        ImpastoError: it does not come with impasto, is not the same any more, or cannot be used.
    """
    digits = recipe.model_sha256[:_SHORT]
    if model is None and recipe.model not in bundled_models():
        raise ImpastoError(
            f"{done} was painted with the model {recipe.model!r} (sha256 {digits}), which does not come with impasto: "
            "give its file to --model."
        )
    painter = load_painter(model or recipe.model, engine=engine, threads=threads, precision=precision)
    if painter.bundle.sha256 != recipe.model_sha256:
        other = f"The model {painter.bundle.manifest.name!r} is not the one that painted {done} (sha256 {digits})"
        if model is None:
            raise ImpastoError(f"{other}: give that file to --model, or --model {recipe.model} to paint with this one.")
        say(f"{other}, so the picture will be another.")
    return painter


def _beginner(
    told: Recipe, done: str, name: str | None, sha256: str | None, model: str | None, threads: int | None
) -> StyleModel:
    """The fast painter that an optimisation begins with."""
    how: dict[str, Any] = {one: default_of(StyleModel.load, one) for one in ("engine", "precision")}
    if name is None or sha256 is None:
        return load_painter(model or default_of(StyleModel.load, "name_or_path"), threads=threads, **how)
    return painter_for(replace(told, model=name, model_sha256=sha256), done, model, threads=threads, **how)


def _suffix_wanted(output: str | None, suffix: str, *, asked: bool) -> str | None:
    """The suffix for ``plan_jobs``: that of OUT, unless -o names a file, which says it by itself."""
    names_file = output is not None and not asked and Path(output).suffix.lower() in SUFFIXES
    return None if names_file or suffix not in SUFFIXES else suffix
