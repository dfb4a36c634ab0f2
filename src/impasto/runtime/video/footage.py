"""Read a video: what it holds, and its frames as upright RGB."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from impasto.errors import PictureError
from impasto.runtime.files import missing_file
from impasto.runtime.video.containers import load_av, opened, picture_track, scanned, true_rate

F32 = NDArray[np.float32]

_SAMPLE = 1 << 20  # bytes at each end that, with the size, tell one file from another
_UNSPECIFIED = 2
_RGB_MATRIX = 0
# From AVColorSpace to the constants of swscale; a matrix that it does not know is taken for the usual one.
_SWS_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_BT709, _BT601 = 1, 6
_HDR = {16: "PQ", 18: "HLG"}
_FULL, _LIMITED = 2, 1
# Bicubic, with chroma brought to full size and accurate rounding.
SCALING = 0x4 | 0x2000 | 0x40000


class Colors(NamedTuple):
    """How the pixels are coded, in the numbers of the standard (ITU-T H.273).

    Attributes:
        matrix: from Y'CbCr to RGB; 0 for pixels that are RGB.
        full: values fill the whole range; otherwise 16 to 235.
        primaries, transfer: 2 where the file does not say.
    """

    matrix: int
    full: bool
    primaries: int = _UNSPECIFIED
    transfer: int = _UNSPECIFIED

    @property
    def sws_matrix(self) -> int:
        return _SWS_MATRIX.get(self.matrix, 1)

    @property
    def range(self) -> int:
        return _FULL if self.full else _LIMITED


class Turn(NamedTuple):
    """How stored pixels become upright: first transposed, then mirrored."""

    transposed: bool = False
    across: bool = False
    down: bool = False

    def applied(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """[h,w,C] upright."""
        if self.transposed:
            pixels = pixels.transpose(1, 0, 2)
        return pixels[:: -1 if self.down else 1, :: -1 if self.across else 1]


@dataclass(frozen=True, slots=True)
class Footage:
    """What a video file holds.

    Attributes:
        path: the file.
        width, height: of a frame, upright, in pixels as they are stored.
        turn: from stored to upright.
        aspect: width of a pixel by its height, upright.
        time_base: seconds of one unit of time.
        rate: frames in a second, on average.
        times: when each frame is shown, in units, sorted: int64 [n].
        last: how long the last frame is shown, in units.
        colors: see :class:`Colors`.
        depth: bits of a channel.
        exact: every frame has a time of its own in the file, so that one can be looked up.
        notes: what cannot be kept, a sentence each.
        mark: sha256 of the size and both ends of the file.
    """

    path: Path
    width: int
    height: int
    turn: Turn
    aspect: Fraction
    time_base: Fraction
    rate: Fraction
    times: NDArray[np.int64]
    last: int
    colors: Colors
    depth: int
    exact: bool
    notes: tuple[str, ...]
    mark: str


class Shot(NamedTuple):
    """One frame: when it is shown, in units of the footage's time base, and float32 [H,W,3] RGB in 0..1, upright."""

    time: int
    rgb: F32


def open_footage(path: str | os.PathLike[str], *, end: float | None = None) -> Footage:
    """Look a video through.

    Args:
        path: the file.
        end: what comes later, in seconds from the first frame, will not be used: it may be missing.

    Raises:
        PictureError: the file is missing, no video, damaged, or ends before it says it does.
    """
    place = Path(path)
    mark = _mark(place)
    av = load_av()
    with opened(place) as container:
        stream = picture_track(container, place)
        first = _first_frame(av, container, stream, place)
        colors, depth, notes = _coding(first)
        turn = turn_of(_display_matrix(first))
        width, height = (first.height, first.width) if turn.transposed else (first.width, first.height)
        aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
        time_base = stream.time_base
        rate = Fraction(stream.average_rate or stream.guessed_rate or stream.base_rate or 25)
    times, exact, last, lacking = scanned(place, rate, end)
    if lacking:
        raise PictureError(lacking)
    rate = true_rate(rate, times, time_base)
    if first.interlaced_frame:
        notes += ("It is interlaced, and is painted as it is: deinterlace it first for clean strokes.",)
    return Footage(
        path=place,
        width=width,
        height=height,
        turn=turn,
        aspect=1 / aspect if turn.transposed else aspect,
        time_base=time_base,
        rate=rate,
        times=times,
        last=last or max(1, round(1 / (rate * time_base))),
        colors=colors,
        depth=depth,
        exact=exact,
        notes=notes,
        mark=mark,
    )


