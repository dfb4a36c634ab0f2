"""Ctrl-C and SIGTERM in a run: a wish to stop is noted, and honoured where everything is in order.

A signal handler that raises does so between any two bytecodes of the main thread: within torch, with an optimiser
half stepped or in the code that frees what an exception left behind. So ours never raises. The first signal asks for
a stop after the step at hand, with the state saved; a second Ctrl-C for one at the next safe point, with nothing
saved; the third is the system's, which ends the process there and then (files are written aside and renamed, so none
is left half written).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Wish:
    """What was asked for so far.

    Attributes:
        stop: after this step, and save.
        leave: as soon as it can be done in order, without saving.
    """

    stop: bool = False
    leave: bool = False

    def safe_point(self) -> None:
        """Call this where the run can be left.

        Raises:
            KeyboardInterrupt: Ctrl-C came twice.
        """
        if self.leave:
            raise KeyboardInterrupt


@contextmanager
def stop_signals() -> Iterator[Wish]:
    """While it lasts, Ctrl-C and SIGTERM only leave a wish. Outside the main thread nobody can interrupt us."""
    wish = Wish()

    def note(number: int, frame: object) -> None:
        if wish.stop and number == signal.SIGINT:
            wish.leave = True
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        wish.stop = True

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread
        before = {}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
