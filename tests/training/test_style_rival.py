"""The adversarial term of the any-style task: the critic, its turn and the painter's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from impasto.training import loop
from impasto.training.checkpoint import load_checkpoint
from impasto.training.estimate import rehearse
from impasto.training.export import load_run
from impasto.training.journal import Journal
from impasto.training.nets.critic import PatchCritic
from impasto.training.tasks.style import StyleTask
from training.support import tiny_recipe, tiny_spec

ON: dict[str, Any] = {"loss": {"adversarial": 0.5}, "critic": {"widths": (8, 8)}}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StyleTask, "_calibrate", lambda self: None)
    monkeypatch.setattr(StyleTask, "sample", lambda *_: np.zeros((8, 8, 3), np.uint8))


def task_of(pictures: Path, keep: Path, **changes: Any) -> StyleTask:
    return StyleTask(tiny_recipe(pictures, **(ON | changes)), keep=keep)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(before: dict[str, Tensor], module: nn.Module) -> bool:
    return any(not torch.equal(value, before[name]) for name, value in module.state_dict().items())


# The network ----------------------------------------------------------------------------------------------------------


def test_one_logit_per_patch() -> None:
    critic = PatchCritic(tiny_spec(), (8, 8))
    with torch.no_grad():
        logits = critic(torch.rand(2, 3, 64, 40), torch.randn(2, 17))
    assert logits.shape == (2, 16, 10) and logits.dtype == torch.float32


def test_it_sees_a_patch_and_no_more() -> None:
    """38 pixels with three halvings, as its docstring says."""
    critic = PatchCritic(tiny_spec(), (8, 8, 8)).eval()
    picture = torch.rand(1, 3, 96, 96, requires_grad=True)
    critic(picture, torch.randn(1, 17))[0, 6, 6].backward()
    assert picture.grad is not None
    rows = picture.grad[0].abs().sum((0, 2)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 38


def test_a_pair_is_judged() -> None:
    torch.manual_seed(0)
    picture, codes = torch.rand(1, 3, 32, 32), torch.randn(2, 17)
    for conditional in (True, False):
        critic = PatchCritic(tiny_spec(), (8, 8), conditional=conditional).eval()
        with torch.no_grad():
            one, other = (critic(picture, code[None]) for code in codes)
        assert torch.equal(one, other) != conditional


def test_kernels_have_norm_one() -> None:
    torch.manual_seed(0)
    critic = PatchCritic(tiny_spec(), (8, 8))
    for part in critic.modules():
        spectral = getattr(part, "spectral", None)
        if spectral is not None:
            largest = torch.linalg.matrix_norm(spectral(part.weight).detach().flatten(1), 2)
            assert float(largest) == pytest.approx(1, rel=0.03)


# The turns ------------------------------------------------------------------------------------------------------------


def test_off_is_as_if_there_were_none(pictures: Path, tmp_path: Path) -> None:
    plain, on = StyleTask(tiny_recipe(pictures), keep=tmp_path), task_of(pictures, tmp_path)
    assert plain.turns == () and plain.rival is None and "critic" not in plain.modules
    assert [(turn.name, turn.networks) for turn in on.turns] == [
        ("critic", ("critic",)),
        ("painter", ("encoder", "painter", "hint")),
    ]
    for name, module in plain.modules.items():
        assert not moved(state(module), on.modules[name]), "all other networks start the same"


def test_each_turn_moves_its_own_networks(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(pictures, tmp_path, steps=1)
    seen: list[tuple[str, dict[str, dict[str, Tensor]]]] = []
    before = task.loss

    def watch(turn: str, batch: Any, step: int) -> Any:
        seen.append((turn, {name: state(module) for name, module in task.modules.items()}))
        return before(turn, batch, step)

    monkeypatch.setattr(task, "loss", watch)
    loop.run(task, Journal(tmp_path / "run"))
    assert [turn for turn, _ in seen] == ["critic", "painter"]
    first, second = (states for _, states in seen)
    for name in ("encoder", "painter", "hint"):
        assert all(torch.equal(first[name][key], second[name][key]) for key in first[name]), name
        assert moved(second[name], task.modules[name]), name
    assert not all(torch.equal(first["critic"][key], second["critic"][key]) for key in first["critic"])
    assert not moved(second["critic"], task.modules["critic"]), "not even its singular vectors"


def test_the_value_of_the_game_by_hand(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E[log D(s)] + E[log(1 - D(E(p)))] for a critic that says 2 of paintings and -1 of painted photos."""
    task = task_of(pictures, tmp_path)
    batch = task.batch(0)
    assert task.rival is not None
    paintings = batch.styles.float() / 255

    def answer(picture: Tensor, code: Tensor) -> Tensor:
        is_real = picture.shape == paintings.shape and torch.equal(picture, paintings)
        return torch.full((len(picture), 4, 4), 2.0 if is_real else -1.0)

    monkeypatch.setattr(task.rival.critic, "forward", answer)
    loss, figures = task.loss("critic", batch, 0)
    log_real, log_painted = -math.log1p(math.exp(-2.0)), -math.log1p(math.exp(-1.0))
    assert float(loss) == pytest.approx(-(log_real + log_painted), rel=1e-6)
    assert {name: float(value) for name, value in figures.items()} == {"critic_real": 2.0, "critic_painted": -1.0}
    total, figures = task.loss("painter", batch, 0)
    assert float(figures["adversarial"]) == pytest.approx(log_painted, rel=1e-6)
    without = StyleTask(tiny_recipe(pictures), keep=tmp_path)
    plain, _ = without.loss("all", batch, 0)
    assert float((total - plain).detach()) == pytest.approx(0.5 * log_painted, abs=1e-5)


