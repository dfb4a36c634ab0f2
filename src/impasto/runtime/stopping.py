"""Stopping work that is under way in another thread: a person who has gone away need not be painted for.

>>> stop = Stop()
>>> with stop.heeded():                      # in the thread that works
...     painted = model.paint(photo, code)   # doctest: +SKIP
>>> stop.now()                               # in any other: the painting ends with a StoppedError

A graph that runs is ended between two of its nodes, which is a matter of milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Protocol

from impasto.errors import ImpastoError

_HEEDED: ContextVar[Stop | None] = ContextVar("_HEEDED", default=None)


class StoppedError(ImpastoError):
    """The work was stopped before it was done."""

    def __init__(self) -> None:
        super().__init__("The work was stopped before it was done: ask for it again.")


class Run(Protocol):
    """What an engine looks at while it runs (``onnxruntime.RunOptions`` is one)."""

    terminate: bool


class Stop:
    """One piece of work that can be stopped. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._stopped, self._lock = False, Lock()
        self._runs: list[Run] = []

    @property
    def stopped(self) -> bool:
        """Whether :meth:`now` was called."""
        return self._stopped

    def now(self) -> None:
        """Stop: what runs ends soon, and nothing new begins."""
        with self._lock:
            self._stopped = True
            for run in self._runs:
                run.terminate = True

    def check(self) -> None:
        """Go on, or raise StoppedError."""
        if self._stopped:
            raise StoppedError

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Let the engines that run in this thread heed it, as long as the block lasts."""
        token = _HEEDED.set(self)
        try:
            yield
        finally:
            _HEEDED.reset(token)

    @contextmanager
    def watching(self, run: Run) -> Iterator[None]:
        """End this run when the time comes.

        Raises:
            StoppedError: it was stopped before or meanwhile; takes the place of whatever else was raised.
        """
        self.check()
        with self._lock:
            self._runs.append(run)
            run.terminate = self._stopped
        try:
            yield
        except Exception:
            self.check()
            raise
        finally:
            with self._lock:
                self._runs.remove(run)


def heeded_stop() -> Stop | None:
    """The stop that this thread heeds, if any."""
    return _HEEDED.get()
