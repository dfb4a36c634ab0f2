"""What the calls take: one table a call, from which requests are read and the OpenAPI document is written.

A field without a default is left to the library, whose own default holds (:func:`told`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from impasto.apps.cli.terminal import default_of
from impasto.apps.web.problems import Problem
from impasto.errors import ImpastoError, UnknownName
from impasto.runtime.files import SUFFIXES
from impasto.runtime.generator import MOST_TRUNCATION, PRIORS, Generator
from impasto.runtime.masks import FEATHER, FOREGROUNDS, feather_pixels
from impasto.runtime.palette import LARGEST as MOST_COLORS
from impasto.runtime.picture import Picture
from impasto.runtime.pixels.color import KEEP_COLORS
from impasto.runtime.precision import PRECISIONS
from impasto.runtime.stroke import parse_stroke
from impasto.runtime.style import StyleModel

LONGEST = 200  # letters of a value
MOST_SEED = 2**53 - 1
"""Beyond that a number of JavaScript is no longer exact."""

MOST_STYLES = 64
MOST_DRAWN = 64

Read = Callable[[str], Any]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One thing that a call takes.

    Attributes:
        name: in a form or a query.
        help: what it is.
        schema: of OpenAPI, for one value.
        read: makes the value of a text, or raises ValueError with what it should be; None for a file.
        many: it may be given several times.
        default: what holds without it, to be told; None: nothing, or what ``help`` says.
    """

    name: str
    help: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string", "format": "binary"})
    read: Read | None = None
    many: bool = False
    default: Any = None

    @property
    def is_file(self) -> bool:
        """Whether it is a file: such a field cannot stand in a query."""
        return self.read is None


def read_field(known: Field, text: str) -> Any:
    """The value of a field.

    Raises:
        Problem: 422, it is none.
    """
    if known.read is None:
        raise Problem(422, f"The field {known.name} is a file: send it as a part of a form.")
    try:
        if len(text) > LONGEST:
            raise ValueError(f"shorter than {LONGEST} letters")
        return known.read(text)
    except ImpastoError as error:
        raise Problem(422, str(error)) from None
    except ValueError as error:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise Problem(422, f"The field {known.name} cannot be {shown!r}: it should be {error}.") from None


def field_called(fields: Sequence[Field], name: str) -> Field:
    """The field of that name.

    Raises:
        Problem: 422, there is none; it offers the nearest.
    """
    for known in fields:
        if known.name == name:
            return known
    raise Problem(422, str(UnknownName("field", name[:LONGEST], [one.name for one in fields])))


