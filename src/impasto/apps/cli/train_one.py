"""``impasto train style-one``: learn to paint in the manner of one painting, in minutes on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from impasto.apps.cli.terminal import say
from impasto.apps.cli.trainer import Device, Json, Reporter, Resume, Sets, Threads, carry_out, finished, need
from impasto.errors import TrainingError

if TYPE_CHECKING:
    from impasto.progress import OnProgress
    from impasto.training.recipe import Recipe


def train_one(
    painting: Annotated[Path, typer.Argument(metavar="PICTURE", help="The painting, as large a picture as you have.")],
    photos: Annotated[
        Path | None, typer.Option(help="A folder of photographs to learn on; scenes drawn by code by default.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="How long to learn, about; ten by default.")] = None,
    size: Annotated[
        str | None, typer.Option(help="full, as the model it starts from, or small: half the width, faster.")
    ] = None,
    base: Annotated[
        str | None, typer.Option("--model", metavar="NAME|FILE", help="The style model to start from.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The model file; NAME.impasto by default.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing model file.")] = False,
    sets: Sets = None,
    run: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME by default.")] = None,
    resume: Resume = False,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Learn to paint in the manner of one painting; leaves NAME.impasto. Ctrl-C saves, --resume goes on."""
    need("torch", "safetensors", "onnx", "onnxscript")
    from impasto.runtime.bundle import SUFFIX
    from impasto.training.deliver import foresee
    from impasto.training.journal import Journal
    from impasto.training.loop import pick_device
    from impasto.training.recipe import changed, quoted
    from impasto.training.style_one import export_one, one_recipe, painting_name

    name = painting_name(painting)
    journal = Journal(run if run is not None else Path("runs") / name)
    out = output if output is not None else Path(f"{name}{SUFFIX}")
    foresee(out, overwrite=overwrite)
    journal.check(resume=resume)
    given: dict[str, Any] = {"minutes": minutes, "size": size, "base": base}
    if resume:
        for option, value in (("--minutes", minutes), ("--size", size), ("--model", base)):
            if value is not None:
                raise TrainingError(f"A run goes on as it was started: leave {option} out with --resume.")
        places = {"painting": painting} | ({} if photos is None else {"photos": photos})
        wishes = [f"data.{key}={quoted(path.resolve())}" for key, path in places.items()]
        recipe = changed(journal.recipe(), [*wishes, *(sets or ())])

    def make(progress: OnProgress) -> Recipe:
        if resume:
            return recipe
        said = {key: value for key, value in given.items() if value is not None}
        return one_recipe(
            painting, photos=photos, device=pick_device(device), overrides=sets or (), progress=progress, **said
        )

    outcome = carry_out(
        make, journal, resume=resume, stop_at=None, device=device, threads=threads, json=json, estimated=True
    )
    if outcome is None:
        return
    if not outcome.finished:
        finished(str(journal.folder), outcome, json)
        return
    with Reporter(json) as progress:
        made = export_one(journal.folder, out, overwrite=overwrite, progress=progress)
    finished(str(journal.folder), outcome, json, path=str(out), bytes=made.size)
    say(f"{out} has {made.size / 1e6:.1f} MB; paint with: impasto stylize photo.jpg --model {out}")
