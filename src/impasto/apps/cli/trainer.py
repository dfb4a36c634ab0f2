"""What the training verbs share: what must be installed, how a run is carried out, how it is reported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import typer

from impasto.apps.cli.terminal import put, put_json, say
from impasto.errors import TrainingError

if TYPE_CHECKING:
    from impasto.progress import OnProgress, Progress
    from impasto.training.journal import Journal
    from impasto.training.loop import Outcome
    from impasto.training.recipe import Recipe

Json = Annotated[bool, typer.Option("--json", help="How it ended, as a line of JSON on standard output.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as optim.lr=5e-4.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the run folder's checkpoint.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, mps ...; cuda by default where there is one.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all usable cores by default.")]


def need(*modules: str) -> None:
    """Raise, with what to install, unless all of them are there."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise TrainingError(f"This needs {' and '.join(missing)}: pip install 'impasto[train]'.")


def carry_out(
    make: Callable[[OnProgress], Recipe],
    journal: Journal,
    *,
    resume: bool,
    stop_at: int | None,
    device: str | None,
    threads: int | None,
    json: bool,
    estimated: bool = False,
) -> Outcome | None:
    """Train by the recipe that ``make`` gives, in this process or among those of ``torchrun``.

    Args:
        make: makes the recipe; given where to report pictures being prepared.
        journal: the run folder.
        resume, stop_at: as in ``loop.run``.
        device, threads, json: as the options.
        estimated: whether to say beforehand how long it will take.

    Returns:
        How it ended; None in all processes but the first.
    """
    from impasto.training import distributed
    from impasto.training.checkpoint import load_checkpoint
    from impasto.training.estimate import rehearse
    from impasto.training.loop import pick_device, run, set_threads
    from impasto.training.tasks import TASKS

    journal.check(resume=resume)
    set_threads(threads)
    reporter = Reporter(json)
    with distributed.joined(pick_device(device)) as where, reporter as progress:
        leads = distributed.team().leads
        recipe = make(progress)
        task = TASKS[recipe.task](recipe, where, progress=progress)
        for line in task.remarks() if leads else ():
            reporter.tell(line)
        if estimated:
            first = load_checkpoint(journal.checkpoint).step if resume else 0
            forecast = rehearse(task).sentence(task, first)
            if leads:
                reporter.tell(forecast)
        outcome = run(task, journal, resume=resume, stop_at=stop_at, progress=progress, tell=reporter.tell)
    if leads and not outcome.finished:
        say(f"Stopped at step {outcome.step} of {recipe.steps} and saved; go on with --resume.")
    return outcome if leads else None


def finished(run: str, outcome: Outcome, json: bool, **more: Any) -> None:
    """Say on stdout what came out."""
    if json:
        figures = {k: round(v, 4) if isfinite(v) else None for k, v in outcome.figures.items() if "_relu" not in k}
        put_json({"run": run, "step": outcome.step, "finished": outcome.finished} | more | figures)
    else:
        put(str(more.get("path", run)))


class Reporter:
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

    def tell(self, sentence: str) -> None:
        """A sentence for a person, above the bar where there is one."""
        if self._bar is not None:
            self._bar.console.print(f"impasto: {sentence}", markup=False, highlight=False)
        else:
            say(sentence)

    def _show(self, at: Progress) -> None:
        figures = "  ".join(f"{key} {value:.3g}" for key, value in at.numbers.items() if _short(key))
        if self._bar is not None:
            fresh = {"figures": figures} if figures else {}  # most steps bring none: the last ones stay
            self._bar.update(self._task, completed=at.done, total=at.total, description=at.message, **fresh)
        elif at.numbers or at.unit == "stages":
            line = f"{at.message} {at.done}/{at.total or '?'} {at.unit} {figures}".strip()
            if line != self._last:
                say(line)
                self._last = line


def _short(figure: str) -> bool:
    """Whether a figure is shown while it runs; all are in stats.jsonl."""
    return "_relu" not in figure and not figure.startswith(("precision_", "recall_", "density_", "coverage_", "kd_"))
