from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from impasto.errors import TrainingError, UnknownName
from impasto.progress import Progress
from impasto.training import checkpoint, loop
from impasto.training.checkpoint import load_checkpoint
from impasto.training.journal import Journal
from impasto.training.loop import pick_device, rate, run, set_threads
from impasto.training.recipe import OptimTable, StyleRecipe
from training.support import ToyTask, tiny_recipe


@pytest.fixture(autouse=True)
def _every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)


def recipe_of(tmp_path: Path, **changes: Any) -> StyleRecipe:
    return tiny_recipe(tmp_path, **changes)


def figures(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "stats.jsonl").read_text("utf-8").splitlines()]
    for row in rows:
        del row["images_per_second"]  # the one thing that depends on the machine
    return rows


def state(folder: Path) -> dict[str, Tensor]:
    return load_checkpoint(folder / "checkpoint.safetensors").tensors


def assert_same(a: Path, b: Path) -> None:
    ours, theirs = state(a), state(b)
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), key
    assert figures(a) == figures(b)


# Exactness ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_four_steps_are_two_and_two_bit_for_bit(tmp_path: Path, precision: str) -> None:
    recipe = recipe_of(tmp_path, precision=precision, optim={"warmup": 2, "decay": "cosine"})
    assert run(ToyTask(recipe), Journal(tmp_path / "whole")).finished
    halves = Journal(tmp_path / "halves")
    first = run(ToyTask(recipe), halves, stop_at=2)
    assert (first.step, first.finished) == (2, False)
    halves.log({"step": 3, "images_per_second": 0})  # what a killed run logged after it had saved
    second = run(ToyTask(recipe), halves, resume=True)
    assert (second.step, second.finished) == (4, True)
    assert_same(tmp_path / "whole", tmp_path / "halves")
    assert [row["step"] for row in figures(tmp_path / "halves")] == [1, 2, 3, 4]
    assert set(state(tmp_path / "whole")) >= {"model.line.calls", "ema.line.weight", "optim.0.exp_avg", "optim.1.step"}


def test_it_learns(tmp_path: Path) -> None:
    run(ToyTask(recipe_of(tmp_path, steps=60, optim={"lr": 0.1})), Journal(tmp_path / "run"))
    rows = figures(tmp_path / "run")
    assert rows[0]["loss"] > 1
    assert rows[-1]["loss"] < 0.05 * rows[0]["loss"]
    assert rows[-1]["loss"] == rows[-1]["error"], "what the task reports is logged beside the loss"


