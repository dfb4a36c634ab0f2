"""Parts of a picture, shared out among threads."""

from __future__ import annotations

import threading
import time

import pytest

from impasto.runtime.crowd import shared_out

SPANS = [(k, k + 1) for k in range(0, 40, 2)]


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
def test_what_is_made_comes_in_order_and_once_each(threads: int) -> None:
    begun: list[int] = []

    def work(first: int, last: int) -> tuple[int, int]:
        begun.append(first)
        time.sleep(0.002 * (first % 3))
        return first, last

    assert shared_out(work, iter(SPANS), threads) == SPANS
    assert sorted(begun) == [first for first, _ in SPANS]
    assert shared_out(work, [], threads) == []


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_as_many_work_at_once_as_may(threads: int) -> None:
    together = threading.Barrier(threads)
    names = shared_out(lambda *_: (together.wait(5), threading.current_thread().name)[1], SPANS[: 2 * threads], threads)
    assert len(set(names)) == threads and threading.current_thread().name in names


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_ends_it_and_no_further_part_is_begun(threads: int) -> None:
    begun: list[int] = []

    def work(first: int, last: int) -> None:
        begun.append(first)
        if first == 4:
            raise ValueError("the fifth row")
        time.sleep(0.01)

    with pytest.raises(ValueError, match="the fifth row"):
        shared_out(work, SPANS, threads)
    assert len(begun) <= 3 + threads