@pytest.mark.parametrize("kind", ["minimax", "nonsaturating", "hinge"])
def test_the_painter_learns_to_please(pictures: Path, tmp_path: Path, kind: str) -> None:
    """A step against the painter's gradient raises what the critic says of what it paints; codes get no gradient."""
    task = task_of(pictures, tmp_path, critic={"widths": (8, 8), "kind": kind})
    rival = task.rival
    assert rival is not None
    painted = torch.rand(2, 3, 32, 32, requires_grad=True)
    codes = torch.randn(2, 17, requires_grad=True)
    rival.please(painted, codes).backward()
    assert codes.grad is None and painted.grad is not None
    with torch.no_grad():
        better = painted - 0.05 * painted.grad / painted.grad.norm() * painted.numel() ** 0.5
        assert float(rival.critic(better, codes).mean()) > float(rival.critic(painted, codes).mean())


def test_half_way_and_resumed_is_the_same_bit_for_bit(pictures: Path, tmp_path: Path) -> None:
    """With drawn codes as well, and after a rehearsal, which must leave no trace."""
    changes: dict[str, Any] = {"net": {"variational": True}, "loss": {"adversarial": 0.5, "kl": 0.1}}
    loop.run(task_of(pictures, tmp_path / "k", **changes), Journal(tmp_path / "whole"))
    rehearsed = task_of(pictures, tmp_path / "k", **changes)
    rehearse(rehearsed)
    loop.run(rehearsed, Journal(tmp_path / "halves"), stop_at=2)
    loop.run(task_of(pictures, tmp_path / "k", **changes), Journal(tmp_path / "halves"), resume=True)
    whole, halves = (load_checkpoint(tmp_path / n / "checkpoint.safetensors").tensors for n in ("whole", "halves"))
    assert whole.keys() == halves.keys() and any(key.startswith("optim.critic.") for key in whole)
    assert any(key.startswith("model.critic.") and key.endswith(".u") for key in whole)
    for key in whole:
        assert torch.equal(whole[key], halves[key]), key
    _, modules, _ = load_run(tmp_path / "halves")
    assert set(modules) == {"encoder", "painter", "doubt"}, "the critic is no part of the model"


def test_it_may_start_from_a_run_without_a_critic(pictures: Path, tmp_path: Path) -> None:
    loop.run(StyleTask(tiny_recipe(pictures, steps=1), keep=tmp_path / "k"), Journal(tmp_path / "plain"))
    task = task_of(pictures, tmp_path / "k", steps=1, start=str(tmp_path / "plain"), precision="bf16")
    outcome = loop.run(task, Journal(tmp_path / "run"))
    assert {"loss_critic", "loss_painter", "adversarial", "critic_real", "critic_painted"} <= set(outcome.figures)
    assert all(math.isfinite(value) for value in outcome.figures.values())
