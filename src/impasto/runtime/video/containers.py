"""Video containers: opening a file, and going through it once without decoding.

Only files are read, and only containers that people's clips come in: a playlist that names other files or addresses is
refused. Needs PyAV (extra ``[video]``), which is imported when a video is opened.
"""

from __future__ import annotations

from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from impasto.errors import PictureError

_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg,mxf,nut,ivf,h264,hevc,m4v,mpegvideo,obu"
_DECLARED = ("mov", "matroska")  # containers that say at their beginning how long they are
_COVER = 0x400  # AV_DISPOSITION_ATTACHED_PIC


def load_av() -> Any:
    """PyAV, or PictureError with what to do."""
    try:
        return import_module("av")
    except ImportError as error:
        raise PictureError("Videos need PyAV: pip install 'impasto[video]'.") from error


def local(path: Path) -> str:
    """How FFmpeg is told that a name is a file: ``12:30.mp4`` would be an address otherwise."""
    return f"file:{path}"


def opened(path: Path) -> Any:
    """A video open for reading; PictureError if it is none."""
    av = load_av()
    try:
        options = {"protocol_whitelist": "file", "format_whitelist": _DEMUXERS}
        return av.open(local(path), "r", container_options=options, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise PictureError(f"{path.name} is no video, or its beginning is damaged: check the file.") from error


def picture_track(container: Any, path: Path) -> Any:
    """The stream of the pictures; PictureError where there is none (a cover picture does not count)."""
    found = [s for s in container.streams.video if not s.disposition.value & _COVER]
    if not found:
        raise PictureError(f"{path.name} has sound or data and no pictures: give a video.")
    return max(found, key=lambda s: (s.codec_context.width or 0) * (s.codec_context.height or 0))


def scanned(path: Path, rate: Fraction, end: float | None) -> tuple[NDArray[np.int64], bool, int, str]:
    """Go through the packets of a video without decoding.

    Args:
        path: the file.
        rate: frames in a second, for one that has no times.
        end: see ``open_footage``.

    Returns:
        ``times``, ``exact`` and ``last`` of the footage (0 where it is not known); and in a sentence what is lacking,
        or nothing.
    """
    av = load_av()
    times: list[int | None] = []
    decoded: list[int | None] = []
    lengths: dict[int | None, int] = {}
    reached = 0.0
    with opened(path) as container:
        stream = picture_track(container, path)
        unit = stream.time_base
        declared = (container.duration or 0) / 1e6
        kind = container.format.name
        broken = kind.startswith("mov") and _points_beyond(stream, container.size)
        try:
            for packet in container.demux():
                if packet.dts is None and not packet.size:
                    continue
                shown = packet.pts if packet.pts is not None else packet.dts
                if shown is not None and packet.time_base is not None:
                    reached = max(reached, float((shown + (packet.duration or 0)) * packet.time_base))
                if packet.stream_index == stream.index and packet.size:
                    broken |= packet.is_corrupt
                    if not packet.is_discard:
                        times.append(packet.pts)
                        decoded.append(packet.dts)
                        lengths[packet.pts] = packet.duration or 0
        except av.error.FFmpegError:
            broken = True
    step = max(1, round(1 / (rate * unit)))
    if not times:
        return np.zeros(0, np.int64), False, step, f"{path.name} holds no frame: give another video."
    exact = _all_known(times) and not kind.startswith("avi")
    # An AVI has no times, only an order; what FFmpeg makes of it is wrong where frames refer to later ones. They are
    # shown one after another when the next one could be decoded.
    known = times if exact else decoded
    if _all_known(known):
        sorted_times = np.sort(np.array(known, np.int64))
    else:
        begin = min((time for time in (*times, *decoded) if time is not None), default=0)
        sorted_times = begin + step * np.arange(len(times), dtype=np.int64)
    last = lengths.get(int(sorted_times[-1]), 0) if exact else 0
    lacking = ""
    if kind.startswith(_DECLARED):
        # Some count the silence that an audio codec begins with into the length.
        short = declared - reached > 0.3 + 0.01 * declared
        if broken or short:
            there = float((sorted_times[-1] - sorted_times[0]) * unit)
            if end is None or end > there:
                lacking = (
                    f"{path.name} is cut short: only the first {there:.2f} seconds are there, so copy it again, or "
                    f"paint what is there with the end at {there:.2f}."
                )
    return sorted_times, exact, last, lacking


def true_rate(said: Fraction, times: NDArray[np.int64], unit: Fraction) -> Fraction:
    """Frames in a second as the file says, unless its frames are far from it (AVI counts places for frames)."""
    if len(times) < 2:
        return said
    counted = (len(times) - 1) / (int(times[-1] - times[0]) * unit)
    return said if abs(counted / said - 1) < Fraction(1, 10) else Fraction(counted).limit_denominator(1001)


def _points_beyond(stream: Any, size: int) -> bool:
    """Whether the table of contents of an MP4 names places after the end of the file."""
    entries = getattr(stream, "index_entries", ())
    return any(entries[number].pos + entries[number].size > size for number in range(len(entries)))


def _all_known(times: list[int | None]) -> bool:
    """Every frame has a time, and no two have the same."""
    return None not in times and len(set(times)) == len(times)
