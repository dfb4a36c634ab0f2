"""Pictures that are looked at and written in parts: in memory, or on disk where they would not fit into it.

Files on disk are plain samples, row by row, read and written with ordinary calls. They are not mapped into memory: a
mapped page counts as memory of the process for as long as the system likes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from impasto.errors import PictureError
from impasto.runtime.picture import Picture, resample
from impasto.runtime.pixels.decode import unit
from impasto.runtime.pixels.encode import quantized
from impasto.runtime.pixels.moments import Moments
from impasto.runtime.tiles import Area

F32 = NDArray[np.float32]

BAND = 1 << 18
"""Pixels worked on at once: as float32 RGB they take 3 MB, little enough that every band is given the same memory."""


class Surface(Protocol):
    """Where a picture is, however it is kept; height and width in pixels."""

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    def rgb(self, area: Area) -> F32:
        """float32 [h,w,3] in 0..1."""
        ...

    def alpha(self, area: Area) -> F32 | None:
        """float32 [h,w] in 0..1, or None where the picture is opaque."""
        ...

    def put(self, area: Area, rgb: F32, alpha: F32 | None = None) -> None:
        """Write pixels: float32 [h,w,3] in 0..1, and alpha where the surface has it."""
        ...


class Sheet:
    """A picture in memory."""

    def __init__(self, rgb: F32, alpha: F32 | None = None) -> None:
        self.pixels, self._alpha = rgb, alpha
        self.height, self.width = rgb.shape[:2]

    def rgb(self, area: Area) -> F32:
        return self.pixels[area.top : area.bottom, area.left : area.right]

    def alpha(self, area: Area) -> F32 | None:
        return None if self._alpha is None else self._alpha[area.top : area.bottom, area.left : area.right]

    def put(self, area: Area, rgb: F32, alpha: F32 | None = None) -> None:
        self.rgb(area)[:] = rgb
        if self._alpha is not None and alpha is not None:
            self._alpha[area.top : area.bottom, area.left : area.right] = alpha


class Canvas:
    """A picture in a nameless file, gone when it is closed or the process ends in whatever way.

    Args:
        height, width: in pixels.
        alpha: it has an alpha channel.
        deep: 16 bits a channel, not 8.
        folder: where the file lies; needs room for all samples.

    Raises:
        PictureError: no file can be made or written there.
    """

    def __init__(self, height: int, width: int, *, alpha: bool, deep: bool, folder: Path) -> None:
        self.height, self.width, self.channels = height, width, 4 if alpha else 3
        self.dtype: np.dtype[Any] = np.dtype(np.uint16 if deep else np.uint8)
        self.levels = 65535 if deep else 255
        self.folder = folder
        import tempfile  # few need it, and it brings much

        try:
            # Beside the target, because the usual place for temporary files is memory on many systems.
            self._file = tempfile.TemporaryFile(dir=folder, prefix=".impasto-", suffix=".tmp", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._refused(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    @property
    def whole(self) -> Area:
        return Area(0, 0, self.height, self.width)

    def samples(self, area: Area) -> NDArray[Any]:
        """uint8 or uint16 [h,w,C], C 3 or 4."""
        out = np.empty((area.height, area.width, self.channels), self.dtype)
        try:
            for offset, view in self._pieces(area, out):
                self._file.seek(offset)
                while view:
                    count = self._file.readinto(view)
                    if not count:
                        raise PictureError("A part of the picture was read that was never written: report this.")
                    view = view[count:]
        except OSError as error:
            raise self._refused(error) from error
        return out

    def write(self, area: Area, samples: NDArray[Any]) -> None:
        """Write uint8 or uint16 [h,w,C], as the canvas has them."""
        try:
            for offset, view in self._pieces(area, np.ascontiguousarray(samples, self.dtype)):
                self._file.seek(offset)
                while view:
                    view = view[self._file.write(view) :]
        except OSError as error:
            raise self._refused(error) from error

    def rgb(self, area: Area) -> F32:
        return unit(self.samples(area)[..., :3])

    def alpha(self, area: Area) -> F32 | None:
        if self.channels == 3:
            return None
        return unit(self.samples(area)[..., 3])

    def put(self, area: Area, rgb: F32, alpha: F32 | None = None) -> None:
        self.write(area, quantized(rgb, alpha, self.levels))

    def _pieces(self, area: Area, array: NDArray[Any]) -> Iterator[tuple[int, memoryview]]:
        """Every run of bytes that lies together on disk, and its part of the array."""
        pixel = self.channels * self.dtype.itemsize
        view = memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]  # numpy says so from 3.12 on
        # Full rows lie one behind the other.
        run = area.height * area.width * pixel if area.width == self.width else area.width * pixel
        for index, start in enumerate(range(0, len(view), run)):
            yield ((area.top + index) * self.width + area.left) * pixel, view[start : start + run]

    def _refused(self, error: OSError) -> PictureError:
        need = self.height * self.width * self.channels * self.dtype.itemsize / 1e6
        return PictureError(
            f"A picture of {self.width}x{self.height} is kept in {self.folder} while it is painted, which takes "
            f"{need:.0f} MB, and that failed ({error.strerror or error}): make room there or write elsewhere."
        )


def surface_of(picture: Picture) -> Sheet:
    """A picture in memory as a surface; not copied."""
    return Sheet(picture.rgb, picture.alpha)


def moments_of(surface: Surface, area: Area | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [3] and covariance [3,3] of the colours, each pixel counted by its opacity; see ``pixels.moments``."""
    moments = Moments()
    # Half a band, because alpha makes everything double precision.
    for band in (area or Area(0, 0, surface.height, surface.width)).bands(BAND // 2):
        moments.add(surface.rgb(band), surface.alpha(band))
    return moments.result()


def planes_of(surface: Surface, area: Area, planes: F32) -> F32:
    """A part of a picture as networks want it, padded at the right and bottom as `engine.pad_to_rule` pads.

    Args:
        surface: the picture.
        area: the part.
        planes: float32 [1,3,height,width], of at least the area's sides; written over.

    Returns:
        ``planes``.
    """
    height, width = planes.shape[2:]
    for band in area.bands(BAND):
        rows = slice(band.top - area.top, band.bottom - area.top)
        planes[0, :, rows, : area.width] = surface.rgb(band).transpose(2, 0, 1)
    # In place: padding afterwards would take the same memory once more.
    down, across = _padding(area.height, height), _padding(area.width, width)
    planes[:, :, area.height :, : area.width] = planes[:, :, down, : area.width]
    planes[:, :, :, area.width :] = planes[:, :, :, across]
    return planes


def _padding(side: int, ruled: int) -> NDArray[np.intp]:
    """Which pixel each pixel of the padding repeats."""
    pad = ruled - side
    return np.pad(np.arange(side), (0, pad), mode="reflect" if pad < side else "edge")[side:]


def resampled(
    surface: Surface, size: tuple[int, int], *, band: int = 1 << 22
) -> Iterator[tuple[Area, F32, F32 | None]]:
    """A picture at another size, from the top down.

    Args:
        surface: the picture.
        size: width and height of the result.
        band: about how many pixels are read at once.

    Yields:
        Where a part lies in the result, its rgb [h,w,3] and its alpha [h,w] or None.
    """
    width, height = size
    scale = surface.height / height
    # Lanczos looks so far, in pixels of the source.
    reach = 3 * max(scale, 1.0) + 1
    most = band / max(surface.width, width)  # rows, of whichever is the wider
    rows = max(1, int((most - 2 * reach) / max(scale, 1.0)))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first = max(0, math.floor(top * scale - reach))
        last = min(surface.height, math.ceil(bottom * scale + reach))
        seen = Area(first, 0, last, surface.width)
        box = (0.0, top * scale - first, float(surface.width), min(bottom * scale, surface.height) - first)
        yield Area(top, 0, bottom, width), *resample(surface.rgb(seen), surface.alpha(seen), (width, bottom - top), box)
