"""Many pictures in one file, a grid or a film; and the way of a picture into and out of a generator."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import impasto
from impasto.errors import PictureError, PictureExists, UnknownName
from impasto.runtime.files import write_atomic
from impasto.runtime.picture import Picture, PictureInfo, rgb_stats

FILMS = {".gif": "GIF", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP", ".mp4": "MP4"}
"""Suffixes of films, and their formats; a PNG film is an APNG."""

KEYWORD = "impasto"
"""Keyword of the PNG text chunk that tells how a picture was drawn, as JSON."""

MOST_FPS = 240.0
_PLUGINS = {"GIF": "GifImagePlugin", "PNG": "PngImagePlugin", "WEBP": "WebPImagePlugin"}
_SOFTWARE, _DESCRIPTION = 0x0131, 0x010E
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow turns colour into grey


def origin(about: Mapping[str, Any], *, grey: bool = False) -> PictureInfo:
    """Metadata that tell how a picture was made: a text chunk in a PNG, the EXIF description in every format.

    Args:
        about: what to tell; must be JSON.
        grey: the picture has no colour.
    """
    text = json.dumps(about)
    block = _exif(text).removeprefix(b"Exif\0\0")
    return PictureInfo(exif=block, grey=grey, text=((KEYWORD, text), ("Software", f"impasto {impasto.__version__}")))


def _exif(text: str) -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[_DESCRIPTION], exif[_SOFTWARE] = text, f"impasto {impasto.__version__}"
    return exif.tobytes()


def about(picture: Picture) -> dict[str, Any]:
    """What :func:`origin` was told of a picture that a generator drew; empty for any other."""
    told = dict(picture.info.text).get(KEYWORD)
    return {} if told is None else dict(json.loads(told))


def fitted(picture: Picture, size: tuple[int, int], channels: int) -> NDArray[np.float32]:
    """The middle of a picture at exactly (width, height), antialiased: float32 [channels,H,W] in 0..1.

    What training makes of a picture (``training/picture_table.py``), so that an encoder sees what it learnt from.
    Colour becomes grey for one channel; transparency is laid on white unless there are four channels, the last alpha.
    """
    from PIL import Image

    clear = picture.alpha if channels == 4 else None
    rgb = picture.rgb
    if picture.alpha is not None:
        share = picture.alpha[..., None]
        rgb = rgb * share if clear is not None else rgb * share + (1 - share)
    scale = min(side / wanted for side, wanted in zip(picture.size, size, strict=True))
    edges = [(side - wanted * scale) / 2 for side, wanted in zip(picture.size, size, strict=True)]
    left, top = (max(0.0, edge) for edge in edges)
    box = (left, top, picture.size[0] - left, picture.size[1] - top)
    # Lanczos leaves rings at the hard edge of a cut-out.
    kernel = Image.Resampling.LANCZOS if clear is None else Image.Resampling.HAMMING

    def resized(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        image = Image.fromarray(np.ascontiguousarray(plane))  # mode F
        return np.asarray(image.resize(size, kernel, box=box)).clip(0, 1)

    planes = [rgb @ _LUMA] if channels == 1 else list(rgb.transpose(2, 0, 1))
    fit = np.ones((channels, size[1], size[0]), np.float32)
    for plane, row in zip(planes, fit[:3], strict=True):
        row[:] = resized(plane)
    if clear is not None:
        fit[3] = resized(clear)
        fit[:3] = np.minimum(fit[:3] / np.maximum(fit[3], 1 / 512), 1)
        # Where there is no colour, training has one that does not matter: the mean of what is seen comes near it.
        fit[:3, fit[3] < 0.5 / 255] = rgb_stats(picture.rgb, clear)[:3, None]
    return fit


def grid(pictures: Sequence[Picture | None], columns: int, *, gap: int = 2) -> Picture:
    """Lay pictures of one size out in rows; None leaves a place free.

    What is between them is white, or transparent where a picture has transparency.

    Args:
        pictures: at least one.
        columns: places in a row.
        gap: pixels between two places.

    Raises:
        PictureError: there is no picture, they differ in size, or there is no column.
    """
    there = [picture for picture in pictures if picture is not None]
    if not there or columns < 1 or gap < 0 or len({picture.size for picture in there}) > 1:
        raise PictureError("A grid needs pictures of one size and a column: give at least one of each.")
    width, height = there[0].size
    rows = -(-len(pictures) // columns)
    clear = any(picture.alpha is not None for picture in there)
    shape = rows * (height + gap) - gap, columns * (width + gap) - gap
    rgb = np.ones((*shape, 3), np.float32)
    alpha = np.zeros(shape, np.float32) if clear else None
    for index, picture in enumerate(pictures):
        if picture is None:
            continue
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        place = (slice(top, top + height), slice(left, left + width))
        rgb[place] = picture.rgb
        if alpha is not None:
            alpha[place] = 1.0 if picture.alpha is None else picture.alpha
    return Picture(rgb, alpha, there[0].info)


def check_film(path: str | os.PathLike[str], *, overwrite: bool) -> str:
    """The format of a film, refused early: before the frames are drawn.

    Raises:
        UnknownName: the suffix is none of `FILMS`.
        PictureExists: something is there and ``overwrite`` is False.
        PictureError: a folder is there, or a film of this format needs PyAV and it is not installed.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in FILMS:
        raise UnknownName("film format", suffix or target.name, FILMS)
    if target.is_dir():
        raise PictureError(f"{target} is a folder: name a film file to write in it.")
    if not overwrite and os.path.lexists(target):
        raise PictureExists(f"{target} exists already: choose another name or allow overwriting.")
    if FILMS[suffix] == "MP4":
        _av()
    return FILMS[suffix]


