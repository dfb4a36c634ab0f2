"""What the machines of a Ray cluster run (see ``cluster.py``): painting pictures one by one, training together.

Only orders and results travel through Ray, never pixels: each worker reads and writes its pictures by itself.
"""

from __future__ import annotations

import io
import json
import os
import platform
import tempfile
import time
import traceback
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import typer

from impasto.apps.cli.control import from_json
from impasto.apps.cli.crew import WORKER_MEMORY
from impasto.apps.cli.one import Settings, paint_job
from impasto.apps.cli.plan import Job
from impasto.apps.cli.report import State, digest_of, is_whole, judge, sweep
from impasto.apps.cli.terminal import explain
from impasto.apps.store import Store
from impasto.errors import EngineError, ImpastoError, PictureError, PictureExists, TrainingError
from impasto.runtime.engine import usable_cores
from impasto.runtime.memory import default_limit
from impasto.runtime.style import StyleModel

ATTEMPTS = 3
"""Times that a picture is begun before it is given up, where its worker is lost each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One picture to paint on the cluster.

    Attributes:
        source, target: where it is read and written: absolute paths, or below the addresses.
        source_at, target_at: the addresses of these folders; None for a path.
        name: the output, below the output folder.
        stamp: ``bytes`` and ``mtime_ns`` of the photo.
        begun: it was begun before, so something half-written may be left of it.
        overwrite: what is at the target may be replaced.
    """

    source: str
    source_at: str | None
    target: str
    target_at: str | None
    name: str
    stamp: Mapping[str, int | None]
    begun: bool = False
    overwrite: bool = False

    @property
    def input(self) -> str:
        """The photo, as a person calls it."""
        return self.source if self.source_at is None else store_at(self.source_at).at(self.source)

    @property
    def output(self) -> str:
        """The same of the painting."""
        return self.target if self.target_at is None else store_at(self.target_at).at(self.target)


@lru_cache(maxsize=64)
def store_at(address: str) -> Store:
    """The folder at an address, opened once in each process."""
    return Store(address)


class Tally:
    """What was begun and what is done, in an actor of its own, so that a lost worker takes nothing of it along."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}
        self._done: dict[int, str] = {}

    def begin(self, number: int) -> str | int:
        """The line of a picture that is done already; else how often it was begun before."""
        if number in self._done:
            return self._done[number]
        before = self._begun.get(number, 0)
        self._begun[number] = before + 1
        return before

    def end(self, number: int, line: str) -> None:
        """Keep the line of a picture until the command has it."""
        self._done[number] = line

    def forget(self, number: int) -> None:
        """The command has this picture's line."""
        self._done.pop(number, None)
        self._begun.pop(number, None)


