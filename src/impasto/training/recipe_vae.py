"""The recipe of a variational autoencoder, and the one that a folder of pictures asks for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from impasto.errors import TrainingError, UnknownName
from impasto.progress import OnProgress, silent
from impasto.training.losses.variational import Likelihood
from impasto.training.nets.vae import VaeKind, VaeSpec
from impasto.training.recipe_base import OptimTable, Recipe, Source, Table
from impasto.training.recipe_gan import LossName


class PictureTable(Table):
    """What is learnt from. The folder (or ``.npz`` file) is relative to the recipe file."""

    folder: str
    flip: bool = Field(default=True, description="pictures are mirrored, left to right, half of the time")
    held: float = Field(
        default=0.05, ge=0, le=0.5, description="share of the pictures that is only measured on, not learnt from"
    )
    sources: tuple[Source, ...] = ()


class VaeLossTable(Table):
    """What a reconstruction and a latent cost. ``losses.variational`` has the formulas."""

    likelihood: Likelihood = Field(default="gaussian", description="of a pixel; gaussian learns its own variance")
    scale: float = Field(default=0.1, gt=0, description="error that l1 and l2 expect, in units of -1..1 pictures")
    beta: float = Field(default=1.0, ge=0, description="weight of the divergence (Higgins et al. 2017)")
    warm: float = Field(default=0.1, ge=0, le=1, description="share of the run in which beta rises from 0 to its value")
    free: float = Field(default=0.02, ge=0, description="nats per latent number that are not charged (free bits)")
    perceptual: float = Field(default=0.0, ge=0, description="weight of the difference of VGG features; 0 = no VGG")
    layers: tuple[str, ...] = Field(default=("relu1_2", "relu2_2", "relu3_3"), min_length=1, description="VGG's")
    commitment: float = Field(default=0.25, ge=0, description="pull of a latent to its code (vq-vae)")
    pixels: float = Field(default=1.0, ge=0, description="weight of the pixels' likelihood")
    features: float = Field(default=1.0, ge=0, description="weight of the discriminator's features (vae-gan)")
    adversarial: float = Field(default=0.1, ge=0, description="weight of the discriminator's verdict (vae-gan)")
    kind: LossName = Field(default="hinge", description="of that verdict, see losses.adversarial")


class PriorTable(Table):
    """What draws latents in the model file beside N(0,1); fitted after training, see ``flow`` and ``mixture``."""

    kind: Literal["auto", "flow", "mixture"] = Field(
        default="auto", description="auto: a flow from ``least`` pictures on, a Gaussian mixture below"
    )
    least: int = Field(default=500, ge=2, description="pictures below which a flow would learn them by heart")
    steps: int = Field(default=8_000, ge=1, description="of the flow's training, at most")
    width: int = Field(default=256, ge=8, le=2048)
    blocks: int = Field(default=3, ge=1, le=16)
    strides: int = Field(default=16, ge=1, le=128, description="of the way from noise to latent")

    def flows(self, pictures: int) -> bool:
        """Whether it is a flow, for so many pictures."""
        return self.kind == "flow" or (self.kind == "auto" and pictures >= self.least)


_OPTIM: dict[str, dict[str, Any]] = {"vae-gan": {"lr": 5e-4, "betas": (0.5, 0.99)}}
"""kind -> optimiser defaults of its own: a discriminator moves the goal, which a long memory chases in vain."""


class VaeRecipe(Recipe):
    """A whole run of the vae task."""

    folders: ClassVar[tuple[str, ...]] = ("folder",)
    unseen: ClassVar[frozenset[str]] = Recipe.unseen | {"watch_every", "prior"}

    task: Literal["vae"] = "vae"
    net: VaeSpec = VaeSpec()
    data: PictureTable
    loss: VaeLossTable = VaeLossTable()
    prior: PriorTable = PriorTable()
    optim: OptimTable = OptimTable()
    batch: int = Field(default=32, ge=1, description="pictures at once")
    accumulate: int = Field(default=1, ge=1, description="batches whose gradients are averaged into one update")
    watch_every: int = Field(default=500, ge=0, description="steps between measurements; 0 = never")

    @model_validator(mode="before")
    @classmethod
    def _by_kind(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        net, optim = table.get("net"), table.get("optim", {})
        kind = net.kind if isinstance(net, VaeSpec) else net.get("kind") if isinstance(net, dict) else None
        own = _OPTIM.get(kind) if isinstance(kind, str) else None
        return table | {"optim": own | optim} if own and isinstance(optim, dict) else table

    def images_seen(self, step: int) -> int:
        """Pictures learnt from in the first ``step`` steps of one process."""
        return step * self.batch * self.accumulate

    @property
    def parts(self) -> int:
        """Batches in a step."""
        return self.accumulate

    @property
    def watch_steps(self) -> int:
        """Steps between measurements."""
        return self.watch_every

    def beta(self, step: int) -> float:
        """Weight of the divergence at 0-based ``step``: it rises in a line (Sonderby et al. 2016, section 3)."""
        rise = self.loss.warm * self.steps
        return self.loss.beta * (min(1.0, step / rise) if rise else 1.0)


VAE_PRESETS: dict[str, dict[str, Any]] = {
    # Few pictures are soon known by heart: a short latent, more free bits, an early end.
    "few": {"steps": 3_000, "net": {"latent": 64}, "loss": {"free": 0.05}},
    "medium": {"steps": 8_000},
    "large": {"steps": 20_000, "net": {"max_width": 192}, "optim": {"ema": 0.9995}},
}
"""Size of the data -> what a recipe for it says besides the defaults."""

MEDIUM, LARGE = 1_000, 20_000
"""Pictures from which on a set is of that size."""


def vae_preset(count: int) -> str:
    """The preset for so many pictures: below ``MEDIUM`` few, below ``LARGE`` medium, else large."""
    return "few" if count < MEDIUM else "medium" if count < LARGE else "large"


def vae_recipe(
    folder: str | Path,
    size: int | tuple[int, int] = 64,
    *,
    kind: VaeKind = "vae",
    preset: str | None = None,
    name: str | None = None,
    sets: Iterable[str] = (),
    progress: OnProgress = silent,
) -> VaeRecipe:
    """The recipe for a folder of pictures (or an ``.npz``), chosen by how many and what kind they are.

    The pictures are prepared for training on the way, which takes a while for many; a run then starts at once.

    Args:
        folder: see ``pictures.PictureSet``.
        size: pixels per side, or (height, width).
        kind: ``"vae"``, ``"vae-gan"`` or ``"vq-vae"``.
        preset: one of ``VAE_PRESETS``; None = by the number of pictures.
        name: of the model; None = the folder's.
        sets: ``key.key=value`` overrides, as for ``load_recipe``.
        progress: told of pictures prepared.

    Raises:
        TrainingError: the folder has no or too few pictures, or a value does not fit.
        UnknownName: no such preset, or an unknown key in ``sets``.
    """
    from impasto.training.pictures import PictureSet
    from impasto.training.presets import merged, model_name
    from impasto.training.recipe import make_recipe, override

    if preset is not None and preset not in VAE_PRESETS:
        raise UnknownName("preset", preset, VAE_PRESETS)
    height, width = (size, size) if isinstance(size, int) else size
    source = Path(folder).resolve()
    net: dict[str, Any] = {"kind": kind, "height": height, "width": width}
    table: dict[str, Any] = {"task": "vae", "name": name or model_name(folder), "net": net}
    table["data"] = {"folder": str(source)}
    for text in sets:  # first, since a size or channels set here decide how pictures are prepared
        override(table, text)
    if table["task"] != "vae":
        raise TrainingError("The task of this recipe is vae: leave task out of --set.")
    make_recipe({"steps": 1} | table)  # whatever is wrong is said before any picture is opened
    wanted = table["net"]
    pictures = PictureSet(
        source,
        wanted["height"],
        wanted["width"],
        channels=wanted.get("channels"),
        labels="none",
        progress=progress,
    )
    wanted.setdefault("channels", pictures.channels)
    recipe = make_recipe(merged(VAE_PRESETS[preset or vae_preset(len(pictures))], table))
    assert isinstance(recipe, VaeRecipe)
    return recipe
