"""``impasto paint``: paint a photo by optimisation, slowly and well."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from impasto.apps.cli.blend import Wanted, label_of, parse_style, weight_of
from impasto.apps.cli.control import Feather, Foreground, MaskFile, PaletteCount, Protect
from impasto.apps.cli.painter import KeepColors, MaxPixels, Model, Overwrite, Strength
from impasto.apps.cli.parts import MaxMemory, allowed_memory
from impasto.apps.cli.plan import STREAM, Job, plan_jobs, suffix_of
from impasto.apps.cli.recipes import NO_RECIPE, WithRecipe
from impasto.apps.cli.stroke import Detail, StrokeSize
from impasto.apps.cli.terminal import default_of, put, put_json, say
from impasto.apps.cli.trainer import Device, Reporter, Threads, need
from impasto.errors import ImpastoError, PictureError
from impasto.runtime.control import checked_mode
from impasto.runtime.files import check_target
from impasto.runtime.masks import Mask, open_mask
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel
from impasto.training.paint_spec import (
    EVERY,
    LARGEST_UNASKED,
    NETWORKS,
    OPTIMIZERS,
    PRECISIONS,
    SMALLEST,
    STARTS,
    STYLE_LOSSES,
    PaintSpec,
    default,
)

if TYPE_CHECKING:
    from impasto.progress import OnProgress, Progress
    from impasto.training.paint import Brush, Painted
    from impasto.training.stopping import Wish

LINES = 25
"""Steps from one line to the next where stderr is no terminal."""


def paint(
    inputs: Annotated[
        list[str], typer.Argument(metavar="PHOTO", help="A photo; or several, a folder, or a quoted pattern.")
    ],
    style: Annotated[
        list[str],
        typer.Option(
            "--style",
            "-s",
            metavar="PICTURE[:WEIGHT][@MASK]",
            help="The painting, a picture file. Give several to blend them, each with a place of its own by a mask.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="OUT", help="A file or a folder; without it <photo>-<style> beside it."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=SMALLEST,
            help=f"Long side to paint at, in pixels; the photo's own, up to {LARGEST_UNASKED}, by default.",
        ),
    ] = default("size"),
    steps: Annotated[int, typer.Option(min=1, help="Steps at each size of the pyramid.")] = default("steps"),
    content: Annotated[float, typer.Option(min=0, help="How much the photo's layout weighs.")] = default("content"),
    strength: Strength = default("strength"),
    stroke: StrokeSize = default("stroke"),
    detail: Detail = default_of(StyleModel.paint, "detail"),
    keep_colors: KeepColors = default_of(StyleModel.paint, "keep_colors"),
    palette: PaletteCount = None,
    mask: MaskFile = None,
    protect: Protect = None,
    foreground: Foreground = None,
    feather: Feather = None,
    start: Annotated[str, typer.Option(help=f"What to start from: {', '.join(STARTS)}.")] = default("start"),
    style_loss: Annotated[str, typer.Option(help=f"What describes a style: {', '.join(STYLE_LOSSES)}.")] = default(
        "style_loss"
    ),
    smooth: Annotated[float, typer.Option(min=0, help="How much smoothness weighs.")] = default("smooth"),
    coarsest: Annotated[
        int, typer.Option(min=SMALLEST, help="Long side of the smallest size of the pyramid, in pixels.")
    ] = default("coarsest"),
    optimizer: Annotated[str, typer.Option(help=f"{' or '.join(OPTIMIZERS)}.")] = default("optimizer"),
    network: Annotated[str, typer.Option(help=f"The feature network: {' or '.join(NETWORKS)}.")] = default("network"),
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="The feature network's weights (.pth, .safetensors, .h5).")
    ] = default("weights"),
    precision: Annotated[str, typer.Option(help=f"What it computes in: {', '.join(PRECISIONS)}.")] = default(
        "precision"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of the noise, with --start noise.")] = default("seed"),
    preview: Annotated[
        str | None, typer.Option(metavar="FILE", help="Show what there is so far in this picture file.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Steps from one preview to the next.")] = EVERY,
    format: Annotated[
        str | None, typer.Option(help="Write jpg, png, webp, avif or tif; without it, the format of the photo.")
    ] = None,
    quality: Annotated[int | None, typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF: 1 to 100.")] = default_of(
        Picture.save, "quality"
    ),
    strip: Annotated[
        bool, typer.Option("--strip", help="Leave the photo's metadata (place, camera, date) out.")
    ] = default_of(Picture.save, "strip"),
    recipe: WithRecipe = True,
    overwrite: Overwrite = default_of(Picture.save, "overwrite"),
    model: Model = default_of(StyleModel.load, "name_or_path"),
    max_pixels: MaxPixels = default_of(Picture.open, "max_pixels"),
    max_memory: MaxMemory = None,
    device: Device = None,
    threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per picture, not its path.")] = False,
) -> None:
    """Paint a photo by optimisation: minutes instead of moments, and much closer to the painting.

    Ctrl-C stops and keeps the best so far. Prints the path of each painted picture.
    """
    wanted = [parse_style(text) for text in style]
    spec = PaintSpec(
        size=size,
        start=start,
        steps=steps,
        coarsest=coarsest,
        content=content,
        strength=strength,
        smooth=smooth,
        stroke=stroke,
        style_loss=style_loss,
        network=network,
        weights=weights,
        optimizer=optimizer,
        precision=precision,
        seed=seed,
    )
    checked_mode(keep_colors, palette)
    allowed = allowed_memory(max_memory)
    if STREAM in inputs or output == STREAM:
        raise PictureError("impasto paint reads and writes files, for it takes minutes: give a file in place of -.")
    masks = _masks(mask, protect, foreground, feather, wanted)
    styles = [one.style for one in wanted]
    kept = [*styles, *(file for file in (mask, protect, preview, *(one.mask for one in wanted)) if file is not None)]
    jobs = plan_jobs(
        inputs,
        output=output,
        label=label_of(wanted),
        suffix=None if format is None else suffix_of(format),
        overwrite=overwrite,
        kept=kept,
    )
    if preview is not None:
        _check_preview(preview, [*styles, *(str(job.source) for job in jobs)], overwrite)
    paintings = [_painting(one, max_pixels) for one in wanted]
    for job in jobs:
        if job.source is not None and not job.source.is_file():
            Picture.open(job.source, max_pixels=max_pixels)  # says what is wrong before hours of work on the others
    need("torch", "pydantic", "safetensors")
    from impasto.training.loop import pick_device, set_threads
    from impasto.training.paint import Brush, digest_of, load_features
    from impasto.training.stopping import stop_signals

    set_threads(threads)
    where = pick_device(device)
    fast = StyleModel.load(model, threads=threads) if start == "fast" else None
    brushes = [Brush(picture, weight_of(one)) for picture, one in zip(paintings, wanted, strict=True)]
    with Reporter(json) as report, stop_signals() as wish:
        net = load_features(spec, where, report)
        looks = {"keep_colors": keep_colors, "palette": palette, "detail": detail}
        told = _recipe(spec, wanted, looks, digest_of(net)) if recipe else NO_RECIPE
        for job in jobs:
            began = time.perf_counter()
            photo = Picture.open(job.source, max_pixels=max_pixels)  # type: ignore[arg-type]
            done, picture = _paint_one(
                photo,
                brushes,
                spec,
                masks,
                looks=looks,
                device=str(where),
                fast=fast,
                net=net,
                max_memory=allowed,
                progress=_seldom(report),
                preview=None if preview is None else _shower(preview),
                every=every,
                stop=_asked(wish),
            )
            picture = replace(picture, info=replace(picture.info, recipe=told))
            lost = picture.save(job.target, overwrite=overwrite, strip=strip, quality=quality)  # type: ignore[arg-type]
            _tell(job, wanted, spec, done, picture, lost, time.perf_counter() - began, json=json)
            if done.stopped:
                say(f"{job.target} is the best after {done.steps} of {done.planned} steps.")
                raise typer.Exit(130)


def _paint_one(
    photo: Picture,
    brushes: Sequence[Brush],
    spec: PaintSpec,
    masks: tuple[Mask | None, list[Any]],
    *,
    looks: dict[str, Any],
    **how: Any,
) -> tuple[Painted, Picture]:
    """What came of the optimisation, and the picture with its colours and place."""
    from impasto.training.paint import paint as optimise
    from impasto.training.paint import sized
    from impasto.training.paint_places import finished, placed

    photo = sized(photo, spec)
    overall, own = masks
    used, cover = placed(photo, brushes, own, overall)
    done = optimise(photo, used, spec, **how)
    return done, finished(photo, done.picture, brushes, cover=cover, **looks)


def _painting(one: Wanted, max_pixels: int) -> Picture:
    path = Path(one.style)
    if path.suffix.lower() == ".npy" or not (path.suffix or path.exists() or os.sep in one.style):
        raise ImpastoError(
            f"impasto paint needs the painting itself, and {one.style} is no picture: give a picture file, or use "
            "impasto stylize."
        )
    return Picture.open(path, max_pixels=max_pixels)


def _masks(
    mask: str | None, protect: str | None, foreground: str | None, feather: str | None, wanted: Sequence[Wanted]
) -> tuple[Mask | None, list[Any]]:
    """The mask that holds for all, and one or None for each style; files are read once."""
    own = [None if one.mask is None else open_mask(one.mask) for one in wanted]
    if mask is None and protect is None and foreground is None:
        if feather is None:
            return None, own
        if all(one is None for one in own):
            raise ImpastoError("--feather makes the edges of masks soft, and there is none: give --mask, or leave it.")
    overall = Mask(mask, protect, foreground).opened()
    return overall if feather is None else replace(overall, feather=feather), own


def _check_preview(preview: str, used: Sequence[str], overwrite: bool) -> None:
    check_target(preview, overwrite=overwrite)
    if any(Path(name).exists() and Path(preview).exists() and Path(preview).samefile(name) for name in used):
        raise PictureError(f"{preview} is an input as well, and it would be lost: choose another --preview.")


def _shower(preview: str) -> Callable[[Picture], None]:
    """Writes previews; where that fails, the painting goes on."""
    failed = False

    def show(picture: Picture) -> None:
        nonlocal failed
        if failed:
            return
        try:
            picture.save(preview, overwrite=True)
        except PictureError as error:
            failed = True
            say(f"There are no more previews: {error}")

    return show


def _seldom(report: OnProgress) -> OnProgress:
    """The figures of every step on a terminal, of some elsewhere."""

    def tell(now: Progress) -> None:
        if sys.stderr.isatty() or now.done % LINES == 0 or now.done == now.total:
            report(now)

    return tell


def _asked(wish: Wish) -> Callable[[], bool]:
    def stop() -> bool:
        wish.safe_point()
        return wish.stop

    return stop


def _recipe(spec: PaintSpec, wanted: Sequence[Wanted], looks: dict[str, Any], digest: str) -> str:
    from impasto.runtime.recipe import Ingredient, Recipe

    styles = []
    for one in wanted:
        name = "".join(letter if letter.isprintable() else "?" for letter in Path(one.style).name)
        with Path(one.style).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        styles.append(Ingredient(style=name, weight=weight_of(one), sha256=sha256))
    settings = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(spec).items()}
    settings |= looks
    settings.pop("weights")  # a path; the digest says which they are
    return Recipe(model=spec.network, model_sha256=digest, styles=styles, settings=settings, command="paint").to_text()


def _tell(
    job: Job,
    wanted: Sequence[Wanted],
    spec: PaintSpec,
    done: Painted,
    picture: Picture,
    lost: Sequence[str],
    seconds: float,
    *,
    json: bool,
) -> None:
    notes = [*picture.info.notes, *lost]
    for note in notes:
        say(f"{job.source}: {note}")
    if not json:
        put(str(job.target))
        return
    put_json(
        {
            "input": str(job.source),
            "output": str(job.target),
            "style": [{"style": one.style, "weight": weight_of(one)} for one in wanted],
            "strength": spec.strength,
            "width": picture.size[0],
            "height": picture.size[1],
            "seconds": round(seconds, 4),
            "steps": done.steps,
            "planned": done.planned,
            "stopped": done.stopped,
            "losses": {"loss": done.loss, **done.parts} if done.steps else None,
            "notes": notes,
        }
    )
