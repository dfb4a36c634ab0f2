"""The run folder: recipe, figures, sample grids, checkpoints."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from PIL import Image

from impasto.errors import TrainingError
from impasto.training.data import Pixels
from impasto.training.recipe import StyleRecipe, make_recipe


class Journal:
    """A folder that tells everything about a run.

    ``recipe.json`` what was asked; ``stats.jsonl`` a line of figures every few steps; ``samples/step.png``;
    ``checkpoint.safetensors`` the newest state.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.checkpoint = self.folder / "checkpoint.safetensors"

    def start(self, recipe: StyleRecipe, *, resume: bool) -> None:
        """Make the folder, or check that it can be gone on with.

        Raises:
            TrainingError: there is a run here and ``resume`` was not asked for; or none, and it was.
        """
        self.check(resume=resume)
        (self.folder / "samples").mkdir(parents=True, exist_ok=True)
        self._write("recipe.json", json.dumps(recipe.model_dump(mode="json"), indent=1).encode())

    def check(self, *, resume: bool) -> None:
        """Raise as ``start`` does, before any work is done."""
        if self.checkpoint.exists() and not resume:
            raise TrainingError(f"{self.folder} holds a run already: pass --resume, or name another folder with --run.")
        if resume and not self.checkpoint.exists():
            raise TrainingError(f"{self.folder} holds no checkpoint to resume from: leave --resume out.")

    def recipe(self) -> StyleRecipe:
        """The recipe of the run in this folder."""
        try:
            table = json.loads((self.folder / "recipe.json").read_text("utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise TrainingError(f"{self.folder} is not a run folder (no readable recipe.json).") from error
        return make_recipe(table)

    def rewind(self, step: int) -> None:
        """Forget figures after ``step``: a killed run may have logged more than it saved."""
        path = self.folder / "stats.jsonl"
        if path.exists():
            lines = [line for line in path.read_text("utf-8").splitlines() if _step(line) <= step]
            self._write("stats.jsonl", "".join(line + "\n" for line in lines).encode())

    def log(self, figures: dict[str, Any]) -> None:
        """One line of figures."""
        with (self.folder / "stats.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")

    def sample(self, step: int, grid: Pixels) -> None:
        """Keep a sample grid."""
        Image.fromarray(grid).save(self.folder / "samples" / f"{step:07d}.png")

    def _write(self, name: str, data: bytes) -> None:
        part = self.folder / f".{name}.{os.getpid()}.part"
        part.write_bytes(data)
        part.replace(self.folder / name)


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line cut short by a kill
