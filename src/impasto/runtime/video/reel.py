"""Write a video: encode it in parts, and join the parts with the sound without encoding anything again.

A part is a file of encoded packets, one after another, and what is known of each. All parts of a reel come from
encoders with the same settings, so they follow one another as if one encoder had made them; every part begins with a
frame that stands alone.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from impasto.errors import PictureError, UnknownName
from impasto.runtime.video.containers import load_av
from impasto.runtime.video.footage import SCALING, Colors, Footage
from impasto.runtime.video.kinds import CONTAINERS

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Codec:
    """A way to encode pictures.

    Attributes:
        encoders: of FFmpeg, the best first; which of them there is depends on how PyAV was built.
        crf: the quality unless another is asked for, and the worst: smaller is better, 0 the best. None: lossless.
        formats: of the pixels: of 8 bits, and of more where players can be expected to show it.
        containers: that hold it.
        options: of each encoder.
        least: pixels that the long side must have.
    """

    encoders: tuple[str, ...]
    crf: tuple[int, int] | None
    formats: tuple[str, ...]
    containers: tuple[str, ...]
    options: dict[str, str]
    least: int = 1


CODECS = {
    "h264": Codec(("libx264",), (18, 51), ("yuv420p",), ("mp4", "mov", "matroska"), {"preset": "medium"}),
    "h265": Codec(
        ("libx265",),
        (20, 51),
        ("yuv420p", "yuv420p10le"),
        ("mp4", "mov", "matroska"),
        {"preset": "medium", "x265-params": "log-level=none"},
        # x265 4.2 writes past its memory where both sides are below its largest block.
        least=64,
    ),
    "vp9": Codec(
        ("libvpx-vp9",),
        (24, 63),
        ("yuv420p", "yuv420p10le"),
        ("webm", "mp4", "matroska"),
        {"b": "0", "deadline": "good", "cpu-used": "3", "row-mt": "1"},
    ),
    "av1": Codec(("libsvtav1", "libaom-av1"), (24, 63), ("yuv420p", "yuv420p10le"), ("webm", "mp4", "matroska"), {}),
    "ffv1": Codec(("ffv1",), None, ("bgr0", "gbrp16le"), ("matroska",), {"level": "3", "slices": "4", "slicecrc": "1"}),
}
"""What ``codec`` may be."""

_SPEED = {"libsvtav1": {"preset": "8"}, "libaom-av1": {"cpu-used": "6", "b": "0"}}
_GLOBAL_HEADER = 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER
_RGB, _BT709, _UNSPECIFIED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Reel:
    """How a video is written. The parts of reels that are equal fit together.

    Attributes:
        container: FFmpeg's name of it.
        encoder: FFmpeg's name of it.
        codec: a key of :data:`CODECS`.
        crf: see :class:`Codec`.
        format: of the encoder's pixels.
        width, height: of the frames that are given, in pixels.
        aspect: width of a pixel by its height.
        time_base, rate: see ``Footage``.
        colors: how the pixels are coded and tagged.
        library: the version of FFmpeg's encoders.
    """

    container: str
    encoder: str
    codec: str
    crf: int | None
    format: str
    width: int
    height: int
    aspect: Fraction
    time_base: Fraction
    rate: Fraction
    colors: Colors
    library: str

    @property
    def coded(self) -> tuple[int, int]:
        """Width and height as encoded: colour at half the resolution needs even sides."""
        odd = 1 if "420" in self.format else 0
        return self.width + (self.width & odd), self.height + (self.height & odd)

    def described(self) -> dict[str, Any]:
        """As plain JSON."""
        return {name: str(value) if isinstance(value, Fraction) else value for name, value in asdict(self).items()}


def check_reel(path: str | os.PathLike[str], *, codec: str | None, crf: int | None) -> tuple[str, str, str]:
    """Container, codec and encoder for an output, refused early.

    Args:
        path: its suffix decides on the container.
        codec: a key of :data:`CODECS`; None: H.264, or VP9 for WebM.
        crf: see :class:`Codec`.

    Raises:
        UnknownName: the suffix or the codec does not exist.
        PictureError: the container does not hold the codec, the codec has no such quality, or PyAV has no encoder.
    """
    place = Path(path)
    suffix = place.suffix.lower()
    if suffix not in CONTAINERS:
        raise UnknownName("video format", suffix or place.name, CONTAINERS)
    container = CONTAINERS[suffix]
    name = codec or ("vp9" if container == "webm" else "h264")
    if name not in CODECS:
        raise UnknownName("codec", name, CODECS)
    chosen = CODECS[name]
    if container not in chosen.containers:
        fitting = " or ".join(s for s, c in CONTAINERS.items() if c in chosen.containers)
        raise PictureError(f"A {suffix} file does not hold {name}: choose an output ending in {fitting}.")
    if crf is not None:
        if chosen.crf is None:
            raise PictureError(f"{name} is lossless and has no quality to choose: leave the crf out.")
        if not 0 <= crf <= chosen.crf[1]:
            raise PictureError(f"The crf {crf} does not exist for {name}: choose 0 (best) to {chosen.crf[1]}.")
    av = load_av()
    encoder = next((one for one in chosen.encoders if one in av.codecs_available), None)
    if encoder is None:
        known = [n for n, c in CODECS.items() if set(c.encoders) & set(av.codecs_available)]
        raise PictureError(f"This PyAV was built without an encoder for {name}: choose {' or '.join(known)}.")
    return container, name, encoder


def reel_for(
    path: str | os.PathLike[str], footage: Footage, size: tuple[int, int], *, codec: str | None, crf: int | None
) -> tuple[Reel, tuple[str, ...]]:
    """How to write a footage, and what of it cannot be kept, a sentence each; raises as :func:`check_reel`."""
    container, name, encoder = check_reel(path, codec=codec, crf=crf)
    chosen, av = CODECS[name], load_av()
    if max(size) < chosen.least:
        raise PictureError(f"{name} needs frames of {chosen.least} pixels on the long side: choose h264, or a size.")
    formats = {form.name for form in av.codec.Codec(encoder, "w").video_formats or ()}
    form, notes = chosen.formats[0], []
    if footage.depth > 8:
        deep = [one for one in chosen.formats[1:] if one in formats]
        form = deep[0] if deep else form
        if not deep:
            notes.append(f"Its {footage.depth} bits are written as 8, as {name} is commonly played.")
    colors = footage.colors
    if form.startswith(("bgr", "gbr")):
        colors = colors._replace(matrix=_RGB, full=True)
    elif colors.matrix == _RGB:
        colors = colors._replace(matrix=_BT709, full=False)
    reel = Reel(
        container=container,
        encoder=encoder,
        codec=name,
        crf=None if chosen.crf is None else chosen.crf[0] if crf is None else crf,
        format=form,
        width=size[0],
        height=size[1],
        aspect=footage.aspect,
        time_base=footage.time_base,
        rate=footage.rate,
        colors=colors,
        library=".".join(str(n) for n in av.library_versions["libavcodec"]),
    )
    if reel.coded != size:
        notes.append(
            f"Its {size[0]}x{size[1]} pixels are written as {'x'.join(map(str, reel.coded))}: {name} "
            "needs even sides, so the last ones are repeated."
        )
    return reel, tuple(notes)


def configure(context: Any, reel: Reel) -> None:
    """Give an encoder its settings, before it is opened."""
    context.width, context.height = reel.coded
    context.pix_fmt = reel.format
    context.time_base, context.framerate = reel.time_base, reel.rate
    context.sample_aspect_ratio = reel.aspect
    colors = reel.colors
    context.colorspace, context.color_range = colors.matrix, colors.range
    context.color_primaries, context.color_trc = colors.primaries, colors.transfer
    context.options = encoder_options(reel)
    if reel.encoder == "libsvtav1":
        # It talks on stderr, past FFmpeg's own log, of everything but errors.
        os.environ.setdefault("SVT_LOG", "1")
    # The number of threads can change the result; all parts must be alike wherever they are made.
    context.thread_count = 2
    if reel.container in ("mp4", "mov") and reel.codec == "h265":
        context.codec_tag = "hvc1"  # Apple's players know no other


def encoder_options(reel: Reel) -> dict[str, str]:
    """The encoder's own options."""
    quality = {} if reel.crf is None else {"crf": str(reel.crf)}
    return CODECS[reel.codec].options | _SPEED.get(reel.encoder, {}) | quality


