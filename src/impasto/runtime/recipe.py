"""How a picture was painted, told inside the picture: model, styles and settings, so that it can be painted again.

>>> recipe = read_recipe("painted.jpg")                                             # doctest: +SKIP
>>> model = StyleModel.load(recipe.model)                                           # doctest: +SKIP
>>> model.paint(Picture.open("photo.jpg"), recipe.code(model), strength=recipe.settings["strength"])  # doctest: +SKIP

A recipe is one line of JSON in the XMP packet (``pixels/packet.py``). It holds what the painting was made of, never the
photo's name or path; a style that was a picture is told by its file name, the sha256 of the file and its code, so that
the file is not needed again (``impasto paint``, which has no codes, needs it). Small masks are held too
(``recipe_masks``).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

import impasto
from impasto.errors import ImpastoError, PictureError, UnknownName
from impasto.runtime.files import Source, open_source, read_source
from impasto.runtime.picture import Picture
from impasto.runtime.pixels.decode import one_sentence, reader_of
from impasto.runtime.pixels.packet import recipe_in
from impasto.runtime.recipe_masks import fitting, held_masks, written

if TYPE_CHECKING:
    from impasto.runtime.style import StyleModel

FORMAT = 1
"""Version of the recipe's fields. A reader refuses a newer one."""

LONGEST_TEXT = 48_000
"""Letters of a recipe as it is written: with the photo's own data it has to fit into the 64 KB of a JPEG's marker."""

