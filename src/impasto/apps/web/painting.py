"""The work of the calls that paint; all of it runs in a thread of the pool."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from io import BytesIO
from threading import Lock
from typing import Any

from impasto.apps.cli.recipes import NO_RECIPE
from impasto.apps.cli.scene import scene
from impasto.apps.web.body import Asked
from impasto.apps.web.fields import DREAM_SIZE, THUMBNAIL_SIZE, told
from impasto.apps.web.problems import Problem
from impasto.apps.web.shelf import NPY, Shelf
from impasto.apps.web.telling import MASKS, recipe_text
from impasto.errors import PictureError
from impasto.runtime.control import colors_of
from impasto.runtime.files import READABLE, SUFFIXES, sniff
from impasto.runtime.fitting import header
from impasto.runtime.masks import Mask
from impasto.runtime.painting import SMALL
from impasto.runtime.picture import Picture, resized_size
from impasto.runtime.recipe import Ingredient
from impasto.runtime.stopping import heeded_stop
from impasto.runtime.stroke import working_size
from impasto.runtime.style import StyleModel

MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "TIFF": "image/tiff",
}
_SUFFIX = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "AVIF": "avif", "TIFF": "tif"}
_THUMBNAIL_FORMAT = "JPEG"
_COUNTED = 512  # pixels

Emit = Callable[[dict[str, Any]], None]


class LargePictureError(Exception):
    """This picture has to be painted alone (`Pool.alone`)."""


@dataclass
class Made:
    """A picture, ready to be sent.

    Attributes:
        data: of the file.
        kind: its format, such as ``"JPEG"``.
        size: width and height.
        notes: what could not be kept, a sentence each.
        times: name to milliseconds.
        about: more headers.
    """

    data: bytes
    kind: str
    size: tuple[int, int]
    notes: Sequence[str] = ()
    times: dict[str, float] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)

    def line(self, **about: Any) -> dict[str, Any]:
        """The same as an object of a JSON line."""
        width, height = self.size
        picture = base64.b64encode(self.data).decode()
        return {**about, "type": MEDIA_TYPES[self.kind], "width": width, "height": height, "picture": picture}


class Clock:
    """How long each part of a request took."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Measure a part; before it begins, a stop is heeded."""
        pause()
        begun = time.perf_counter()
        yield
        self.times[name] = self.times.get(name, 0.0) + 1000 * (time.perf_counter() - begun)


def pause() -> None:
    """End here if whoever asked has gone."""
    stop = heeded_stop()
    if stop is not None:
        stop.check()


