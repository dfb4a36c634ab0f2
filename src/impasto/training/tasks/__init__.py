"""Tasks: what one training step is. ``TASKS`` is the one table of them: name -> class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from impasto.training.loop import Task
from impasto.training.tasks.gan import GanTask
from impasto.training.tasks.style import StyleTask
from impasto.training.tasks.style_one import StyleOneTask
from impasto.training.tasks.vae import VaeTask


class Trainable(Task, Protocol):
    """A task as ``impasto train`` makes it: of a recipe, a device and ``progress=``."""

    def remarks(self) -> list[str]:
        """What a person should know of the data, in sentences."""
        ...


TASKS: dict[str, Callable[..., Trainable]] = {
    "style": StyleTask,
    "gan": GanTask,
    "vae": VaeTask,
    "style-one": StyleOneTask,
}
