"""What the verbs share: sentences on stderr, data on stdout, a progress bar, and defaults taken from the library."""

from __future__ import annotations

import inspect
import io
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from impasto.errors import ImpastoError
from impasto.progress import OnProgress, Progress, silent


def default_of(function: Callable[..., Any], parameter: str) -> Any:
    """The default that a library function gives a parameter, so that an option need not repeat it."""
    default = inspect.signature(function).parameters[parameter].default
    if default is inspect.Parameter.empty:
        raise TypeError(f"{function.__qualname__} gives {parameter} no default: name the option's own.")
    return default


def say(sentence: str) -> None:
    """Tell a person something, on stderr."""
    print(f"impasto: {sentence}", file=sys.stderr, flush=True)


class ReaderLeftError(Exception):
    """Whoever read our output is gone. Not an OSError: typer would make those an exit code of its own."""


def put(line: str) -> None:
    """Give data, on stdout."""
    try:
        print(line, flush=True)
    except BrokenPipeError as error:
        raise ReaderLeftError from error


def put_bytes(data: bytes) -> None:
    """Give a whole file, on stdout."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        raise ReaderLeftError from error


def put_json(fields: Mapping[str, Any]) -> None:
    """Give one JSON object as one line of stdout."""
    put(json.dumps(fields))


def explain(error: BaseException) -> str:
    """One sentence about any error; one that nobody foresaw comes with a hint."""
    if isinstance(error, ImpastoError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory for this picture: make it smaller with --size."
    what = " ".join(str(error).split()) or "no details"
    return f"Unexpected {type(error).__name__} ({what}): run the same command with --debug and report what it shows."


DEBUG: ContextVar[bool] = ContextVar("DEBUG", default=False)
"""Whether tracebacks are wanted; :func:`impasto.apps.cli.run` sets it."""


def trace() -> None:
    """Show the traceback of the error at hand, where wanted."""
    if DEBUG.get():
        traceback.print_exc()


def forgive_odd_characters() -> None:
    """Let any file name be printed: as its own bytes in UTF-8, with '?' where a stream knows fewer letters."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if utf8 else "replace")


@contextmanager
def progress_bar(total: int, *, quiet: bool = False) -> Iterator[OnProgress]:
    """A bar on stderr for jobs of two units or more; nothing where stderr is no terminal.

    Yields:
        A function to call with each :class:`Progress`.
    """
    if quiet or total < 2 or not sys.stderr.isatty():
        yield silent
        return
    from rich import progress as rich_progress
    from rich.console import Console

    bar = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # Data that goes to a pipe or a file must not be drawn around the bar instead.
        redirect_stdout=sys.stdout.isatty(),
    )
    with bar:
        task = bar.add_task("", total=total)

        def show(now: Progress) -> None:
            bar.update(task, completed=now.done, total=now.total, description=now.message)

        yield show
