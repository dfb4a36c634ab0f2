"""Styles that no painting has: codes drawn from what a model knows of paintings, and the ways between two styles.

A model that can dream holds a Gaussian mixture over the codes of many paintings (``impasto models dream``). Codes are
not drawn as they stand but in **coordinates** in which any number is allowed: the strokes as they are, the mean of R, G
and B as its logit, the spreads of the colours and of bands as the logarithm of the matrix, how patchy the finest band
lies as its logarithm. So what is drawn has colours that some picture could have. Style k of a seed belongs to
``seed + k`` alone, as with generators (see ``latents``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from impasto.errors import BundleError, ImpastoError
from impasto.runtime.band_rows import BAND_FLOOR
from impasto.runtime.latents import Mixture, draw_streams, lerp, slerp
from impasto.runtime.pixels.color import COLOR_FLOOR
from impasto.runtime.style import Code, Style, StyleModel

F64 = NDArray[np.float64]

WEIGHTS, MEANS, ROOTS, BOUNDS = "dream_weights.npy", "dream_means.npy", "dream_roots.npy", "dream_bounds.npy"
TABLES = (WEIGHTS, MEANS, ROOTS, BOUNDS)
"""Members of a model file that can dream: [K], [K,D], [K,D,D] (lower Cholesky factors) and [2,D] (least, greatest)."""

_EDGE = 0.01  # of 0..1: the logit of a mean has no end
_WIDEST = 0.75**0.5  # no deviation of points in the unit cube is larger, in any direction
_RGB = 3
_PATCHY = 0.01, 3.0  # how patchy a band can lie


def can_dream(model: StyleModel) -> bool:
    """Whether the model holds the tables of :data:`TABLES`."""
    return all(name in model.bundle.members for name in TABLES)


def dream(model: StyleModel, seed: int, count: int = 1) -> Code:
    """Codes of styles that never existed: float32 [count,D]; row k is the only one of ``seed + k``.

    Each lies within the range that the codes of real paintings have, coordinate by coordinate.

    Args:
        model: one that :func:`can_dream`.
        seed: 0 or more.
        count: how many.

    Raises:
        ImpastoError: the model cannot dream, or the seed or the count is no whole number from 0 on.
        BundleError: its tables do not fit together.
    """
    if not can_dream(model):
        raise ImpastoError(
            f"The model {model.bundle.path.stem} cannot dream yet: let it look at a folder of paintings, with "
            f"'impasto models dream {model.bundle.path.stem} PAINTINGS -o NEW.impasto'."
        )
    size = model.code_size
    weights, means, roots = (model.bundle.table(name) for name in TABLES[:3])
    if means.ndim != 2 or means.shape[1] != size:
        raise BundleError(f"{MEANS} in {model.bundle.path} is not about codes of {size} numbers: export it again.")
    mixture, bounds = Mixture(weights, means, roots), model.bundle.table(BOUNDS, shape=(2, size))
    placed = mixture.place(draw_streams(seed, count, size)).clip(bounds[0], bounds[1])
    return from_coordinates(placed.astype(np.float64), color_numbers(model), band_numbers(model))


def between(model: StyleModel, start: Style, end: Style, count: int) -> Code:
    """Codes of the way from one style to another: float32 [count,D], evenly spaced, both ends among them.

    Strokes go along the sphere (:func:`impasto.runtime.latents.slerp`): halfway on the straight way they are weaker
    than at either end. Colours go straight, which keeps them valid.

    Args:
        model: whose codes they are.
        start, end: anything that :meth:`StyleModel.code` takes.
        count: 2 or more.

    Raises:
        ImpastoError: a style cannot be used, or the count is below 2.
    """
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 2:
        raise ImpastoError(f"A way between two styles cannot have {count!r} steps: give 2 or more.")
    first, last = model.code(start), model.code(end)
    strokes = model.code_size - color_numbers(model) - band_numbers(model)
    rows = [
        np.concatenate([slerp(first[:strokes], last[:strokes], at), lerp(first[strokes:], last[strokes:], at)])
        for at in np.linspace(0, 1, count)[1:-1]
    ]
    return np.stack([first, *rows, last])


def color_numbers(model: StyleModel) -> int:
    """How many numbers at the end of a code are colours: 9, or 6 (no covariances) in models of the first kind."""
    photo_stats = next(
        (one for one in model.bundle.manifest.graphs["painter"].inputs if one.name == "photo_stats"), None
    )
    numbers = 9 if photo_stats is None else int(photo_stats.shape[1])
    if numbers not in (6, 9) or numbers > model.code_size:
        raise BundleError(
            f"{model.bundle.path} has {numbers} numbers for colours where 6 or 9 are known: update impasto."
        )
    return numbers


def band_numbers(model: StyleModel) -> int:
    """How many numbers before the colours say how bands vary: symmetric matrices of 6 each and, last, what is
    left: how patchy the finest one lies. 0 where the painter's output is the picture."""
    return model.bundle.manifest.graphs["painter"].bands


