"""Distances between sets of features against loops over their definitions, in float64."""

from __future__ import annotations

from collections.abc import Callable
from math import dist

import numpy as np
import pytest
from numpy.typing import NDArray

from impasto.errors import TrainingError
from impasto.training import measure
from impasto.training.measure import (
    density_coverage,
    frechet_distance,
    kernel_distance,
    moments,
    nearest_distances,
    neighbour_scores,
    precision_recall,
)

Rows = NDArray[np.float64]


def rows(count: int, width: int = 4, seed: int = 0, shift: float = 0.0) -> Rows:
    return np.random.default_rng(seed).normal(shift, 1.0, (count, width))


def root_by_iteration(matrix: Rows) -> Rows:
    """Denman and Beavers 1976: no eigenvalues anywhere."""
    y, z = matrix.copy(), np.eye(len(matrix))
    for _ in range(60):
        y, z = (y + np.linalg.inv(z)) / 2, (z + np.linalg.inv(y)) / 2
    return y


def naive_frechet(x: Rows, y: Rows) -> float:
    (m1, m2), (c1, c2) = (np.mean(a, 0) for a in (x, y)), (np.cov(a.T) for a in (x, y))
    return float(((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * root_by_iteration(c1 @ c2)))


def naive_kernel(x: Rows, y: Rows) -> float:
    def k(a: Rows, b: Rows) -> float:
        return float((sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3)

    def within(a: Rows) -> float:
        pairs = [k(a[i], a[j]) for i in range(len(a)) for j in range(len(a)) if i != j]
        return sum(pairs) / len(pairs)

    return within(x) + within(y) - 2 * sum(k(a, b) for a in x for b in y) / (len(x) * len(y))


def naive_radius(points: Rows, k: int) -> list[float]:
    return [sorted(dist(p, q) for j, q in enumerate(points) if j != i)[k - 1] for i, p in enumerate(points)]


def naive_share(points: Rows, centres: Rows, k: int) -> float:
    radius = naive_radius(centres, k)
    return float(np.mean([any(dist(p, c) <= r for c, r in zip(centres, radius, strict=True)) for p in points]))


def naive_density_coverage(real: Rows, fake: Rows, k: int) -> tuple[float, float]:
    radius = naive_radius(real, k)
    hits = [[dist(f, r) <= radius[i] for f in fake] for i, r in enumerate(real)]
    return sum(map(sum, hits)) / (k * len(fake)), float(np.mean([any(row) for row in hits]))


def test_moments_are_those_of_numpy() -> None:
    x = rows(50, shift=3.0)
    found = moments(x)
    assert found.count == 50
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.covariance, np.cov(x.T), rtol=1e-12)


@pytest.mark.parametrize("step", [1, 7, 49])
def test_moments_do_not_depend_on_the_batch(step: int) -> None:
    x = rows(50, shift=1000.0)  # a sum of squares would lose six digits here
    found = moments(x[i : i + step] for i in range(0, 50, step))
    np.testing.assert_allclose(found.covariance, np.cov(x.T), rtol=1e-10)
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-13)


def test_frechet_distance_by_hand() -> None:
    # Two normals in one dimension: (m1 - m2)^2 + (s1 - s2)^2.
    assert frechet_distance(np.array([1.0]), np.array([[4.0]]), np.array([4.0]), np.array([[25.0]])) == pytest.approx(
        18
    )


def test_frechet_distance_is_the_definition() -> None:
    x, y = rows(60, seed=1), rows(40, seed=2, shift=0.5) @ rows(4, seed=3)
    a, b = moments(x), moments(y)
    ours = frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    assert ours == pytest.approx(naive_frechet(x, y), rel=1e-9)
    assert frechet_distance(b.mean, b.covariance, a.mean, a.covariance) == pytest.approx(ours, rel=1e-12)


def test_frechet_distance_of_low_rank() -> None:
    """Fewer pictures than features, as always with a few thousand pictures."""
    x, y = rows(10, 64, seed=1), rows(12, 64, seed=2)
    a, b = moments(x), moments(y)
    same = frechet_distance(a.mean, a.covariance, a.mean, a.covariance)
    assert same < 1e-10 * np.trace(a.covariance), "no digits lost: a root of a product would leave 1e-7"
    # Exact: the part outside the span of both sets adds nothing, so the distance in the span is the same.
    basis = np.linalg.qr(np.concatenate((x, y)).T)[0]
    c, d = moments(x @ basis), moments(y @ basis)
    ours = frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    assert ours == pytest.approx(frechet_distance(c.mean, c.covariance, d.mean, d.covariance), rel=1e-9)
    # A constant set has no covariance at all.
    still = moments(np.zeros((5, 64)))
    expected = float((a.mean**2).sum() + np.trace(a.covariance))
    assert frechet_distance(a.mean, a.covariance, still.mean, still.covariance) == pytest.approx(expected)