def write_film(
    path: str | os.PathLike[str],
    frames: Iterable[Picture],
    *,
    fps: float = 30.0,
    about: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> int:
    """Write frames as a film that repeats: GIF, APNG (``.png``), WebP (lossless) or MP4 (H.264, does not repeat).

    Transparency is kept by APNG and WebP; GIF and MP4 lie on white. The file is written whole or not at all.

    Args:
        path: where, ending in one of `FILMS`.
        frames: at least one, all of one size.
        fps: frames in a second; a GIF counts in hundredths of a second and gets the nearest.
        about: what to tell in the file's metadata; must be JSON.
        overwrite: replace what is there.

    Returns:
        The number of frames.

    Raises:
        PictureError: there is no frame, the rate is out of range, or the film cannot be written.
    """
    kind = check_film(path, overwrite=overwrite)
    if not 0 < fps <= MOST_FPS:
        raise PictureError(f"A film of {fps} frames a second cannot be made: choose more than 0, up to {MOST_FPS:g}.")
    first = next(source := iter(frames), None)
    if first is None:
        raise PictureError("A film needs at least one frame: give some.")
    text = "" if about is None else json.dumps(about)
    counted = _Counted(chain([first], source), first.size)
    try:
        data = _mp4(counted, fps, text) if kind == "MP4" else _animation(counted, kind, fps, text)
    except (OSError, ValueError, RuntimeError) as error:
        raise PictureError(f"The film could not be written as {kind} ({error}): try another format.") from error
    write_atomic(path, data, overwrite=overwrite)
    return counted.count


class _Counted:
    """Frames of one size, counted as they go by."""

    def __init__(self, frames: Iterable[Picture], size: tuple[int, int]) -> None:
        self.size, self.count, self._frames = size, 0, frames

    def __iter__(self) -> Iterator[Picture]:
        for frame in self._frames:
            if frame.size != self.size:
                raise PictureError(f"A frame is {frame.size} and the film {self.size}: give frames of one size.")
            self.count += 1
            yield frame


def _animation(frames: _Counted, kind: str, fps: float, text: str) -> bytes:
    import_module(f"PIL.{_PLUGINS[kind]}")
    # Pillow goes through them twice, so they are all kept, at 8 bits.
    images = [_on_white(frame).to_pil() if kind == "GIF" else frame.to_pil() for frame in frames]
    settings: dict[str, Any] = {"loop": 0, "duration": max(20.0 if kind == "GIF" else 1.0, 1000.0 / fps)}
    if kind == "WEBP":
        settings["lossless"] = True
        settings["duration"] = round(settings["duration"])
    if text and kind == "PNG":
        from PIL.PngImagePlugin import PngInfo

        settings["pnginfo"] = PngInfo()
        settings["pnginfo"].add_text(KEYWORD, text)
    elif text:
        settings |= {"comment": text} if kind == "GIF" else {"exif": _exif(text)}
    out = BytesIO()
    images[0].save(out, kind, save_all=True, append_images=images[1:], **settings)
    return out.getvalue()


def _mp4(frames: _Counted, fps: float, text: str) -> bytes:
    from fractions import Fraction

    av = _av()
    out = BytesIO()
    width, height = frames.size
    with av.open(out, "w", format="mp4") as file:
        file.metadata["comment"] = text
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        stream = file.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        # Colour is stored at half the resolution, so the sides must be even.
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "16"}
        for frame in frames:
            pixels = np.asarray(_on_white(frame).to_pil())
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    return out.getvalue()


def _av() -> Any:
    try:
        return import_module("av")
    except ImportError as error:
        raise PictureError("An MP4 film needs PyAV: pip install 'impasto[video]', or write .gif or .webp.") from error


def _on_white(picture: Picture) -> Picture:
    if picture.alpha is None:
        return picture
    share = picture.alpha[..., None]
    return Picture(picture.rgb * share + (1 - share))
