"""The benchmark of generators' speed: both loops learn the same, and the table is made of what was timed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import generator_speed
from impasto.training.presets import gan_recipe
from impasto.training.tasks.gan import GanTask


@pytest.mark.parametrize("preset", ["medium", "dcgan"])
def test_both_loops_learn_the_same(tmp_path: Path, preset: str) -> None:
    data = generator_speed.pictures(tmp_path / "data.npz", 16)
    small = ["batch=4", "net.base_width=8", "net.critic_base_width=8", "precision=fp32"]
    recipe = gan_recipe(data, size=16, preset=preset, steps=2, overrides=small, cache=tmp_path)
    plain, ours = generator_speed.PlainLoop(recipe).task, GanTask(recipe, cache=tmp_path)
    assert recipe.net == plain.recipe.net and plain.recipe.precision == "fp32"
    for turn in ours.turns:
        losses = [float(task.loss(turn.name, task.batch(0), 0)[0].detach()) for task in (plain, ours)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    kernels = [p for p in plain.modules["generator"].parameters() if p.ndim == 4 and p.shape[2] > 1 and p.shape[1] > 1]
    assert kernels and all(kernel.is_contiguous() for kernel in kernels)


def test_the_plain_loop_moves_both_networks(tmp_path: Path) -> None:
    data = generator_speed.pictures(tmp_path / "data.npz", 16)
    small = ["batch=4", "net.base_width=8", "net.critic_base_width=8", "optim.warmup=0"]
    plain = generator_speed.PlainLoop(gan_recipe(data, size=16, steps=2, overrides=small, cache=tmp_path))
    before = {
        name: torch.cat([p.detach().flatten().clone() for p in m.parameters()])
        for name, m in plain.task.modules.items()
    }
    plain.step(0)
    for name, module in plain.task.modules.items():
        assert not torch.equal(before[name], torch.cat([p.detach().flatten() for p in module.parameters()]))


def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(generator_speed, "drawing", lambda *_: 321.4)
    small = [*map(str, ("batch=4", "net.base_width=8", "net.critic_base_width=8", "net.max_width=8"))]
    real = generator_speed.gan_recipe
    monkeypatch.setattr(
        generator_speed,
        "gan_recipe",
        lambda *a, **k: real(*a, **k | {"overrides": [*k["overrides"], *small, "net.critic_max_width=8"]}),
    )
    words = ["--presets", "medium", "--sizes", "32", "--threads", "1", "--block", "1", "--rounds", "1"]
    assert generator_speed.main([*words, "--json", str(tmp_path / "speed.json")]) == 0
    found = json.loads((tmp_path / "speed.json").read_text())
    (row,) = found["rows"]
    assert (row["preset"], row["size"]) == ("medium", 32) and row["ours"] > 0 < row["plain"]
    out, _ = capsys.readouterr()
    assert f"| medium | 32 | {row['ours']:.1f} | {row['plain']:.1f} | " in out
    assert "medium draws 321 pictures/s at 32x32." in out


def test_a_wrong_option_ends_it() -> None:
    with pytest.raises(SystemExit, match="2"):
        generator_speed.main(["--rounds", "0"])