def test_kernel_distance_is_the_definition() -> None:
    x, y = rows(9, seed=1), rows(7, seed=2, shift=1.0)
    found = kernel_distance(x, y)
    assert found.value == pytest.approx(naive_kernel(x, y), rel=1e-10)
    assert found.deviation == 0, "both sets are taken whole, so there is one subset"


def test_kernel_distance_over_subsets() -> None:
    x, y, far = rows(300, seed=1), rows(300, seed=2), rows(300, seed=3, shift=1.0)
    near = kernel_distance(x, y, subsets=20, size=60)
    assert abs(near.value) < 3 * near.deviation / 20**0.5 + 0.05
    assert near.deviation > 0
    apart = kernel_distance(x, far, subsets=20, size=60)
    assert apart.value > 10 * abs(near.value)
    assert apart.value == pytest.approx(kernel_distance(x, far, size=300).value, rel=0.15)
    assert kernel_distance(x, far, subsets=20, size=60) == apart, "the same seed draws the same subsets"
    assert kernel_distance(x, far, subsets=20, size=60, seed=1) != apart


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_neighbours_are_the_definition(k: int, shift: float) -> None:
    real, fake = rows(30, 2, seed=4), rows(20, 2, seed=5, shift=shift)
    assert precision_recall(real, fake, k=k) == pytest.approx((naive_share(fake, real, k), naive_share(real, fake, k)))
    assert density_coverage(real, fake, k=k) == pytest.approx(naive_density_coverage(real, fake, k))


def test_both_kinds_at_once() -> None:
    real, fake = rows(30, 2, seed=4), rows(20, 2, seed=5, shift=0.7)
    found = neighbour_scores(real, fake, k=2, ball_k=4)
    assert found[:2] == precision_recall(real, fake, k=2)
    assert found[2:] == density_coverage(real, fake, k=4)


def test_a_collapsed_generator() -> None:
    real = rows(40, 8, seed=6)
    fake = np.repeat(real[:1], 20, 0)
    precision, recall, _, coverage = neighbour_scores(real, fake)
    assert precision == 1
    # The samples' own region is one point, and one real picture lies in it.
    assert recall == 1 / 40
    assert coverage < 0.5


def test_a_generator_that_learnt_by_heart() -> None:
    real = rows(40, 8, seed=6)
    assert neighbour_scores(real, real.copy()) == (1, 1, pytest.approx(6 / 5), 1)
    distances, places = nearest_distances(real[::-1], real)
    assert (distances == 0).all() and (places == np.arange(40)[::-1]).all()


def test_sets_far_apart() -> None:
    real, fake = rows(40, 8, seed=6), rows(40, 8, seed=7, shift=50)
    assert neighbour_scores(real, fake) == (0, 0, 0, 0)


@pytest.mark.parametrize("size", [64, 1000, 10**7])
@pytest.mark.parametrize(
    "score",
    [
        lambda x, y: neighbour_scores(x, y),
        lambda x, y: kernel_distance(x, y).value,
        lambda x, y: moments(x).covariance.tolist(),
        lambda x, y: nearest_distances(x, y)[1].tolist(),
    ],
)
def test_the_size_of_blocks_changes_nothing(
    size: int, score: Callable[[Rows, Rows], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = rows(33, 6, seed=8), rows(29, 6, seed=9, shift=0.3)
    expected = np.array(score(x, y))
    monkeypatch.setattr(measure, "BLOCK_BYTES", size)
    np.testing.assert_allclose(np.array(score(x, y)), expected, rtol=1e-11, atol=1e-14)


def test_half_precision_features_are_summed_in_double() -> None:
    x = (rows(4000, 3) * 1e-3 + 100).astype(np.float32)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(moments(x).covariance, np.cov(exact.T), rtol=1e-10)
    y = x[:50] + np.float32(1)
    assert kernel_distance(x[:50], y).value == kernel_distance(exact[:50], y.astype(np.float64)).value


def test_what_cannot_be_compared() -> None:
    with pytest.raises(TrainingError, match="at least 2 pictures"):
        moments(rows(1))
    with pytest.raises(TrainingError, match="at least 2 pictures"):
        moments([])
    broken = rows(5)
    broken[2, 2] = np.nan
    with pytest.raises(TrainingError, match="not finite"):
        moments(broken)
    a, b = moments(rows(9, 4)), moments(rows(9, 5))
    with pytest.raises(TrainingError, match="from one network"):
        frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    with pytest.raises(TrainingError, match="not finite"):
        frechet_distance(a.mean * np.inf, a.covariance, a.mean, a.covariance)
    with pytest.raises(TrainingError, match="from one network"):
        kernel_distance(rows(9, 4), rows(9, 5))
    with pytest.raises(TrainingError, match="at least 6 of each"):
        neighbour_scores(rows(5), rows(9))