def test_a_finished_run_resumes_to_nothing(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    run(ToyTask(recipe), Journal(tmp_path / "run"))
    before = state(tmp_path / "run")
    outcome = run(ToyTask(recipe), Journal(tmp_path / "run"), resume=True)
    assert (outcome.step, outcome.finished) == (4, True)
    assert all(torch.equal(before[key], value) for key, value in state(tmp_path / "run").items())


def test_a_changed_recipe_refuses_and_changes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    run(ToyTask(recipe_of(tmp_path)), journal, stop_at=2)
    before = {path: path.read_bytes() for path in journal.folder.rglob("*") if path.is_file()}
    with pytest.raises(TrainingError, match=r"^The recipe is not the one that .* was started with: undo the change"):
        run(ToyTask(recipe_of(tmp_path, optim={"lr": 1e-3})), journal, resume=True)
    assert {path: path.read_bytes() for path in journal.folder.rglob("*") if path.is_file()} == before
    # What does not matter may change, and is noted.
    run(ToyTask(recipe_of(tmp_path, save_every=7, title="New")), journal, resume=True)
    assert journal.recipe().save_every == 7


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    run(ToyTask(recipe_of(tmp_path)), Journal(tmp_path / "run"), stop_at=1)
    with pytest.raises(TrainingError, match="holds a run already"):
        run(ToyTask(recipe_of(tmp_path)), Journal(tmp_path / "run"))
    assert load_checkpoint(tmp_path / "run" / "checkpoint.safetensors").step == 1


def test_a_run_may_start_from_the_average_of_another(tmp_path: Path) -> None:
    base = Journal(tmp_path / "base")
    run(ToyTask(recipe_of(tmp_path, optim={"lr": 0.1})), base)
    started = recipe_of(tmp_path, start=str(base.folder), optim={"lr": 1e-12})
    run(ToyTask(started), Journal(tmp_path / "run"), stop_at=1)
    torch.testing.assert_close(state(tmp_path / "run")["model.line.weight"], state(base.folder)["ema.line.weight"])
    with pytest.raises(TrainingError, match="no checkpoint at"):
        run(ToyTask(recipe_of(tmp_path, start=str(tmp_path / "none"))), Journal(tmp_path / "other"))
    with pytest.raises(TrainingError, match=r"cannot start from a model file \(none.impasto\): name a run folder"):
        run(ToyTask(recipe_of(tmp_path, start=str(tmp_path / "none.impasto"))), Journal(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


# Saving, sampling, reporting ----------------------------------------------------------------------------------------


def test_saves_samples_and_progress_come_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 3)
    saved: list[int] = []
    real = loop.save_checkpoint
    monkeypatch.setattr(loop, "save_checkpoint", lambda *a: (saved.append(a[2]), real(*a))[1])
    told: list[Progress] = []
    task = ToyTask(recipe_of(tmp_path, steps=7, save_every=2, sample_every=3))
    run(task, Journal(tmp_path / "run"), progress=told.append)
    assert saved == [2, 4, 6, 7]
    assert task.sampled == [3, 6, 7]
    assert sorted(path.name for path in (tmp_path / "run/samples").iterdir()) == [f"{n:07d}.png" for n in (3, 6, 7)]
    assert [(at.done, at.total) for at in told] == [(n, 7) for n in range(1, 8)], "after every step"
    assert [at.done for at in told if at.numbers] == [3, 6, 7]
    assert {"loss", "grad", "error", "img/s"} == set(told[-1].numbers)
    rows = figures(tmp_path / "run")
    assert [(row["step"], row["images"]) for row in rows] == [(3, 6), (6, 12), (7, 14)]


def test_stop_at(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    assert run(ToyTask(recipe_of(tmp_path)), journal, stop_at=3).step == 3
    assert run(ToyTask(recipe_of(tmp_path)), journal, resume=True, stop_at=2).step == 3, "it does not go back"
    told: list[Progress] = []
    outcome = run(ToyTask(recipe_of(tmp_path)), journal, resume=True, stop_at=99, progress=told.append)
    assert (outcome.step, outcome.finished) == (4, True)
    assert [(at.done, at.total) for at in told] == [(1, 1)], "progress counts this part's steps"


def test_a_full_disk_ends_the_run_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoint.save_file
    saves: list[int] = []

    def fills(tensors: Any, part: Path, metadata: Any = None) -> None:
        saves.append(1)
        real(tensors, part, metadata)
        if len(saves) == 2:
            part.write_bytes(part.read_bytes()[:50])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", fills)
    with pytest.raises(TrainingError, match="No space left on device"):
        run(ToyTask(recipe_of(tmp_path, steps=6, save_every=2)), Journal(tmp_path / "run"))
    assert load_checkpoint(tmp_path / "run" / "checkpoint.safetensors").step == 2
    assert run(ToyTask(recipe_of(tmp_path, steps=6, save_every=2)), Journal(tmp_path / "run"), resume=True).finished
    run(ToyTask(recipe_of(tmp_path, steps=6, save_every=2)), Journal(tmp_path / "whole"))
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_an_error_in_a_batch_reaches_the_caller_and_no_thread_stays(tmp_path: Path) -> None:
    class Broken(ToyTask):
        def batch(self, step: int) -> tuple[Tensor, Tensor]:
            if step == 2:
                raise TrainingError("a picture is gone.")
            return super().batch(step)

    before = threading.active_count()
    with pytest.raises(TrainingError, match="a picture is gone"):
        run(Broken(recipe_of(tmp_path, save_every=1)), Journal(tmp_path / "run"))
    assert threading.active_count() == before
    assert load_checkpoint(tmp_path / "run" / "checkpoint.safetensors").step == 2


# What is not a number -----------------------------------------------------------------------------------------------


class Poisoned(ToyTask):
    """Gives what is not a number at some steps; ``where`` says whether in the loss or only in a gradient."""

    def __init__(self, recipe: StyleRecipe, steps: set[int], where: str = "loss") -> None:
        super().__init__(recipe)
        self.steps, self.where = steps, where

    def loss(self, turn: str, batch: tuple[Tensor, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        total, parts = super().loss(turn, batch, step)
        if step in self.steps:
            if self.where == "loss":
                return total * float("nan"), parts
            weight = self.modules["line"].get_parameter("bias")
            # sqrt at 0: a finite value with an infinite slope.
            return total + (weight - weight.detach()).abs().sum().sqrt(), parts
        return total, parts


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_one_step_that_is_not_a_number_is_skipped(tmp_path: Path, where: str) -> None:
    recipe = recipe_of(tmp_path)
    run(ToyTask(recipe), Journal(tmp_path / "before"), stop_at=1)
    run(Poisoned(recipe, {1}, where), Journal(tmp_path / "run"), stop_at=2)
    before, after = state(tmp_path / "before"), state(tmp_path / "run")
    for key in before:
        if key not in ("model.line.calls", "ema.line.calls"):
            assert torch.equal(before[key], after[key]), key
    outcome = run(Poisoned(recipe, {1}, where), Journal(tmp_path / "run"), resume=True)
    assert outcome.finished
    assert all(value.isfinite().all() for value in state(tmp_path / "run").values())
    assert not torch.equal(state(tmp_path / "run")["model.line.weight"], after["model.line.weight"])
    row = figures(tmp_path / "run")[1]
    assert row["loss"] is None if where == "loss" else row["grad"] is None


@pytest.mark.parametrize("good", [0, 2])
def test_a_loss_that_stays_not_a_number_ends_the_run(
    tmp_path: Path, good: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PATIENCE", 5)
    task = Poisoned(recipe_of(tmp_path, steps=50, save_every=2), set(range(good, 50)))
    # Saved with the state of step 2, since nothing was learnt after.
    with pytest.raises(TrainingError, match=f"for 5 steps in a row at step {good + 4}: lower optim.lr") as caught:
        run(task, Journal(tmp_path / "run"))
    assert "the last good state is in" in str(caught.value)
    assert all(value.isfinite().all() for value in state(tmp_path / "run").values())
    task = Poisoned(recipe_of(tmp_path, steps=50), set(range(50)))
    with pytest.raises(TrainingError, match=r"precision=fp32; nothing was saved yet\.$"):
        run(task, Journal(tmp_path / "never"))


def test_failures_must_be_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PATIENCE", 2)
    recipe = recipe_of(tmp_path, steps=8)
    assert run(Poisoned(recipe, {0, 2, 4, 6}), Journal(tmp_path / "run")).finished


# The pieces ---------------------------------------------------------------------------------------------------------


def test_learning_rates() -> None:
    def at(step: int, steps: int = 110, **optim: Any) -> float:
        return rate(OptimTable.model_validate({"lr": 0.1, "warmup": 10, "final": 0.125} | optim), step, steps)

    assert [at(step) for step in (0, 4, 9)] == pytest.approx([0.01, 0.05, 0.1])
    # A quarter, a half and the whole of the way down the cosine.
    assert at(10) == pytest.approx(0.1)
    assert at(35) == pytest.approx(0.1 * (0.125 + 0.875 * (0.5 + math.sqrt(0.125))))
    assert at(60) == pytest.approx(0.1 * (0.125 + 0.875 * 0.5))
    assert at(110) == pytest.approx(0.0125)
    assert at(500) == pytest.approx(0.0125), "it does not rise again"
    steps = [at(step, decay="step") for step in (10, 59, 60, 84, 85, 97, 98, 109)]
    assert steps == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125])
    assert [at(step, decay="constant") for step in (0, 10, 109)] == pytest.approx([0.01, 0.1, 0.1])
    assert at(0, warmup=0) == pytest.approx(0.1)
    assert at(5, steps=5, warmup=10) == pytest.approx(0.06), "a run shorter than its warm-up"


def test_the_rate_reaches_the_optimizer(tmp_path: Path) -> None:
    """AdamW's very first step moves every weight by the rate, whatever the gradient."""
    recipe = recipe_of(tmp_path, optim={"lr": 0.1, "warmup": 10})
    task = ToyTask(recipe)
    before = task.modules["line"].get_parameter("weight").detach().clone()
    run(task, Journal(tmp_path / "run"), stop_at=1)
    moved = (task.modules["line"].get_parameter("weight").detach() - before).abs()
    assert moved.flatten().tolist() == pytest.approx([0.01] * 3, rel=1e-3)
    assert figures(tmp_path / "run")[0]["lr"] == pytest.approx(0.01)


def test_a_network_may_learn_at_a_pace_of_its_own(tmp_path: Path) -> None:
    moved = {}
    for name, rates in (("whole", {}), ("tenth", {"line": 0.1})):
        recipe = recipe_of(tmp_path, optim={"lr": 0.1, "rates": rates})
        task = ToyTask(recipe)
        before = task.modules["line"].get_parameter("weight").detach().clone()
        run(task, Journal(tmp_path / name), stop_at=1)
        moved[name] = task.modules["line"].get_parameter("weight").detach() - before
        run(ToyTask(recipe), Journal(tmp_path / name), resume=True)
        run(ToyTask(recipe), Journal(tmp_path / f"{name} at once"))
        assert_same(tmp_path / name, tmp_path / f"{name} at once")
    torch.testing.assert_close(moved["tenth"], 0.1 * moved["whole"], rtol=1e-3, atol=1e-6)
    with pytest.raises(UnknownName, match=r"no network in optim\.rates called 'lien': did you mean 'line'"):
        run(ToyTask(recipe_of(tmp_path, optim={"rates": {"lien": 0.1}})), Journal(tmp_path / "wrong"))
    assert not (tmp_path / "wrong").exists()


def test_gradients_are_clipped(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, optim={"clip": 1e-3})
    task = ToyTask(recipe)
    run(task, Journal(tmp_path / "run"), stop_at=1)
    norm = torch.cat([p.grad.flatten() for p in task.modules["line"].parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-2)
    assert figures(tmp_path / "run")[0]["grad"] > 1, "the figure is the norm before"


def test_the_average_follows_the_formula(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, steps=6, optim={"lr": 0.1, "ema": 0.3})
    seen: list[Tensor] = []

    class Watched(ToyTask):
        def loss(self, turn: str, batch: tuple[Tensor, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
            seen.append(self.modules["line"].get_parameter("weight").detach().clone())
            return super().loss(turn, batch, step)

    task = Watched(recipe)
    run(task, Journal(tmp_path / "run"))
    seen.append(task.modules["line"].get_parameter("weight").detach().clone())
    average = seen[0].double()
    for step, weight in enumerate(seen[1:]):
        decay = min(0.3, (1 + step) / (10 + step))  # short memory while there is little to remember
        average = decay * average + (1 - decay) * weight.double()
    found = state(tmp_path / "run")
    assert torch.allclose(found["ema.line.weight"].double(), average, atol=1e-6)
    assert not torch.allclose(found["ema.line.weight"], found["model.line.weight"], atol=1e-3)
    assert float(found["ema.line.calls"]) == 6, "buffers are copied, not averaged"


def test_sampling_uses_the_average(tmp_path: Path) -> None:
    seen: list[tuple[bool, bool]] = []

    class Looking(ToyTask):
        def sample(self, modules: Any) -> Any:
            line: nn.Module = modules["line"]
            seen.append((line.training, any(p.requires_grad for p in line.parameters())))
            return super().sample(modules)

    run(Looking(recipe_of(tmp_path)), Journal(tmp_path / "run"))
    assert seen == [(False, False)]


def test_devices_and_threads() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device() == torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("nonsense", "cpu:nonsense", "meta", "", "cuda:99"):
        with pytest.raises(
            TrainingError, match=r"^The device '.*' cannot be used here: choose cpu, or leave"
        ) as caught:
            pick_device(name)
        assert "\n" not in str(caught.value)
    before = torch.get_num_threads()
    try:
        set_threads(2)
        assert torch.get_num_threads() == 2
        set_threads()
        assert torch.get_num_threads() == loop.usable_cores()
        assert float(torch.tensor(1e-39) * 1) == 0.0, "denormal numbers are flushed"
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)
