"""The recipe of the any-style task."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from impasto.training.nets.style import StyleSpec
from impasto.training.paint_spec import OTHER_VIEWS
from impasto.training.recipe_base import NAME, Recipe, Source, Table


class NamedStyle(Table):
    """A painting whose code goes into the model file under a name."""

    name: str = Field(pattern=NAME)
    title: str
    artist: str
    year: str
    picture: str = Field(description="file, relative to the recipe")


class DataTable(Table):
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


class StyleLossTable(Table):
    """Weights and layers of the losses."""

    content_layers: tuple[str, ...] = Field(default=("relu4_1",), min_length=1)
    style_layers: tuple[str, ...] = Field(default=("relu1_2", "relu2_2", "relu3_3", "relu4_1"), min_length=1)
    content: float = Field(default=1.0, ge=0)
    style: float = Field(default=4.0, ge=0)
    moments: float = Field(default=0.0, ge=0, description="mean-and-deviation loss, on a picture's channels (AdaIN)")
    variation: float = Field(default=0.1, ge=0, description="total variation")
    calm: float = Field(default=0.0, ge=0, description="total variation where the photo is flat")
    range: float = Field(default=1.0, ge=0, description="penalty on colours outside 0..1")
    identity: float = Field(default=2.0, ge=0, description="a photo in its own manner is the photo: mean abs error")
    hint: float = Field(default=0.5, ge=0, description="the style code must tell the feature channels' energies")
    centre: float = Field(default=1.0, ge=0, description="codes of a batch average to 0: what all share is not style")
    teach: float = Field(
        default=0.0, ge=0, description="the encoder should give the code that the painting's feature statistics give"
    )
    lessons: int = Field(default=0, ge=0, description="paintings a step, beside the batch's own, to learn that on")
    identity_every: int = Field(default=8, ge=1, description="one picture in so many is used for it")
    views: int = Field(
        default=0, ge=0, le=OTHER_VIEWS, description="ways to look at pictures, in turn, beside the plain one"
    )
    features: Literal["vgg16", "vgg19"] = "vgg16"
    kl: float = Field(
        default=0.0, ge=0, description="codes as N(0,1) has them, nats per number (needs net.variational)"
    )
    adversarial: float = Field(
        default=0.0, ge=0, description="a critic should take painted photos for paintings; 0 = there is no critic"
    )


class CriticTable(Table):
    """The network that tells paintings from painted photos; it is built where ``loss.adversarial`` is above 0."""

    widths: tuple[Annotated[int, Field(ge=4, le=512)], ...] = Field(
        default=(32, 64, 128), min_length=1, max_length=3, description="channels at 1/2, 1/4 and 1/8 of the size"
    )
    conditional: bool = Field(default=True, description="it is told the style code, and judges the pair of the two")
    kind: Literal["minimax", "nonsaturating", "hinge"] = Field(
        default="minimax", description="minimax: min over painters, max over critics, of E[log D] + E[log(1 - D)]"
    )


class Stage(Table):
    """A part of the run with one crop size: crops grow so that strokes hold at large sizes."""

    share: float = Field(gt=0, le=1)
    crop: int = Field(ge=64, multiple_of=8)
    batch: int = Field(ge=1)
    style: float | None = Field(default=None, ge=0, description="weight of the style loss in this stage")
    teach: float | None = Field(default=None, ge=0, description="weight of what the teacher says in this stage")
    given: float = Field(
        default=0.0, ge=0, le=1, description="share of paintings whose code is the teacher's (needs loss.teach)"
    )


class StyleRecipe(Recipe):
    """A whole run of the any-style task."""

    folders: ClassVar[tuple[str, ...]] = ("photos", "paintings")
    unseen: ClassVar[frozenset[str]] = Recipe.unseen | {"styles"}

    task: Literal["style"] = "style"
    net: StyleSpec = StyleSpec()
    data: DataTable
    loss: StyleLossTable = StyleLossTable()
    critic: CriticTable = CriticTable()
    stages: tuple[Stage, ...] = (Stage(share=1.0, crop=128, batch=8),)
    styles: tuple[NamedStyle, ...] = ()

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if abs(sum(stage.share for stage in self.stages) - 1) > 1e-6:
            raise ValueError("the shares of the stages must sum to 1")
        names = [style.name for style in self.styles]
        if len(set(names)) < len(names):
            raise ValueError("two styles have the same name")
        if self.loss.kl and not self.net.variational:
            raise ValueError("loss.kl is about codes that are drawn: set net.variational = true, or leave it out")
        if not self.loss.teach and any(stage.given or stage.teach for stage in self.stages):
            raise ValueError("there is no teacher for the stages that ask for one: set loss.teach, or leave out given")
        return self

    def identity(self) -> dict[str, Any]:
        """See ``Recipe.identity``. What older recipes could not say counts only where it is used: their runs go on."""
        table = super().identity()
        if not self.net.under:
            del table["net"]["ground"]
        for key in ("variational", "bands", "under"):
            if not table["net"][key]:
                del table["net"][key]
        for key in ("kl", "adversarial", "teach", "lessons", "calm", "views"):
            if not table["loss"][key]:
                del table["loss"][key]
        if not self.loss.adversarial:
            del table["critic"]
        for stage in table["stages"]:
            for key in ("given", "teach"):
                if not stage[key]:
                    del stage[key]
        return table

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
