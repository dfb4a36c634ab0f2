"""How far a set of pictures is from another, as functions of feature arrays ``[N,D]``.

Nothing here knows where features come from: that is :mod:`impasto.training.measure_features`. All sums are float64
and all large tables are made in blocks, so that the memory needed does not grow with N x N.

- Frechet distance: Heusel et al. 2017, "GANs trained by a two time-scale update rule".
- Kernel distance: Binkowski et al. 2018, "Demystifying MMD GANs".
- Precision and recall: Kynkaanniemi et al. 2019, "Improved precision and recall metric".
- Density and coverage: Naeem et al. 2020, "Reliable fidelity and diversity metrics".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from impasto.errors import TrainingError

Features = NDArray[np.float32] | NDArray[np.float64]
Table = NDArray[np.float64]

BLOCK_BYTES = 64 << 20
"""Size of the largest temporary table."""

COUNT = 10_000
"""Samples that a generator is measured on."""

NEIGHBOURS = 3
"""k of precision and recall, as in the paper."""

BALL_NEIGHBOURS = 5
"""k of density and coverage, as in the paper."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and covariance of features.

    Attributes:
        count: N.
        mean: float64 [D].
        covariance: float64 [D,D], divided by N - 1.
    """

    count: int
    mean: Table
    covariance: Table

    def merged(self, other: Moments) -> Moments:
        """The moments of both sets together (Chan et al. 1983, the parallel update)."""
        count = self.count + other.count
        apart = other.mean - self.mean
        scatter = self.covariance * (self.count - 1) + other.covariance * (other.count - 1)
        scatter += np.outer(apart, apart) * (self.count * other.count / count)
        mean = self.mean + apart * (other.count / count)
        return Moments(count, mean, scatter / (count - 1))


def moments(blocks: Features | Iterable[Features]) -> Moments:
    """Mean and covariance of features.

    Args:
        blocks: features [N,D], or pieces of them, one after another, none of them empty.

    Raises:
        TrainingError: fewer than two rows, or a number that is not finite.
    """
    pieces = _blocks(blocks) if isinstance(blocks, np.ndarray) else iter(blocks)
    parts = (_moments_of(piece) for piece in pieces)
    first = next(parts, None)
    found = None if first is None else reduce(Moments.merged, parts, first)
    if found is None or found.count < 2:
        raise TrainingError("A distance between sets needs at least 2 pictures in each: give more pictures.")
    if not (np.isfinite(found.mean).all() and np.isfinite(found.covariance).all()):
        raise TrainingError("Some features are not finite: look at the pictures for broken ones.")
    return found


def _moments_of(piece: Features) -> Moments:
    rows = np.asarray(piece, np.float64)
    mean = rows.mean(0)
    centred = rows - mean
    return Moments(len(rows), mean, centred.T @ centred / max(1, len(rows) - 1))


def frechet_distance(mean1: Features, covariance1: Features, mean2: Features, covariance2: Features) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the squared Wasserstein-2 distance of two normal distributions.

    The trace of the root is the sum of the singular values of R1' R2 where C = R R', and R comes from the eigenvalues
    of C without those that are rounding errors. Nothing is squared and rooted again, so that covariances of low rank
    (fewer pictures than features) lose no digits.

    Args:
        mean1, mean2: [D].
        covariance1, covariance2: [D,D], symmetric.

    Returns:
        0 for equal distributions; never below 0.

    Raises:
        TrainingError: the sizes disagree or a number is not finite.
    """
    m1, m2 = np.asarray(mean1, np.float64), np.asarray(mean2, np.float64)
    c1, c2 = np.asarray(covariance1, np.float64), np.asarray(covariance2, np.float64)
    if not (m1.shape == m2.shape and c1.shape == c2.shape == (*m1.shape, *m1.shape)):
        raise TrainingError(
            f"Moments of {m1.shape}, {c1.shape} and {m2.shape}, {c2.shape} do not fit: take both from one network."
        )
    if not all(np.isfinite(table).all() for table in (m1, m2, c1, c2)):
        raise TrainingError("Some moments are not finite: look at the pictures for broken ones.")
    shared = np.linalg.svd(_factor(c1).T @ _factor(c2), compute_uv=False).sum()
    return max(0.0, float(np.square(m1 - m2).sum() + np.trace(c1) + np.trace(c2) - 2 * shared))


