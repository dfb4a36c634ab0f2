from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from impasto.errors import TrainingError
from impasto.runtime.latents import draw_streams
from impasto.training import mixture as m

CENTRES = np.array([[-4.0, 0.0, 1.0], [4.0, 4.0, 0.0], [0.0, -5.0, -2.0]])
SHARES = np.array([0.5, 0.3, 0.2])


def clusters(count: int = 3000, seed: int = 0) -> NDArray[np.float64]:
    """Three well separated round or drawn-out clouds."""
    rng = np.random.default_rng(seed)
    stretch = np.stack([np.eye(3), np.diag([0.3, 1.5, 1.0]), np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 0, 0.5]])])
    which = rng.choice(3, count, p=SHARES)
    return np.asarray(CENTRES[which] + np.einsum("nij,nj->ni", stretch[which], rng.standard_normal((count, 3))))


def ordered(found: m.Mixture) -> list[int]:
    """Which component is nearest to each of ``CENTRES``."""
    return [int(np.square(found.means - centre).sum(1).argmin()) for centre in CENTRES]


def test_it_finds_the_clusters_that_were_drawn() -> None:
    found = m.fit(clusters(), 3)
    at = ordered(found)
    assert sorted(at) == [0, 1, 2]
    assert found.weights[at] == pytest.approx(SHARES, abs=0.03) and found.weights.sum() == pytest.approx(1)
    assert found.means[at] == pytest.approx(CENTRES, abs=0.15)
    covariances = found.roots @ found.roots.transpose(0, 2, 1)
    third = np.array([[1, 0.8, 0], [0.8, 1.0, 0], [0, 0, 0.25]])
    assert covariances[at[0]] == pytest.approx(np.eye(3), abs=0.15)
    assert covariances[at[2]] == pytest.approx(third, abs=0.2)
    assert (np.triu(found.roots, 1) == 0).all()


def test_one_component_is_mean_and_covariance() -> None:
    x = clusters(5000)
    found = m.fit(x, 1)
    assert found.means[0] == pytest.approx(x.mean(0)) and found.weights.tolist() == [1.0]
    assert found.roots[0] @ found.roots[0].T == pytest.approx(np.cov(x.T), rel=0.01, abs=0.02)


def test_density_against_torch() -> None:
    found, x = m.fit(clusters(), 3), clusters(50, seed=1)
    there = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.from_numpy(found.weights)),
        torch.distributions.MultivariateNormal(torch.from_numpy(found.means), scale_tril=torch.from_numpy(found.roots)),
    )
    assert found.log_density(x) == pytest.approx(there.log_prob(torch.from_numpy(x)).numpy(), rel=1e-9)


def test_every_step_raises_what_is_maximised() -> None:
    """Log density of the points plus log prior of the covariances never falls: what EM promises."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((60, 6)) * np.linspace(0.2, 3, 6)  # few points: the prior matters
    scores = []
    for steps in range(1, 16):
        found = m.fit(x, 4, steps=steps, tolerance=-math.inf)
        scores.append(found.log_density(x).sum() + m._log_prior(found, x.var(0)))
    assert all(after > before - 1e-9 for before, after in itertools.pairwise(scores))
    assert scores[-1] > scores[0] + 0.1


def test_the_m_step_is_the_best_there_is() -> None:
    """Any other covariance is worse: checked by moving the fitted one."""
    x = np.random.default_rng(0).standard_normal((30, 3)) * [1, 2, 3]
    found = m.fit(x, 1)

    def score(root: NDArray[np.float64]) -> float:
        other = m.Mixture(found.weights, found.means, root)
        return float(other.log_density(x).sum() + m._log_prior(other, x.var(0)))

    best = score(found.roots)
    for seed in range(20):
        nudge = np.tril(np.random.default_rng(seed).standard_normal((1, 3, 3))) * 0.05
        assert score(found.roots + nudge) < best


def test_few_points_in_many_dimensions_stay_sane() -> None:
    x = np.random.default_rng(0).standard_normal((40, 64))
    x[:, 5] = 1.5  # a latent that never moves
    found = m.fit(x, 3)
    assert all(np.isfinite(part).all() for part in (found.weights, found.means, found.roots))
    fresh = np.random.default_rng(1).standard_normal((200, 64))
    fresh[:, 5] = 1.5
    single = m.fit(x, 1).log_density(fresh).mean()
    # The truth's own score is -(63/2) log(2 pi e); one component is within a third of it (without the prior a
    # covariance of 40 points in 64 dimensions is singular), leaving out the gain of the axis that never moves.
    gain = -math.log(m.fit(x, 1).roots[0, 5, 5]) - 0.5 * math.log(2 * math.pi)
    assert single - gain > -1.33 * 63 / 2 * math.log(2 * math.pi * math.e)
    assert m.fit(np.zeros((5, 2)), 2).roots.shape == (2, 2, 2), "points that are all the same"


def test_draws_are_distributed_as_fitted() -> None:
    found = m.fit(clusters(), 3)
    drawn = found.drawable().place(draw_streams(0, 3000, 3))
    assert drawn.shape == (3000, 3) and drawn.dtype == np.float32
    again = m.fit(drawn, 3)
    assert again.means[ordered(again)] == pytest.approx(found.means[ordered(found)], abs=0.2)
    assert again.weights[ordered(again)] == pytest.approx(found.weights[ordered(found)], abs=0.03)
    assert again.roots[ordered(again)] == pytest.approx(found.roots[ordered(found)], abs=0.2)


def test_the_number_of_components_is_chosen_on_held_out_points() -> None:
    assert len(m.best_fit(clusters(), candidates=(1, 3)).weights) == 3
    round_cloud = np.random.default_rng(0).standard_normal((400, 8))
    assert len(m.best_fit(round_cloud, candidates=(1, 3, 10)).weights) == 1, "more would only learn by heart"
    assert len(m.best_fit(clusters(12), candidates=(3, 10)).weights) == 1, "too few points for more"
    one, two = m.best_fit(clusters()), m.best_fit(clusters())
    assert np.array_equal(one.means, two.means) and np.array_equal(one.roots, two.roots)


def test_at_most_so_many_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = m.fit
    monkeypatch.setattr(m, "AT_MOST", 100)
    monkeypatch.setattr(m, "fit", lambda x, k, **kw: (seen.append(len(x)), real(x, k, **kw))[1])
    m.best_fit(clusters(500), candidates=(1,))
    assert seen == [100]


def test_tables_for_a_model_file() -> None:
    tables = m.fit(clusters(200), 2).tables()
    assert {name: (table.shape, table.dtype) for name, table in tables.items()} == {
        "mixture_weights.npy": ((2,), np.float32),
        "mixture_means.npy": ((2, 3), np.float32),
        "mixture_roots.npy": ((2, 3, 3), np.float32),
    }


@pytest.mark.parametrize("bad", [np.zeros((1, 3)), np.zeros(5), np.array([[0.0, np.nan], [1.0, 2.0]])])
def test_what_cannot_be_fitted(bad: NDArray[np.float64]) -> None:
    with pytest.raises(TrainingError, match="give at least 2 latents"):
        m.fit(bad, 1)
    with pytest.raises(TrainingError, match="A mixture of 9 needs as many latents and there are 4: ask for fewer"):
        m.fit(np.zeros((4, 2)), 9)