class Reader:
    """Decodes the frames of a footage, in order. Close it, or use it in a ``with``.

    Args:
        footage: what to read.
        size: (width, height) upright to scale to; None: as it is.
        after: give only frames later than this, in units; None: all.

    Attributes:
        damaged: packets that could not be decoded so far.
    """

    def __init__(self, footage: Footage, *, size: tuple[int, int] | None = None, after: int | None = None) -> None:
        self._av, self._footage, self._after = load_av(), footage, after
        width, height = size or (footage.width, footage.height)
        self._size = (height, width) if footage.turn.transposed else (width, height)
        self.damaged = 0
        self._container: Any = None
        self._stream: Any = None
        self._open()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def __iter__(self) -> Iterator[Shot]:
        footage = self._footage
        step = max(1, round(1 / (footage.rate * footage.time_base)))
        latest = int(footage.times[0]) - step
        for number, frame in enumerate(self._frames()):
            if not footage.exact:
                time = int(footage.times[number]) if number < len(footage.times) else latest + step
            else:
                time = latest + step if frame.pts is None else frame.pts
            latest = time
            if self._after is None or time > self._after:
                yield Shot(time, self._pixels(frame))

    def _open(self) -> None:
        self.close()
        self._container = opened(self._footage.path)
        self._stream = picture_track(self._container, self._footage.path)
        self._stream.thread_type = "AUTO"

    def _frames(self) -> Iterator[Any]:
        assert self._container is not None
        footage, after = self._footage, self._after
        if after is not None and footage.exact and after > footage.times[0]:
            self._container.seek(after + 1, stream=self._stream)
            first = next((p for p in self._container.demux(self._stream) if p.size), None)
            # A frame that comes in the file before its key frame may be shown after it, so the key frame decides.
            safe = first is not None and first.pts is not None and first.pts <= after + 1 and first.is_keyframe
            if safe:
                self._container.seek(after + 1, stream=self._stream)
            else:
                self._open()
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except self._av.error.FFmpegError:
                return  # the end of what is there
            if packet is None:
                return
            try:
                frames = packet.decode()
            except self._av.error.EOFError:
                return
            except self._av.error.FFmpegError:
                self.damaged += 1
                continue
            yield from frames

    def _pixels(self, frame: Any) -> F32:
        colors, deep = self._footage.colors, self._footage.depth > 8
        yuv = {} if colors.matrix == _RGB_MATRIX else {"src_colorspace": colors.sws_matrix}
        # Always scaled to one size: a stream may change its own.
        ready = frame.reformat(
            width=self._size[0],
            height=self._size[1],
            format="rgb48le" if deep else "rgb24",
            src_color_range=colors.range,
            dst_color_range=_FULL,
            interpolation=SCALING,
            threads=1,
            **yuv,
        )
        pixels = self._footage.turn.applied(ready.to_ndarray())
        rgb: F32 = np.divide(np.ascontiguousarray(pixels), np.float32(65535 if deep else 255), dtype=np.float32)
        return rgb


def turn_of(matrix: tuple[int, ...] | None) -> Turn:
    """The nearest right-angled turn to a display matrix (nine numbers: a b u, c d v, x y w; see ISO/IEC 14496-12).

    A point (p, q) of the stored frame is shown at (a p + c q, b p + d q).
    """
    if matrix is None:
        return Turn()
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Turn(False, a < 0, d < 0)
    return Turn(True, c < 0, b < 0)


def _mark(path: Path) -> str:
    try:
        if path.is_dir():
            raise PictureError(f"{path} is a folder: name a video in it.")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise PictureError(f"{path.name} is empty (0 bytes): copy or download it again.")
            digest = hashlib.sha256(str(size).encode() + file.read(_SAMPLE))
            file.seek(max(0, size - _SAMPLE))
            digest.update(file.read(_SAMPLE))
            return digest.hexdigest()
    except FileNotFoundError:
        raise PictureError(missing_file(path)) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise PictureError(f"{path} cannot be read ({reason}): check its name and permissions.") from error


def _first_frame(av: Any, container: Any, stream: Any, path: Path) -> Any:
    try:
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    return frame
            except av.error.FFmpegError:
                continue
    except av.error.FFmpegError:
        pass
    raise PictureError(f"Not one frame of {path.name} can be decoded: it is empty or damaged, so copy it again.")


def _coding(frame: Any) -> tuple[Colors, int, tuple[str, ...]]:
    """How a frame is coded; bits of a channel; and what is lost."""
    kind = frame.format
    parts = kind.components
    notes: tuple[str, ...] = ()
    if any(part.is_alpha for part in parts):
        notes += ("Its transparency is left out.",)
    transfer = int(getattr(frame, "color_trc", _UNSPECIFIED))
    if transfer in _HDR:
        notes += (
            f"It is HDR ({_HDR[transfer]}) and is painted as it is coded: convert it to SDR first for true light.",
        )
    primaries = int(getattr(frame, "color_primaries", _UNSPECIFIED))
    depth = max(part.bits for part in parts) if not kind.has_palette else 8
    if kind.is_rgb or kind.has_palette:
        return Colors(_RGB_MATRIX, True, primaries, transfer), depth, notes
    matrix = int(frame.colorspace)
    if matrix in (_RGB_MATRIX, _UNSPECIFIED) or matrix not in _SWS_MATRIX:
        # What players take for granted: the matrix of high definition from 720 lines on.
        matrix = _BT709 if frame.width >= 1280 or frame.height > 576 else _BT601
    full = int(frame.color_range) == _FULL or kind.name.startswith("yuvj")
    return Colors(matrix, full, primaries, transfer), depth, notes


def _display_matrix(frame: Any) -> tuple[int, ...] | None:
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return tuple(np.frombuffer(bytes(data), np.int32).tolist())
    return None