def _factor(covariance: Table) -> Table:
    """R [D,r] of rank r with R R' = covariance."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    real = values > len(values) * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
    factor: Table = vectors[:, real] * np.sqrt(values[real])
    return factor


class Estimate(NamedTuple):
    """A number that is a mean over random subsets.

    Attributes:
        value: the mean.
        deviation: the standard deviation over the subsets.
    """

    value: float
    deviation: float


def kernel_distance(
    first: Features, second: Features, *, subsets: int = 100, size: int = 1000, seed: int = 0
) -> Estimate:
    """Squared maximum mean discrepancy for the kernel (x'y / D + 1)^3, unbiased (Binkowski et al. 2018, eq. 4).

    Args:
        first, second: features [N,D] and [M,D].
        subsets: how many pairs of random subsets are averaged.
        size: pictures in each subset; where either set has no more, it is taken whole.
        seed: of the subsets.

    Returns:
        About 0 for equal distributions, and below it now and then, as the estimate is unbiased.

    Raises:
        TrainingError: fewer than two rows, or two widths.
    """
    _check(first, second, 2)
    count1, count2 = min(size, len(first)), min(size, len(second))
    rounds = 1 if (count1, count2) == (len(first), len(second)) else subsets
    random = np.random.Generator(np.random.PCG64(seed))
    found = []
    for _ in range(rounds):
        x = np.asarray(first[np.sort(random.choice(len(first), count1, replace=False))], np.float64)
        y = np.asarray(second[np.sort(random.choice(len(second), count2, replace=False))], np.float64)
        found.append(_discrepancy(x, y))
    return Estimate(float(np.mean(found)), float(np.std(found)))


def _discrepancy(x: Table, y: Table) -> float:
    within = sum((_kernel_sum(a, a) - _kernel_diagonal(a)) / (len(a) * (len(a) - 1)) for a in (x, y))
    return within - 2 * _kernel_sum(x, y) / (len(x) * len(y))


def _kernel_sum(x: Table, y: Table) -> float:
    return sum(float(((piece @ y.T / x.shape[1] + 1) ** 3).sum()) for piece in _blocks(x, 8 * len(y)))


def _kernel_diagonal(x: Table) -> float:
    return float(((np.square(x).sum(1) / x.shape[1] + 1) ** 3).sum())


class Neighbours(NamedTuple):
    """Where samples lie among real pictures, and the other way round.

    Attributes:
        precision: share of samples that lie in the region of the real pictures, 0..1.
        recall: share of real pictures that lie in the region of the samples, 0..1.
        density: how many balls around real pictures a sample lies in, over k; about 1 for real pictures, no limit.
        coverage: share of the balls around real pictures that hold a sample, 0..1.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def neighbour_scores(
    real: Features, samples: Features, *, k: int = NEIGHBOURS, ball_k: int = BALL_NEIGHBOURS
) -> Neighbours:
    """Precision and recall with ``k`` neighbours, density and coverage with ``ball_k``, from one pass.

    Args:
        real: features [N,D], N above both k.
        samples: features [M,D], M above ``k``.

    Raises:
        TrainingError: too few rows, or two widths.
    """
    _check(real, samples, max(k, ball_k) + 1)
    real, samples = np.asarray(real, np.float64), np.asarray(samples, np.float64)
    radius, ball = _radii(real, (k, ball_k))
    (reach,) = _radii(samples, (k,))
    inside, balls, start = 0, 0, 0
    near, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for squares in _squared_distances(samples, real):  # [B,N]
        inside += int((squares <= radius).any(1).sum())
        balls_hit = squares <= ball
        balls += int(balls_hit.sum())
        covered |= balls_hit.any(0)
        near |= (squares <= reach[start : start + len(squares), None]).any(0)
        start += len(squares)
    return Neighbours(
        precision=inside / len(samples),
        recall=float(near.mean()),
        density=balls / (ball_k * len(samples)),
        coverage=float(covered.mean()),
    )


def precision_recall(real: Features, samples: Features, *, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Precision and recall (Kynkaanniemi et al. 2019, equations 1 and 2); see :func:`neighbour_scores`."""
    return neighbour_scores(real, samples, k=k, ball_k=k)[:2]


def density_coverage(real: Features, samples: Features, *, k: int = BALL_NEIGHBOURS) -> tuple[float, float]:
    """Density and coverage (Naeem et al. 2020, equations 4 and 5); see :func:`neighbour_scores`."""
    return neighbour_scores(real, samples, k=k, ball_k=k)[2:]


def nearest_distances(samples: Features, real: Features) -> tuple[Table, NDArray[np.int64]]:
    """The nearest real picture of every sample: distances float64 [M] and positions int64 [M]."""
    _check(real, samples, 1)
    pairs = _squared_distances(np.asarray(samples, np.float64), np.asarray(real, np.float64))
    found = [(np.sqrt(squares.min(1)), squares.argmin(1)) for squares in pairs]
    return np.concatenate([d for d, _ in found]), np.concatenate([i for _, i in found])


def _radii(rows: Table, ks: tuple[int, ...]) -> list[Table]:
    """Squared distance of every row to its k-th neighbour, itself not counted: one [N] for each k."""
    found: list[list[Table]] = [[] for _ in ks]
    start = 0
    for squares in _squared_distances(rows, rows):
        own = np.arange(len(squares))
        squares[own, start + own] = np.inf
        start += len(squares)
        ordered = np.partition(squares, [k - 1 for k in ks], axis=1)
        for column, k in zip(found, ks, strict=True):
            column.append(ordered[:, k - 1].copy())
    return [np.concatenate(column) for column in found]


def _squared_distances(rows: Table, others: Table) -> Iterator[Table]:
    """Blocks [B,N] of |a - b|^2."""
    others_norm = np.square(others).sum(1)
    for piece in _blocks(rows, 8 * len(others)):
        norms = np.square(piece).sum(1)[:, None] + others_norm
        squares = norms - 2 * (piece @ others.T)
        # Equal rows leave a rounding error of either sign, which would put a collapsed generator's
        # samples in or out of a ball of radius 0 by chance.
        squares[squares < 1e-12 * norms] = 0
        yield squares


def _blocks(rows: Features, row_bytes: int | None = None) -> Iterator[Table]:
    step = max(1, BLOCK_BYTES // max(1, row_bytes or 8 * rows.shape[1]))
    for start in range(0, len(rows), step):
        yield np.asarray(rows[start : start + step], np.float64)


def _check(first: Features, second: Features, least: int) -> None:
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise TrainingError(
            f"Features of {first.shape} and {second.shape} cannot be compared: take both from one network."
        )
    if min(len(first), len(second)) < least:
        raise TrainingError(
            f"{len(first)} and {len(second)} pictures are too few to compare: give at least {least} of each."
        )