class _Named(BytesIO):
    """The bytes of a file, and what messages call it."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


@dataclass(frozen=True)
class Painting:
    """What painting needs to know of the server.

    Attributes:
        shelf: its models.
        pixels: the most that a picture may have, read or painted.
    """

    shelf: Shelf
    pixels: int
    _reading: Lock = field(default_factory=Lock, init=False)

    def read(self, data: bytes, what: str) -> Picture:
        """A picture that a client sent.

        Raises:
            Problem: 413: it has too many pixels; 415: it is no picture.
            PictureError: it is damaged.
        """
        self.size_of(data, what)
        return Picture.open(_Named(data, what), max_pixels=self.pixels)

    def size_of(self, data: bytes, what: str) -> tuple[int, int]:
        """Width and height as the head of a file tells them, perhaps not turned upright; raises as :meth:`read`."""
        kind = sniff(data[:64])
        if kind is None:
            try:
                Picture.open(_Named(data, what))
            except PictureError as error:
                raise Problem(415, str(error)) from None
            raise Problem(415, f"{what} is not a picture: give a {READABLE.replace(' and ', ' or ')} file.")
        width, height, _ = header(BytesIO(data), kind, what, None)
        self._check(width, height, f"{what} is")
        return width, height

    def _check(self, width: int, height: int, what: str) -> None:
        if width * height > self.pixels:
            raise Problem(
                413,
                f"{what} {width}x{height} ({width * height:,} pixels), more than the {self.pixels:,} that this server "
                "takes: make it smaller.",
            )

    def stylize(self, asked: Asked, accepted: Callable[[str], str], *, alone: bool) -> Made:
        """Paint a photo.

        Args:
            asked: fields of ``fields.STYLIZE``.
            accepted: the format to answer, of the one that the photo has.
            alone: no other large picture is worked on.

        Raises:
            LargePictureError: it is large, and not ``alone``.
            ImpastoError: something that was asked for does not do.
        """
        clock, values = Clock(), asked.values
        data = asked.file("photo")
        if data is None:
            raise Problem(422, "The photo is missing: send it in a field called photo.")
        with clock.measured("read"):
            given = self.size_of(data, "The photo")
            size = given if "size" not in values else resized_size(given, values["size"])
            self._check(*size, "The result would be")
            working = working_size(values.get("stroke"), size)
            self._check(*working, "For strokes so fine it would be painted at")
            sizes = [given, size, working, *self._other_sizes(asked)]
            large = max(width * height for width, height in sizes) > SMALL
            if large and not alone:
                raise LargePictureError
            photo = self.read(data, "The photo")
            kind = accepted(photo.info.format)
            if "size" in values:
                photo = photo.resized(values["size"])
        model = self.shelf.painter(values.get("model"))
        with clock.measured("style"):
            styles = self.styles(model, asked)
            codes = [(one.style if one.code is None else one.code, one.weight) for one in styles]
            code = model.mix(codes)
            controls = self._controls(model, asked, codes)
        painter = self.shelf.painter(values.get("model"), **told(values, ["precision"]))
        if large:
            painter = self.shelf.own_painter(model, **told(values, ["precision"]))
        with clock.measured("paint"):
            painted = painter.paint(photo, code, **controls, **told(values, ["strength", "stroke", "detail"]))
        line = NO_RECIPE
        if values.get("recipe", True):
            palette = controls.get("palette")
            line = recipe_text(painter, styles, code, asked, palette=palette, engine=self.shelf.engine)
        painted = replace(painted, info=replace(painted.info, recipe=line))
        with clock.measured("write"):
            written = painted.to_bytes(_SUFFIX[kind], **told(values, ["strip", "quality"]))
        notes = [*painted.info.notes, *painted.losses(_SUFFIX[kind])]
        return Made(written, kind, painted.size, notes, clock.times)

    def _other_sizes(self, asked: Asked) -> Iterator[tuple[int, int]]:
        for name in (*MASKS, "style_file"):
            for data in asked.files.get(name, ()):
                if not data.startswith(NPY):
                    yield self.size_of(data, "The painting" if name == "style_file" else "The mask")

    def styles(self, model: StyleModel, asked: Asked) -> list[Ingredient]:
        """The styles that are asked for, with their weights.

        Raises:
            ImpastoError: there is none, one is unknown or cannot be read, or the weights do not do.
        """
        if not asked.order:
            if len(model.styles) != 1:
                raise Problem(422, "The style is missing: send a field called style with a name of /v1/styles.")
            return [Ingredient(style=name) for name in model.styles]
        weights = asked.values.get("weight", [1.0] * len(asked.order))
        if len(weights) != len(asked.order):
            raise Problem(
                422, f"{len(weights)} weights do not go with {len(asked.order)} styles: give one for each, or none."
            )
        if sum(weights) <= 0:
            raise Problem(422, "All weights are 0: give one of the styles more.")
        names, files = iter(asked.values.get("style", ())), iter(asked.files.get("style_file", ()))
        styles = []
        for number, (kind, weight) in enumerate(zip(asked.order, weights, strict=True), 1):
            pause()
            if kind == "style":
                name = next(names)
                code = self.shelf.style(model, name)
                styles.append(Ingredient(style=name, weight=weight, code=None if name in model.styles else code))
            else:
                data, what = next(files), f"Style {number}"
                code = self.shelf.style_of(model, data, what, self.read)
                digest = hashlib.sha256(data).hexdigest()
                styles.append(Ingredient(style=what.lower(), weight=weight, sha256=digest, code=code))
        return styles

    def _controls(self, model: StyleModel, asked: Asked, codes: Sequence[tuple[Any, float]]) -> dict[str, Any]:
        """Where it is painted and in which colours, as ``StyleModel.paint`` takes it."""
        values, given = asked.values, told(asked.values, ["keep_colors"])
        if "palette" in values:
            given["palette"] = colors_of(model, self._pictured(asked, codes), values["palette"])
        masks: dict[str, Any] = told(values, ["foreground", "feather"])
        for name, role in zip(MASKS, ("paint", "protect"), strict=True):
            data = asked.file(name)
            if data is not None:
                masks[role] = self.read(data, "The mask")
        if masks.keys() - {"feather"}:
            given["mask"] = Mask(**masks)
        elif masks:
            raise Problem(422, "The field feather makes the edges of masks soft, and there is none: send a mask too.")
        return given

    def _pictured(self, asked: Asked, codes: Sequence[tuple[Any, float]]) -> list[tuple[Any, float]]:
        """The same styles, but pictures where there are some: they have colours of their own."""
        files = iter(asked.files.get("style_file", ()))
        pairs = []
        for kind, (code, weight) in zip(asked.order or ["style"], codes, strict=True):
            data = next(files) if kind == "style_file" else b""
            if sniff(data[:64]) is None:
                pairs.append((code, weight))
                continue
            picture = self.read(data, "The painting")
            # Colours are counted on a small one, and all of them are kept until then.
            pairs.append((picture.resized(min(_COUNTED, max(picture.size))), weight))
        return pairs

    def thumbnails(self, asked: Asked, emit: Emit) -> None:
        """Paint a photo in many styles, small; ``emit`` gets a line for each."""
        values = asked.values
        data = asked.file("photo")
        if data is None:
            raise Problem(422, "The photo is missing: send it in a field called photo.")
        model = self.shelf.painter(values.get("model"))
        names = list(values.get("style", () if "dream" in values else model.styles))
        names += [f"dream:{seed}" for seed in values.get("dream", ())]
        codes = [(name, self.shelf.style(model, name)) for name in names]
        width, height = self.size_of(data, "The photo")
        # Large ones are read one after the other, and are small from then on.
        with self._reading if width * height > SMALL else nullcontext():
            small = self.read(data, "The photo").resized(2 * values.get("size", THUMBNAIL_SIZE))
        for name, code in codes:
            pause()
            emit(self._thumbnail(model, small, code, asked).line(style=name))

    def _thumbnail(self, model: StyleModel, photo: Picture, code: Any, asked: Asked) -> Made:
        # Painted at twice its size: small enough to be quick, large enough for strokes to look as in a real picture.
        painted = model.paint(photo, code, **told(asked.values, ["strength"]))
        painted = painted.resized(max(1, max(painted.size) // 2))
        data = painted.to_bytes(_SUFFIX[_THUMBNAIL_FORMAT], strip=True, **told(asked.values, ["quality"]))
        return Made(data, _THUMBNAIL_FORMAT, painted.size)

    def thumbnail(self, name: str, asked: Asked) -> Made:
        """A drawn landscape in a named style, small."""
        model = self.shelf.painter(asked.values.get("model"))
        return self._thumbnail(model, _landscape().resized(2 * THUMBNAIL_SIZE), self.shelf.style(model, name), asked)

    def dream(self, asked: Asked, accepted: Callable[[str], str]) -> Made:
        """A drawn landscape in a dreamt style."""
        clock, values = Clock(), asked.values
        model = self.shelf.painter(values.get("model"))
        code = self.shelf.style(model, f"dream:{values.get('seed', 0)}")
        kind = accepted(_THUMBNAIL_FORMAT)
        with clock.measured("paint"):
            painted = model.paint(_landscape().resized(values.get("size", DREAM_SIZE)), code)
        with clock.measured("write"):
            data = painted.to_bytes(_SUFFIX[kind], **told(values, ["quality"]))
        return Made(data, kind, painted.size, (), clock.times)


@lru_cache(maxsize=1)
def _landscape() -> Picture:
    return scene()


def format_wanted(asked: Asked, accept: str | None, own: str) -> str:
    """The format to answer: what a field says, else what the header Accept prefers, else the one that is there.

    Args:
        asked: perhaps with a field ``format``.
        accept: the header (RFC 9110, section 12.5.1).
        own: of the photo; PNG in its place where it cannot be written.

    Raises:
        Problem: 406: nothing that is accepted can be written.
    """
    own = own if own in MEDIA_TYPES else "PNG"
    if "format" in asked.values:
        return SUFFIXES[f".{asked.values['format']}"]
    if not (accept or "").strip():
        return own
    shares = _shares(accept or "")
    rest = shares.get("image/*", shares.get("*/*", 0.0))
    welcome = {kind: shares.get(media, rest) for kind, media in MEDIA_TYPES.items()}
    top = max(welcome.values())
    if top == 0:
        known = ", ".join(MEDIA_TYPES.values())
        raise Problem(406, f"None of {(accept or '')[:60]!r} can be written: accept one of {known}.")
    # Of several that are as welcome, the one that needs no change.
    return own if welcome[own] == top else next(kind for kind in welcome if welcome[kind] == top)


def _shares(accept: str) -> dict[str, float]:
    """Media type to its q."""
    shares = {}
    for entry in accept.split(",")[:100]:
        media, *options = (one.strip().lower() for one in entry.split(";"))
        share = 1.0
        for option in options:
            name, _, value = option.partition("=")
            if name.strip() == "q":
                try:
                    share = float(value)
                except ValueError:
                    share = 0.0
        shares[media] = share if 0 <= share <= 1 else 0.0
    return shares
