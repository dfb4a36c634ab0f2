from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from impasto.training.losses.adversarial import (
    LOSSES,
    PAIRED,
    gradient_penalty,
    minimax_value,
    r1,
    r2,
    relativistic_generator,
    squared_slopes,
)

LN3, LN4 = math.log(3), math.log(4)
REAL, FAKE = torch.tensor([LN3, 0.0]), torch.tensor([-LN3, LN3])
"""D(real) = 3/4, 1/2; D(fake) = 1/4, 3/4."""

BY_HAND: dict[str, tuple[float, float]] = {
    # -(log 3/4 + log 1/2)/2 - (log 3/4 + log 1/4)/2;  (log 3/4 + log 1/4)/2
    "minimax": ((LN4 - LN3 + math.log(2)) / 2 + (LN4 - LN3 + LN4) / 2, (LN3 - 2 * LN4) / 2),
    # the same;  -(log 1/4 + log 3/4)/2
    "nonsaturating": ((LN4 - LN3 + math.log(2)) / 2 + (LN4 - LN3 + LN4) / 2, (2 * LN4 - LN3) / 2),
    # (0 + 1)/2 + (0 + 1 + ln 3)/2;  -(-ln 3 + ln 3)/2
    "hinge": (0.5 + (1 + LN3) / 2, 0.0),
    # 0 - (ln 3)/2;  0
    "wasserstein": (-LN3 / 2, 0.0),
    # (log(1 + 1/9) + log(1 + 3))/2;  (log(1 + 9) + log(1 + 1/3))/2
    "relativistic": ((math.log(10 / 9) + LN4) / 2, (math.log(10) + math.log(4 / 3)) / 2),
}


def test_every_loss_is_checked_by_hand() -> None:
    assert set(BY_HAND) == set(LOSSES)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_hand_computed_logits(name: str) -> None:
    judged, made = LOSSES[name]
    d, g = BY_HAND[name]
    assert float(judged(REAL, FAKE)) == pytest.approx(d, abs=1e-6)
    assert float(made(REAL, FAKE)) == pytest.approx(g, abs=1e-6)
    assert float(LOSSES[name].discriminator(REAL.bfloat16(), FAKE.bfloat16())) == pytest.approx(d, abs=1e-2)


def test_minimax_is_the_articles_value() -> None:
    """In probabilities, as it is written there."""
    d_real, d_fake = torch.sigmoid(REAL.double()), torch.sigmoid(FAKE.double())
    value = d_real.log().mean() + (1 - d_fake).log().mean()
    assert float(minimax_value(REAL, FAKE)) == pytest.approx(float(value), abs=1e-6)
    nothing = torch.zeros(5)
    assert float(minimax_value(nothing, nothing)) == pytest.approx(-2 * math.log(2))
    sure = torch.full((3,), 500.0)
    assert float(minimax_value(sure, -sure)) == 0 and math.isfinite(float(minimax_value(-sure, sure)))


def slope_at(name: str, logit: float) -> float:
    """d loss_G / d logit of a fake picture."""
    fake = torch.tensor([float(logit)], requires_grad=True)
    LOSSES[name].generator(torch.zeros(1), fake).backward()
    assert fake.grad is not None
    return float(fake.grad)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_generator_wants_larger_logits(name: str) -> None:
    assert slope_at(name, -0.5) < 0
    assert slope_at(name, 0.5) < 0


def test_saturating_is_flat_where_the_discriminator_is_sure() -> None:
    assert abs(slope_at("minimax", -12)) < 1e-4
    assert slope_at("nonsaturating", -12) == pytest.approx(-1, abs=1e-4)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_only_paired_losses_need_real_logits(name: str) -> None:
    if name in PAIRED:
        with pytest.raises(ValueError, match="logits of real pictures"):
            LOSSES[name].generator(None, FAKE)
    else:
        assert float(LOSSES[name].generator(None, FAKE)) == pytest.approx(BY_HAND[name][1], abs=1e-6)


def test_relativistic_pairs_one_with_one() -> None:
    assert float(relativistic_generator(REAL, FAKE)) != pytest.approx(float(relativistic_generator(REAL.flip(0), FAKE)))


WEIGHT = torch.tensor([[[[3.0, 0.0], [0.0, 4.0]]]])


def linear_judge(x: Tensor) -> Tensor:
    return (x * WEIGHT).sum((1, 2, 3)) + 7


def test_penalties_of_a_linear_discriminator() -> None:
    """Its slope is the weight everywhere: |w|^2 = 25."""
    real, fake = torch.randn(3, 1, 2, 2), torch.randn(3, 1, 2, 2)
    assert float(r1(linear_judge, real)) == pytest.approx(12.5)
    assert float(r1(linear_judge, real, gamma=0.2)) == pytest.approx(2.5)
    assert float(r2(linear_judge, fake, gamma=4)) == pytest.approx(50)
    assert float(gradient_penalty(linear_judge, real, fake, torch.rand(3))) == pytest.approx(16)


def test_penalties_look_where_they_should() -> None:
    """D(x) = a |x|^2 / 2 of one pixel has the slope a x; the penalties have slopes a x^2 and 2 (|a x| - 1) |x| in a."""
    a = torch.tensor(2.0, requires_grad=True)
    judge = lambda x: a * x.square().sum((1, 2, 3)) / 2  # noqa: E731
    real, fake = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1), torch.tensor([5.0, -1.0]).reshape(2, 1, 1, 1)
    penalty = r1(judge, real)
    assert float(penalty.detach()) == pytest.approx((2**2 + 6**2) / 4)
    (slope,) = torch.autograd.grad(penalty, a)
    assert float(slope) == pytest.approx((2 * 1 + 2 * 9) / 2)
    assert float(r2(judge, fake).detach()) == pytest.approx((10**2 + 2**2) / 4)
    penalty = gradient_penalty(judge, real, fake, torch.tensor([0.75, 0.5]))  # at 2 and at 1: slopes 4 and 2
    assert float(penalty.detach()) == pytest.approx((9 + 1) / 2)
    (slope,) = torch.autograd.grad(penalty, a)
    assert float(slope) == pytest.approx((2 * 3 * 2 + 2 * 1 * 1) / 2)


def test_penalties_leave_the_pictures_alone() -> None:
    """Neither the caller's tensors nor, through a fake picture, the generator get a gradient."""
    weight = torch.ones(4, requires_grad=True)
    judge = lambda x: (x.square().flatten(1) * weight).sum(1)  # noqa: E731
    made = torch.ones(2, 1, 2, 2, requires_grad=True)
    (r2(judge, made * 2) + gradient_penalty(judge, torch.ones(2, 1, 2, 2), made * 2, torch.full((2,), 0.5))).backward()
    assert made.grad is None and weight.grad is not None


def test_slopes_of_logits_at_hand() -> None:
    x = torch.randn(3, 1, 2, 2, requires_grad=True)
    torch.testing.assert_close(squared_slopes(linear_judge(x), x), torch.full((3,), 25.0))
