"""Worker processes that paint side by side: how many pay, and giving them pictures.

Each is an interpreter of its own (``worker.py``) with its own engine, fed through pipes. Not ``multiprocessing``: its
workers hold both ends of their queues, so they outlive a command that is killed, and it takes time to import.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import IO, Any

from impasto.apps.cli.plan import Job
from impasto.apps.cli.report import sweep
from impasto.errors import EngineError
from impasto.runtime.engine import usable_cores
from impasto.runtime.memory import default_limit

MANY = 8
"""Pictures from which on workers pay: starting one takes as long as painting a small picture or two."""

WORKER_MEMORY = 10**9
"""Bytes for each worker: a picture of 4 megapixels, to which nobody asks for memory, takes half of it."""

MOST = 256
GRACE = 10.0  # seconds to finish what cannot be interrupted before a worker is killed


def crew_size(
    pictures: int, *, jobs: int | None = None, threads: int | None = None, max_memory: int | None = None
) -> tuple[int, int | None, int | None]:
    """How many workers paint, and what each of them gets.

    Decoding and encoding take one core however many an engine has, and an engine gains less with each further thread,
    so pictures are painted side by side, one thread each, as far as cores and memory go.

    Args:
        pictures: how many there are to paint.
        jobs: as many as this at most; None: as many as pay.
        threads: of each engine; None: the cores, divided evenly.
        max_memory: bytes for all together; None: what is held and half of what is free.

    Returns:
        Workers (1: none is needed, the command paints by itself, with ``threads`` and ``max_memory`` as they are),
        the threads of each, and the bytes of each.
    """
    cores = usable_cores()
    if jobs is None:
        jobs = max(1, cores // (threads or 1)) if pictures >= MANY else 1
        if jobs > 1:
            jobs = max(1, min(jobs, (max_memory or default_limit()) // WORKER_MEMORY))
    jobs = min(jobs, pictures, MOST)
    if jobs <= 1:
        return 1, threads, max_memory
    share = max(default_limit() // jobs, WORKER_MEMORY) if max_memory is None else max_memory // jobs
    return jobs, threads or max(1, cores // jobs), share


class Crew:
    """Workers, from :meth:`paint` until it has given the last result or is closed.

    Args:
        size: how many.
        start: the first line that each is sent (see ``worker.serve``).
    """

    def __init__(self, size: int, start: Mapping[str, Any]) -> None:
        self._size, self._start = size, json.dumps(start) + "\n"
        self._lock, self._stopping = Lock(), False
        self._running: dict[subprocess.Popen[str], Job | None] = {}
        self._results: SimpleQueue[tuple[Job, dict[str, Any]] | BaseException] = SimpleQueue()

    def paint(
        self, jobs: Sequence[tuple[Job, bool]], begin: Callable[[Job], None]
    ) -> Generator[tuple[Job, dict[str, Any]], None, None]:
        """Paint pictures, in no certain order.

        Args:
            jobs: each with whether its target may exist.
            begin: called with each before it is painted, from several threads.

        Yields:
            Each job with the line of ``--json``, or ``{"error": sentence}`` and perhaps ``"trace"``, or
            ``"lost"`` where its worker was.

        Raises:
            EngineError: a worker cannot be started.
        """
        waiting = iter(jobs)
        threads = [Thread(target=self._drive, args=(waiting, begin), daemon=True) for _ in range(self._size)]
        try:
            for thread in threads:
                thread.start()
            for _ in jobs:
                yield self._next()
        finally:
            self._stop()
            for thread in threads:
                thread.join(GRACE)
            for worker in list(self._running):
                _close(worker)

    def _next(self) -> tuple[Job, dict[str, Any]]:
        while True:
            # Without a time limit, Ctrl-C would not be noticed on Windows.
            with suppress(Empty):
                result = self._results.get(timeout=1.0)
                if isinstance(result, BaseException):
                    raise result
                return result

    def _drive(self, waiting: Iterator[tuple[Job, bool]], begin: Callable[[Job], None]) -> None:
        """Feed one worker at a time, a new one after one that was lost, until no job is left."""
        worker: subprocess.Popen[str] | None = None
        try:
            while True:
                with self._lock:
                    job, overwrite = (None, False) if self._stopping else next(waiting, (None, False))
                if job is None:
                    return
                # After the job is taken: for none at all, no worker need be started.
                worker = worker or self._launch()
                with self._lock:
                    if self._stopping:
                        return
                    self._running[worker] = job
                begin(job)
                order = {"source": str(job.source), "target": str(job.target), "overwrite": overwrite}
                answer = _exchange(worker, order)
                if answer is None:
                    answer, worker = self._lost(worker, job), None
                else:
                    self._running[worker] = None
                self._results.put((job, answer))
        except BaseException as error:
            self._results.put(error)

    def _launch(self) -> subprocess.Popen[str]:
        # A session of its own: Ctrl-C in the terminal is for the command, which then stops its workers in good order.
        apart: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        # -P: what lies in the current folder is pictures, not modules.
        command = [sys.executable, "-P", "-m", "impasto.apps.cli.worker"]
        with self._lock:
            if self._stopping:
                raise EngineError("The command is stopping: start it again.")
            try:
                worker = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    encoding="utf-8",
                    env={"OPENBLAS_NUM_THREADS": "1", **os.environ},
                    **apart,
                )
            except OSError as error:
                raise EngineError(f"A worker cannot be started ({error.strerror or error}): add --jobs 1.") from error
            self._running[worker] = None
        first = _exchange(worker, None, self._start)
        if first is None or "fatal" in first:
            raise EngineError(first["fatal"] if first else "A worker ended before it could paint: add --jobs 1.")
        return worker

    def _lost(self, worker: subprocess.Popen[str], job: Job) -> dict[str, Any]:
        """What is said of the picture whose worker ended, which is rid of here."""
        try:
            how = worker.wait(GRACE)
        except subprocess.TimeoutExpired:
            # It answers no more, or not in JSON, and lives: nobody else will end it.
            worker.kill()
            how = worker.wait()
        with self._lock:
            self._running.pop(worker, None)
        _close(worker)
        sweep(job)
        ended = f"signal {-how}" if how < 0 else f"exit code {how}"
        return {
            "error": f"The worker that painted it ended ({ended}), perhaps for want of memory: paint it again with "
            "--jobs 1.",
            # Nobody knows how far it came, so what is there may be replaced.
            "lost": True,
        }

    def _stop(self) -> None:
        """End the workers: idle ones by themselves, the others at once."""
        with self._lock:
            self._stopping = True
            running = dict(self._running)
        for worker, job in running.items():
            if job is None and worker.stdin is not None:
                with suppress(OSError, ValueError):
                    worker.stdin.close()
            else:
                worker.terminate()
        for worker, job in running.items():
            try:
                worker.wait(GRACE)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            if job is not None:
                sweep(job)


def _exchange(worker: subprocess.Popen[str], order: Mapping[str, Any] | None, text: str = "") -> dict[str, Any] | None:
    """Send a line and take the one that answers it; None where the worker is gone."""
    orders, answers = worker.stdin, worker.stdout
    assert orders is not None and answers is not None
    with suppress(OSError, ValueError):
        orders.write(text or json.dumps(order) + "\n")
        orders.flush()
        answer: Any = json.loads(answers.readline() or "null")
        return answer if isinstance(answer, dict) else None
    return None


def _close(worker: subprocess.Popen[str]) -> None:
    pipes: tuple[IO[str] | None, ...] = (worker.stdin, worker.stdout)
    for pipe in pipes:
        if pipe is not None:
            with suppress(OSError, ValueError):
                pipe.close()
