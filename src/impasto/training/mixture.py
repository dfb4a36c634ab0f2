"""A Gaussian mixture on latents, fitted by expectation maximisation: numpy, float64.

The latents that an encoder gives are not quite distributed as the prior; a mixture fitted to them after training
draws better pictures (ex-post density estimation, Ghosh et al. 2020, "From variational to deterministic
autoencoders", section 4). Fitted with a weak prior on the covariances, so that a few hundred latents suffice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from impasto.errors import TrainingError
from impasto.runtime.latents import Mixture as DrawnMixture

if TYPE_CHECKING:
    from impasto.training.tasks.vae import VaeTask

Array = NDArray[np.float64]

AT_MOST = 20_000
"""Latents that a fit looks at: more of them change nothing that can be seen, and take memory."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """What was fitted; K components of Z numbers, all float64. ``drawable`` gives the one that is drawn from.

    Attributes:
        weights: [K], sum 1.
        means: [K,Z].
        roots: [K,Z,Z], lower Cholesky factors of the covariances: ``mean + root @ normal`` is a draw.
    """

    weights: Array
    means: Array
    roots: Array

    def log_density(self, x: NDArray[np.floating]) -> Array:
        """Natural logarithm of the density at ``x`` [N,Z]: [N]."""
        return _log_sum(_log_parts(self, np.asarray(x, np.float64)))

    def drawable(self) -> DrawnMixture:
        """The same in float32, as the runtime draws from it."""
        parts = (part.astype(np.float32) for part in (self.weights, self.means, self.roots))
        return DrawnMixture(*parts)

    def tables(self) -> dict[str, NDArray[np.float32]]:
        """The tables of a model file, float32: ``mixture_weights.npy`` [K], ``mixture_means.npy`` [K,Z],
        ``mixture_roots.npy`` [K,Z,Z]."""
        return {
            "mixture_weights.npy": self.weights.astype(np.float32),
            "mixture_means.npy": self.means.astype(np.float32),
            "mixture_roots.npy": self.roots.astype(np.float32),
        }


def fit_mixture(source: VaeTask | str | Path, checkpoint: Path | None = None) -> Mixture:
    """The mixture on the latents of what a VAE was trained on, for the exporter and for ``sample`` grids.

    Args:
        source: a task (its present networks are used), or a run folder (the averaged ones of its checkpoint, and the
            pictures that its recipe names).
        checkpoint: another checkpoint of that run than the newest, such as its best.

    Returns:
        See ``Mixture``; ``.tables()`` is what goes into a model file.

    Raises:
        TrainingError: the run is not one of a VAE, or its pictures are gone.
    """
    from impasto.training.tasks.vae import VaeTask

    task = source if isinstance(source, VaeTask) else VaeTask.from_run(source, checkpoint=checkpoint)
    return best_fit(task.latents(), seed=task.recipe.seed)


def best_fit(x: NDArray[np.floating], *, candidates: Sequence[int] = (1, 3, 10), seed: int = 0) -> Mixture:
    """The mixture with the number of components that a fifth of ``x`` [N,Z], held out, likes best.

    Args:
        x: latents; at most ``AT_MOST`` of them are used.
        candidates: numbers of components; Ghosh et al. 2020 take 10. Those with fewer than 10 points per component
            are passed over, 1 is always tried.
        seed: of the split and of every start.

    Raises:
        TrainingError: as ``fit``.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    points = _checked(x)
    points = points[rng.permutation(len(points))[:AT_MOST]]
    held = max(1, len(points) // 5)
    train, test = points[held:], points[:held]
    tried = [k for k in sorted(set(candidates) | {1}) if k == 1 or len(train) >= 10 * k]
    if len(tried) == 1 or len(train) < 2:
        return fit(points, 1, seed=seed)
    scores = {k: float(fit(train, k, seed=seed).log_density(test).mean()) for k in tried}
    return fit(points, max(scores, key=scores.__getitem__), seed=seed)


def fit(
    x: NDArray[np.floating], components: int, *, seed: int = 0, steps: int = 100, tolerance: float = 1e-4
) -> Mixture:
    """A mixture with full covariances, by expectation maximisation (Dempster et al. 1977).

    Covariances have a conjugate prior worth Z + 2 points whose covariance is the data's own per-axis variance
    (Fraley and Raftery 2007, section 3): a component with few points stays round instead of collapsing on them.

    Args:
        x: [N,Z], N at least 2 and finite.
        components: K, at most N.
        seed: of the start (k-means++, Arthur and Vassilvitskii 2007).
        steps: at most this many.
        tolerance: stop when the mean log density rises by less, nats.

    Raises:
        TrainingError: too few points, or some that are not numbers.
    """
    points = _checked(x)
    count = len(points)
    if not 1 <= components <= count:
        raise TrainingError(f"A mixture of {components} needs as many latents and there are {count}: ask for fewer.")
    variance = points.var(0)
    # An axis that never moves (a latent that the encoder does not use) keeps a little width.
    floor = 1e-6 * float(variance.mean()) + 1e-12
    prior = np.maximum(variance, floor)
    shares = _nearest(points, _spread_out(points / np.sqrt(prior), components, seed), np.sqrt(prior))
    found, before = _maximise(points, shares, prior), -math.inf
    for _ in range(steps):
        parts = _log_parts(found, points)
        total = _log_sum(parts)
        score = float(total.mean() + _log_prior(found, prior) / count)
        if score - before < tolerance:
            break
        before = score
        found = _maximise(points, np.exp(parts - total[:, None]), prior)
    return found


def _checked(x: NDArray[np.floating]) -> Array:
    points = np.asarray(x, np.float64)
    if points.ndim != 2 or len(points) < 2 or not np.isfinite(points).all():
        raise TrainingError("A mixture cannot be fitted: give at least 2 latents [N,Z] that are finite numbers.")
    return points


def _spread_out(points: Array, components: int, seed: int) -> Array:
    """Indices-to-centres start: points far from each other, [K,Z] (in the units of ``points``)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    centres = [points[rng.integers(len(points))]]
    nearest = np.full(len(points), np.inf)
    for _ in range(components - 1):
        nearest = np.minimum(nearest, np.square(points - centres[-1]).sum(1))
        total = nearest.sum()
        share = nearest / total if total > 0 else np.full(len(points), 1 / len(points))
        centres.append(points[rng.choice(len(points), p=share)])
    return np.stack(centres)


def _nearest(points: Array, centres: Array, unit: Array, rounds: int = 10) -> Array:
    """Shares [N,K], 0 or 1, after some rounds of k-means; ``centres`` are in ``unit``s."""
    scaled = points / unit
    chosen = np.zeros(len(points), np.int64)
    for _ in range(rounds):
        # |a - b|^2 without |a|^2, which all centres share
        chosen = (np.square(centres).sum(1)[None] - 2 * scaled @ centres.T).argmin(1)
        for k in range(len(centres)):
            if (chosen == k).any():
                centres[k] = scaled[chosen == k].mean(0)
    return np.eye(len(centres))[chosen]


def _maximise(points: Array, shares: Array, prior: Array) -> Mixture:
    """The M step: weights, means, covariances under shares [N,K] and the prior."""
    size = points.shape[1]
    trust = size + 2
    counts = shares.sum(0)
    weights = (counts + 1e-9) / (counts + 1e-9).sum()
    means, roots = [], []
    for k, n in enumerate(counts):
        # A component that lost its points goes back to the middle rather than to 0/0.
        mean = shares[:, k] @ points / n if n > 1e-9 else points.mean(0)
        away = points - mean
        covariance = (away * shares[:, k, None]).T @ away
        covariance[np.diag_indices(size)] += trust * prior
        means.append(mean)
        roots.append(np.linalg.cholesky(covariance / (n + trust)))
    return Mixture(weights, np.stack(means), np.stack(roots))


def _log_parts(mixture: Mixture, points: Array) -> Array:
    """log(weight_k N(x; k)): [N,K]."""
    size = points.shape[1]
    columns = []
    for weight, mean, root in zip(mixture.weights, mixture.means, mixture.roots, strict=True):
        white = (points - mean) @ np.linalg.inv(root).T
        half = np.log(np.diag(root)).sum()
        columns.append(math.log(weight) - 0.5 * (np.square(white).sum(1) + size * math.log(2 * math.pi)) - half)
    return np.stack(columns, 1)


def _log_prior(mixture: Mixture, prior: Array) -> float:
    """The covariances' log prior, but for a constant: -(trust/2) sum of (log det + trace(inverse x prior))."""
    trust = len(prior) + 2
    total = 0.0
    for root in mixture.roots:
        white = np.linalg.inv(root) * np.sqrt(prior)
        total += 2 * np.log(np.diag(root)).sum() + np.square(white).sum()
    return float(-0.5 * trust * total)


def _log_sum(parts: Array) -> Array:
    top = parts.max(1, keepdims=True)
    summed: Array = top[:, 0] + np.log(np.exp(parts - top).sum(1))
    return summed
