"""``impasto stylize FOLDER -o FOLDER``: thousands of pictures, side by side, with a report to go on from."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from impasto import __version__
from impasto.apps.cli.control import Painted, as_json, digest_of
from impasto.apps.cli.crew import Crew, crew_size
from impasto.apps.cli.one import Settings, paint_job
from impasto.apps.cli.plan import Job, refuse_existing
from impasto.apps.cli.report import Report, State
from impasto.apps.cli.several import Result, one_by_one, tell_all
from impasto.apps.cli.terminal import DEBUG, explain, put_json, say
from impasto.errors import ImpastoError, PictureExists
from impasto.runtime.style import StyleModel

Order = tuple[Job, bool]
"""A job, and whether its target may exist."""

_BESIDE = ("style", "max_pixels", "max_memory", "mask_files", "recipe")
"""Of the settings: what no finished picture depends on."""


def paint_folder(
    jobs: Sequence[Job],
    painter: StyleModel,
    code: Painted,
    settings: Settings,
    loading: Mapping[str, Any],
    *,
    folder: Path | None,
    resume: bool | None,
    overwrite: bool,
    workers: int | None,
    json: bool,
) -> int:
    """Paint what is not finished, with as many workers as pay, and report it.

    Args:
        jobs: as ``plan_jobs`` gives them; targets may exist.
        code: float32 [D], or regions.
        loading: the options of ``StyleModel.load``, for the workers.
        folder: where the report is; None for none.
        resume: skip what is finished; None: unless ``overwrite``.
        overwrite: replace what exists and is not finished.
        workers: as many as this at most; None: as many as pay.

    Returns:
        How many failed.

    Raises:
        PictureExists: something is there that this command has not painted.
        ImpastoError: a worker or the report cannot be used, or the only picture of the command fails.
    """
    if workers is not None and any(job.source is None or job.target is None for job in jobs):
        raise ImpastoError("--jobs paints files side by side, and a stream is one picture: leave it out.")
    report = None if folder is None else Report(folder, depends_on(painter, loading["engine"], code, settings))
    resuming = report is not None and (not overwrite if resume is None else resume)
    orders, finished = _settle(jobs, report if resuming else None, overwrite)
    if finished:
        say(f"{len(finished)} of {len(jobs)} pictures had been painted before.")
        for job in finished if json else []:
            put_json({"input": str(job.source), "output": str(job.target), "resumed": True})
    size, threads, memory = crew_size(
        len(orders), jobs=workers, threads=loading["threads"], max_memory=settings.max_memory
    )
    if size > 1 and not _on_cpu(painter):
        # Several processes on one graphics card wait for each other and fill its memory.
        if workers is not None:
            say(f"The model runs by {painter.device}, where one process paints: --jobs is ignored.")
        size = 1
    results: Generator[Result, None, None]
    if size == 1:
        results = _alone(orders, painter, code, settings, report, lone=len(jobs) == 1, bar=not json)
    else:
        start = {
            "load": {**loading, "threads": threads},
            "code": as_json(code, settings),
            "settings": asdict(replace(settings, max_memory=memory)),
            "debug": DEBUG.get(),
        }
        results = Crew(size, start).paint(orders, (lambda job: None) if report is None else report.begin)
    # Closed at once when this is interrupted, not when the garbage is collected: it ends the workers.
    with closing(results):
        return tell_all(len(jobs), _noted(results, report), json=json, done=len(finished))


def _settle(jobs: Sequence[Job], report: Report | None, overwrite: bool) -> tuple[list[Order], list[Job]]:
    """What is to be painted, and what is finished; PictureExists where somebody's picture would be lost."""
    if report is None:
        if not overwrite:
            refuse_existing(jobs)
        return [(job, overwrite) for job in jobs], []
    states = [(job, report.state(job)) for job in jobs]
    if not overwrite:
        refuse_existing([job for job, state in states if state is State.NEW])
        changed = next((job for job, state in states if state is State.CHANGED), None)
        if changed is not None:
            raise PictureExists(
                f"{changed.target} was changed after it had been painted: move it away, or add --resume --overwrite."
            )
    orders = [(job, overwrite or state is State.STALE) for job, state in states if state is not State.FINISHED]
    return orders, [job for job, state in states if state is State.FINISHED]


def _alone(
    orders: Sequence[Order],
    painter: StyleModel,
    code: Painted,
    settings: Settings,
    report: Report | None,
    *,
    lone: bool,
    bar: bool,
) -> Generator[Result, None, None]:
    """Paint in this process."""
    may = {id(job): overwrite for job, overwrite in orders}

    def paint(job: Job) -> dict[str, Any]:
        return paint_job(painter, code, job, settings, overwrite=may[id(job)], bar=lone and bar)

    for job, _ in orders:
        if report is not None:
            report.begin(job)
        try:
            yield from one_by_one([job], paint, lone=lone)
        except Exception as error:
            if report is not None:
                report.end(job, {"error": explain(error)})
            raise


def _noted(results: Iterator[Result], report: Report | None) -> Iterator[Result]:
    """Put each result into the report before it is told."""
    for job, line in results:
        trace = line.pop("trace", "")
        if trace:
            print(trace, end="", file=sys.stderr, flush=True)
        if report is not None:
            report.end(job, line)
        yield job, line


def depends_on(painter: StyleModel, engine: str, code: Painted, settings: Settings) -> dict[str, Any]:
    """All that a painted picture depends on beside the photo."""
    kept = {name: value for name, value in asdict(settings).items() if name not in _BESIDE}
    return {
        "impasto": __version__,
        "model": painter.bundle.sha256,
        "graph": painter.graph,
        "engine": engine,
        "code": digest_of(code),
        **kept,
        "recipe": bool(settings.recipe),  # the rest of it stands here already
    }


def _on_cpu(painter: StyleModel) -> bool:
    return " on CPU" in painter.device
