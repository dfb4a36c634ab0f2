"""Two lines that pull at each other: the smallest thing with turns that the loop trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from impasto.training.recipe_gan import GanRecipe
from impasto.training.task import Turn


def duel_recipe(**changes: Any) -> GanRecipe:
    """A gan recipe of four steps; ``optim={...}`` and such are merged."""
    table: dict[str, Any] = {
        "name": "duel",
        "steps": 4,
        "seed": 3,
        "precision": "fp32",
        "data": {"folder": str(Path("pictures"))},
        "optim": {"warmup": 0, "lr": 1e-2, "betas": (0.5, 0.9)},
        "batch": 4,
        "watch_every": 0,
        "save_every": 100,
        "sample_every": 100,
    }
    for key, value in changes.items():
        table[key] = table[key] | value if isinstance(value, dict) and isinstance(table.get(key), dict) else value
    return GanRecipe.model_validate(table)


class Duel:
    """``critic`` and ``maker`` take turns; a number moves besides the networks, and every call is written down."""

    best = "apart"
    row = 4

    def __init__(self, recipe: GanRecipe, *, sick: Mapping[str, set[int]] | None = None) -> None:
        self.recipe, self.device = recipe, torch.device("cpu")
        self.notes = {"classes": ["a", "b"]}
        torch.manual_seed(recipe.seed)
        self.modules: dict[str, nn.Module] = {"critic": nn.Linear(2, 1), "maker": nn.Linear(3, 2)}
        self.turns = (Turn("judge", ("critic",)), Turn("make", ("maker",), every=recipe.critic))
        self.moving = torch.zeros(())
        self.sick = sick or {}
        self.calls: list[tuple[str, int, int]] = []
        self.learning: list[tuple[bool, bool]] = []
        self.seen: list[float] = []
        self.sayings: list[str] = []

    def batch(self, index: int) -> tuple[int, Tensor]:
        return index, torch.randn(self.recipe.batch, 3, generator=torch.Generator().manual_seed(50 + index))

    def loss(self, turn: str, batch: tuple[int, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        index, x = batch
        self.calls.append((turn, index, step))
        critic, maker = (self.modules[name] for name in ("critic", "maker"))
        self.learning.append(tuple(next(m.parameters()).requires_grad for m in (critic, maker)))  # type: ignore[arg-type]
        made, real = maker(x), x[:, :2] * 2 + self.moving
        if turn == "judge":
            total = (critic(made.detach()) - critic(real)).square().mean() + critic(real).mean()
        else:
            total = critic(made).square().mean() + (made - real).abs().mean()
        self.seen.append(float(total.detach()))
        if step in self.sick.get(turn, set()):
            total = total * float("nan")
        return total, {turn: x.mean()}

    def finish(self, step: int) -> None:
        self.moving = self.moving + 0.125 * (step + 1)

    def state(self) -> dict[str, Tensor]:
        return {"moving": self.moving}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        self.moving = tensors["moving"]

    def watch(self, step: int, average: Mapping[str, nn.Module], figures: dict[str, float]) -> list[str]:
        assert not any(m.training for m in average.values())
        figures["apart"] = {2: 3.0, 4: 1.0, 6: 2.0}.get(step, 5.0)
        return [f"looked at {step}", *self.sayings]

    def sample(self, modules: Mapping[str, nn.Module]) -> NDArray[np.uint8]:
        grid = np.zeros((8, 6, 3), np.uint8)
        grid[:4] = int(sum(call[0] == "judge" for call in self.calls))
        return grid