def told(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Those of these fields that were given, to be passed on by name."""
    return {name: values[name] for name in names if name in values}


def whole(least: int, most: int) -> dict[str, Any]:
    """``schema`` and ``read`` of a whole number."""

    def read(text: str) -> int:
        number = int(text) if re.fullmatch(r"-?[0-9]{1,20}", text) else None
        if number is None or not least <= number <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return number

    return {"schema": {"type": "integer", "minimum": least, "maximum": most}, "read": read}


def number(least: float, most: float) -> dict[str, Any]:
    """The same of any number."""

    def read(text: str) -> float:
        form = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?"
        value = float(text) if re.fullmatch(form, text) else None
        if value is None or not least <= value <= most:
            raise ValueError(f"a number from {least:g} to {most:g}")
        return value

    return {"schema": {"type": "number", "minimum": least, "maximum": most}, "read": read}


def choice(*known: str) -> dict[str, Any]:
    """The same of one of a few words."""

    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"{', '.join(known[:-1])} or {known[-1]}" if len(known) > 1 else known[0])
        return text

    return {"schema": {"type": "string", "enum": list(known)}, "read": read}


def flag() -> dict[str, Any]:
    """The same of yes or no."""

    def read(text: str) -> bool:
        if text not in ("true", "false"):
            raise ValueError("true or false")
        return text == "true"

    return {"schema": {"type": "boolean"}, "read": read}


def word(pattern: str = r"[^\x00-\x1f\x7f]+", what: str = "a text") -> dict[str, Any]:
    """The same of a text of a form."""

    def read(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(what)
        return text

    return {"schema": {"type": "string", "pattern": f"^{pattern}$", "maxLength": LONGEST}, "read": read}


def _stroke(text: str) -> str:
    parse_stroke(text)
    return text


def _feather(text: str) -> float | str:
    feather: float | str = text if text.endswith("px") else number(0, 0.5)["read"](text)
    feather_pixels(feather, 1)
    return feather


FORMATS = tuple(suffix[1:] for suffix in SUFFIXES)
_STYLE = word(r"[a-z0-9][a-z0-9-]{0,63}|dream:[0-9]{1,16}", "a name of /v1/styles, or dream:SEED")

PHOTO = Field(name="photo", help="The picture to paint: JPEG, PNG, WebP, AVIF, TIFF, GIF or BMP.")
STYLE_MODEL = Field(name="model", help="A style model of /v1/models.", **word())
FORMAT = Field(name="format", help="What to answer; without it what Accept asks for.", **choice(*FORMATS))
QUALITY = Field(name="quality", help="Of JPEG, WebP and AVIF.", **whole(1, 100))
STRENGTH = Field(
    name="strength",
    help="From 0, the photo as it is, to 1, the style in full.",
    default=default_of(StyleModel.paint, "strength"),
    **number(0, 1),
)

STYLIZE: tuple[Field, ...] = (
    PHOTO,
    STYLE_MODEL,
    Field(name="style", help="A name of /v1/styles, or dream:SEED.", many=True, **_STYLE),
    Field(name="style_file", help="A painting, or a style code as .npy.", many=True),
    Field(name="weight", help="Of each style, in the order of the form.", many=True, **number(0, 1e6)),
    STRENGTH,
    Field(
        name="keep_colors",
        help="What is kept of the photo's colours.",
        default=default_of(StyleModel.paint, "keep_colors"),
        **choice(*KEEP_COLORS),
    ),
    Field(
        name="stroke",
        help="How large strokes are: a share of the long side (0.01, 1%), pixels (24px), or auto.",
        schema={"type": "string", "pattern": r"^(auto|[0-9]+(\.[0-9]+)?(px|%)?)$", "examples": ["auto", "24px", "1%"]},
        read=_stroke,
    ),
    Field(
        name="detail",
        help="How much of the photo's finest layer is brought back.",
        default=default_of(StyleModel.paint, "detail"),
        **number(0, 1),
    ),
    Field(name="palette", help="Keep to so many main colours of the style.", **whole(2, MOST_COLORS)),
    Field(name="mask", help="A picture of where it is painted: white in full, black not at all."),
    Field(name="protect", help="The other way round: where this is white, nothing is painted."),
    Field(name="foreground", help="Paint what stands in front alone, or all but it.", **choice(*FOREGROUNDS)),
    Field(
        name="feather",
        help="How soft edges of masks become: a share of the long side (0 to 0.5), or pixels (12px).",
        schema={"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(px)?$", "default": str(FEATHER)},
        read=_feather,
    ),
    Field(name="size", help="Long side of the result, in pixels; without it the photo's own.", **whole(1, 65535)),
    FORMAT,
    QUALITY,
    Field(
        name="precision",
        help="What the painter computes in; auto: int8 where the model has it.",
        default=default_of(StyleModel.load, "precision"),
        **choice(*PRECISIONS),
    ),
    Field(
        name="strip",
        help="Leave the photo's metadata (place, camera, date) out.",
        default=default_of(Picture.to_bytes, "strip"),
        **flag(),
    ),
    Field(name="recipe", help="Let the picture tell how it was painted.", default=True, **flag()),
)

THUMBNAIL_SIZE = 160
THUMBNAILS: tuple[Field, ...] = (
    PHOTO,
    STYLE_MODEL,
    Field(name="size", help="Long side of each, in pixels.", default=THUMBNAIL_SIZE, **whole(16, 512)),
    Field(name="style", help="Only these; without it all of the model's.", many=True, **_STYLE),
    Field(name="dream", help="Seeds of dreamt styles to add.", many=True, **whole(0, MOST_SEED)),
    STRENGTH,
    QUALITY,
)

STYLES: tuple[Field, ...] = (STYLE_MODEL,)

DREAM_SIZE = 384
DREAM: tuple[Field, ...] = (
    Field(name="seed", help="Of the style.", default=0, **whole(0, MOST_SEED)),
    STYLE_MODEL,
    Field(name="size", help="Long side, in pixels.", default=DREAM_SIZE, **whole(16, 1024)),
    FORMAT,
    QUALITY,
)

GENERATE: tuple[Field, ...] = (
    Field(name="model", help="A generator of /v1/models.", **word()),
    Field(
        name="seed",
        help="Of the first picture; the next have the next seeds.",
        default=default_of(Generator.sample, "seed"),
        **whole(0, MOST_SEED),
    ),
    Field(name="class", help="What to draw; without it the seed decides.", **word()),
    Field(
        name="truncation",
        help="1: as trained; towards 0: typical, less varied.",
        default=default_of(Generator.sample, "truncation"),
        **number(0, MOST_TRUNCATION),
    ),
    Field(name="prior", help="Of a VAE: what latents are drawn from.", **choice(*PRIORS)),
    Field(name="to", help="The seed that a walk ends at.", **whole(0, MOST_SEED)),
    Field(name="at", help="The place on the walk, from 0 (the seed) to 1.", default=0.0, **number(0, 1)),
    Field(
        name="count",
        help="How many; above 1 the answer is JSON lines.",
        default=default_of(Generator.sample, "count"),
        **whole(1, MOST_DRAWN),
    ),
    FORMAT,
    QUALITY,
)
