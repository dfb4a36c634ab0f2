"""Tasks: what one training step is. ``TASKS`` is the one table of them: name -> class."""

from __future__ import annotations

from impasto.training.tasks.style import StyleTask

TASKS: dict[str, type[StyleTask]] = {"style": StyleTask}
