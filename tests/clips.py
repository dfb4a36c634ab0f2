"""Small videos made by code, for the tests of `impasto.runtime.video`."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

RATE = 10
UNIT = Fraction(1, 600)


def moving(count: int, width: int = 48, height: int = 32, *, noise: float = 0.0, step: float = 1.0) -> list[Any]:
    """Float32 [H,W,3] frames in 0..1: soft colours that move to the left; every corner has its own."""
    random = np.random.default_rng(0)
    frames = []
    for number in range(count):
        y, x = np.mgrid[:height, :width].astype(np.float64)
        x = x + number * step
        rgb = np.stack([0.5 + 0.4 * np.sin(x / 9 + y / 17), 0.2 + 0.6 * y / height, 0.5 + 0.3 * np.cos(x / 13)], -1)
        frames.append((rgb + random.normal(0, noise, rgb.shape)).clip(0, 1).astype(np.float32))
    return frames


def write_clip(
    path: Path,
    frames: Sequence[NDArray[Any]],
    *,
    times: Sequence[int] | None = None,
    codec: str = "libx264",
    form: str = "yuv420p",
    matrix: int = 6,
    full: bool = False,
    sound: str | None = "aac",
    turn: int | None = None,
    options: dict[str, str] | None = None,
    aspect: Fraction = Fraction(1),
    container: str | None = None,
) -> Path:
    """A video of float frames [H,W,3].

    Args:
        times: when each is shown, in units of 1/600 s; None: 10 a second.
        matrix, full: how colours are coded and tagged; matrix 2 tags nothing and codes as 6.
        sound: the codec of a sine that lasts as long as the frames, or None.
        turn: degrees counterclockwise that players turn the frames by.
    """
    height, width = frames[0].shape[:2]
    times = [number * 600 // RATE for number in range(len(frames))] if times is None else times
    with av.open(str(path), "w", format=container) as out:
        out.metadata["title"] = "a moving thing"
        stream = out.add_stream(codec, RATE, options={"crf": "1", "g": "5"} if options is None else options)
        stream.width, stream.height, stream.pix_fmt = width, height, form
        context = stream.codec_context
        context.time_base = stream.time_base = UNIT
        context.sample_aspect_ratio = aspect
        context.colorspace, context.color_range = matrix, 2 if full else 1
        if turn is not None:
            stream.set_display_rotation(turn)
        voice = out.add_stream(sound, 8000, layout="mono") if sound else None
        sws = {1: 1, 9: 9}.get(matrix, 5)
        deep = "10" in form
        for time, rgb in zip(times, frames, strict=True):
            pixels = np.rint(rgb * (65535 if deep else 255)).astype(np.uint16 if deep else np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb48le" if deep else "rgb24")
            rgb_like = form.startswith(("gbr", "bgr", "rgb"))
            coded = {} if rgb_like else {"dst_colorspace": sws}
            frame = frame.reformat(
                format=form,
                src_color_range=2,
                dst_color_range=2 if full or rgb_like else 1,
                interpolation=4 | 0x42000,
                **coded,
            )
            frame.pts, frame.time_base = time, UNIT
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if voice is not None:
            wave = np.sin(np.arange(int(8000 * (times[-1] + 60) / 600)) / 3).astype(np.float32)
            for first in range(0, len(wave), 1024):
                piece = av.AudioFrame.from_ndarray(wave[None, first : first + 1024], format="fltp", layout="mono")
                piece.sample_rate, piece.pts, piece.time_base = 8000, first, Fraction(1, 8000)
                out.mux(voice.encode(piece))
            out.mux(voice.encode(None))
    return path


def shots(path: Path) -> tuple[list[float], list[NDArray[Any]]]:
    """When the frames of a video are shown, in seconds, and their pixels: uint8 [H,W,3], by PyAV's own means."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        return [float(f.pts * stream.time_base) for f in frames], [f.to_ndarray(format="rgb24") for f in frames]


def sound_of(path: Path) -> list[tuple[Fraction, bytes]]:
    """When each packet of sound is played, and its bytes."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.audio[0]) if p.dts is not None]
        return [(p.pts * p.time_base, bytes(p)) for p in packets]
