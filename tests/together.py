"""A training so small that it is over in no time, for one process or several."""

from __future__ import annotations

from pathlib import Path

import torch

from impasto.training.checkpoint import load_checkpoint
from impasto.training.journal import Journal
from impasto.training.loop import run
from impasto.training.recipe import load_recipe
from impasto.training.tasks.gan import GanTask
from training.support import draw_folder

RECIPE = """
task = "gan"
name = "tiny"
steps = 4
seed = 3
precision = "fp32"
batch = 4
accumulate = {accumulate}
measure_every = 0
watch_every = 0
save_every = 100
sample_every = 100
[net]
height = 16
width = 16
latent = 8
max_width = 8
critic_max_width = 8
[data]
folder = "pictures"
[loss]
r1 = 1.0
every = 2
[augment]
strength = 0.5
[optim]
warmup = 0
lr = 0.01
"""


def write_recipes(folder: Path) -> None:
    """1.toml for two processes, 2.toml for one with the batches of both, and their pictures."""
    draw_folder(folder / "pictures", 16, size=(16, 16))
    for accumulate in (1, 2):
        (folder / f"{accumulate}.toml").write_text(RECIPE.format(accumulate=accumulate))


def assert_as_one(folder: Path) -> None:
    """Hold the run ``ours`` of two processes against that of one."""
    torch.set_num_threads(1)
    run(GanTask(load_recipe(folder / "2.toml"), cache=folder), Journal(folder / "alone"))
    ours, theirs = (load_checkpoint(folder / name / "checkpoint.safetensors") for name in ("ours", "alone"))
    assert ours.step == theirs.step == 4
    for key, value in theirs.tensors.items():
        if not key.endswith("typical"):  # a buffer, that of the first process's own batches
            torch.testing.assert_close(ours.tensors[key], value, rtol=1e-3, atol=1e-5)