MOST_STYLES = 1000
_LONGEST_NAME = 300
_LARGEST_CODE = 1 << 15  # numbers
_DEEPEST = 8
_LARGEST_CHUNK = 1 << 22
_LARGEST = 1e15
_DESCRIPTION = 0x010E  # EXIF

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ingredient:
    """One style of a painting.

    Attributes:
        style: the name of a style of the model, or the name of the file that it was taken from, without folders.
        weight: above 0; only its share of all weights counts.
        sha256: of that file, 64 hexadecimal digits; None for a named style.
        code: float32 [D], the style itself; None for a named style, which the model knows.
    """

    style: str
    weight: float = 1.0
    sha256: str | None = None
    code: F32 | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recipe:
    """How a picture was painted.

    Attributes:
        model: the model's name.
        model_sha256: of the model file, 64 hexadecimal digits.
        styles: at least one.
        settings: the options by name, as JSON's kinds of values.
        command: what painted it: ``"stylize"``, ``"dream"`` or ``"paint"``.
        impasto: the version that painted it.
        format: the version of these fields.
        masks: ``recipe_masks.packed``, by the sha256 of the files that they were; those that there was room for.
    """

    model: str
    model_sha256: str
    styles: Sequence[Ingredient]
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: str = "stylize"
    impasto: str = impasto.__version__
    format: int = FORMAT
    masks: Mapping[str, bytes] = field(default_factory=dict)

    def code(self, model: StyleModel) -> F32:
        """The code [D] that was painted with, made of the styles' own; no file is looked at.

        Raises:
            UnknownName: a named style is none of this model's.
            ImpastoError: the codes are not of this model.
        """
        return model.code([(code, one.weight) for one, code in zip(self.styles, self.codes(model), strict=True)])

    def codes(self, model: StyleModel) -> list[F32]:
        """The code [D] of each style, one by one.

        Raises:
            UnknownName, ImpastoError: see :meth:`code`.
        """
        for one in self.styles:
            if one.code is None and one.style not in model.styles:
                raise UnknownName("style", one.style, model.styles)
        return [model.code(one.style if one.code is None else one.code) for one in self.styles]

    def to_fields(self) -> dict[str, Any]:
        """The recipe as JSON's kinds of values; codes are float32, little-endian, in base64, and masks likewise."""
        styles = []
        for one in self.styles:
            row: dict[str, Any] = {"style": one.style, "weight": one.weight}
            if one.sha256 is not None:
                row["sha256"] = one.sha256
            if one.code is not None:
                row["code"] = base64.b64encode(np.asarray(one.code, "<f4").tobytes()).decode()
            styles.append(row)
        about = {name: getattr(self, name) for name in ("format", "impasto", "command", "model", "model_sha256")}
        held = {"masks": written(self.masks)} if self.masks else {}
        return {**about, "styles": styles, "settings": dict(self.settings), **held}

    def with_masks(self, masks: Mapping[str, bytes | None]) -> Recipe:
        """The same, holding as many of these masks as it has room for, and no others.

        Args:
            masks: by the sha256 of their files; None for one that is too long anyhow.
        """
        held = fitting(masks)
        while held and not replace(self, masks=held)._fits():
            held.pop(max(held, key=lambda name: len(held[name])))
        return replace(self, masks=held)

    def _fits(self) -> bool:
        try:
            self.to_text()
        except ImpastoError:
            return False
        return True

    def to_text(self) -> str:
        """One line of JSON in ASCII.

        Raises:
            ImpastoError: a setting is not of JSON's kinds, or all of it is too long to be written.
        """
        try:
            text = json.dumps(self.to_fields(), separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ImpastoError(f"The recipe cannot be written ({error}): add --no-recipe, and report this.") from error
        if len(text) > LONGEST_TEXT:
            raise ImpastoError(
                f"The recipe is {len(text):,} letters long and {LONGEST_TEXT:,} fit into a picture: add --no-recipe."
            )
        return text


def recipe_of(
    model: str,
    model_sha256: str,
    styles: Sequence[tuple[str, float, F32]],
    settings: Mapping[str, Any],
    *,
    named: frozenset[str] | set[str],
    blended: F32,
    command: str = "stylize",
    masks: Mapping[str, bytes | None] | None = None,
) -> Recipe:
    """The recipe of a painting; where it would be too long to be written, with one code for all styles.

    Args:
        model, model_sha256, settings, command: see :class:`Recipe`.
        styles: name of a style or path of a file, weight, and code [D], each.
        named: the names that the model knows.
        blended: float32 [D], the code that is painted with.
        masks: see :meth:`Recipe.with_masks`.
    """
    listed = [
        Ingredient(style=style, weight=weight)
        if style in named
        else Ingredient(style=_bare(style), weight=weight, sha256=_digest(style), code=code)
        for style, weight, code in styles
    ]
    long = Recipe(model=model, model_sha256=model_sha256, styles=listed, settings=settings, command=command)
    if not long._fits():
        label = "+".join(one.style for one in listed)[:_LONGEST_NAME]
        long = replace(long, styles=[Ingredient(style=label, code=blended)])
    return long.with_masks(masks or {})


def carrying(picture: Picture, text: str | None) -> Picture:
    """The same picture, which will be written with a recipe.

    Args:
        text: of :meth:`Recipe.to_text`; empty: with none, also where the photo had one; None: as the photo was.
    """
    return picture if text is None else replace(picture, info=replace(picture.info, recipe=text))


def parse_recipe(text: str) -> Recipe:
    """A recipe from its JSON; every field is checked.

    Raises:
        PictureError: damaged, or of a newer version. The sentence goes on from "The recipe".
    """

    def never(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no number")

    try:
        table = json.loads(text, parse_constant=never)
    except (ValueError, RecursionError) as error:
        raise PictureError("is no JSON") from error
    _require(isinstance(table, dict), "should be an object")
    version = table.get("format")
    _require(isinstance(version, int) and not isinstance(version, bool) and version >= 1, "format: should be a number")
    if version > FORMAT:
        raise PictureError(f"has the format {version}, and this impasto knows {FORMAT}: install a newer impasto")
    known = {one.name for one in fields(Recipe)}
    for name in table:
        _require(name in known, f"{name[:40]!r}: is no field of this format")
    for name in known - {"masks"}:
        _require(name in table, f"{name}: is missing")
    _require(isinstance(table["styles"], list), "styles: should be a list")
    _require(1 <= len(table["styles"]) <= MOST_STYLES, f"styles: should be 1 to {MOST_STYLES}")
    settings = table["settings"]
    _require(isinstance(settings, dict) and _depth(settings) <= _DEEPEST, "settings: should be a plain table")
    return Recipe(
        format=version,
        impasto=_name(table["impasto"], "impasto"),
        command=_name(table["command"], "command"),
        model=_name(table["model"], "model"),
        model_sha256=_hex(table["model_sha256"], "model_sha256"),
        styles=tuple(_ingredient(row, f"styles.{index}") for index, row in enumerate(table["styles"])),
        settings=settings,
        masks=held_masks(table.get("masks", {})),
    )


def read_recipe(source: Source) -> Recipe:
    """The recipe of a picture file.

    Raises:
        PictureError: it is no picture, carries no recipe, or a damaged one.
    """
    text, name = recipe_text(source)
    if text is None:
        raise PictureError(f"{name} carries no recipe: name a picture that impasto painted and that kept its metadata.")
    try:
        return parse_recipe(text)
    except PictureError as error:
        hint = "" if "install" in str(error) else ": take another copy of the picture"
        raise PictureError(f"The recipe in {name} {error}{hint}.") from error


def recipe_text(source: Source) -> tuple[str | None, str]:
    """The recipe in a picture file as it stands there, or None, and the name of the file for messages.

    Raises:
        PictureError: it is no picture, or what stands there is no text or too long.
    """
    if isinstance(source, str | os.PathLike):
        with open_source(source) as (file, kind, name):
            return _text_of(file, kind, name), name
    data, kind, name = read_source(source)
    return _text_of(BytesIO(data), kind, name), name


def drawn_with(source: Source) -> dict[str, Any] | None:
    """What a picture tells that a generator drew (see ``frames.origin``); None for any other.

    Raises:
        PictureError: it is no picture.
    """
    from impasto.runtime.frames import KEYWORD

    data, kind, name = read_source(source)
    with one_sentence(name):
        image = reader_of(kind)(BytesIO(data))
        told = image.info.get(KEYWORD) or image.getexif().get(_DESCRIPTION)
    try:
        table = json.loads(told) if isinstance(told, str) and len(told) <= LONGEST_TEXT else None
    except (ValueError, RecursionError):
        return None  # anybody's description
    return table if isinstance(table, dict) and "model" in table else None


def _text_of(file: BinaryIO, kind: str, name: str) -> str | None:
    with one_sentence(name):
        image = reader_of(kind)(file)
        xmp, comment = image.info.get("xmp"), image.info.get("comment")
        if kind == "PNG" and not xmp:
            xmp = _packet_of_png(file)
        raw = xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp
    try:
        return recipe_in(
            raw if isinstance(raw, bytes) else None,
            comment if kind == "JPEG" and isinstance(comment, bytes) else None,
        )
    except ValueError as error:
        raise PictureError(f"The recipe in {name} is damaged ({error}): take another copy of the picture.") from error


def _packet_of_png(file: BinaryIO) -> bytes | None:
    """The XMP packet of a PNG, wherever it stands; Pillow finds one behind the pixels only by decoding them."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        end = file.tell() + length + 4
        if name == b"iTXt" and length <= _LARGEST_CHUNK:
            keyword, _, rest = file.read(length).partition(b"\0")
            if keyword == b"XML:com.adobe.xmp" and len(rest) > 2:
                text = rest[2:].split(b"\0", 2)[-1]
                return zlib.decompressobj().decompress(text, _LARGEST_CHUNK) if rest[0] else text
        file.seek(end)
    return None


def _ingredient(row: Any, where: str) -> Ingredient:
    _require(isinstance(row, dict), f"{where}: should be an object")
    known = {one.name for one in fields(Ingredient)}
    for name in row:
        _require(name in known, f"{where}.{name[:40]!r}: is no field of this format")
    weight, sha256, code = row.get("weight"), row.get("sha256"), row.get("code")
    fits = isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight <= 1e30
    _require(fits, f"{where}.weight: should be a number above 0")
    assert isinstance(weight, int | float)
    return Ingredient(
        style=_name(row.get("style"), f"{where}.style"),
        weight=float(weight),
        sha256=None if sha256 is None else _hex(sha256, f"{where}.sha256"),
        code=None if code is None else _code(code, f"{where}.code"),
    )


def _code(value: Any, where: str) -> F32:
    try:
        _require(isinstance(value, str), f"{where}: should be a text")
        data = base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise PictureError(f"is damaged ({where}: is no base64)") from error
    _require(0 < len(data) <= 4 * _LARGEST_CODE and len(data) % 4 == 0, f"{where}: should be float32 numbers")
    code = np.frombuffer(data, "<f4").astype(np.float32)
    _require(bool(np.isfinite(code).all()), f"{where}: should be finite numbers")
    return code


def _name(value: Any, where: str) -> str:
    _require(isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME, f"{where}: should be a short text")
    # What is said of it must not play tricks on a terminal.
    _require(value.isprintable(), f"{where}: should be printable")
    return str(value)


def _hex(value: Any, where: str) -> str:
    fits = isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
    _require(fits, f"{where}: should be 64 hexadecimal digits")
    return str(value)


def _depth(value: Any) -> int:
    """How deep a table is; what is in it is held to what a setting can be."""
    if isinstance(value, dict | list):
        return 1 + max(map(_depth, [*value, *value.values()] if isinstance(value, dict) else value), default=0)
    if isinstance(value, str):
        _require(len(value) <= _LONGEST_NAME, "settings: should be short texts")
    elif isinstance(value, int | float):
        _require(abs(value) <= _LARGEST and math.isfinite(value), "settings: should be plain numbers")
    return 0


def _require(fits: bool, reason: str) -> None:
    if not fits:
        raise PictureError(f"is damaged ({reason})")


def _bare(path: str) -> str:
    """The name of a file without its folders, printable."""
    name = Path(path.replace("\\", "/")).name or "style"
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:_LONGEST_NAME]


def _digest(path: str) -> str | None:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None  # gone since it was read, or no file at all, such as a seed
