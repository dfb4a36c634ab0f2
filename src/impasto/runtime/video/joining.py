"""Join the parts of a reel and the sound of a footage into a video, without decoding or encoding anything."""

from __future__ import annotations

import errno
import heapq
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from impasto.errors import PictureError
from impasto.runtime.video.containers import load_av, local, opened, picture_track
from impasto.runtime.video.footage import Footage
from impasto.runtime.video.reel import Part, Reel, configure, encoder_options, supported

_OWN = {"encoder", "major_brand", "minor_version", "compatible_brands", "duration"}
"""Metadata that a container writes about itself."""


class Window(NamedTuple):
    """What is taken of a footage, in seconds of its clock.

    Attributes:
        start: where it begins, which becomes 0; None: at its beginning, and nothing is moved.
        end: where it ends; None: at its end.
    """

    start: Fraction | None = None
    end: Fraction | None = None

    @property
    def shift(self) -> Fraction:
        """What is taken from every time."""
        return self.start or Fraction(0)

    def holds(self, when: Fraction) -> bool:
        """Whether something that begins then is taken."""
        return (self.start is None or self.start <= when) and (self.end is None or when < self.end)


def kept_tracks(footage: Footage, reel: Reel, target: Path) -> tuple[list[int], tuple[str, ...]]:
    """Which tracks beside the pictures are copied, by index, and what is left out, a sentence each.

    Raises:
        PictureError: the container does not hold a sound.
    """
    holds = supported(reel.container)
    kept, lost = [], []
    with opened(footage.path) as container:
        pictures = picture_track(container, footage.path).index
        for track in container.streams:
            if track.index == pictures:
                continue
            codec = track.codec_context.name if track.codec_context is not None else None
            if track.type in ("audio", "subtitle") and codec in holds:
                kept.append(track.index)
            elif track.type == "audio":
                raise PictureError(
                    f"{target.name} cannot hold the sound of {footage.path.name} ({codec or 'of an unknown kind'}): "
                    f"choose an output ending in .mkv."
                )
            else:
                lost.append(f"{track.type} ({codec})" if codec else track.type)
    return kept, ((f"Left out, as {target.suffix} does not hold it: {', '.join(lost)}.",) if lost else ())


def join(
    reel: Reel,
    parts: Sequence[tuple[Path, Part]],
    footage: Footage,
    tracks: Sequence[int],
    window: Window,
    target: Path,
    *,
    strip: bool = False,
) -> None:
    """Write the video.

    Args:
        reel, parts: the pictures, in order.
        footage: whose sound, subtitles, chapters and metadata are copied.
        tracks: as :func:`kept_tracks` gives them.
        window: what was taken.
        target: the new file; what is there is lost.
        strip: leave metadata out.

    Raises:
        PictureError: a part is not of this reel, or the video cannot be written, or is not what it should be.
    """
    av = load_av()
    if any(part.header != parts[0][1].header for _, part in parts):
        raise PictureError(f"The parts of {target.name} come from different encoders: begin anew with overwriting.")
    options = {"movflags": "+faststart"} if reel.container in ("mp4", "mov") else {}
    try:
        with (
            opened(footage.path) as source,
            av.open(local(target), "w", format=reel.container, container_options=options) as out,
        ):
            pictures, copies = _set_up(out, source, footage, reel, tracks)
            if not strip:
                _copy_words(source, out, pictures, footage, copies, window)
            out.start_encoding()
            packets = heapq.merge(
                _picture_packets(av, reel, parts, footage, pictures, window.shift),
                _other_packets(source, copies, window),
                key=lambda timed: timed[0],
            )
            for _, packet in packets:
                out.mux(packet)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC
        hint = f"make room in {target.parent.parent}" if full else "try an output ending in .mkv"
        raise PictureError(f"{target.name} could not be put together ({_reason(error)}): {hint}.") from error
    _verify(target, sum(len(part.times) for _, part in parts))


def check_joining(reel: Reel, footage: Footage, tracks: Sequence[int], target: Path) -> None:
    """Begin the output in memory, since some combinations are refused only then: better before hours of painting.

    Raises:
        PictureError: the encoder does not take the frames, or the container does not hold the tracks.
    """
    av = load_av()
    with opened(footage.path) as source:
        out = av.open(io.BytesIO(), "w", format=reel.container)
        try:
            _set_up(out, source, footage, reel, tracks)
            out.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            raise PictureError(
                f"{target.name} cannot hold {footage.path.name} with its sound ({_reason(error)}): choose an output "
                f"ending in .mkv, or another codec."
            ) from error
        finally:
            # Without a packet, some containers do not like to be ended.
            with suppress(av.error.FFmpegError, ValueError):
                out.close()


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__).splitlines()[0]


