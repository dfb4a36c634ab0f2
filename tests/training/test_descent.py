"""L-BFGS and Adam on losses whose least is known."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from impasto.training.descent import Adam, Descent, Lbfgs  # noqa: E402 (needs torch)

Tensor = torch.Tensor
SHAPE = (1, 3, 6, 5)
GOAL = 0.2 + 0.6 * torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
STEEP = torch.logspace(-2, 0, GOAL.numel()).view(SHAPE)


def valley(picture: Tensor) -> tuple[float, Tensor]:
    """A quadratic a hundred times as steep in one pixel as in another, least at GOAL."""
    apart = picture - GOAL
    return float((STEEP * apart.square()).sum()), 2 * STEEP * apart


def go(descent: Descent, steps: int, picture: Tensor | None = None) -> float:
    picture = torch.full(SHAPE, 0.5) if picture is None else picture
    for _ in range(steps):
        picture = descent.step(picture, *valley(picture))
    best = descent.best()
    assert best is not None
    return valley(best)[0]


def test_lbfgs_finds_the_bottom_of_a_valley_in_a_few_steps() -> None:
    start = valley(torch.full(SHAPE, 0.5))[0]
    assert go(Lbfgs(), 40) < 1e-5 * start
    assert go(Adam(0.02, 0.0), 40) > 1e-5 * start  # what the many more steps of Adam are


def test_adam_gets_there_and_its_average_is_calmer_than_its_iterates() -> None:
    random = torch.Generator().manual_seed(1)
    ends = {}
    for decay in (0.0, 0.98):
        descent, picture = Adam(0.05, decay), torch.full(SHAPE, 0.5)
        random.manual_seed(1)
        for _ in range(300):
            loss, slope = valley(picture)
            picture = descent.step(picture, loss, slope + 0.5 * torch.randn(SHAPE, generator=random))
        best = descent.best()
        assert best is not None
        ends[decay] = valley(best)[0]
    assert ends[0.98] < 0.5 * ends[0.0]


@pytest.mark.parametrize("descent", [Lbfgs(), Adam(0.5, 0.0)])
def test_pixels_stay_within_their_range(descent: Descent) -> None:
    picture = torch.full(SHAPE, 0.9)
    for _ in range(15):
        picture = descent.step(picture, 1.0 - float(picture.mean()), -torch.ones(SHAPE))
        assert picture.min() >= 0 and picture.max() <= 1
    assert picture.max() == 1


def test_nothing_is_best_before_the_first_step() -> None:
    assert Lbfgs().best() is None and Adam(0.1, 0.9).best() is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, 100.0])
def test_a_step_that_was_bad_is_taken_back(bad: float) -> None:
    descent, picture = Lbfgs(longest=0.05), torch.full(SHAPE, 0.5)
    for _ in range(3):
        picture = descent.step(picture, *valley(picture))
    kept = descent.best()
    after = descent.step(torch.zeros(SHAPE), bad, torch.full(SHAPE, math.nan))
    best = descent.best()
    assert best is not None and kept is not None
    assert torch.equal(best, kept)
    assert torch.isfinite(after).all() and (after - kept).square().mean().sqrt() <= 0.026
    assert go(descent, 40, after) < 1e-3 * valley(torch.full(SHAPE, 0.5))[0]


def test_the_first_step_moves_forms_more_than_single_pixels_unless_told_otherwise() -> None:
    side = 32
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    form = torch.cos(2 * torch.pi * rows / side).expand(1, 3, side, side)
    grain = ((-1.0) ** (rows + columns)).expand(1, 3, side, side)
    picture = torch.full((1, 3, side, side), 0.5)

    def moved(smoothing: float) -> tuple[float, float]:
        step = Lbfgs(smoothing=smoothing).step(picture, 1.0, -(form + grain)) - picture
        return float((step * form).sum() / form.square().sum()), float((step * grain).sum() / grain.square().sum())

    plain, smooth = moved(0.0), moved(0.5)
    assert plain[0] == pytest.approx(plain[1], rel=1e-4)
    # (1 + f / 0.02)^-1/2 at f = 1/32 and at f = (1/2, 1/2)
    assert smooth[0] / smooth[1] == pytest.approx(((1 + 0.5**0.5 / 0.02) / (1 + 1 / 32 / 0.02)) ** 0.5, rel=1e-3)


def test_after_a_turn_the_least_of_the_old_loss_no_longer_counts() -> None:
    descent, picture = Lbfgs(), torch.full(SHAPE, 0.5)
    for _ in range(6):
        picture = descent.step(picture, *valley(picture))
    descent.turn()
    assert descent.best() is None
    other = 0.9 - GOAL / 2
    for _ in range(40):  # as steep as before, least elsewhere, and never as low as the first one was
        apart = picture - other
        picture = descent.step(picture, 5 + float((STEEP * apart.square()).sum()), 2 * STEEP * apart)
    best = descent.best()
    assert best is not None
    assert float((STEEP * (best - other).square()).sum()) < 1e-4
