"""The run folder: recipe, figures, sample grids, checkpoints."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from impasto.errors import TrainingError
from impasto.training.data import Pixels
from impasto.training.recipe import Recipe, make_recipe


class Journal:
    """A folder that tells everything about a run.

    ``recipe.json`` what was asked; ``stats.jsonl`` a line of figures every few steps; ``remarks.jsonl`` sentences for
    a person; ``classes.json`` names of classes, where there are any; ``samples/step.png`` and ``timeline.png``;
    ``checkpoint.safetensors`` the newest state; ``best.safetensors`` the averaged networks that measured best, where a
    task measures. Everything that writes raises TrainingError where it cannot.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.checkpoint = self.folder / "checkpoint.safetensors"
        self.best = self.folder / "best.safetensors"

    def start(self, recipe: Recipe, *, resume: bool) -> None:
        """Make the folder, or check that it can be gone on with; figures of a run that never saved are dropped.

        Raises:
            TrainingError: there is a run here and ``resume`` was not asked for; or none, and it was.
        """
        self.check(resume=resume)
        with self._writing():
            (self.folder / "samples").mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob(".*.part"):  # of a process that was killed while it wrote
                left.unlink(missing_ok=True)
        self._write("recipe.json", json.dumps(recipe.model_dump(mode="json"), indent=1).encode())
        if not resume:
            self.rewind(0)
            with self._writing():
                self.best.unlink(missing_ok=True)

    def check(self, *, resume: bool) -> None:
        """Raise as ``start`` does, before any work is done."""
        if self.checkpoint.exists() and not resume:
            raise TrainingError(f"{self.folder} holds a run already: pass --resume, or name another folder with --run.")
        if resume and not self.checkpoint.exists():
            raise TrainingError(f"{self.folder} holds no checkpoint to resume from: leave --resume out.")

    def recipe(self) -> Recipe:
        """The recipe of the run in this folder."""
        try:
            table = json.loads((self.folder / "recipe.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"{self.folder} is not a run folder (no readable recipe.json): name one that impasto train made."
            ) from error
        return make_recipe(table)

    def rewind(self, step: int) -> None:
        """Forget figures after ``step``: a killed run may have logged more than it saved."""
        for name in ("stats.jsonl", "remarks.jsonl"):
            path = self.folder / name
            if path.exists():
                lines = [line for line in path.read_text("utf-8", "replace").splitlines() if _step(line) <= step]
                self._write(name, "".join(line + "\n" for line in lines).encode())
        with suppress(OSError):
            for path in (self.folder / "samples").glob("*.png"):
                if path.stem.isdigit() and int(path.stem) > step:
                    path.unlink()

    def log(self, figures: dict[str, Any]) -> None:
        """One line of figures; one that is not finite becomes null, which is all that JSON has for it."""
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in figures.items()}
        self._append("stats.jsonl", json.dumps(plain, allow_nan=False))

    def figures(self, step: int) -> dict[str, float]:
        """The figures logged at ``step``; none where nothing was."""
        path = self.folder / "stats.jsonl"
        lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
        rows = [json.loads(line) for line in lines if _step(line) == step]
        return {key: float(value) for key, value in rows[-1].items() if value is not None} if rows else {}

    def note(self, name: str, value: Any) -> None:
        """Keep ``name.json``: what a task wants known of a run, such as the names of its classes."""
        self._write(f"{name}.json", json.dumps(value, ensure_ascii=False, indent=1).encode())

    def remark(self, step: int, sentence: str) -> None:
        """One sentence for a person."""
        self._append("remarks.jsonl", json.dumps({"step": step, "says": sentence}, ensure_ascii=False))

    def sample(self, step: int, grid: Pixels) -> None:
        """Keep a sample grid."""
        png = BytesIO()
        Image.fromarray(grid).save(png, "png")
        self._write(f"samples/{step:07d}.png", png.getvalue())

    def timeline(self, row: int, most: int = 16) -> None:
        """Keep one picture of how the same draws became better: the top rows of the sample grids, oldest first.

        Args:
            row: height of what is taken of each grid, pixels.
            most: rows; of more grids, evenly spaced ones are taken, and always the newest.
        """
        grids = sorted(path for path in (self.folder / "samples").glob("*.png") if path.stem.isdigit())
        places = [round(i * (len(grids) - 1) / max(1, min(most, len(grids)) - 1)) for i in range(min(most, len(grids)))]
        rows = []
        with self._writing():
            for place in places:
                with Image.open(grids[place]) as grid:
                    rows.append(grid.crop((0, 0, grid.width, row)))
        if not rows:
            return
        whole = Image.new(rows[-1].mode, (max(strip.width for strip in rows), row * len(rows)))
        for number, strip in enumerate(rows):
            whole.paste(strip, (0, row * number))
        png = BytesIO()
        whole.save(png, "png")
        self._write("timeline.png", png.getvalue())

    def _append(self, name: str, line: str) -> None:
        with self._writing(), (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        with self._writing():
            try:
                part.write_bytes(data)
                part.replace(path)
            finally:
                with suppress(OSError):
                    part.unlink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrainingError(
                f"The run folder {self.folder} cannot be written ({error.strerror or error}): "
                "make room, or name another with --run."
            ) from error


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line cut short by a kill
