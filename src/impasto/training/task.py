"""What the one loop asks of a task, and what a task may say besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from impasto.errors import TrainingError
from impasto.runtime.bundle import SUFFIX
from impasto.training.checkpoint import Checkpoint, load_checkpoint
from impasto.training.data import Pixels
from impasto.training.journal import Journal
from impasto.training.recipe_base import Recipe


@dataclass(frozen=True, slots=True)
class Turn:
    """One of the updates that a step is made of, with an optimiser of its own.

    Attributes:
        name: what ``Task.loss`` is asked for.
        networks: the ones that learn in it; the others stand still and get no gradients.
        every: it is taken in every so many-th step, the first time in step ``every``.
    """

    name: str
    networks: tuple[str, ...]
    every: int = 1


class Task(Protocol):
    """What the loop asks of a task.

    A task may also say any of these; the loop has a default for each:

    - ``turns: tuple[Turn, ...]``: the updates of a step, in order. Default: one turn ``"all"`` for all networks.
    - ``finish(step: int) -> None``: called after the turns of a step (0-based), unless one was not a number.
    - ``state() -> dict[str, Tensor]``, ``load_state(tensors) -> None``: what moves besides networks.
    - ``watch(step, average, figures) -> list[str]``: called by the first process every ``recipe.watch_steps`` steps
      with the averaged networks and the newest figures, to which it may add its own (metrics). It gives sentences for
      a person. It must not change what training does.
    - ``best: str``: the figure of ``watch`` by which the best state is kept (least is best), or empty.
    - ``notes: Mapping[str, Any]``: what goes into the run folder at the start, as ``name.json``.
    - ``fresh: frozenset[str]``: networks that the run named by ``recipe.start`` may lack; these then start anew.
    - ``of_model(path: Path) -> Checkpoint``: the networks of a model file, which ``recipe.start`` may then name, too.
    - ``row: int``: height in pixels of the row of a sample grid that goes into the timeline, or 0.
    """

    @property
    def recipe(self) -> Recipe: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def modules(self) -> dict[str, nn.Module]: ...
    def batch(self, index: int) -> Any: ...
    def loss(self, turn: str, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]: ...
    def sample(self, modules: Mapping[str, nn.Module]) -> Pixels: ...


def first_checkpoint(task: Task) -> Checkpoint:
    """What ``recipe.start`` names: the newest checkpoint of a run folder, or a model file.

    Raises:
        TrainingError: it cannot be read, or a run of this task cannot start from a model file.
        BundleError: it is no whole model file.
    """
    start = Path(task.recipe.start)
    if start.suffix != SUFFIX:
        return load_checkpoint(Journal(start).checkpoint)
    if not hasattr(task, "of_model"):
        raise TrainingError(
            f"A run of the task {task.recipe.task!r} cannot start from a model file ({start.name}): name a run folder."
        )
    found: Checkpoint = task.of_model(start)
    return found