class Painter:
    """An actor of Ray Data: an engine of its own, and one picture after another.

    Args:
        kit: see ``cluster.paint``.
        model: the bytes of the model file, in Ray's object store.
        tally: the actor that counts.
    """

    def __init__(self, kit: Mapping[str, Any], model: Any, tally: Any) -> None:
        import ray

        warnings.filterwarnings("ignore", module="PIL")
        self._ray, self._tally, self._debug = ray, tally, bool(kit["debug"])
        self._worker = f"{ray.util.get_node_ip_address()}:{os.getpid()}"
        self._fatal = ""
        with suppress(OSError):  # Not there where machines share nothing; then no path is relative to it either.
            os.chdir(kit["folder"])
        try:
            self._prepare(kit, ray.get(model))
        # Raised here, it would be Ray's to tell, at length, and again for each worker.
        except Exception as error:
            self._fatal = f"A worker on {self._worker} cannot paint: {explain(error)}"

    def _prepare(self, kit: Mapping[str, Any], model: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="impasto-") as folder:
            path = Path(folder) / "model.impasto"
            path.write_bytes(model)
            self._painter = StyleModel.load(path, **kit["load"])
            _ = self._painter.device  # Loads it.
        self._code = from_json(kit["code"])
        settings = Settings(**kit["settings"])
        if settings.max_memory is None:
            # As among the workers of one command: the machine's memory is shared, and nobody limits what is enough.
            most = max(1, usable_cores() // kit["load"]["threads"])
            settings = replace(settings, max_memory=max(default_limit() // most, WORKER_MEMORY))
        self._settings = settings

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        lines = [self._paint(json.loads(order)) for order in batch["order"].tolist()]
        return {"line": np.array(lines, dtype=object)}

    def _paint(self, order: dict[str, Any]) -> str:
        number = order.pop("number")
        if self._fatal:
            return json.dumps({"number": number, "fatal": self._fatal})
        before = self._ray.get(self._tally.begin.remote(number))
        if isinstance(before, str):
            return before  # by a worker that was lost before it could hand it over
        errand, started = Errand(**order), time.perf_counter()
        try:
            if before >= ATTEMPTS:
                raise EngineError(
                    f"The worker that painted it was lost {ATTEMPTS} times, perhaps for want of memory: paint it by "
                    "itself, with --max-memory."
                )
            # What is there after it was begun is what a lost worker made.
            line = self._paint_one(replace(errand, begun=True, overwrite=True) if before else errand)
        # As in a folder: one picture must not cost the others.
        except Exception as error:
            line = {"error": explain(error), "trace": traceback.format_exc() if self._debug else ""}
            line |= {"lost": True} if before >= ATTEMPTS else {}
        line |= {"number": number, "worker": self._worker, "busy": time.perf_counter() - started}
        text = json.dumps(line)
        self._ray.get(self._tally.end.remote(number, text))
        return text

    def _paint_one(self, errand: Errand) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="impasto-") as folder:
            source, target = Path(errand.source), Path(errand.target)
            if errand.source_at is not None:
                # With its own name, which stands in messages.
                source = Path(folder) / "in" / source.name
                source.parent.mkdir()
                store_at(errand.source_at).fetch(errand.source, source)
            if errand.target_at is not None:
                target = Path(folder) / "out" / target.name
                target.parent.mkdir()
            elif errand.begun:
                sweep(Job(source, target))
            if errand.target_at is not None and not errand.overwrite and store_at(errand.target_at).has(errand.target):
                raise PictureExists(f"{errand.output} exists already: choose another output or add --overwrite.")
            try:
                line = paint_job(
                    self._painter, self._code, Job(source, target), self._settings, overwrite=errand.overwrite
                )
            except ImpastoError as error:
                raise PictureError(str(error).replace(str(source), errand.input)) from error
            line["sha256"] = digest_of(target)
            if errand.target_at is not None:
                store_at(errand.target_at).put(target, errand.target)
        return line | {"input": errand.input, "output": errand.output}


def check(errand: Errand, claim: Mapping[str, Any]) -> State:
    """Hold what the report says of a finished output against what is there.

    Args:
        claim: the line of the report.
    """
    if errand.target_at is None:
        path = Path(errand.target)
        return judge(claim, digest_of(path), errand.stamp, lambda: is_whole(path)) if path.is_file() else State.NEW
    store = store_at(errand.target_at)
    found = store.digest(errand.target)

    def whole() -> bool:
        with tempfile.TemporaryDirectory(prefix="impasto-") as folder:
            path = Path(folder) / Path(errand.target).name
            store.fetch(errand.target, path)
            return is_whole(path)

    return judge(claim, found, errand.stamp, whole) if found else State.NEW


def check_batch(batch: dict[str, Any]) -> dict[str, Any]:
    """``check`` for rows of Ray Data: ``order`` [n] in, ``state`` [n] out, both JSON."""
    states = []
    for order in map(json.loads, batch["order"].tolist()):
        states.append(json.dumps([order["number"], check(Errand(**order["errand"]), order["claim"]).name]))
    return {"state": np.array(states, dtype=object)}


def train_one_of(order: Mapping[str, Any]) -> str:
    """Run ``impasto train`` as one of several processes, which Ray Train has introduced to each other.

    Args:
        order: ``arguments`` after ``impasto train``; ``folder`` to work in; ``threads``; ``environment`` variables.

    Returns:
        What was printed on stdout.

    Raises:
        TrainingError: whatever ``impasto train`` would end with exit code 2 for.
    """
    from impasto.apps.cli.root import app

    os.environ.update(order["environment"])
    try:
        os.chdir(order["folder"])
    except OSError as error:
        raise TrainingError(
            f"{order['folder']} is not there on {platform.node()} ({error.strerror or error}): start the training "
            "in a folder that all machines of the cluster share."
        ) from error
    arguments = ["train", *order["arguments"]]
    if not any(word.partition("=")[0] == "--threads" for word in arguments):
        arguments += ["--threads", str(order["threads"])]
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            typer.main.get_command(app).main(arguments, "impasto", standalone_mode=False)
    except ImpastoError as error:
        # Not as it is: some of them cannot be sent to another process.
        raise TrainingError(str(error)) from None
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise TrainingError(f"{str(error.format_message()).strip().rstrip('.')}: see 'impasto train --help'.") from None
    return said.getvalue()
