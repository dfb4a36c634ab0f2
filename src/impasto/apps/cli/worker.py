"""A process that paints for ``impasto stylize --jobs``: JSON lines in, JSON lines out (see ``crew.py``).

It ends when its standard input does, hence also when the command that started it was killed; what it is painting then
is still finished.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, TextIO

from impasto.apps.cli.control import from_json
from impasto.apps.cli.one import Settings, paint_job
from impasto.apps.cli.plan import Job
from impasto.apps.cli.terminal import explain
from impasto.errors import ImpastoError
from impasto.runtime.style import StyleModel


def serve(orders: TextIO, answers: TextIO) -> None:
    """Paint what is ordered.

    Args:
        orders: first ``{"load": options of StyleModel.load, "code": [D], or regions (control.py), "settings":
            Settings, "debug": bool}``, then ``{"source": path, "target": path, "overwrite": bool}`` each.
        answers: ``{"ready": true}`` or ``{"fatal": sentence}``, then for each order the line of ``--json``, or
            ``{"error": sentence, "trace": text}``.
    """

    def answer(fields: dict[str, Any]) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    first = json.loads(orders.readline() or "null")
    if first is None:
        return
    try:
        painter = StyleModel.load(**first["load"])
        _ = painter.device  # Loads it.
        code, settings = from_json(first["code"]), Settings(**first["settings"])
    except ImpastoError as error:
        answer({"fatal": explain(error)})
        return
    answer({"ready": True})
    # Not "for line in orders": that reads ahead.
    while line := orders.readline():
        order = json.loads(line)
        job = Job(Path(order["source"]), Path(order["target"]))
        try:
            done = paint_job(painter, code, job, settings, overwrite=order["overwrite"])
        # As in the command itself: one picture must not cost the others.
        except Exception as error:
            trace = traceback.format_exc() if first["debug"] else ""
            done = {"error": explain(error), "trace": trace}
        answer(done)


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)


def main() -> None:
    """Serve standard input and output."""
    # The default would leave a temporary file beside the picture being written.
    signal.signal(signal.SIGTERM, _stop)
    warnings.filterwarnings("ignore", module="PIL")
    # Whatever else might print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        serve(sys.stdin, answers)
    except BrokenPipeError:
        os._exit(1)  # The command is gone; flushing at exit would complain of it.


if __name__ == "__main__":
    main()
