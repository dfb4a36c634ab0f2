"""Where to cut a picture that is too large to be painted at once: pure arithmetic, in pixels.

A network sees each pixel's neighbourhood up to its reach (the manifest's ``receptive_field``). A window of the picture
is therefore painted exactly as the same pixels of the whole, save within the reach of those of its edges that are not
edges of the picture. Windows overlap by that much twice, and of each only what is exact is kept; nothing is blended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from impasto.errors import ImpastoError
from impasto.runtime.engine import ruled


class Area(NamedTuple):
    """A rectangle of pixels; bottom and right are the first outside."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def bands(self, pixels: int) -> Iterator[Area]:
        """The same area as full rows, of about so many pixels each, from the top down."""
        rows = max(1, pixels // max(1, self.width))
        for top in range(self.top, self.bottom, rows):
            yield Area(top, self.left, min(top + rows, self.bottom), self.right)


class Tile(NamedTuple):
    """What is painted at once.

    Attributes:
        window: what the network sees. At the right and bottom it ends with the picture, although the network is given
            it padded to the size rule, as it is given the whole.
        keep: the part whose pixels are exact and not kept of another tile.
    """

    window: Area
    keep: Area


class _Span(NamedTuple):
    """One side of a row or column of tiles."""

    start: int
    end: int
    keep_start: int
    keep_end: int


@dataclass(frozen=True, slots=True)
class TilePlan:
    """A picture cut into windows of one size.

    Attributes:
        height, width: of every window, padding included: the engine sees one shape only.
        rows, columns: the windows' extents, down and across.
    """

    height: int
    width: int
    rows: tuple[_Span, ...]
    columns: tuple[_Span, ...]

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[Tile]:
        """Row by row from the top left."""
        for row in self.rows:
            for column in self.columns:
                yield Tile(
                    Area(row.start, column.start, row.end, column.end),
                    Area(row.keep_start, column.keep_start, row.keep_end, column.keep_end),
                )

    @property
    def work(self) -> float:
        """Pixels painted for each pixel of the picture: 1 for one window, more for what windows share."""
        whole = self.rows[-1].keep_end * self.columns[-1].keep_end
        return len(self) * self.height * self.width / whole

    def cost(self, fresh: float, held: int = 0) -> float:
        """Pixels painted, and what memory for a window costs; see :func:`plan_tiles`."""
        return _cost(len(self), self.height * self.width, fresh, held)


def plan_tiles(
    height: int, width: int, *, reach: int, minimum: int, multiple: int, pixels: int, fresh: float = 0.0, held: int = 0
) -> TilePlan:
    """The cut into windows of at most so many pixels that costs least.

    It costs the pixels painted, those painted twice counted twice; and what it takes to get the memory for a window.

    Args:
        height, width: of the picture.
        reach: radius in pixels beyond which an input pixel has no effect.
        minimum: least side of a window.
        multiple: windows begin at multiples of this, and their sides are multiples of it.
        pixels: what a window may have at most.
        fresh: what a window's pixel costs for which there is no memory yet, in pixels painted.
        held: pixels for which there is.

    Raises:
        ImpastoError: not even the smallest useful window has so few.
    """
    tall, wide = ruled(height, minimum, multiple), ruled(width, minimum, multiple)
    margin = -(-reach // multiple) * multiple
    least = _least(margin, minimum, multiple)
    across = [(broad, _count(wide, broad, margin)) for broad in _sides(wide, margin, multiple, least)]
    best: tuple[float, int, int] | None = None
    for high in _sides(tall, margin, multiple, least):
        down = _count(tall, high, margin)
        for broad, count in across:
            window = high * broad
            if window <= pixels:
                cost = _cost(down * count, window, fresh, held)
                if best is None or cost < best[0]:
                    best = cost, high, broad
    if best is None:
        smallest = least_pixels(height, width, reach=reach, minimum=minimum, multiple=multiple)
        raise ImpastoError(
            f"A window of {pixels:,} pixels is too small for this model, which needs {smallest:,}: allow more memory."
        )
    _, high, broad = best
    return TilePlan(high, broad, tuple(_spans(height, tall, high, margin)), tuple(_spans(width, wide, broad, margin)))


def least_pixels(height: int, width: int, *, reach: int, minimum: int, multiple: int) -> int:
    """The fewest pixels that :func:`plan_tiles` can do with."""
    least = _least(-(-reach // multiple) * multiple, minimum, multiple)
    return min(ruled(height, minimum, multiple), least) * min(ruled(width, minimum, multiple), least)


def _cost(count: int, window: int, fresh: float, held: int) -> float:
    return count * window + fresh * max(0, window - held)


def _least(margin: int, minimum: int, multiple: int) -> int:
    """The least side of a window among several."""
    # A third of it is kept: below that nearly all the work is done twice. And the padding needs enough to mirror.
    return max(2 * margin + max(margin, multiple), 2 * multiple, ruled(minimum, minimum, multiple))


def _sides(side: int, margin: int, multiple: int, least: int) -> Iterator[int]:
    """Every length of window worth trying along a side, the longest first: the shortest for each count."""
    if side <= least:
        yield side
        return
    count, last = 1, 0
    while True:
        length = max(_length(side, count, margin, multiple), least)
        if length != last:
            yield length
        if length == least:
            return
        count, last = count + 1, length


def _length(side: int, count: int, margin: int, multiple: int) -> int:
    """The least length with which so many windows cover a side."""
    return ruled(-(-(side + 2 * margin * (count - 1)) // count), multiple, multiple)


def _count(side: int, length: int, margin: int) -> int:
    """How many windows of a length cover a side."""
    return 1 if length >= side else -(-(side - 2 * margin) // (length - 2 * margin))


def _spans(real: int, side: int, length: int, margin: int) -> Iterator[_Span]:
    count, kept = _count(side, length, margin), 0
    for index in range(count):
        start = max(0, min(index * (length - 2 * margin), side - length))
        end = real if index == count - 1 else start + length - margin
        yield _Span(start, min(start + length, real), kept, end)
        kept = end
