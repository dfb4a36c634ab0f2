"""``impasto train`` and ``impasto export``: make a model. They need the extra ``[train]``."""

from __future__ import annotations

import json as json_
import sys
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from impasto.apps.cli.terminal import put, put_json, say
from impasto.errors import TrainingError

if TYPE_CHECKING:
    from impasto.progress import OnProgress, Progress

Json = Annotated[bool, typer.Option("--json", help="How it ended, as a line of JSON on standard output.")]


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/anystyle.toml.")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as optim.lr=5e-4.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run folder's checkpoint.")] = False,
    stop_at: Annotated[int | None, typer.Option(min=1, help="Stop after this step, to go on later.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps ...; cuda by default where there is one.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all usable cores by default.")] = None,
    json: Json = False,
) -> None:
    """Train a model by a recipe. Ctrl-C saves; --resume goes on exactly where it stopped."""
    _need("torch", "safetensors")
    from impasto.training.journal import Journal
    from impasto.training.loop import pick_device, set_threads
    from impasto.training.loop import run as run_loop
    from impasto.training.recipe import load_recipe
    from impasto.training.tasks import TASKS

    wanted = load_recipe(recipe, sets or ())
    journal = Journal(run if run is not None else Path("runs") / wanted.name)
    journal.check(resume=resume)
    set_threads(threads)
    where = pick_device(device)
    with _Reporter(json) as progress:
        task = TASKS[wanted.task](wanted, where, progress=progress)
        for line in task.remarks():
            say(line)
        outcome = run_loop(task, journal, resume=resume, stop_at=stop_at, progress=progress)
    if json:
        last = {k: round(v, 4) if isfinite(v) else None for k, v in outcome.figures.items() if "_relu" not in k}
        put_json({"run": str(journal.folder), "step": outcome.step, "finished": outcome.finished, **last})
    else:
        put(str(journal.folder))
    if not outcome.finished:
        say(f"Stopped at step {outcome.step} of {wanted.steps} and saved; go on with --resume.")


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model file, NAME.impasto.")],
    quality: Annotated[
        Path | None, typer.Option(help="JSON file of measured figures (protocol: number) for the manifest.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    json: Json = False,
) -> None:
    """Write a run's newest checkpoint as a model file and hold it against torch."""
    _need("torch", "safetensors", "onnx", "onnxscript")
    from impasto.training.export import export as export_run

    with _Reporter(json) as progress:
        made = export_run(run, output, quality=_figures(quality), overwrite=overwrite, progress=progress)
    if json:
        put_json(
            {
                "path": str(output),
                "bytes": made.size,
                "step": made.manifest.step,
                "painter_difference": made.painter_difference,
                "encoder_difference": made.encoder_difference,
            }
        )
    else:
        put(str(output))
        say(
            f"{made.size / 1e6:.1f} MB, step {made.manifest.step}; torch and onnxruntime differ by at most "
            f"{max(made.painter_difference, made.encoder_difference):.1g}."
        )


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


def _need(*modules: str) -> None:
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise TrainingError(f"This needs {' and '.join(missing)}: pip install 'impasto[train]'.")


class _Reporter:
    """Progress on stderr: a bar with figures on a terminal, a line now and then elsewhere, nothing with --json.

    A job of hours wants more than ``terminal.progress_bar`` shows: the figures, and lines where stderr is a log file.
    """

    def __init__(self, quiet: bool) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._quiet, self._last = quiet, ""

    def __enter__(self) -> OnProgress:
        if self._quiet:
            from impasto.progress import silent

            return silent
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self._bar = Bar(*columns, TextColumn("{task.fields[figures]}"), console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task("", figures="")
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _show(self, at: Progress) -> None:
        figures = "  ".join(f"{key} {value:.3g}" for key, value in at.numbers.items() if "_relu" not in key)
        if self._bar is not None:
            fresh = {"figures": figures} if figures else {}  # most steps bring none: the last ones stay
            self._bar.update(self._task, completed=at.done, total=at.total, description=at.message, **fresh)
        elif at.numbers or at.unit == "stages":
            line = f"{at.message} {at.done}/{at.total or '?'} {at.unit} {figures}".strip()
            if line != self._last:
                say(line)
                self._last = line
