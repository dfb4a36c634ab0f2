"""Several updates in a step: turns, accumulation, what moves besides networks, looks, going back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from impasto.errors import TrainingError
from impasto.training import loop
from impasto.training.checkpoint import load_checkpoint
from impasto.training.estimate import rehearse
from impasto.training.journal import Journal
from impasto.training.loop import run
from impasto.training.recipe_gan import GanRecipe
from training.duel import Duel, duel_recipe


@pytest.fixture(autouse=True)
def _every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)


def state(folder: Path, name: str = "checkpoint") -> dict[str, Tensor]:
    return load_checkpoint(folder / f"{name}.safetensors").tensors


def rows(folder: Path, name: str = "stats") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text("utf-8").splitlines()]


# Turns --------------------------------------------------------------------------------------------------------------


def test_turns_come_in_order_and_only_their_networks_learn(tmp_path: Path) -> None:
    task = Duel(duel_recipe())
    before = {name: m.weight.detach().clone() for name, m in task.modules.items()}  # type: ignore[operator]
    run(task, Journal(tmp_path), stop_at=1)
    assert task.calls == [("judge", 0, 0), ("make", 0, 0)]
    assert task.learning == [(True, False), (False, True)], "the other network gets no gradients"
    after = state(tmp_path)
    assert all(not torch.equal(before[name], after[f"model.{name}.weight"]) for name in before)
    figures = rows(tmp_path)[0]
    assert {"loss_judge", "grad_judge", "loss_make", "grad_make", "judge", "make"} <= figures.keys()


def test_the_maker_learns_once_in_so_many_steps(tmp_path: Path) -> None:
    task = Duel(duel_recipe(critic=3, steps=6))
    run(task, Journal(tmp_path))
    assert [(turn, step) for turn, _, step in task.calls if turn == "make"] == [("make", 2), ("make", 5)]
    assert sum(turn == "judge" for turn, _, _ in task.calls) == 6
    assert "loss_make" not in rows(tmp_path)[1] and "loss_make" in rows(tmp_path)[2]


def test_the_judge_has_moved_before_the_maker_looks(tmp_path: Path) -> None:
    """Algorithm 1 of Goodfellow et al. 2014: the generator descends against the updated discriminator."""
    task = Duel(duel_recipe())
    twin = Duel(duel_recipe())
    run(task, Journal(tmp_path), stop_at=1)
    stale = float(twin.loss("make", twin.batch(0), 0)[0].detach())
    assert task.seen[1] != stale


def test_halves_are_the_whole_bit_for_bit(tmp_path: Path) -> None:
    recipe = duel_recipe(steps=6, critic=2, accumulate=2)
    run(Duel(recipe), Journal(tmp_path / "whole"))
    run(Duel(recipe), Journal(tmp_path / "halves"), stop_at=3)
    task = Duel(recipe)
    run(task, Journal(tmp_path / "halves"), resume=True)
    whole, halves = state(tmp_path / "whole"), state(tmp_path / "halves")
    assert whole.keys() == halves.keys()
    assert all(torch.equal(whole[key], halves[key]) for key in whole)
    assert float(halves["task.moving"]) == 0.125 * 21, "what moves besides networks goes on, too"
    assert {"optim.judge.0.exp_avg", "optim.make.1.step"} <= halves.keys()
    assert float(halves["optim.judge.0.step"]) == 6 and float(halves["optim.make.0.step"]) == 3
    assert task.calls[0] == ("judge", 6, 3), "batches go on where they stopped"


def test_accumulated_batches_are_one_large_one(tmp_path: Path) -> None:
    class Halved(Duel):
        """Its batch of 4 is that of the large one, cut in two."""

        def batch(self, index: int) -> tuple[int, Tensor]:
            whole = super().batch(index // 2)[1]
            return index, whole[index % 2 * 2 : index % 2 * 2 + 2]

    run(Duel(duel_recipe()), Journal(tmp_path / "large"))
    run(Halved(duel_recipe(accumulate=2)), Journal(tmp_path / "parts"))
    large, parts = state(tmp_path / "large"), state(tmp_path / "parts")
    for key in large:
        torch.testing.assert_close(large[key], parts[key], rtol=1e-5, atol=1e-6)
    ours, theirs = rows(tmp_path / "large"), rows(tmp_path / "parts")
    assert [row["images"] for row in theirs] == [8, 16, 24, 32] != [row["images"] for row in ours]
    for name in ("loss_judge", "judge"):
        assert [row[name] for row in theirs] == pytest.approx([row[name] for row in ours], abs=2e-6)


# Looking ------------------------------------------------------------------------------------------------------------


def test_looks_are_told_written_down_and_the_best_is_kept(tmp_path: Path) -> None:
    told: list[str] = []
    recipe = duel_recipe(steps=7, watch_every=2)
    run(Duel(recipe), Journal(tmp_path / "run"), tell=told.append)
    assert told == ["looked at 2", "looked at 4", "looked at 6", "looked at 7"]
    assert [(row["step"], row["says"]) for row in rows(tmp_path / "run", "remarks")] == [
        (n, f"looked at {n}") for n in (2, 4, 6, 7)
    ]
    assert [row.get("apart") for row in rows(tmp_path / "run")] == [None, 3.0, None, 1.0, None, 2.0, 5.0]
    best = load_checkpoint(tmp_path / "run/best.safetensors")
    assert best.step == 4 and set(best.tensors) == {
        f"ema.{net}.{part}" for net in ("critic", "maker") for part in ("weight", "bias")
    }
    assert Journal(tmp_path / "run").figures(4)["apart"] == 1.0
    assert json.loads((tmp_path / "run/classes.json").read_text()) == ["a", "b"]
    run(Duel(recipe), Journal(tmp_path / "short"), stop_at=4)
    short, kept = state(tmp_path / "short"), best.tensors
    assert all(torch.equal(kept[key], short[key]) for key in kept), "it is the average of that step"


def test_what_is_best_is_remembered_over_a_pause(tmp_path: Path) -> None:
    recipe = duel_recipe(steps=7, watch_every=2)
    run(Duel(recipe), Journal(tmp_path / "run"), stop_at=5)
    run(Duel(recipe), Journal(tmp_path / "run"), resume=True)
    assert load_checkpoint(tmp_path / "run/best.safetensors").step == 4
    (tmp_path / "run/checkpoint.safetensors").unlink()
    run(Duel(recipe), Journal(tmp_path / "run"), stop_at=2)
    assert load_checkpoint(tmp_path / "run/best.safetensors").step == 2, "another run's best does not stay"


def test_looking_changes_nothing(tmp_path: Path) -> None:
    run(Duel(duel_recipe(watch_every=1)), Journal(tmp_path / "watched"))
    run(Duel(duel_recipe()), Journal(tmp_path / "alone"))
    watched, alone = state(tmp_path / "watched"), state(tmp_path / "alone")
    assert set(watched) - set(alone) == {"loop.best"}
    assert all(torch.equal(watched[key], alone[key]) for key in alone)


def test_the_timeline_has_the_top_row_of_every_grid(tmp_path: Path) -> None:
    run(Duel(duel_recipe(steps=6, sample_every=2)), Journal(tmp_path))
    with Image.open(tmp_path / "timeline.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (12, 6, 3)
    assert pixels[::4, 0, 0].tolist() == [2, 4, 6]


def test_a_long_timeline_is_thinned_evenly(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.start(duel_recipe(), resume=False)
    for step in range(1, 11):
        journal.sample(step, np.full((4, 4, 4), step, np.uint8))
    journal.timeline(2, most=4)
    with Image.open(tmp_path / "timeline.png") as image:
        assert (image.mode, image.size) == ("RGBA", (4, 8))
        assert np.asarray(image)[::2, 0, 0].tolist() == [1, 4, 7, 10], "the first and the newest are always there"


def test_rehearsing_leaves_everything_as_it_was(tmp_path: Path) -> None:
    task = Duel(duel_recipe(accumulate=2))
    found = rehearse(task)
    assert found.seconds > 0 and found.memory is not None and found.memory > 10_000_000
    assert found.parameters == {"critic": 3, "maker": 8}
    assert [call[1:] for call in task.calls] == [(0, 0), (1, 0), (0, 0), (1, 0), (2, 1), (3, 1), (2, 1), (3, 1)]
    run(task, Journal(tmp_path / "after"))
    run(Duel(duel_recipe(accumulate=2)), Journal(tmp_path / "fresh"))
    after, fresh = state(tmp_path / "after"), state(tmp_path / "fresh")
    assert all(torch.equal(after[key], fresh[key]) for key in fresh)
    assert found.sentence(task).startswith("4 steps of ") and "32 images" in found.sentence(task)
    assert found.sentence(task, first=3).startswith("1 steps of ")


# What is not a number -----------------------------------------------------------------------------------------------


def test_a_sick_turn_ends_its_step_and_changes_nothing(tmp_path: Path) -> None:
    task = Duel(duel_recipe(), sick={"judge": {2}})
    run(task, Journal(tmp_path), stop_at=3)
    run(Duel(duel_recipe()), Journal(tmp_path / "two"), stop_at=2)
    after, before = state(tmp_path), state(tmp_path / "two")
    assert int(after.pop("loop.bad")) == 1
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert task.calls[-1] == ("judge", 2, 2), "the maker has nothing to learn from it"


def test_it_goes_back_to_the_average_by_itself_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "RETREAT", 2)
    told: list[str] = []
    task = Duel(duel_recipe(steps=9, optim={"ema": 0.5}), sick={"make": {4, 5}})
    run(task, Journal(tmp_path / "run"), stop_at=6, tell=told.append)
    assert len(told) == 1 and told[0].startswith(
        "The loss was not a number for 2 steps in a row, so the networks went back to their average"
    )
    assert rows(tmp_path / "run", "remarks") == [{"step": 5, "says": told[0]}]
    tensors = state(tmp_path / "run")
    for key in tensors:
        if key.startswith("model."):
            assert torch.equal(tensors[key], tensors[key.replace("model", "ema", 1)])
    assert not any(key.startswith("optim.") for key in tensors), "momentum is forgotten"
    assert (int(tensors["loop.bad"]), int(tensors["loop.retreats"])) == (2, 1)
    # Also in two parts, split in the middle of the bad steps.
    parts = Journal(tmp_path / "parts")
    recipe = task.recipe
    run(Duel(recipe, sick={"make": {4, 5}}), parts, stop_at=5)
    assert run(Duel(recipe, sick={"make": {4, 5}}), parts, resume=True).finished
    run(Duel(recipe, sick={"make": {4, 5}}), Journal(tmp_path / "run"), resume=True)
    ours, theirs = state(tmp_path / "parts"), state(tmp_path / "run")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs) and "loop.bad" not in ours


def test_an_average_that_is_sick_itself_comes_from_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "RETREAT", 2)

    class Burst(Duel):
        """A weight leaves all bounds after step 3, with finite losses: in the next step the average follows it."""

        def __init__(self, recipe: GanRecipe) -> None:
            super().__init__(recipe, sick={"judge": {4, 5}})
            self.modules["spare"] = nn.Linear(1, 1)

        def finish(self, step: int) -> None:
            if step == 2:
                with torch.no_grad():
                    self.modules["spare"].get_parameter("bias").fill_(float("inf"))

        def sample(self, modules: Any) -> Any:
            assert modules["spare"].get_parameter("bias").isfinite()
            return super().sample(modules)

    told: list[str] = []
    run(Burst(duel_recipe(steps=9, save_every=3, sample_every=6)), Journal(tmp_path), tell=told.append)
    assert "went back to the average of the last checkpoint" in told[0]


def test_it_does_not_go_back_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "RETREAT", 2)
    monkeypatch.setattr(loop, "RETREATS", 2)
    sick = set(range(100)) - {0, 3, 6, 9}
    with pytest.raises(TrainingError, match=r"at step 8 after going back 2 times: lower optim\.lr"):
        run(Duel(duel_recipe(steps=100), sick={"judge": sick}), Journal(tmp_path))
