"""``impasto paint``: paint a photo by optimisation, slowly and well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from impasto.apps.cli.blend import label_of, parse_style
from impasto.apps.cli.control import Asked, Feather, Foreground, MaskFile, PaletteCount, Protect
from impasto.apps.cli.paint_work import Order, carry_out, refuse_streams
from impasto.apps.cli.painter import KeepColors, MaxPixels, Model, Overwrite, Strength
from impasto.apps.cli.parts import MaxMemory, allowed_memory
from impasto.apps.cli.plan import plan_jobs, suffix_of
from impasto.apps.cli.recipes import WithRecipe
from impasto.apps.cli.remasked import Masks
from impasto.apps.cli.stroke import Detail, StrokeSize
from impasto.apps.cli.terminal import default_of
from impasto.apps.cli.trainer import Device, Threads
from impasto.errors import PictureError
from impasto.runtime.control import checked_mode
from impasto.runtime.files import check_target
from impasto.runtime.masks import open_mask
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel
from impasto.training.paint_spec import (
    EVERY,
    LARGEST_UNASKED,
    NETWORKS,
    OPTIMIZERS,
    OTHER_VIEWS,
    PRECISIONS,
    SMALLEST,
    STARTS,
    STYLE_LOSSES,
    PaintSpec,
    default,
)


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
    even: Annotated[
        float, typer.Option(min=0, max=1, help="How much flat ground counts for the layout, against edges.")
    ] = default("even"),
    bands: Annotated[float, typer.Option(min=0, help="How much the contrast of each size of detail weighs.")] = default(
        "bands"
    ),
    smooth: Annotated[float, typer.Option(min=0, help="How much smoothness weighs.")] = default("smooth"),
    coarsest: Annotated[
        int, typer.Option(min=SMALLEST, help="Long side of the smallest size of the pyramid, in pixels.")
    ] = default("coarsest"),
    views: Annotated[
        int, typer.Option(min=0, max=OTHER_VIEWS, help="In how many other views the network sees the picture first.")
    ] = default("views"),
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
        views=views,
        content=content,
        even=even,
        bands=bands,
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
    refuse_streams(inputs, output)
    asked = Asked(mask=mask, protect=protect, foreground=foreground, feather=feather)
    asked.check(wanted, keep_colors, overwrite)
    files = asked.files(wanted)
    styles = [one.style for one in wanted]
    jobs = plan_jobs(
        inputs,
        output=output,
        label=label_of(wanted),
        suffix=None if format is None else suffix_of(format),
        overwrite=overwrite,
        kept=[*styles, *files.values(), *([] if preview is None else [preview])],
    )
    if preview is not None:
        _check_preview(preview, [*styles, *(str(job.source) for job in jobs)], overwrite)
    planes = {role: open_mask(file) for role, file in files.items()}
    order = Order(
        spec=spec,
        wanted=wanted,
        looks={"keep_colors": keep_colors, "palette": palette, "detail": detail},
        masks=Masks(told=asked.told(wanted), planes=planes, held={}),
        quality=quality,
        strip=strip,
    )
    carry_out(
        order,
        jobs,
        begin=lambda: StyleModel.load(model, threads=threads),
        preview=preview,
        every=every,
        max_pixels=max_pixels,
        max_memory=allowed,
        device=device,
        threads=threads,
        overwrite=overwrite,
        recipe=recipe,
        json=json,
    )


def _check_preview(preview: str, used: Sequence[str], overwrite: bool) -> None:
    check_target(preview, overwrite=overwrite)
    if any(Path(name).exists() and Path(preview).exists() and Path(preview).samefile(name) for name in used):
        raise PictureError(f"{preview} is an input as well, and it would be lost: choose another --preview.")
