"""Latents: where the numbers come from that a generator turns into pictures, and the ways between them.

A **latent** z is a float32 vector [Z] of independent N(0, 1) numbers. Picture k of ``seed`` is made of the stream
``numpy.random.Generator(numpy.random.PCG64(seed + k))`` alone, read in this order: Z numbers by
``standard_normal(Z, dtype=float32)``, then two by ``random(2)``. So seed 7 with a count of 4 gives the pictures of
the seeds 7, 8, 9 and 10, and any of them can be drawn again by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from impasto.errors import BundleError, ImpastoError

Array = NDArray[np.float32]

_NEARLY_PARALLEL = 1e-4


@dataclass(frozen=True, slots=True)
class Draw:
    """What the streams of some seeds gave.

    Attributes:
        normals: float32 [N,Z], N(0, 1).
        component: float64 [N] in 0..1, decides the component where a mixture is drawn from.
        label: float64 [N] in 0..1, decides the class where none is asked for.
    """

    normals: Array
    component: NDArray[np.float64]
    label: NDArray[np.float64]


def draw_streams(seed: int, count: int, size: int) -> Draw:
    """Read the streams of ``seed``, ``seed + 1``, ... as the module describes.

    Args:
        seed: 0 or more.
        count: N, 0 or more.
        size: Z.

    Raises:
        ImpastoError: the seed or the count is not a whole number from 0 on.
    """
    for what, value in (("seed", seed), ("count", count)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
            raise ImpastoError(f"The {what} {value!r} cannot be used: give a whole number from 0 on.")
    normals, rest = np.empty((count, size), np.float32), np.empty((count, 2), np.float64)
    for row in range(count):
        stream = np.random.Generator(np.random.PCG64(int(seed) + row))
        normals[row] = stream.standard_normal(size, dtype=np.float32)
        rest[row] = stream.random(2)
    return Draw(normals, rest[:, 0], rest[:, 1])


@dataclass(frozen=True, slots=True)
class Mixture:
    """A Gaussian mixture over latents, as fitted to a VAE's codes of its training pictures (Ghosh et al. 2020).

    Attributes:
        weights: float32 [K], 0 or more, summing to 1.
        means: float32 [K,Z].
        roots: float32 [K,Z,Z]: lower Cholesky factors of the covariances.

    Raises:
        BundleError: the shapes do not fit, or the weights are no distribution.
    """

    weights: Array
    means: Array
    roots: Array

    def __post_init__(self) -> None:
        count, size = self.means.shape if self.means.ndim == 2 else (0, 0)
        fits = count > 0 and self.weights.shape == (count,) and self.roots.shape == (count, size, size)
        if not fits or self.weights.min() < 0 or not 0.99 < float(self.weights.sum()) < 1.01:
            raise BundleError("The mixture tables of the model do not fit together: export the model again.")

    def place(self, draw: Draw) -> Array:
        """Latents [N,Z] of this mixture: a component by its weight, then mean + root @ normals."""
        edges = np.cumsum(self.weights, dtype=np.float64)
        chosen = np.searchsorted(edges / edges[-1], draw.component, side="right").clip(max=len(edges) - 1)
        placed = np.empty_like(draw.normals)
        for row, k in enumerate(chosen):  # one by one: a batched product may round differently with the batch
            placed[row] = self.means[k] + self.roots[k] @ draw.normals[row]
        return placed


def lerp(start: Array, end: Array, share: ArrayLike) -> Array:
    """The straight way from ``start`` to ``end`` ([...,D]), ``share`` 0..1 of it (one for all, or one per row)."""
    along = np.asarray(share, np.float32)[..., None] if np.ndim(share) else np.float32(share)  # type: ignore[arg-type]
    return np.asarray(start + along * (end - start), np.float32)


def slerp(start: Array, end: Array, share: float) -> Array:
    """The way from ``start`` to ``end`` ([D]) along the sphere (Shoemake 1985; White 2016 for latents).

    The midpoint of two normal vectors is shorter than either by the straight way, which a generator has never seen.
    Lengths go over linearly, so vectors of different length are allowed; nearly parallel or zero ones go straight.
    """
    first, last = start.astype(np.float64), end.astype(np.float64)
    long_first, long_last = np.linalg.norm(first), np.linalg.norm(last)
    if long_first == 0 or long_last == 0:
        return lerp(start, end, share)
    first, last = first / long_first, last / long_last
    angle = np.arccos(np.clip(first @ last, -1.0, 1.0))
    if np.sin(angle) < _NEARLY_PARALLEL:
        return lerp(start, end, share)
    direction = (np.sin((1 - share) * angle) * first + np.sin(share * angle) * last) / np.sin(angle)
    length = (1 - share) * long_first + share * long_last
    return np.asarray(length * direction, np.float32)


def checked(array: ArrayLike, size: int, what: str) -> Array:
    """``array`` [N,size], or one [size], as float32 [N,size].

    Raises:
        ImpastoError: it is of another shape, no numbers, or not finite.
    """
    given = np.asarray(array)
    rows = given[None] if given.ndim == 1 else given
    if rows.ndim != 2 or rows.shape[1] != size or rows.dtype.kind not in "fiu":
        raise ImpastoError(
            f"The {what} given are {given.dtype} {list(given.shape)} and this model takes float32 [N,{size}]: "
            "make them with this model."
        )
    if not np.isfinite(rows).all():
        raise ImpastoError(f"The {what} given hold numbers that are not finite: make them again.")
    return np.ascontiguousarray(rows, np.float32)
