"""Begin to load the model before the command line is understood.

Importing typer, declaring the options and decoding the photo take about as long as onnxruntime takes to prepare the
painter, which it does without holding Python's lock: side by side, the two cost the time of one.
"""

from __future__ import annotations

from collections.abc import Sequence

from impasto.errors import ImpastoError
from impasto.runtime.engine import ENGINES
from impasto.runtime.precision import PRECISIONS
from impasto.runtime.style import DEFAULT_MODEL, StyleModel

_started: dict[tuple[str, str, int | None, str], StyleModel] = {}


def load_ahead(arguments: Sequence[str]) -> None:
    """Begin to load what these arguments of ``impasto stylize`` seem to ask for.

    Nothing is said or raised. Where they are wrong, or mean something else after all, the verb finds that out by
    itself; then the guess has cost a little time, and no more.
    """
    given = _options(arguments)
    model, threads = given.get("--model", DEFAULT_MODEL), given.get("--threads")
    engine = next((known for known in ENGINES if known == given.get("--engine", ENGINES[0])), None)
    precision = next((known for known in PRECISIONS if known == given.get("--precision", PRECISIONS[0])), None)
    if engine is None or precision is None or not (threads is None or threads.isdecimal()):
        return
    count = None if threads is None else int(threads)
    try:
        loaded = StyleModel.load(model, engine=engine, threads=count, precision=precision)
    except ImpastoError:
        return
    loaded.warm()
    _started[model, engine, count, precision] = loaded


def started(model: str, engine: str, threads: int | None, precision: str = PRECISIONS[0]) -> StyleModel | None:
    """The model that was begun with exactly these settings, once; None if there is none."""
    return _started.pop((model, engine, threads, precision), None)


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """``--name value`` and ``--name=value``, the last of each name."""
    options = {}
    for word, after in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            options[name] = value if equals else after
    return options
