"""Recipes: everything that decides a training run, in one TOML file.

A default is written once, in the task's own table. ``load_recipe(path, ["optim.lr=1e-3"])`` reads a file and applies
overrides; an unknown key is an error that offers the nearest one. What all have in common is in ``recipe_base``.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from impasto.errors import TrainingError, UnknownName
from impasto.training.recipe_base import LicenceTable, OptimTable, Recipe, Source
from impasto.training.recipe_gan import GanRecipe
from impasto.training.recipe_one import OneRecipe
from impasto.training.recipe_style import DataTable, NamedStyle, Stage, StyleLossTable, StyleRecipe
from impasto.training.recipe_vae import VaeRecipe

__all__ = [
    "RECIPES",
    "DataTable",
    "GanRecipe",
    "LicenceTable",
    "NamedStyle",
    "OneRecipe",
    "OptimTable",
    "Recipe",
    "Source",
    "Stage",
    "StyleLossTable",
    "StyleRecipe",
    "VaeRecipe",
    "changed",
    "load_recipe",
    "make_recipe",
    "override",
    "quoted",
    "recipe_hash",
]

RECIPES: dict[str, type[Recipe]] = {"style": StyleRecipe, "gan": GanRecipe, "vae": VaeRecipe, "style-one": OneRecipe}
"""task -> what its recipe must say."""


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe and apply ``key.key=value`` overrides (values as in TOML; bare words are strings).

    Folders in ``data`` become absolute, taken from where the recipe file lies.

    Raises:
        TrainingError: no such file, not TOML, or a value that does not fit.
        UnknownName: an unknown key or task, with the nearest one.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise TrainingError(f"There is no recipe at {path}: give the path of a .toml file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} is not TOML: {error}.") from error
    for text in overrides:
        override(table, text)
    data = table.get("data")
    if isinstance(data, dict):
        for key in _task(table).folders:
            if isinstance(data.get(key), str):
                data[key] = str((path.parent / data[key]).resolve())
    if isinstance(table.get("start"), str) and table["start"]:
        table["start"] = str((path.parent / table["start"]).resolve())
    styles = table.get("styles")
    for style in styles if isinstance(styles, list) else ():
        if isinstance(style, dict) and isinstance(style.get("picture"), str):
            style["picture"] = str((path.parent / style["picture"]).resolve())
    return make_recipe(table)


def make_recipe(table: Mapping[str, Any]) -> Recipe:
    """A recipe from a plain dictionary. Raises as ``load_recipe``."""
    if not isinstance(table, Mapping):
        raise TrainingError("A recipe must be a table of keys and values: see recipes/anystyle.toml for one.")
    model = _task(table)
    _check_keys(table, model, "")
    try:
        return model.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = "'s " + ".".join(str(part) for part in first["loc"]) if first["loc"] else ""
        why = first["msg"].removeprefix("Value error, ")
        raise TrainingError(f"The recipe{where} does not fit: {why[:1].lower()}{why[1:].rstrip('.')}.") from error


def changed(recipe: Recipe, overrides: Iterable[str]) -> Recipe:
    """``recipe`` with overrides, as for ``load_recipe``."""
    table = recipe.model_dump(mode="json")
    for text in overrides:
        override(table, text)
    return make_recipe(table)


def _task(table: Mapping[str, Any]) -> type[Recipe]:
    task = table.get("task", "style")
    if not isinstance(task, str) or task not in RECIPES:
        raise UnknownName("task", str(task), RECIPES)
    return RECIPES[task]


def recipe_hash(recipe: Recipe) -> str:
    """A digest of all that a checkpoint depends on: a changed recipe refuses to resume."""
    table = recipe.identity()
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:16]


def override(table: dict[str, Any], text: str) -> None:
    """Set ``key.key=value`` in a table of tables; the value as in TOML, or a bare word."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise TrainingError(f"--set wants key=value, such as optim.lr=1e-3, not {text!r}.")
    try:
        parsed = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    *path, last = key.strip().split(".")
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise TrainingError(f"--set {key}: {part} is a value, not a table.")
    table[last] = parsed


def quoted(text: object) -> str:
    """A text, or a path, as ``override`` takes it after the ``=``, whatever letters are in it."""
    # JSON's own escapes are not TOML's for letters beyond 16 bits, and TOML wants DEL escaped.
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")


def _check_keys(table: Mapping[str, Any], model: type[BaseModel], where: str) -> None:
    """Unknown keys, with the nearest known one (pydantic only says that they are extra)."""
    for key, value in table.items():
        if key not in model.model_fields:
            raise UnknownName("recipe key", f"{where}{key}", [where + known for known in model.model_fields])
        annotation = model.model_fields[key].annotation
        listed = isinstance(value, list | tuple)
        for number, row in enumerate(value if listed else [value]):
            for inner in (annotation, *get_args(annotation)):  # a table, or a tuple of tables
                if isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(row, Mapping):
                    _check_keys(row, inner, f"{where}{key}.{number}." if listed else f"{where}{key}.")
