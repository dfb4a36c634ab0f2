"""The flow on latents: it learns clusters that a Gaussian cannot have, and draws as its equations say."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from impasto.errors import TrainingError
from impasto.progress import Progress
from impasto.training import flow as module
from impasto.training.flow import learn_flow
from impasto.training.nets.flow import FlowWay, LatentFlow


def clusters(count: int) -> Tensor:
    """[count,3]: each number by itself near 4 or near -2, far from every other pair."""
    chance = torch.Generator().manual_seed(1)
    corners = torch.randint(0, 2, (count, 3), generator=chance) * 6.0 - 2.0
    return corners + 0.1 * torch.randn(count, 3, generator=chance)


def test_what_is_drawn_lies_in_clusters() -> None:
    means = clusters(2000)
    flow = learn_flow(means, torch.full_like(means, 0.05), steps=1200, width=64, blocks=2, seed=3)
    drawn = flow(torch.randn(500, 3, generator=torch.Generator().manual_seed(9)))
    off = torch.minimum((drawn - 4).abs(), (drawn + 2).abs())
    assert float((off < 0.6).float().mean()) > 0.93
    # A Gaussian of the same mean and deviation would have less than a third of its numbers there.
    gaussian = means.mean(0) + means.std(0) * torch.randn(500, 3, generator=torch.Generator().manual_seed(9))
    assert float((torch.minimum((gaussian - 4).abs(), (gaussian + 2).abs()) < 0.6).float().mean()) < 0.4
    corners = {tuple((row > 1).tolist()) for row in drawn}
    assert len(corners) == 8, "all of them are drawn"


def test_the_same_seed_gives_the_same_flow_and_disturbs_nobody() -> None:
    means, normals = clusters(40), torch.randn(4, 3)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (learn_flow(means, 0 * means, steps=5, width=8, seed=seed)(normals) for seed in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_the_way_is_heuns() -> None:
    class Turning(LatentFlow):
        """Rotation by one radian in the time from 0 to 1: the exact way is known."""

        def forward(self, place: Tensor, time: Tensor) -> Tensor:
            return torch.stack((-place[:, 1], place[:, 0]), 1)

    start = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    exact = start @ torch.tensor([[math.cos(1), math.sin(1)], [-math.sin(1), math.cos(1)]])
    errors = []
    for steps in (8, 16):
        way = FlowWay(Turning(2, 8, 1), torch.tensor([10.0, 0.0]), torch.tensor([1.0, 2.0]), steps)
        back = (way(start) - torch.tensor([10.0, 0.0])) / torch.tensor([1.0, 2.0])
        errors.append(float((back - exact).abs().max()))
    # Second order but for the last step, which is Euler's: once.
    assert errors[1] < 0.005 and errors[0] / errors[1] > 3


def test_it_ends_when_held_out_latents_are_told_no_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 5)
    looks = iter([3.0, 1.0, *[2.0] * 100])
    monkeypatch.setattr(module, "_held_loss", lambda *_: next(looks))
    told: list[Progress] = []
    learn_flow(clusters(30), torch.zeros(30, 3), steps=1000, width=8, blocks=1, progress=told.append)
    assert told[-1].done == 5 * (2 + module.PATIENCE), "the second look was the best"


def test_a_latent_that_never_moves_is_no_trouble() -> None:
    means = clusters(30)
    means[:, 1] = 7
    drawn = learn_flow(means, 0 * means, steps=20, width=8)(torch.randn(3, 3))
    assert drawn.isfinite().all() and drawn[:, 1].tolist() == pytest.approx([7] * 3, abs=1e-3)


@pytest.mark.parametrize("means", [torch.zeros(1, 3), torch.zeros(5), torch.full((5, 3), math.nan)])
def test_what_is_no_set_of_latents_is_refused(means: Tensor) -> None:
    with pytest.raises(TrainingError, match="A flow cannot be fitted: give at least 2 latents"):
        learn_flow(means, torch.zeros_like(means), steps=1)


def test_the_velocity_starts_as_nothing_and_knows_the_time() -> None:
    torch.manual_seed(0)
    net = LatentFlow(4, 16, 2)
    place, early, late = torch.randn(3, 4), torch.full((3,), 0.1), torch.full((3,), 0.9)
    assert not net(place, early).any()
    for weight in net.parameters():
        nn.init.normal_(weight)
    assert not torch.allclose(net(place, early), net(place, late))
