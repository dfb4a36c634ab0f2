"""``impasto train`` and ``impasto export``: make a model. They need the extra ``[train]``.

impasto train gan FOLDER         learn to draw pictures like those in a folder
impasto train vae FOLDER         the same with an autoencoder, which can also reconstruct
impasto train style-one PICTURE  learn to paint in the manner of one painting, in minutes (train_one.py)
impasto train RECIPE.toml        anything else, and all settings in one file
"""

from __future__ import annotations

import json as json_
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from impasto.apps.cli.options import TYPER_OPTIONS
from impasto.apps.cli.terminal import put, put_json, say
from impasto.apps.cli.train_one import train_one
from impasto.apps.cli.trainer import Device, Json, Reporter, Resume, Sets, Threads, carry_out, finished, need
from impasto.errors import TrainingError, UnknownName

if TYPE_CHECKING:
    from impasto.progress import OnProgress
    from impasto.training.recipe import Recipe


class _Kinds(TyperGroup):
    """``gan``, ``vae`` and ``style-one``; whatever else stands first is the path of a recipe."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        if first not in (*self.commands, "--help", "-h"):
            near = get_close_matches(first, [name for name in self.commands if name != "recipe"], cutoff=0.5)
            if near and not Path(first).exists():
                raise UnknownName("kind of training", first, near)
            args = ["recipe", *args]
        rest: list[str] = super().parse_args(ctx, args)
        return rest


train = typer.Typer(cls=_Kinds, help="Train a model: from a folder of pictures, or by a recipe.", **TYPER_OPTIONS)
train.command("style-one")(train_one)

Folder = Annotated[Path, typer.Argument(help="A folder of pictures of any kind; names of sub-folders are classes.")]
Size = Annotated[str, typer.Option(help="Pixels a side, or WIDTHxHEIGHT: 32 to 256, such as 48, 64, 96, 128.")]
Images = Annotated[int | None, typer.Option(min=1, help="Pictures to learn from in all; by default as the preset.")]
Steps = Annotated[int | None, typer.Option(min=1, help="The same in updates.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The model file; NAME.impasto by default.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing model file.")]
RunFolder = Annotated[Path | None, typer.Option(help="Run folder; runs/NAME by default.")]


@train.command("gan")
def train_gan(
    folder: Folder,
    size: Size = "64",
    preset: Annotated[
        str | None, typer.Option(help="few, medium, large (by the number of pictures), dcgan, resnet or r3.")
    ] = None,
    images: Images = None,
    steps: Steps = None,
    output: Output = None,
    overwrite: Overwrite = False,
    sets: Sets = None,
    run: RunFolder = None,
    resume: Resume = False,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Learn to draw pictures like those in a folder; leaves NAME.impasto. Ctrl-C saves, --resume goes on."""
    need("torch", "safetensors", "onnx", "onnxscript")
    from impasto.training.presets import gan_recipe

    def make(progress: OnProgress) -> Recipe:
        return gan_recipe(
            folder, size=_size(size), preset=preset, steps=steps, images=images, overrides=sets or (), progress=progress
        )

    kept = {"--preset": preset is not None, "--size": size != "64", "--images": images, "--steps": steps}
    _learn(folder, make, kept, sets, run, resume, output, overwrite, device, threads, json)


