"""What a model file says about itself: the fields of ``manifest.json``, and what each of them may hold.

Plain dataclasses with a check per field, and no pydantic: every command reads a manifest, and importing pydantic and
building its models would take longer than painting a small picture.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args

FORMAT = 1

Kind = Literal["style", "generator"]
_DRAWS = ("latent", "height", "width", "channels")
Check = Callable[[Any, str], Any]
"""Takes a value and where it stands; gives the value to keep, or raises ManifestError."""

# A lower-case word, so that members are plain files in one folder on every system and names are easy to type.
_MEMBER = r"[a-z0-9][a-z0-9_.-]{0,99}"
_NAME = r"[a-z0-9][a-z0-9-]{0,63}"


class ManifestError(ValueError):
    """A field is missing, unknown or of a wrong value; ``str(error)`` says which and what it should be."""


def _text(pattern: str | None = None) -> Check:
    def check(value: Any, where: str) -> str:
        if not isinstance(value, str):
            raise ManifestError(f"{where}: should be a text")
        if pattern is not None and re.fullmatch(pattern, value) is None:
            raise ManifestError(f"{where}: should match {pattern}")
        try:
            value.encode()
        except UnicodeEncodeError as error:  # half a letter: nobody could print or write it
            raise ManifestError(f"{where}: should be a text of whole letters") from error
        return value

    return check


def _whole(least: int) -> Check:
    def check(value: Any, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ManifestError(f"{where}: should be a whole number from {least} on")
        return value

    return check


def _number(value: Any, where: str) -> float:
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ManifestError(f"{where}: should be a finite number")
    return number


def _side(value: Any, where: str) -> int | str:
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    raise ManifestError(f"{where}: should be a whole number or a name")


def _choice(*known: str) -> Check:
    def check(value: Any, where: str) -> str:
        if value not in known:
            raise ManifestError(f"{where}: should be {' or '.join(known)}")
        return str(value)

    return check


def _channels(value: Any, where: str) -> int:
    if value not in (1, 3, 4) or not isinstance(value, int) or isinstance(value, bool):
        raise ManifestError(f"{where}: should be 1, 3 or 4")
    return value


def _maybe(check: Check) -> Check:
    return lambda value, where: None if value is None else check(value, where)


def _rows(check: Check, count: int | None = None) -> Check:
    def checked(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or count not in (None, len(value)):
            raise ManifestError(f"{where}: should be a list" + (f" of {count}" if count else ""))
        return tuple(check(one, f"{where}.{index}") for index, one in enumerate(value))

    return checked


def _table(check: Check, keys: Check | None = None) -> Check:
    keys = keys or _text()

    def checked(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ManifestError(f"{where}: should be an object")
        return {keys(key, f"{where}.{key}"): check(one, f"{where}.{key}") for key, one in value.items()}

    return checked


def _anything(value: Any, where: str) -> Any:
    return value


def _is(description: str, check: Check) -> dict[str, Any]:
    """What a field means and what it may hold."""
    return {"description": description, "check": check}


class _Part:
    __slots__ = ()

    @classmethod
    def read(cls, value: Any, where: str = "") -> Self:
        """One of these from a table of its fields, as JSON has it, every field checked.

        Raises:
            ManifestError: a field is missing, unknown or not what it should be.
        """
        table = value.to_fields() if isinstance(value, cls) else value
        if not isinstance(table, Mapping):
            raise ManifestError(f"{where}: should be an object" if where else "should be an object")
        inside = f"{where}." if where else ""
        known = {one.name: one for one in fields(cls)}  # type: ignore[arg-type]  # every subclass is a dataclass
        for name in table:
            if name not in known:
                raise ManifestError(f"{inside}{name}: is no field of this format")
        checked = {}
        for name, one in known.items():
            if name in table:
                checked[name] = one.metadata["check"](table[name], f"{inside}{name}")
            elif one.default is MISSING and one.default_factory is MISSING:
                raise ManifestError(f"{inside}{name}: is missing")
        return cls(**checked)

    def to_fields(self) -> dict[str, Any]:
        """Every field by name, down to numbers and texts."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]  # every subclass is a dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec(_Part):
    """One float32 input or output of a graph."""

    name: str = field(metadata=_is("name in the graph", _text()))
    shape: tuple[int | str, ...] = field(
        metadata=_is("sizes, or names of sizes that vary, such as (1, 3, 'H', 'W')", _rows(_side))
    )
    range: tuple[float, float] | None = field(
        default=None, metadata=_is("least and greatest value; None: unbounded", _maybe(_rows(_number, 2)))
    )
    meaning: str = field(metadata=_is("what it holds, in a few words", _text()))


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSpec(_Part):
    """One ONNX graph: what it takes, what it gives, and which picture sizes it accepts."""

    member: str = field(metadata=_is("file in the bundle, such as 'painter.onnx'", _text(_MEMBER)))
    inputs: tuple[TensorSpec, ...] = field(metadata=_is("in the graph's order", _rows(TensorSpec.read)))
    outputs: tuple[TensorSpec, ...] = field(metadata=_is("in the graph's order", _rows(TensorSpec.read)))
    minimum: int = field(default=1, metadata=_is("least height and width of the picture input, in pixels", _whole(1)))
    multiple: int = field(default=1, metadata=_is("height and width must be multiples of this many pixels", _whole(1)))
    receptive_field: int | None = field(
        default=None,
        metadata=_is("radius in pixels beyond which an input pixel has no effect; None: unbounded", _maybe(_whole(0))),
    )
    bands: int = field(
        default=0,
        metadata=_is(
            "numbers before the last nine of a code that say how the bands of what is painted vary", _whole(0)
        ),
    )
    under: int = field(
        default=0, metadata=_is("smaller paintings that lie under what is painted, each of half the size", _whole(0))
    )
    ground: float = field(default=0.0, metadata=_is("how much of them shows through, 0 to 1", _number))


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleInfo(_Part):
    """A named style: where its code comes from."""

    name: str = field(metadata=_is("what a person types, such as 'starry-night'", _text(_NAME)))
    title: str = field(metadata=_is("of the painting", _text()))
    artist: str = field(metadata=_is("who painted it", _text()))
    year: str = field(metadata=_is("as museums give it, such as '1889' or 'about 1665'", _text()))


