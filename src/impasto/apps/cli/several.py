"""Many pictures in one command: painting them one after another, and telling of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, Protocol

import typer

from impasto.apps.cli.plan import Job
from impasto.apps.cli.terminal import ReaderLeftError, explain, progress_bar, put, put_json, say, trace
from impasto.progress import Progress

Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", min=1, help="Paint so many pictures side by side; of a folder, as many as pay unless given."
    ),
]
Resume = Annotated[
    bool | None,
    typer.Option(
        "--resume/--no-resume",
        help="Skip what the report in the output folder says is finished (default, unless --overwrite is given).",
    ),
]


class Named(Protocol):
    """A picture that can be told of: where it is read and written, None for a stream."""

    @property
    def source(self) -> object: ...

    @property
    def target(self) -> object: ...


Result = tuple[Job, dict[str, Any]]
"""A job with the line of ``--json``, or with ``{"error": sentence}``."""


def named(job: Named) -> str:
    """What a job is called in messages."""
    return "standard input" if job.source is None else str(job.source)


def one_by_one(jobs: Sequence[Job], paint: Callable[[Job], dict[str, Any]], *, lone: bool) -> Iterator[Result]:
    """Paint every picture in this process, and go on past those that fail.

    Args:
        lone: the only picture of a command does not fail quietly: its error is raised.
    """
    for job in jobs:
        try:
            line = paint(job)
        except ReaderLeftError:
            raise
        # A fault in one picture, even one of ours, must not cost a night's work on all the others.
        except Exception as error:
            if lone:
                raise
            trace()
            line = {"error": explain(error)}
        yield job, line


def tell_all(total: int, results: Iterable[tuple[Named, dict[str, Any]]], *, json: bool, done: int = 0) -> int:
    """Report each picture as it is finished.

    Args:
        total: how many pictures there are in all.
        results: those that are still to come.
        done: those that were finished before.

    Returns:
        How many failed.
    """
    failed = 0
    with progress_bar(total, quiet=json) as report:
        report(Progress(done, total, "pictures"))
        for count, (job, line) in enumerate(results, done + 1):
            name = named(job)
            report(Progress(count, total, "pictures", name))
            if "error" in line:
                failed += 1
                say(f"{name}: {line['error']}")
                if json:
                    put_json({"input": name, "error": line["error"]})
                continue
            for note in line["notes"]:
                say(f"{name}: {note}")
            if json:
                put_json(line)
            elif job.target is not None:
                put(line["output"])
    if failed:
        say(f"{failed} of {total} pictures could not be painted.")
    return failed