@train.command("vae")
def train_vae(
    folder: Folder,
    size: Size = "64",
    kind: Annotated[str, typer.Option(help="vae, vae-gan (sharper) or vq-vae.")] = "vae",
    preset: Annotated[str | None, typer.Option(help="few, medium or large; by the number of pictures.")] = None,
    steps: Steps = None,
    output: Output = None,
    overwrite: Overwrite = False,
    sets: Sets = None,
    run: RunFolder = None,
    resume: Resume = False,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Learn to draw and to reconstruct pictures like those in a folder; leaves NAME.impasto."""
    need("torch", "safetensors", "onnx", "onnxscript")
    from impasto.training.recipe_vae import vae_recipe

    def make(progress: OnProgress) -> Recipe:
        wishes = [*([] if steps is None else [f"steps={steps}"]), *(sets or ())]
        return vae_recipe(folder, _size(size), kind=_vae_kind(kind), preset=preset, sets=wishes, progress=progress)

    kept = {"--preset": preset is not None, "--size": size != "64", "--steps": steps, "--kind": kind != "vae"}
    _learn(folder, make, kept, sets, run, resume, output, overwrite, device, threads, json)


@train.command("recipe", hidden=True)
def train_recipe(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/anystyle.toml.")],
    sets: Sets = None,
    run: RunFolder = None,
    resume: Resume = False,
    stop_at: Annotated[int | None, typer.Option(min=1, help="Stop after this step, to go on later.")] = None,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train a model by a recipe. Ctrl-C saves; --resume goes on exactly where it stopped."""
    need("torch", "safetensors")
    from impasto.training.journal import Journal
    from impasto.training.recipe import load_recipe

    wanted = load_recipe(recipe, sets or ())
    journal = Journal(run if run is not None else Path("runs") / wanted.name)
    outcome = carry_out(
        lambda _: wanted, journal, resume=resume, stop_at=stop_at, device=device, threads=threads, json=json
    )
    if outcome is not None:
        finished(str(journal.folder), outcome, json)


def _learn(
    folder: Path,
    make: Any,
    kept: dict[str, Any],
    sets: list[str] | None,
    run: Path | None,
    resume: bool,
    output: Path | None,
    overwrite: bool,
    device: str | None,
    threads: int | None,
    json: bool,
) -> None:
    """Train from a folder, leave a model file. ``kept``: options that a run keeps from its start, and whether given."""
    from impasto.runtime.bundle import SUFFIX
    from impasto.training.deliver import deliver, foresee
    from impasto.training.journal import Journal
    from impasto.training.presets import model_name
    from impasto.training.recipe import changed, quoted

    name = model_name(folder)
    journal = Journal(run if run is not None else Path("runs") / name)
    out = output if output is not None else Path(f"{name}{SUFFIX}")
    foresee(out, overwrite=overwrite)
    journal.check(resume=resume)
    if resume:
        for option, given in kept.items():
            if given:
                raise TrainingError(f"A run goes on as it was started: leave {option} out with --resume.")
        recipe = changed(journal.recipe(), [f"data.folder={quoted(folder.resolve())}", *(sets or ())])
        make = lambda _: recipe  # noqa: E731
    outcome = carry_out(
        make, journal, resume=resume, stop_at=None, device=device, threads=threads, json=json, estimated=True
    )
    if outcome is None:
        return
    if not outcome.finished:
        finished(str(journal.folder), outcome, json)
        return
    with Reporter(json) as progress:
        made = deliver(journal.folder, out, overwrite=overwrite, progress=progress)
    finished(str(journal.folder), outcome, json, path=str(out), bytes=made.size, best_step=made.manifest.step)
    say(f"{out} has {made.size / 1e6:.1f} MB; draw with: impasto generate {out} -n 16 -o out/")


def _size(text: str) -> tuple[int, int]:
    """(height, width) of ``64`` or ``WIDTHxHEIGHT``."""
    parts = text.lower().split("x")
    if len(parts) in (1, 2) and all(part.isascii() and part.isdigit() for part in parts):
        return int(parts[-1]), int(parts[0])
    raise TrainingError(f"--size {text} is no size: give pixels a side such as 64, or WIDTHxHEIGHT such as 96x64.")


def _vae_kind(name: str) -> Any:
    from typing import get_args

    from impasto.training.nets.vae import VaeKind

    if name not in get_args(VaeKind):
        raise UnknownName("kind of autoencoder", name, get_args(VaeKind))
    return name


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model file, NAME.impasto.")],
    quality: Annotated[
        Path | None, typer.Option(help="JSON file of measured figures (protocol: number) for the manifest.")
    ] = None,
    dreams: Annotated[
        int | None,
        typer.Option(min=0, help="Paintings that a style model looks at to dream by; 1500 without it, 0: it cannot."),
    ] = None,
    mean_with: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Of a style model: write the mean of this run's weights and of another's, or a model file's.",
        ),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Of a model that draws: store weights in 16 bits, for half the file.")
    ] = False,
    lean: Annotated[
        bool, typer.Option("--lean", help="Of an autoencoder: only what draws; the file cannot reconstruct.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    json: Json = False,
) -> None:
    """Write a run's newest checkpoint (the best, where it was measured) as a model file and hold it against torch."""
    need("torch", "safetensors", "onnx", "onnxscript")
    from impasto.training.deliver import deliver
    from impasto.training.export import export as export_style
    from impasto.training.journal import Journal

    figures = _figures(quality)
    task = Journal(run).recipe().task
    if dreams is not None and task != "style":
        raise TrainingError(f"--dreams is about models of many styles, and {run} is one of {task}: leave it out.")
    if mean_with is not None and task != "style":
        raise TrainingError(f"--mean-with is about models of many styles, and {run} is one of {task}: leave it out.")
    if half and task not in ("gan", "vae"):
        raise TrainingError(f"--half is about models that draw pictures, and {run} is one of {task}: leave it out.")
    if lean and task != "vae":
        raise TrainingError(f"--lean is about autoencoders, and {run} is a run of {task}: leave it out.")
    if task == "style-one":
        from impasto.training.style_one import export_one

        with Reporter(json) as progress:
            one = export_one(run, output, quality=figures, overwrite=overwrite, progress=progress)
        size, step, apart = one.size, one.manifest.step, {"painter": one.difference}
    elif task == "style":
        with Reporter(json) as progress:
            wish: dict[str, Any] = {"mean_with": mean_with} | ({} if dreams is None else {"dreams": dreams})
            painter = export_style(run, output, quality=figures, overwrite=overwrite, progress=progress, **wish)
        size, step = painter.size, painter.manifest.step
        for note in painter.notes:
            say(note)
        apart = {"painter": painter.painter_difference, "encoder": painter.encoder_difference}
    else:
        with Reporter(json) as progress:
            made = deliver(run, output, half=half, lean=lean, quality=figures, overwrite=overwrite, progress=progress)
        size, step, apart = made.size, made.manifest.step, dict(made.differences)
    if json:
        differences = {f"{name}_difference": value for name, value in apart.items()}
        put_json({"path": str(output), "bytes": size, "step": step} | differences)
    else:
        put(str(output))
        say(f"{size / 1e6:.1f} MB, step {step}; torch and onnxruntime differ by at most {max(apart.values()):.1g}.")


def _figures(path: Path | None) -> dict[str, float]:
    if path is None:
        return {}
    try:
        table = json_.loads(path.read_text("utf-8"))
        return {str(key): float(value) for key, value in table.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise TrainingError(
            f"{path} is not a JSON object of numbers ({error}): write one figure per protocol."
        ) from error
