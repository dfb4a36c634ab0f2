"""The recipe of the style-one task: a trained painter learns one painting well."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from impasto.runtime.style import DEFAULT_MODEL, STYLE_SCALE
from impasto.training.recipe_base import OptimTable, Recipe, Source, Table, last_part

LEAST_SIDE = 16
"""Of what the feature network looks at, pixels."""


class OneDataTable(Table):
    """What is learnt from."""

    painting: str = Field(description="picture file, relative to the recipe")
    photos: str = Field(default="", description="folder, relative to the recipe; scenes drawn by code where empty")
    photo_zoom: float = Field(default=2.0, ge=1, description="photo crops are shrunk by up to this much")
    scale: int = Field(
        default=STYLE_SCALE, ge=64, le=2048, description="strokes are painted as large as at this short side, pixels"
    )
    octaves: int = Field(
        default=2, ge=1, le=4, description="sizes at which the whole painting's statistics are held, each half the last"
    )
    prints: str = Field(default="", description="digest of painting and base model; empty = they are not checked")
    sources: tuple[Source, ...] = ()


class OneLossTable(Table):
    """Weights and layers of the losses."""

    content_layers: tuple[str, ...] = Field(default=("relu3_3", "relu4_1"), min_length=1)
    style_layers: tuple[str, ...] = Field(default=("relu1_2", "relu2_2", "relu3_3", "relu4_1"), min_length=1)
    content: float = Field(default=1.0, ge=0)
    style: float = Field(default=3.0, ge=0, description="Gram matrices of the whole painting")
    moments: float = Field(default=0.5, ge=0, description="means and deviations of its features (AdaIN)")
    variation: float = Field(default=0.2, ge=0, description="total variation")
    range: float = Field(default=1.0, ge=0, description="penalty on colours outside 0..1")
    keep: float = Field(default=2.0, ge=0, description="in any other manner it paints as it did: mean abs difference")
    distil: float = Field(default=4.0, ge=0, description="the same in this manner, falling to 0; for size small")
    distil_share: float = Field(default=0.6, gt=0, le=1, description="of the run, after which distil is 0")
    features: Literal["vgg16", "vgg19"] = "vgg16"


class OneOptimTable(OptimTable):
    """As for any task; shorter times, since a run takes minutes."""

    lr: float = Field(default=5e-4, gt=0)
    warmup: int = Field(default=10, ge=0, description="steps")
    ema: float = Field(default=0.98, ge=0, lt=1, description="decay of the moving average that is exported")


class OneRecipe(Recipe):
    """A whole run of the style-one task."""

    folders: ClassVar[tuple[str, ...]] = ("painting", "photos")
    unseen: ClassVar[frozenset[str]] = Recipe.unseen | {"artist", "year"}

    task: Literal["style-one"] = "style-one"
    artist: str = Field(default="", description="who painted it, for the model file")
    year: str = Field(default="", description="when, as museums give it")
    base: str = Field(default=DEFAULT_MODEL, description="model to start from: a bundled one, or a file")
    size: Literal["full", "small"] = Field(default="full", description="small: half the channels of the base")
    data: OneDataTable
    loss: OneLossTable = OneLossTable()
    optim: OneOptimTable = OneOptimTable()
    crop: int = Field(default=256, ge=64, multiple_of=8, description="side of a photo crop, pixels")
    batch: int = Field(default=2, ge=1)
    others: int = Field(default=2, ge=0, description="crops a step that are painted in other manners, for keep")
    save_every: int = Field(default=100, ge=1, description="steps between checkpoints")
    sample_every: int = Field(default=200, ge=1, description="steps between sample grids")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if min(self.crop, self.data.scale) >> (self.data.octaves - 1) < LEAST_SIDE:
            raise ValueError(
                f"a crop of {self.crop} px or a scale of {self.data.scale} is too small for so many octaves"
            )
        return self

    def images_seen(self, step: int) -> int:
        """Photos painted in this manner in the first ``step`` steps."""
        return step * self.batch

    def identity(self) -> dict[str, Any]:
        """All that a checkpoint depends on; the base counts by its name (``data.prints`` tells what it holds)."""
        return super().identity() | {"base": last_part(self.base)}
