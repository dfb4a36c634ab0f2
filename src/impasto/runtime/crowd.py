"""Work on parts of a picture, shared out among threads; numpy lets others run while it works on many numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock, Thread
from typing import TypeVar

T = TypeVar("T")


def shared_out(work: Callable[[int, int], T], spans: Iterable[tuple[int, int]], threads: int) -> list[T]:
    """What ``work`` makes of each span, in their order.

    ``concurrent.futures`` does the same, and takes 5 ms to import, which is much for a command that paints in 50.

    Args:
        work: may be called in any order, and from several threads at once.
        spans: its arguments.
        threads: how many may work, this one included.

    Raises:
        Whatever ``work`` raises; of several errors one, and no further part is begun.
    """
    left = list(enumerate(spans))[::-1]
    made: list[tuple[int, T]] = []
    errors: list[BaseException] = []
    lock = Lock()

    def help_out() -> None:
        while True:
            with lock:
                if not left or errors:
                    return
                at, span = left.pop()
            try:
                done = work(*span)
            except BaseException as error:  # raised again where all come together
                errors.append(error)
                return
            made.append((at, done))

    others = [Thread(target=help_out, daemon=True) for _ in range(min(threads, len(left)) - 1)]
    for one in others:
        one.start()
    help_out()
    for one in others:
        one.join()
    if errors:
        raise errors[0]
    return [done for _, done in sorted(made, key=lambda pair: pair[0])]