def to_coordinates(codes: NDArray[np.floating], colors: int, bands: int = 0) -> F64:
    """Codes as coordinates in which every number is free.

    Args:
        codes: [N,D].
        colors: 9 or 6, see :func:`color_numbers`.
        bands: see :func:`band_numbers`.

    Returns:
        float64 [N,D].
    """
    given: F64 = np.asarray(codes, np.float64)
    mean = given[:, -colors:][:, :_RGB].clip(_EDGE, 1 - _EDGE)
    spread = given[:, -colors:][:, _RGB:]
    if colors == 9:
        values, vectors = np.linalg.eigh(_matrices(spread))
        spread = _triangles((vectors * np.log(values.clip(COLOR_FLOOR, _WIDEST))[:, None]) @ vectors.swapaxes(1, 2))
    else:
        spread = np.log(spread.clip(COLOR_FLOOR, _WIDEST))
    strokes = given.shape[1] - colors - bands
    whole = bands // 6 * 6
    values, vectors = np.linalg.eigh(_matrices(given[:, strokes : strokes + whole].reshape(-1, 6)))
    varied = _triangles((vectors * np.log(values.clip(BAND_FLOOR, _WIDEST))[:, None]) @ vectors.swapaxes(1, 2))
    patchy = np.log(given[:, strokes + whole : -colors].clip(*_PATCHY))
    parts = given[:, :strokes], varied.reshape(len(given), whole), patchy, np.log(mean / (1 - mean)), spread
    return np.concatenate(parts, 1)


def from_coordinates(points: F64, colors: int, bands: int = 0) -> Code:
    """The codes, float32 [N,D], at coordinates [N,D]; their colours are always those that some picture could have.

    Means lie within 0..1, the spread matrix is positive with no eigenvalue below ``COLOR_FLOOR``, and no channel varies
    more than numbers of its mean in 0..1 can: variance <= mean (1 - mean) (Bhatia and Davis 2000). Where a point asks
    for more, all of the spread is made smaller by one factor.
    """
    mean = (1 / (1 + np.exp(-points[:, -colors:][:, :_RGB]))).clip(_EDGE, 1 - _EDGE)
    room = mean * (1 - mean)
    spread = points[:, -colors:][:, _RGB:]
    if colors == 9:
        values, vectors = np.linalg.eigh(_matrices(spread))
        # The covariance has the same axes as the spread S = (covariance + floor^2)^(1/2).
        variances = np.exp(2 * values.clip(np.log(COLOR_FLOOR), np.log(_WIDEST))) - COLOR_FLOOR**2
        channels = (vectors**2 * variances[:, None]).sum(2)
        share = (room / channels.clip(1e-12)).min(1).clip(max=1)[:, None]
        values = np.sqrt(share * variances.clip(0) + COLOR_FLOOR**2)
        spread = _triangles((vectors * values[:, None]) @ vectors.swapaxes(1, 2))
    else:
        spread = np.exp(spread.clip(np.log(COLOR_FLOOR), np.log(_WIDEST)))
        spread = spread * (np.sqrt(room) / spread).min(1).clip(max=1)[:, None]
    strokes = points.shape[1] - colors - bands
    whole = bands // 6 * 6
    values, vectors = np.linalg.eigh(_matrices(points[:, strokes : strokes + whole].reshape(-1, 6)))
    varied = np.exp(values.clip(np.log(BAND_FLOOR), np.log(_WIDEST)))
    varied = _triangles((vectors * varied[:, None]) @ vectors.swapaxes(1, 2)).reshape(len(points), whole)
    patchy = np.exp(points[:, strokes + whole : -colors].clip(*np.log(_PATCHY)))
    return np.concatenate([points[:, :strokes], varied, patchy, mean, spread], 1).astype(np.float32)


def _matrices(six: F64) -> F64:
    """rr, rg, rb, gg, gb, bb -> symmetric matrices: ``[N,6] -> [N,3,3]``."""
    return six[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)


def _triangles(matrices: F64) -> F64:
    """``[N,3,3] -> [N,6]``: the inverse of :func:`_matrices`."""
    return matrices.reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]]
