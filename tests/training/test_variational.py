from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from impasto.errors import TrainingError
from impasto.training.losses import variational as v


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_draw_has_the_mean_and_deviation_asked_for() -> None:
    mean, logvar = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, math.log(0.25)]])
    assert v.reparameterise(mean, logvar, torch.tensor([[0.5, 2.0]])).tolist() == [[1.5, pytest.approx(-1.0)]]
    drawn = v.reparameterise(mean.expand(20_000, 2), logvar.expand(20_000, 2), random(20_000, 2))
    assert drawn.mean(0).tolist() == pytest.approx([1.0, -2.0], abs=0.03)
    assert drawn.std(0).tolist() == pytest.approx([1.0, 0.5], abs=0.02)


def test_gradients_flow_through_a_draw() -> None:
    mean, logvar = torch.zeros(1, 1, requires_grad=True), torch.zeros(1, 1, requires_grad=True)
    v.reparameterise(mean, logvar, torch.tensor([[3.0]])).sum().backward()
    assert mean.grad is not None and mean.grad.item() == 1.0
    assert logvar.grad is not None and logvar.grad.item() == pytest.approx(1.5)  # d/dl exp(l/2) 3 at 0


@pytest.mark.parametrize(
    ("mean", "variance", "nats"),
    [
        (0.0, 1.0, 0.0),
        (2.0, 1.0, 2.0),  # m^2 / 2
        (0.0, math.e, (math.e - 2) / 2),
        (1.0, 0.25, 0.5 * (1 + 0.25 - 1 + math.log(4))),
    ],
)
def test_divergence_by_hand(mean: float, variance: float, nats: float) -> None:
    found = v.gaussian_kl(torch.tensor([[mean]]), torch.tensor([[math.log(variance)]]))
    assert found.shape == (1, 1) and found.item() == pytest.approx(nats, abs=1e-6)


def test_divergence_against_torch_and_against_sampling() -> None:
    mean, logvar = random(5, 7), random(5, 7, seed=1)
    there = torch.distributions.Normal(mean, (logvar / 2).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(there, prior)
    torch.testing.assert_close(v.gaussian_kl(mean, logvar), expected)
    z = v.reparameterise(mean[:1].expand(200_000, 7), logvar[:1].expand(200_000, 7), random(200_000, 7, seed=2))
    sampled = (there.log_prob(z[:, None])[:, 0] - prior.log_prob(z[:, None])[:, 0]).mean(0)
    torch.testing.assert_close(sampled, expected[0], atol=0.02, rtol=0.02)
    assert (v.gaussian_kl(mean.bfloat16(), logvar.bfloat16()).dtype) == torch.float32


def test_free_bits_charge_the_batch_mean_of_each_number() -> None:
    kl = torch.tensor([[0.0, 3.0, 0.2], [0.2, 1.0, 1.4]], requires_grad=True)  # means 0.1, 2.0, 0.8
    assert v.free_bits(kl, 0.0).item() == pytest.approx(2.9)
    charged = v.free_bits(kl, 0.5)
    assert charged.item() == pytest.approx(0.5 + 2.0 + 0.8), "the mean counts, not the single picture"
    charged.backward()
    assert kl.grad is not None
    assert kl.grad.tolist() == [[0.0, 0.5, 0.5], [0.0, 0.5, 0.5]], "what is free has no gradient"


def test_likelihoods_by_hand() -> None:
    ours, theirs = torch.zeros(2, 1, 1, 2), torch.tensor([[[[0.5, -1.0]]], [[[0.0, 0.0]]]])
    found = v.gaussian_nll(ours, theirs, math.log(0.25))
    constant = 2 * 0.5 * (math.log(0.25) + math.log(2 * math.pi))
    assert found.tolist() == pytest.approx([0.5 * 1.25 / 0.25 + constant, constant])
    found = v.laplace_nll(ours, theirs, 0.5)
    assert found.tolist() == pytest.approx([1.5 / 0.5 + 2 * math.log(1.0), 0.0])


@pytest.mark.parametrize("likelihood", ["gaussian", "l2", "l1"])
def test_likelihoods_are_those_of_the_distributions(likelihood: v.Likelihood) -> None:
    ours, theirs = random(3, 2, 4, 5), random(3, 2, 4, 5, seed=1)
    logvar = torch.tensor(-1.3)
    found = v.negative_log_likelihood(likelihood, ours, theirs, logvar=logvar, scale=0.2)
    there = {
        "gaussian": torch.distributions.Normal(ours, math.exp(-0.65)),
        "l2": torch.distributions.Normal(ours, 0.2),
        "l1": torch.distributions.Laplace(ours, 0.2),
    }[likelihood]
    torch.testing.assert_close(found, -there.log_prob(theirs).flatten(1).sum(1))


def test_the_learnt_variance_is_best_at_the_squared_error() -> None:
    """The optimum of Rybkin et al. 2021 (equation 5), found by descending."""
    ours, theirs = torch.zeros(4, 1, 8, 8), 0.3 * random(4, 1, 8, 8)
    logvar = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.SGD([logvar], 0.02)
    for _ in range(200):
        optimizer.zero_grad()
        v.gaussian_nll(ours, theirs, logvar).mean().backward()
        optimizer.step()
    assert math.exp(logvar.item()) == pytest.approx(theirs.square().mean().item(), rel=1e-3)


def test_a_gaussian_wants_its_variance() -> None:
    with pytest.raises(TrainingError, match=r"needs a learnt variance: give logvar, or choose l2 or l1\.$"):
        v.negative_log_likelihood("gaussian", torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))


def test_the_objective_by_hand() -> None:
    nll, kl = torch.tensor([10.0, 30.0]), torch.tensor([[1.0, 0.0], [3.0, 0.2]])
    assert v.objective(nll, kl, 10).item() == pytest.approx((20 + 2.1) / 10)
    assert v.objective(nll, kl, 10, beta=4.0, least=0.5).item() == pytest.approx((20 + 4 * 2.5) / 10)


def test_bits_of_a_uniform_guess_are_eight() -> None:
    """A density of 1/2 everywhere on -1..1, with 255 steps: log2(255) bits and no divergence."""
    numbers = 12
    nll = torch.full((3,), numbers * math.log(2.0))
    assert v.bits_per_number(nll, torch.zeros(3, 4), numbers).item() == pytest.approx(math.log2(255))
    costly = v.bits_per_number(nll, torch.full((3, 4), 3 * math.log(2)), numbers).item()
    assert costly == pytest.approx(math.log2(255) + 1)


def test_used_latents_are_counted() -> None:
    kl = torch.tensor([[0.0, 0.5, 0.015], [0.001, 0.0, 0.001]])
    assert v.used_latents(kl).item() == 1  # the third's mean is 0.008
    assert v.used_latents(kl, 0.0001).item() == 3
