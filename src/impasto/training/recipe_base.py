"""What every recipe has: tables of the run, the optimiser and the licence, and what the loop asks of a recipe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import PurePath
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

NAME = r"^[a-z0-9][a-z0-9-]{0,63}$"  # what a model file allows, so that no long run ends in a refused export


class Table(BaseModel):
    """A frozen table: an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(Table):
    """Where pictures came from: goes into the model file."""

    name: str
    what: str
    licence: str


class LicenceTable(Table):
    """Terms that go into the model file."""

    code: str = "Apache-2.0"
    weights: str = "Apache-2.0"
    data: str = "see the data table"


class OptimTable(Table):
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


class Recipe(Table, ABC):
    """What the loop asks of the recipe of any task; each task's own adds a ``task``, a ``net`` and its ``data``.

    Attributes:
        folders: keys of ``data`` that name folders (or files): taken from where the recipe lies, and only their last
            part counts in a run's identity.
        unseen: keys on which no weight depends; they may change between two parts of a run.
    """

    folders: ClassVar[tuple[str, ...]] = ()
    unseen: ClassVar[frozenset[str]] = frozenset({"save_every", "sample_every", "title", "licence"})

    task: str
    name: str = Field(pattern=NAME)
    title: str = ""
    steps: int = Field(ge=1)
    seed: int = 0
    precision: Literal["bf16", "fp32"] = "bf16"
    optim: OptimTable = OptimTable()
    start: str = Field(
        default="", description="run folder whose averaged networks this run starts from, or a model file (style only)"
    )
    licence: LicenceTable = LicenceTable()
    save_every: int = Field(default=500, ge=1, description="steps between checkpoints")
    sample_every: int = Field(default=1000, ge=1, description="steps between sample grids")

    @abstractmethod
    def images_seen(self, step: int) -> int:
        """Pictures learnt from in the first ``step`` steps."""

    @property
    def parts(self) -> int:
        """Batches whose gradients are averaged into one step."""
        return 1

    @property
    def watch_steps(self) -> int:
        """Steps between looks of the task at itself (``Task.watch``); 0 = never."""
        return 0

    def identity(self) -> dict[str, Any]:
        """All that a checkpoint depends on, as a plain dictionary."""
        table = self.model_dump(mode="json", exclude=set(self.unseen))
        table["data"].pop("sources", None)
        table["start"] = last_part(table["start"])
        for key in self.folders:  # the same folder may lie elsewhere on another machine
            table["data"][key] = last_part(table["data"][key])
        return table


def last_part(path: str) -> str:
    """The name of a file or folder without what is above it."""
    return PurePath(path).name