def _set_up(out: Any, source: Any, footage: Footage, reel: Reel, tracks: Sequence[int]) -> tuple[Any, dict[int, Any]]:
    """Give an output its tracks: the pictures, and copies of others by their index."""
    pictures = out.add_stream(reel.encoder, reel.rate, options=encoder_options(reel))
    configure(pictures.codec_context, reel)
    pictures.time_base = reel.time_base
    copies = {}
    for index in tracks:
        track = source.streams[index]
        copies[index] = out.add_stream_from_template(track)
        copies[index].disposition = track.disposition.value  # default, forced, a commentary
    return pictures, copies


def _copy_words(source: Any, out: Any, pictures: Any, footage: Footage, copies: dict[int, Any], window: Window) -> None:
    """Metadata and chapters."""
    out.metadata.update(_foreign(source.metadata))
    wanted = ("language", "title")
    own = picture_track(source, footage.path).metadata
    pictures.metadata.update({key: value for key, value in own.items() if key.lower() in wanted})
    for index, copy in copies.items():
        copy.metadata.update(_foreign(source.streams[index].metadata))
    _copy_chapters(source, out, window)


def _foreign(metadata: dict[str, str]) -> dict[str, str]:
    """What is not the container's word about itself."""
    return {key: value for key, value in metadata.items() if key.lower() not in _OWN}


def _copy_chapters(source: Any, out: Any, window: Window) -> None:
    if not hasattr(out, "set_chapters"):
        return
    chapters = []
    for chapter in source.chapters():
        unit = chapter["time_base"]
        start, end = chapter["start"] * unit, chapter["end"] * unit
        start, end = max(start - window.shift, Fraction(0)), (end if window.end is None else min(end, window.end))
        end -= window.shift
        if end > start:
            chapters.append(chapter | {"start": round(start / unit), "end": round(end / unit)})
    if chapters:
        out.set_chapters(chapters)


def _picture_packets(
    av: Any, reel: Reel, parts: Sequence[tuple[Path, Part]], footage: Footage, stream: Any, shift: Fraction
) -> Iterator[tuple[Fraction, Any]]:
    """The packets of all parts with the order of decoding worked out anew over all of them.

    An encoder that refers to later frames lets decoding begin that many frames before showing. At the start of a part
    it invents times for those, which may lie before the last ones of the part before.
    """
    times = [time for _, part in parts for time in part.times]
    ordered = sorted(times)
    place = {time: rank for rank, time in enumerate(ordered)}
    delay = max((index - place[time] for index, time in enumerate(times)), default=0)
    step = max(1, round(1 / (reel.rate * reel.time_base)))
    offset = round(shift / reel.time_base)
    index = 0
    for path, part in parts:
        with path.open("rb") as file:
            for time, size, key in zip(part.times, part.sizes, part.keys, strict=True):
                packet = av.Packet(file.read(size))
                packet.stream, packet.time_base = stream, reel.time_base
                early = ordered[index - delay] if index >= delay else ordered[0] - (delay - index) * step
                packet.pts, packet.dts = time - offset, early - offset
                later = place[time] + 1
                packet.duration = ordered[later] - time if later < len(ordered) else footage.last
                packet.is_keyframe = bool(key)
                index += 1
                yield (early - offset) * reel.time_base, packet


def _other_packets(source: Any, copies: dict[int, Any], window: Window) -> Iterator[tuple[Fraction, Any]]:
    """The packets of the other tracks, those that begin in the window, as they are."""
    if not copies:
        return
    for packet in source.demux([source.streams[index] for index in copies]):
        packet.dts = packet.pts if packet.dts is None else packet.dts
        if packet.dts is None or not packet.size:
            continue
        unit = packet.time_base
        if not window.holds((packet.dts if packet.pts is None else packet.pts) * unit):
            continue
        offset = round(window.shift / unit)
        if packet.pts is not None:
            packet.pts -= offset
        packet.dts -= offset
        when = packet.dts * unit
        packet.stream = copies[packet.stream_index]
        yield when, packet


def _verify(target: Path, frames: int) -> None:
    """Read what was written, and count."""
    with opened(target) as container:
        found = sum(1 for packet in container.demux(picture_track(container, target)) if packet.size)
    if found != frames:
        raise PictureError(f"{target.name} has {found} frames where {frames} were painted: check the disk.")
