"""What a recipe says of a command's settings: every value checked, since anybody may have written it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from impasto.apps.cli.one import Settings
from impasto.apps.cli.recipes import BESIDE, NO_RECIPE
from impasto.apps.cli.stylize import stylize
from impasto.apps.cli.terminal import default_of
from impasto.errors import PictureError
from impasto.runtime.recipe import Recipe


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
        if not fits(value, kinds[name]):
            raise damaged(done, name)
    for name in known:
        if name not in BESIDE and name not in table:
            # Of another command, which has fewer options.
            table[name] = default_of(stylize, name)
    for name, value in how.items():
        if not isinstance(value, str):
            raise damaged(done, name)
    style = [{"style": one.style, "weight": one.weight} for one in recipe.styles]
    beside: dict[str, Any] = {"style": style, "suffix": None, "max_pixels": 1, "max_memory": None}
    return Settings(**table, **beside, recipe=NO_RECIPE), {name: str(value) for name, value in how.items()}


def damaged(done: str, name: str) -> PictureError:
    """The error for a setting of the wrong kind in the recipe of a picture."""
    return PictureError(
        f"The recipe in {done} is damaged (settings.{name}: is of a wrong kind): take another copy of it."
    )


def fits(value: Any, kind: Any) -> bool:
    """Whether a value of JSON is what an annotation of a field says."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in parts)
    if kind is NoneType or kind is None:
        return value is None
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (bool, str):
        return isinstance(value, kind)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, dict) and all(fits(one, parts[1]) for one in value.values())
    if origin is not None and issubclass(origin, Sequence):
        return isinstance(value, list) and all(fits(one, parts[0]) for one in value)
    return False