@dataclass(frozen=True, slots=True)
class Part:
    """A finished part.

    Attributes:
        times: when each packet's frame is shown, in the order of the packets.
        sizes: bytes of each packet.
        keys: 1 where a packet stands alone.
        header: what a decoder must know first, in hexadecimal.
        sha256: of the file.
    """

    times: tuple[int, ...]
    sizes: tuple[int, ...]
    keys: tuple[int, ...]
    header: str
    sha256: str


class PartWriter:
    """Encodes frames and writes their packets to a file.

    Args:
        file: where to write, open in binary mode.
        reel: how.
    """

    def __init__(self, file: BinaryIO, reel: Reel) -> None:
        self._file, self._reel, self._av = file, reel, load_av()
        self._encoder = self._av.CodecContext.create(reel.encoder, "w")
        configure(self._encoder, reel)
        self._encoder.flags |= _GLOBAL_HEADER
        self._digest = hashlib.sha256()
        self._packets: list[tuple[int, int, int]] = []
        self._given = 0

    def add(self, time: int, rgb: F32) -> None:
        """Encode one frame: float32 [H,W,3] in 0..1, shown at ``time``, later than the last."""
        reel = self._reel
        width, height = reel.coded
        deep = "10" in reel.format or "16" in reel.format
        levels, kind = (65535, np.uint16) if deep else (255, np.uint8)
        pixels = np.rint(np.clip(rgb, 0, 1) * np.float32(levels)).astype(kind)
        pixels = np.pad(pixels, ((0, height - rgb.shape[0]), (0, width - rgb.shape[1]), (0, 0)), mode="edge")
        frame = self._av.VideoFrame.from_ndarray(pixels, format="rgb48le" if deep else "rgb24")
        matrix = {} if reel.colors.matrix == _RGB else {"dst_colorspace": reel.colors.sws_matrix}
        frame = frame.reformat(
            format=reel.format,
            src_color_range=2,
            dst_color_range=reel.colors.range,
            interpolation=SCALING,
            threads=1,
            **matrix,
        )
        frame.pts, frame.time_base = time, reel.time_base
        self._given += 1
        self._write(self._encoder.encode(frame))

    def finish(self) -> Part:
        """Write what the encoder still holds.

        Raises:
            PictureError: the encoder lost a frame.
        """
        self._write(self._encoder.encode(None))
        if len(self._packets) != self._given:
            raise PictureError(
                f"The encoder gave {len(self._packets)} pictures for {self._given} frames: choose another codec."
            )
        times, sizes, keys = zip(*self._packets, strict=True)
        return Part(times, sizes, keys, bytes(self._encoder.extradata or b"").hex(), self._digest.hexdigest())

    def _write(self, packets: Sequence[Any]) -> None:
        for packet in packets:
            data = bytes(packet)
            if not data:
                continue
            self._file.write(data)
            self._digest.update(data)
            self._packets.append((packet.pts, len(data), int(packet.is_keyframe)))


def supported(container: str) -> set[str]:
    """FFmpeg's names of all codecs that a container holds."""
    with load_av().open(io.BytesIO(), "w", format=container) as empty:
        return set(empty.supported_codecs)
