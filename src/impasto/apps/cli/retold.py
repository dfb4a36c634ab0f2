"""What a recipe says of a command's settings: every value checked, since anybody may have written it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from impasto.apps.cli.one import Settings
from impasto.apps.cli.recipes import BESIDE, NO_RECIPE
from impasto.apps.cli.stylize import stylize
from impasto.apps.cli.terminal import default_of
from impasto.errors import ImpastoError, PictureError
from impasto.runtime.masks import FEATHER, Mask, open_mask
from impasto.runtime.recipe import Recipe

_LONGEST_NAME = 100


def settings_of(recipe: Recipe, changed: Mapping[str, Any], done: str) -> tuple[Settings, dict[str, str]]:
    """What a recipe says of a command's settings, with what was changed.

    Args:
        changed: settings by name.
        done: the picture that carries the recipe, for messages.

    Returns:
        The settings, and the engine and precision.

    Raises:
        PictureError: a setting is unknown or not what it should be.
    """
    table = {**recipe.settings, **changed}
    how = {name: table.pop(name, None) for name in ("engine", "precision")}
    kinds, known = get_type_hints(Settings), {one.name: one for one in fields(Settings)}
    for name, value in table.items():
        if name not in known or name in BESIDE:
            raise PictureError(
                f"The recipe in {done} has a setting {name[:40]!r}, which impasto {recipe.impasto} knew and this one "
                "does not: install that version."
            )
        if not _fits(value, kinds[name]):
            raise _damaged(done, name)
    for name in known:
        if name not in BESIDE and name not in table:
            # Of another command, which has fewer options.
            table[name] = default_of(stylize, name)
    for name, value in how.items():
        if not isinstance(value, str):
            raise _damaged(done, name)
    style = [{"style": one.style, "weight": one.weight} for one in recipe.styles]
    beside: dict[str, Any] = {"style": style, "suffix": None, "max_pixels": 1, "max_memory": None}
    return Settings(**table, **beside, recipe=NO_RECIPE), {name: str(value) for name, value in how.items()}


def masked(settings: Settings, done: str, mask: str | None, protect: str | None) -> Settings:
    """The settings with the masks that a recipe tells of, whose files it does not hold: they have to be given.

    Raises:
        PictureError: a mask cannot be read, or what is told of it is damaged.
        ImpastoError: one is missing.
    """
    told: dict[str, Any] = dict(settings.mask or {})
    kinds: dict[str, Any] = {
        "paint": dict,
        "protect": dict,
        "styles": list,
        "foreground": str,
        "feather": (str, int, float),
    }
    if not all(name in kinds and (value is None or isinstance(value, kinds[name])) for name, value in told.items()):
        raise _damaged(done, "mask")
    if told.get("styles") is not None:
        raise ImpastoError(
            f"{done} was painted with masks for its styles, which a recipe does not hold: use impasto stylize with "
            "STYLE@MASK."
        )
    files = {"paint": mask, "protect": protect}
    for name, option in (("paint", "--mask"), ("protect", "--protect")):
        if told.get(name) is not None and files[name] is None:
            file = str(told[name].get("file"))[:_LONGEST_NAME]
            raise ImpastoError(
                f"{done} was painted with the mask {file!r}, which a recipe does not hold: give one to {option}, or "
                "add --no-mask."
            )
    given = told_masks({name: file for name, file in files.items() if file is not None})
    if settings.mask is None and not given:
        return settings
    told = {
        **{name: given.get(name) for name in files},
        "foreground": told.get("foreground"),
        "feather": FEATHER if told.get("feather") is None else told["feather"],
    }
    Mask(foreground=told["foreground"], feather=told["feather"])  # refuses what cannot be, before anything is painted
    places = {name: os.path.abspath(file) for name, file in files.items() if file is not None}  # noqa: PTH100
    return replace(settings, mask=told, mask_files=places or None)


def told_masks(files: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What a recipe tells of masks: their names and sha256.

    Raises:
        PictureError: one cannot be read.
    """
    told = {}
    for name, file in files.items():
        open_mask(file)
        told[name] = {"file": Path(file).name, "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()}
    return told


def _damaged(done: str, name: str) -> PictureError:
    return PictureError(
        f"The recipe in {done} is damaged (settings.{name}: is of a wrong kind): take another copy of it."
    )


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value of JSON is what an annotation of a field says."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in parts)
    if kind is NoneType or kind is None:
        return value is None
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (bool, str):
        return isinstance(value, kind)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, dict) and all(_fits(one, parts[1]) for one in value.values())
    if origin is not None and issubclass(origin, Sequence):
        return isinstance(value, list) and all(_fits(one, parts[0]) for one in value)
    return False