def _named_styles(value: Any, where: str) -> tuple[StyleInfo, ...]:
    styles: tuple[StyleInfo, ...] = _rows(StyleInfo.read)(value, where)
    if len({style.name for style in styles}) != len(styles):
        raise ManifestError(f"{where}: two have the same name")
    return styles


def _class_names(value: Any, where: str) -> tuple[str, ...]:
    names: tuple[str, ...] = _rows(_text(r"[^\x00-\x1f]{1,200}"))(value, where)
    if len(set(names)) != len(names):
        raise ManifestError(f"{where}: two have the same name")
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentInfo(_Part):
    """What a generator draws from."""

    size: int = field(metadata=_is("length Z of a latent z", _whole(1)))
    distribution: str = field(
        default="normal", metadata=_is("of every number of z; normal: N(0, 1)", _choice("normal"))
    )
    classes: tuple[str, ...] = field(
        default=(), metadata=_is("names of the classes, in the order of the labels", _class_names)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource(_Part):
    """A set of pictures that the model was trained on."""

    name: str = field(metadata=_is("what it is called", _text()))
    what: str = field(metadata=_is("what it is and how much of it", _text()))
    licence: str = field(metadata=_is("its terms", _text()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Licences(_Part):
    """Under what terms the parts may be used."""

    code: str = field(metadata=_is("of the program", _text()))
    weights: str = field(metadata=_is("of the trained numbers", _text()))
    data: str = field(metadata=_is("of the pictures that they were trained on", _text()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Member(_Part):
    """Fingerprint of one file in the bundle."""

    sha256: str = field(metadata=_is("of its bytes", _text(r"[0-9a-f]{64}")))
    size: int = field(metadata=_is("bytes", _whole(0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(_Part):
    """Everything a bundle says about itself (``manifest.json``).

    Nothing is inferred from a file name. ``members`` is filled in by :func:`impasto.runtime.bundle.write_bundle`,
    which also checks every field; :meth:`read` checks them at once.
    """

    format: int = field(default=FORMAT, metadata=_is("version of this layout; a newer one is refused", _whole(1)))
    kind: Kind = field(metadata=_is("what the model does", _choice(*get_args(Kind))))
    name: str = field(metadata=_is("of the model", _text(_NAME)))
    created: str = field(metadata=_is("date or moment of the export, ISO 8601", _text()))
    impasto: str = field(metadata=_is("version of impasto that wrote it", _text()))
    graphs: dict[str, GraphSpec] = field(metadata=_is("role, such as 'painter', to graph", _table(GraphSpec.read)))
    code_size: int | None = field(default=None, metadata=_is("length D of a style code", _maybe(_whole(1))))
    styles: tuple[StyleInfo, ...] = field(
        default=(), metadata=_is("named styles, in the order of styles.npy", _named_styles)
    )
    latent: LatentInfo | None = field(
        default=None, metadata=_is("what a generator draws from", _maybe(LatentInfo.read))
    )
    height: int | None = field(default=None, metadata=_is("of the pictures drawn, in pixels", _maybe(_whole(1))))
    width: int | None = field(default=None, metadata=_is("of the pictures drawn, in pixels", _maybe(_whole(1))))
    channels: int | None = field(
        default=None, metadata=_is("of the pictures drawn: 1 grey, 3 RGB, 4 RGBA", _maybe(_channels))
    )
    recipe: dict[str, Any] = field(default_factory=dict, metadata=_is("the recipe as trained", _table(_anything)))
    data: tuple[DataSource, ...] = field(default=(), metadata=_is("what it was trained on", _rows(DataSource.read)))
    step: int = field(default=0, metadata=_is("training steps taken", _whole(0)))
    images_seen: int = field(default=0, metadata=_is("pictures that training showed, counted each time", _whole(0)))
    quality: dict[str, float] = field(
        default_factory=dict, metadata=_is("measured figures; the key is the protocol", _table(_number))
    )
    licence: Licences = field(metadata=_is("terms of use", Licences.read))
    members: dict[str, Member] = field(
        default_factory=dict,
        metadata=_is("file name to fingerprint, manifest excepted", _table(Member.read, _text(_MEMBER))),
    )

    def to_fields(self) -> dict[str, Any]:
        """Every field by name, down to numbers and texts; newer ones only where they are set."""
        # An impasto from before them still reads new models that do without.
        table = {name: value for name, value in asdict(self).items() if name not in _DRAWS or value is not None}
        for graph in table["graphs"].values():
            if not graph["bands"]:
                del graph["bands"]
        return table

    def to_json(self) -> bytes:
        """The one spelling of this manifest: sorted keys, indent 1, UTF-8, a newline at the end.

        Raises:
            ValueError, TypeError: the recipe holds what JSON cannot: NaN, infinity, or objects.
        """
        text = json.dumps(self.to_fields(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode()
