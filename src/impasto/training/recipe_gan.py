"""The recipe of a pair of adversarial networks."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from impasto.training.nets.gan_spec import GanSpec
from impasto.training.recipe_base import OptimTable, Recipe, Source, Table

LossName = Literal["minimax", "nonsaturating", "hinge", "wasserstein", "relativistic"]


class FolderTable(Table):
    """What is learnt from. The folder (or ``.npz`` file) is relative to the recipe file."""

    folder: str
    labels: Literal["folders", "none"] = Field(default="folders", description="classes: names of sub-folders, or none")
    flip: bool = Field(default=True, description="pictures are mirrored, left to right, half of the time")
    sources: tuple[Source, ...] = ()


class GanLossTable(Table):
    """The adversarial loss, and what keeps the discriminator's slope small."""

    kind: LossName = "nonsaturating"
    r1: float = Field(default=0.1, ge=0, description="gamma of the penalty at real pictures (Mescheder et al. 2018)")
    r2: float = Field(default=0.0, ge=0, description="gamma of the penalty at drawn pictures")
    every: int = Field(default=8, ge=1, description="r1 and r2 are taken every so many-th step, so much stronger")
    slope: float = Field(default=0.0, ge=0, description="weight of the gradient penalty (10 in Gulrajani et al. 2017)")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.kind == "wasserstein" and not (self.slope or self.r1):
            raise ValueError("a wasserstein loss has no lower bound without a penalty: set loss.slope to 10")
        return self


class AugmentTable(Table):
    """Augmentation that the discriminator sees on real and drawn pictures alike (Zhao et al. 2020)."""

    adaptive: bool = Field(default=True, description="the strength follows what D knows by heart (Karras et al. 2020)")
    strength: float = Field(default=0.0, ge=0, le=1, description="the strength, or where an adaptive one starts")
    target: float = Field(default=0.6, gt=0, lt=1, description="mean sign of D's logits at real pictures aimed at")


class GanOptimTable(OptimTable):
    """As for any task; Adam without momentum, since the other network moves the goal (Karras et al. 2018)."""

    lr: float = Field(default=2e-3, gt=0)
    betas: tuple[float, float] = (0.0, 0.99)
    warmup: int = Field(default=100, ge=0, description="steps")
    final: float = Field(default=0.1, ge=0, le=1)
    clip: float = Field(default=100.0, gt=0, description="largest gradient norm")


class GanRecipe(Recipe):
    """A whole run of the gan task. A step is one update of the discriminator."""

    folders: ClassVar[tuple[str, ...]] = ("folder",)
    unseen: ClassVar[frozenset[str]] = Recipe.unseen | {"watch_every", "measure_every", "measure_count"}

    task: Literal["gan"] = "gan"
    net: GanSpec = GanSpec()
    data: FolderTable
    loss: GanLossTable = GanLossTable()
    optim: GanOptimTable = GanOptimTable()
    augment: AugmentTable = AugmentTable()
    batch: int = Field(default=16, ge=1, description="pictures at once")
    accumulate: int = Field(default=1, ge=1, description="batches whose gradients are averaged into one update")
    critic: int = Field(default=1, ge=1, description="updates of the discriminator for one of the generator")
    mixing: float = Field(default=0.5, ge=0, le=1, description="share of drawn pictures with two styles (style nets)")
    watch_every: int = Field(default=250, ge=0, description="steps between looks of the doctor; 0 = never")
    measure_every: int = Field(default=20_000, ge=0, description="images between measurements; 0 = never")
    measure_count: int = Field(default=1_000, ge=50, description="pictures drawn for a measurement")

    def images_seen(self, step: int) -> int:
        """Real pictures that the discriminator saw in the first ``step`` steps of one process."""
        return step * self.batch * self.accumulate

    @property
    def parts(self) -> int:
        """Batches in a step."""
        return self.accumulate

    @property
    def watch_steps(self) -> int:
        """Steps between looks."""
        return self.watch_every
