"""Who works and who waits: a bounded number of each, and whoever leaves makes room at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from impasto.apps.web.problems import too_busy
from impasto.runtime.stopping import Stop

T = TypeVar("T")

_FIRST_GUESS = 1.0  # seconds that a picture takes, before any was painted


class Pool:
    """Threads that work on requests.

    Threads, not processes: onnxruntime and the picture libraries compute without Python's lock, and so all share one
    model and its memory.

    Args:
        workers: threads.
        waiting: requests that may wait for one; the next are refused.
        seconds: that one piece of work may take, and that it may wait.

    Attributes:
        closing: nothing new is taken; what is here is finished.
        admitted: requests that are here, whether they send, wait or are worked on.
        working: pieces of work that run in a thread right now.
    """

    def __init__(self, workers: int, waiting: int, seconds: float) -> None:
        self.workers, self.most_waiting, self.seconds = workers, waiting, seconds
        self.closing, self.admitted, self.working = False, 0, 0
        self._mean = _FIRST_GUESS
        self._executor = ThreadPoolExecutor(workers, "impasto: paint")
        self._places = asyncio.Semaphore(workers)
        self._large = asyncio.Semaphore(1)
        self._stops: set[Stop] = set()

    @property
    def waiting(self) -> int:
        """Requests that are here and not worked on."""
        return max(0, self.admitted - self.working)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place among those who work and wait, from before the body is read: what waits holds its picture in memory.

        Raises:
            Problem: 429: all are taken; 503: the server is stopping.
        """
        if self.closing:
            raise too_busy(503, "The server is stopping: ask again when it is back.", 5)
        if self.admitted >= self.workers + self.most_waiting:
            ahead = self.admitted * self._mean / self.workers
            raise too_busy(429, f"{self.admitted} requests are here already: ask again in a little while.", ahead)
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """One large picture at a time, so that the memory that several take together stays bounded."""
        async with self._turn(self._large):
            yield

    async def run(self, work: Callable[[], T]) -> T:
        """Work in a thread, when one is free.

        Whoever is cancelled meanwhile stops the work: it ends between two nodes of a graph, or two parts of a picture.

        Raises:
            Problem: 503: it took too long.
        """
        stop = Stop()
        await self._acquire(self._places)
        begun = time.monotonic()
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._heeding, work, stop)
        self.working += 1
        self._stops.add(stop)

        def done(finished: asyncio.Future[T]) -> None:
            # The place is free when the thread is, not when the request that wanted it gives up.
            self._places.release()
            self.working -= 1
            self._stops.discard(stop)
            self._mean += 0.2 * (time.monotonic() - begun - self._mean)
            if not finished.cancelled():
                finished.exception()  # looked at, so that asyncio does not complain of one that nobody waits for

        future.add_done_callback(done)
        try:
            async with asyncio.timeout(self.seconds):
                return await asyncio.shield(future)
        except TimeoutError:
            stop.now()
            sentence = f"It took longer than the {self.seconds:g} seconds that this server allows: make it smaller."
            raise too_busy(503, sentence, self._mean) from None
        except asyncio.CancelledError:
            stop.now()
            raise

    def close(self) -> None:
        """Stop what still runs, and let the threads go."""
        self.closing = True
        for stop in list(self._stops):
            stop.now()
        self._executor.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _heeding(work: Callable[[], T], stop: Stop) -> T:
        with stop.heeded():
            stop.check()
            return work()

    @asynccontextmanager
    async def _turn(self, semaphore: asyncio.Semaphore) -> AsyncIterator[None]:
        await self._acquire(semaphore)
        try:
            yield
        finally:
            semaphore.release()

    async def _acquire(self, semaphore: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(self.seconds):
                await semaphore.acquire()
        except TimeoutError:
            sentence = f"It waited longer than the {self.seconds:g} seconds that this server allows: ask again later."
            raise too_busy(503, sentence, self._mean) from None
