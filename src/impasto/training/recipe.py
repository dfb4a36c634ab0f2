"""Recipes: everything that decides a training run, in one TOML file.

A default is written once, here. ``Recipe.load(path, ["optim.lr=1e-3"])`` reads a file and applies overrides; an
unknown key is an error that offers the nearest one.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from impasto.errors import TrainingError, UnknownName
from impasto.training.nets.style import StyleSpec

_NAME = r"^[a-z0-9][a-z0-9-]{0,63}$"  # what a model file allows, so that no long run ends in a refused export


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(_Table):
    """Where pictures came from: goes into the model file."""

    name: str
    what: str
    licence: str


class NamedStyle(_Table):
    """A painting whose code goes into the model file under a name."""

    name: str = Field(pattern=_NAME)
    title: str
    artist: str
    year: str
    picture: str = Field(description="file, relative to the recipe")


class LicenceTable(_Table):
    """Terms that go into the model file."""

    code: str = "Apache-2.0"
    weights: str = "Apache-2.0"
    data: str = "see the data table"


class DataTable(_Table):
    """What is learnt from. Folders are relative to the recipe file."""

    photos: str
    paintings: str
    weights: dict[str, float] = Field(default={}, description="file-name pattern -> how often against others (1)")
    variants: int = Field(default=1, ge=1, description="crops per painting that are ever used (statistics are kept)")
    style_size: int = Field(default=224, ge=64, multiple_of=16, description="side of a style crop, pixels")
    style_zoom: tuple[float, float] = Field(
        default=(1.0, 2.0), description="paintings are enlarged by this much, least and most"
    )
    photo_zoom: float = Field(default=2.0, ge=1, description="photo crops are shrunk by up to this much")
    seed: int = 0
    sources: tuple[Source, ...] = ()

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if not 0 < self.style_zoom[0] <= self.style_zoom[1]:
            raise ValueError("style_zoom must be two numbers above 0, the smaller one first")
        if any(weight < 0 for weight in self.weights.values()):
            raise ValueError("weights must not be negative")
        return self


class StyleLossTable(_Table):
    """Weights and layers of the losses."""

    content_layers: tuple[str, ...] = Field(default=("relu4_1",), min_length=1)
    style_layers: tuple[str, ...] = Field(default=("relu1_2", "relu2_2", "relu3_3", "relu4_1"), min_length=1)
    content: float = Field(default=1.0, ge=0)
    style: float = Field(default=4.0, ge=0)
    moments: float = Field(default=0.0, ge=0, description="mean-and-deviation loss, on a picture's channels (AdaIN)")
    variation: float = Field(default=0.1, ge=0, description="total variation")
    range: float = Field(default=1.0, ge=0, description="penalty on colours outside 0..1")
    identity: float = Field(default=2.0, ge=0, description="a photo in its own manner is the photo: mean abs error")
    hint: float = Field(default=0.5, ge=0, description="the style code must tell the feature channels' energies")
    centre: float = Field(default=1.0, ge=0, description="codes of a batch average to 0: what all share is not style")
    identity_every: int = Field(default=8, ge=1, description="one picture in so many is used for it")
    features: Literal["vgg16", "vgg19"] = "vgg16"


class Stage(_Table):
    """A part of the run with one crop size: crops grow so that strokes hold at large sizes."""

    share: float = Field(gt=0, le=1)
    crop: int = Field(ge=64, multiple_of=8)
    batch: int = Field(ge=1)
    style: float | None = Field(default=None, ge=0, description="weight of the style loss in this stage")


class OptimTable(_Table):
    """AdamW as in Loshchilov and Hutter 2019, a linear warm-up, then cosine or step decay to ``final`` x lr."""

    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(default=0.0, ge=0)
    rates: dict[str, float] = Field(default={}, description="network -> multiple of lr, 1 where it is not named")
    warmup: int = Field(default=200, ge=0, description="steps")
    decay: Literal["cosine", "step", "constant"] = "cosine"
    final: float = Field(default=0.02, ge=0, le=1)
    clip: float = Field(default=1.0, gt=0, description="largest gradient norm")
    ema: float = Field(default=0.999, ge=0, lt=1, description="decay of the moving average that is exported")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must lie in 0 <= beta < 1")
        if self.decay == "step" and self.final == 0:
            raise ValueError("step decay needs a final above 0: its first fall would be to a rate of 0")
        return self


class StyleRecipe(_Table):
    """A whole run of the any-style task."""

    task: Literal["style"] = "style"
    name: str = Field(pattern=_NAME)
    title: str = ""
    steps: int = Field(ge=1)
    seed: int = 0
    precision: Literal["bf16", "fp32"] = "bf16"
    net: StyleSpec = StyleSpec()
    data: DataTable
    loss: StyleLossTable = StyleLossTable()
    optim: OptimTable = OptimTable()
    stages: tuple[Stage, ...] = (Stage(share=1.0, crop=128, batch=8),)
    start: str = Field(default="", description="run folder whose averaged networks this run starts from")
    styles: tuple[NamedStyle, ...] = ()
    licence: LicenceTable = LicenceTable()
    save_every: int = Field(default=500, ge=1, description="steps between checkpoints")
    sample_every: int = Field(default=1000, ge=1, description="steps between sample grids")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if abs(sum(stage.share for stage in self.stages) - 1) > 1e-6:
            raise ValueError("the shares of the stages must sum to 1")
        names = [style.name for style in self.styles]
        if len(set(names)) < len(names):
            raise ValueError("two styles have the same name")
        return self

    def stage(self, step: int) -> Stage:
        """The stage that 0-based ``step`` belongs to."""
        end = 0.0
        for stage in self.stages:
            end += stage.share
            if step < round(end * self.steps):
                return stage
        return self.stages[-1]

    def images_seen(self, step: int) -> int:
        """Photos painted in the first ``step`` steps."""
        total, end, start = 0, 0.0, 0
        for stage in self.stages:
            end += stage.share
            stop = min(step, round(end * self.steps))
            total += max(0, stop - start) * stage.batch
            start = max(start, stop)
        return total


RECIPES: dict[str, type[StyleRecipe]] = {"style": StyleRecipe}
"""task -> what its recipe must say."""


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> StyleRecipe:
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
        _override(table, text)
    data = table.get("data")
    if isinstance(data, dict):
        for key in ("photos", "paintings"):
            if isinstance(data.get(key), str):
                data[key] = str((path.parent / data[key]).resolve())
    if isinstance(table.get("start"), str) and table["start"]:
        table["start"] = str((path.parent / table["start"]).resolve())
    styles = table.get("styles")
    for style in styles if isinstance(styles, list) else ():
        if isinstance(style, dict) and isinstance(style.get("picture"), str):
            style["picture"] = str((path.parent / style["picture"]).resolve())
    return make_recipe(table)


def make_recipe(table: Mapping[str, Any]) -> StyleRecipe:
    """A recipe from a plain dictionary. Raises as ``load_recipe``."""
    if not isinstance(table, Mapping):
        raise TrainingError("A recipe must be a table of keys and values: see recipes/anystyle.toml for one.")
    task = table.get("task", "style")
    if not isinstance(task, str) or task not in RECIPES:
        raise UnknownName("task", str(task), RECIPES)
    model = RECIPES[task]
    _check_keys(table, model, "")
    try:
        return model.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = "'s " + ".".join(str(part) for part in first["loc"]) if first["loc"] else ""
        why = first["msg"].removeprefix("Value error, ")
        raise TrainingError(f"The recipe{where} does not fit: {why[:1].lower()}{why[1:].rstrip('.')}.") from error


def recipe_hash(recipe: StyleRecipe) -> str:
    """A digest of all that a checkpoint depends on: a changed recipe refuses to resume."""
    table = recipe.model_dump(mode="json", exclude={"save_every", "sample_every", "title", "styles", "licence"})
    table["data"].pop("sources")
    table["start"] = Path(table["start"]).name
    for key in ("photos", "paintings"):  # the same folder may lie elsewhere on another machine
        table["data"][key] = Path(table["data"][key]).name
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:16]


def _override(table: dict[str, Any], text: str) -> None:
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
