"""A doctor for generators: looks at drawn pictures and at figures now and then, and says in words what is wrong.

Every measure is taken relative to the training pictures, and where chance plays a part also relative to what two
disjoint parts of the training pictures give, so that one threshold serves digits, faces and flowers alike. What the
doctor sees of a picture is its layout: an 8 x 8 thumbnail in a space where the training pictures vary equally in all
directions. That is crude, cheap (no network), and enough for what is looked for here; ``impasto measure`` is for more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from impasto.training.data import Pixels
from impasto.training.measure import nearest_distances, neighbour_scores

F64 = NDArray[np.float64]

FLAGS: Mapping[str, str] = {
    "nan": "optim.lr",
    "collapse": "loss.r1",
    "memorisation": "augment.strength",
    "saturation": "loss.r1",
    "checkerboard": "net.up",
}
"""The recipe key that helps against each finding, for adversarial runs."""

MOST = 10_000
"""Training pictures that the doctor keeps in mind, drawn by chance where there are more."""

LEAST = 32
"""Fewer pictures than this, drawn or real, tell nothing about variety."""

SETTLE = 4
"""First looks at which only broken numbers are spoken of: a generator that has just begun draws grey mush, all alike
and full of the grid of its layers, and its discriminator has an easy game."""

GRID = 8  # side of the thumbnail
_DIRECTIONS = 48  # most directions of the space
_BLOCK = 64  # pictures at once
_SPECTRA = 512  # pictures whose spectra are averaged: the mean is within 5 % of the true one
_FLOOR = 0.01  # a direction's variance, relative to the largest, below which it is noise

# Thresholds. They were set between what sound and sick pictures measure on digits, flowers, cats and pixel art, 64 and
# 256 at a time. Sound: held-out pictures; the same blurred by up to 4 px or with noise; draws from a Gaussian fitted to
# the pixels, with 64 and with 10 components, which are poor and blurred, as those of a young generator, but varied.
ALIKE = 0.4
"""Mean distance between drawn pictures, relative to training pictures. Sound: 0.43 or more, but for digits that are
blurred to mush (0.34); collapsed on one picture with some noise: 0.1 or less."""

TWINS = 0.3
"""Median distance of a drawn picture to the next one, relative to their mean distance and to training pictures. Sound:
0.45 or more; 16 pictures again and again with some noise: 0.06 or less."""

COVERED, INSIDE, VARIED = 0.5, 0.7, 0.6
"""Coverage below the first, while precision is above the second and variety above the third, all relative to training
pictures: what is drawn is good and varied, but only a part of what there is. A generator that is merely young or
blurred is low in one of the others as well. Sound: coverage of 0.67 or more."""

COPY = 0.5
"""A drawn picture is a copy if it is this much nearer to a training picture than that one is to its own nearest
(Alaa et al. 2022 take a factor of 1, which about half of all good pictures meet)."""

COPIES = 0.2
"""Share of copies, above that among held-out training pictures. Sound: 0.05 or less; half of them copied: 0.5."""

SURE, LOOKS = 0.97, 6
"""Accuracy of the discriminator, and looks in a row that must reach it. A look may be at no more than 16 real and 16
drawn pictures: at a healthy accuracy of 0.9 all are right at one look in 29, but not at six in a row."""

PEAK = 4.0
"""Power at a frequency of the layers' grid against its neighbourhood, relative to training pictures: 6 dB. Sound: 2.4
or less; a chequered pattern of 2 levels on photographs: 40 or more."""

VISIBLE = 1.5
"""Amplitude of a grid, in levels of 255, below which nobody sees it. Blurred pictures can have peaks of nothing."""


class Pictures(Protocol):
    """Training pictures; ``PictureSet`` is one."""

    def __len__(self) -> int: ...
    def arrays(self, indices: NDArray[np.int64]) -> Pixels: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong.

    Attributes:
        name: ``"nan"``, ``"collapse"``, ``"memorisation"``, ``"saturation"`` or ``"checkerboard"``.
        sentence: what was seen and what to do, for a person.
        flag: the recipe key to change.
    """

    name: str
    sentence: str
    flag: str


class Doctor:
    """Looks at a generator in training.

    It remembers the looks before (for ``SETTLE`` and ``LOOKS``) and nothing of it is in a checkpoint: a run that goes
    on is watched afresh.

    Args:
        pictures: what is learnt from, uint8 [M,H,W,C] or a ``PictureSet``.
        mirrored: whether training mirrors pictures, so that a copy may be a mirrored one.
        settle: see ``SETTLE``.
        flags: finding -> recipe key, for a task that has other keys than ``FLAGS``.
    """

    def __init__(
        self,
        pictures: Pictures | Pixels,
        *,
        mirrored: bool = True,
        settle: int = SETTLE,
        flags: Mapping[str, str] = FLAGS,
    ) -> None:
        rng = np.random.default_rng(0)
        chosen = rng.permutation(len(pictures))[:MOST]
        thumbnails, spectra = [], []
        for at in range(0, len(chosen), _BLOCK):
            rows = chosen[at : at + _BLOCK]
            block = pictures[rows] if isinstance(pictures, np.ndarray) else pictures.arrays(rows)
            thumbnails.append(thumbnail(block))
            if at < _SPECTRA and min(block.shape[1:3]) >= 16:
                spectra.append(spectrum(block))
        self._spectrum = np.concatenate(spectra).mean(0) if spectra else None
        layouts = np.concatenate(thumbnails)
        self._space = Space(layouts)
        self._real = self._space(layouts)  # [M,D]
        self._mirrored, self._settle, self._flags = mirrored, settle, {**FLAGS, **flags}
        # For copies: how far each training picture is from its nearest, and how often held-out ones look like copies.
        self._reach = _apart(self._real) if len(self._real) >= LEAST else np.zeros(len(self._real))
        self._copies = self._chance_copies()
        self._looks = self._sure = 0

    def look(
        self, samples: Pixels, figures: Mapping[str, float] | None = None, nearest: tuple[F64, F64] | None = None
    ) -> list[Finding]:
        """What is wrong at this moment; empty when all is well.

        Args:
            samples: drawn pictures, uint8 [N,H,W,C] of the training pictures' shape; 256 are good, 64 enough.
            figures: of the last steps. ``real_sign`` and ``fake_sign``, the mean signs (-1..1) of the logits at real
                and at drawn pictures, tell of saturation; any that is not finite tells of broken numbers.
            nearest: distance of every sample to its nearest training picture [N], and that picture's own distance to
                its nearest other [N], from a better feature space; None = the doctor's own.
        """
        figures = figures or {}
        self._looks += 1
        found = [self._numbers(figures)]
        sure = self._saturation(figures)
        if self._looks > self._settle:
            drawn = self._space(thumbnail(samples))
            found += [self._collapse(drawn), self._memorisation(samples, drawn, nearest), sure]
            found.append(self._checkerboard(samples))
        return [finding for finding in found if finding is not None]

    def _finding(self, name: str, seen: str, advice: str) -> Finding:
        flag = self._flags[name]
        return Finding(name, f"{seen} ({name}): {advice.format(flag=flag)}.", flag)

    # Each sign of illness -------------------------------------------------------------------------------------------

    def _numbers(self, figures: Mapping[str, float]) -> Finding | None:
        broken = sorted(name for name, value in figures.items() if not math.isfinite(value))
        if not broken:
            return None
        seen = f"There are figures that are no numbers, {', '.join(broken)}"
        return self._finding("nan", seen, "lower {flag}, or set precision to fp32")

    def _collapse(self, drawn: F64) -> Finding | None:
        count = min(len(drawn), len(self._real) // 2)
        if count < LEAST:
            return None
        drawn, real, held = drawn[:count], self._real[:count], self._real[count : 2 * count]
        usual = _spread(real)
        if usual == 0:  # all training pictures are the same
            return None
        advice = "raise {flag} tenfold, or start anew with a lower optim.lr"
        varied = _spread(drawn) / usual
        if varied < ALIKE:
            seen = f"The drawn pictures are alike: they vary {varied:.0%} as much as the training pictures"
            return self._finding("collapse", seen, advice)
        twins, apart = float(np.median(_apart(drawn))), float(np.median(_apart(real)))
        if twins < TWINS * varied * apart:
            seen = (
                f"A few pictures are drawn again and again: each has another {twins / apart:.0%} as far away as usual"
            )
            return self._finding("collapse", seen, advice)
        scores, at_best = neighbour_scores(real, drawn), neighbour_scores(real, held)
        covered = scores.coverage / max(at_best.coverage, 1e-9)
        if covered < COVERED and varied > VARIED and scores.precision > INSIDE * at_best.precision:
            seen = f"Only a part of what there is is drawn: {covered:.0%} of the kinds of training pictures"
            return self._finding("collapse", seen, advice)
        return None

    def _memorisation(self, samples: Pixels, drawn: F64, nearest: tuple[F64, F64] | None) -> Finding | None:
        usual = self._copies if nearest is None else 0.0
        if nearest is None:
            if len(self._real) < LEAST or len(drawn) < LEAST:
                return None
            nearest = self._nearest(samples, drawn)
        share = float(np.mean(nearest[0] < COPY * nearest[1]))
        if share <= usual + COPIES:
            return None
        seen = f"{share:.0%} of the drawn pictures are copies of training pictures"
        return self._finding("memorisation", seen, "raise {flag}, give more pictures, or stop earlier")

    def _nearest(self, samples: Pixels, drawn: F64) -> tuple[F64, F64]:
        """Distance of each sample to its nearest training picture, and that picture's own reach."""
        distance, index = nearest_distances(drawn, self._real)
        if self._mirrored:
            other, mirrored = nearest_distances(self._space(thumbnail(samples[:, :, ::-1])), self._real)
            index = np.where(other < distance, mirrored, index)
            distance = np.minimum(distance, other)
        return distance, self._reach[index]

    def _chance_copies(self, count: int = 256) -> float:
        """The share of held-out training pictures that would pass for copies of the rest."""
        count = min(count, len(self._real) // 4)
        if count < LEAST // 4:
            return 0.0
        held, rest = self._real[:count], self._real[count:]
        distance, index = nearest_distances(held, rest)
        return float(np.mean(distance < COPY * _apart(rest)[index]))

    def _saturation(self, figures: Mapping[str, float]) -> Finding | None:
        if not {"real_sign", "fake_sign"} <= figures.keys():
            return None
        accuracy = 0.5 + (figures["real_sign"] - figures["fake_sign"]) / 4
        self._sure = self._sure + 1 if accuracy >= SURE else 0
        if self._sure < LOOKS:
            return None
        seen = f"The discriminator is right {accuracy:.0%} of the time and teaches little any more"
        return self._finding("saturation", seen, "raise {flag} or augment.strength, or lower optim.rates.discriminator")

    def _checkerboard(self, samples: Pixels) -> Finding | None:
        if self._spectrum is None:
            return None
        found = grid_peak(spectrum(samples).mean(0), self._spectrum)
        if found is None or found.ratio < PEAK or found.amplitude < VISIBLE:
            return None
        seen = f"The drawn pictures have a grid of {found.period} px, {found.ratio:.0f} times as strong as is usual"
        return self._finding("checkerboard", seen, "set {flag} to bilinear, or train on")


# What the doctor sees -------------------------------------------------------------------------------------------------


def thumbnail(pictures: Pixels) -> F64:
    """uint8 [N,H,W,C] -> area means in 0..1 on a grid of 8 x 8, flat: [N,8*8*C]. Colours are weighted by alpha."""
    x = pictures.astype(np.float32)
    x /= 255
    if x.shape[3] == 4:
        x[..., :3] *= x[..., 3:]
    down, across = _means(x.shape[1]), _means(x.shape[2])
    rows = (down @ x.reshape(*x.shape[:2], -1)).reshape(len(x), GRID, *x.shape[2:])  # [N,8,W,C]
    return np.asarray((across @ rows).reshape(len(x), -1), np.float64)


def _means(size: int) -> NDArray[np.float32]:
    """Weights [8,size] of the mean over each eighth of a line; pixels that straddle two count in part."""
    edges = np.arange(GRID + 1) * (size / GRID)
    at = np.arange(size)
    overlap = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    weights = np.clip(overlap, 0, None)
    found: NDArray[np.float32] = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return found


class Space:
    """Directions in which training pictures vary, each scaled to a variance of 1 (principal components, whitened).

    Without it the ground colour, say, would drown everything else. Of M pictures no more than M / 4 directions are
    taken: more would fit these very pictures, and new ones would seem far away.
    """

    def __init__(self, layouts: F64) -> None:
        self._mean = layouts.mean(0)
        _, sizes, directions = np.linalg.svd(np.cov(layouts, rowvar=False, bias=True), hermitian=True)
        most = max(1, min(_DIRECTIONS, len(layouts) // 4))
        count = max(1, int((sizes[:most] > _FLOOR * sizes[0]).sum()))
        self._turn = directions[:count].T / np.sqrt(np.maximum(sizes[:count], 1e-12))  # [K,D]

    def __call__(self, layouts: F64) -> F64:
        """[N,K] -> [N,D]."""
        return np.asarray((layouts - self._mean) @ self._turn)


def _apart(rows: F64) -> F64:
    """Distance of each row [N,D] to the next other one: [N]. Rows that are equal are 0 apart."""
    found = np.empty(len(rows))
    norms = np.square(rows).sum(1)
    for at in range(0, len(rows), 512):
        squares = norms[at : at + 512, None] + norms - 2 * rows[at : at + 512] @ rows.T
        own = np.arange(len(squares))
        squares[own, at + own] = np.inf
        found[at : at + 512] = np.sqrt(np.maximum(squares.min(1), 0))
    return found


def _spread(rows: F64) -> float:
    """Mean distance between two rows."""
    squares = np.square(rows).sum(1)
    pairs = np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0)
    np.fill_diagonal(pairs, 0)
    return float(np.sqrt(pairs).sum() / (len(rows) * (len(rows) - 1)))


# Grids ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Peak:
    """A frequency that stands out: its period in pixels, its power against the data's, its amplitude in levels."""

    period: int
    ratio: float
    amplitude: float


def spectrum(pictures: Pixels) -> F64:
    """Power spectra of the brightness of pictures uint8 [N,H,W,C], windowed: [N,h,w], h and w cut to multiples of 8.

    A wave of amplitude A levels gives A^2 at its frequency; (2 A)^2 where that is half the sampling frequency.
    """
    height, width = (side - side % 8 for side in pictures.shape[1:3])
    grey = pictures[:, :height, :width, :3].astype(np.float64).mean(3)
    if pictures.shape[3] == 4:
        grey = grey * (pictures[:, :height, :width, 3] / 255)
    # Hann: without it the jump from one edge of a picture to the other fills both axes of the spectrum.
    window = np.outer(*(0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n) for n in (height, width)))
    waves = np.fft.fft2((grey - grey.mean((1, 2), keepdims=True)) * window)
    return np.asarray(np.square(np.abs(waves) * 2 / window.sum()))


def grid_peak(drawn: F64, real: F64) -> Peak | None:
    """The strongest peak of ``drawn`` against ``real`` (mean spectra [h,w]) at the frequencies of a layers' grid.

    Layers that double the size leave traces with a period of 2, 4, 8... pixels (Odena et al. 2016): at a half and a
    quarter of the sampling frequency along either axis, or both. A peak is judged against the frequencies around it, so
    that pictures that are merely blurred or rough as a whole have none. None for pictures below 16 px.
    """
    height, width = drawn.shape
    if min(height, width) < 16:
        return None
    noise = 1e-3 * float(real.mean()) + 1e-12  # clean drawings have nothing at all at some frequencies
    relative = (drawn + noise) / (real + noise)
    best: Peak | None = None
    # In quarters of the sampling frequency; the others are mirror images of these, for pictures are real.
    for v, u in ((0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1), (2, 2)):
        y, x = v * height // 4, u * width // 4
        # Hann spreads a wave over its neighbours; the ring begins beyond them, and leaves out the mean.
        around = [
            relative[(y + dy) % height, (x + dx) % width]
            for dy in range(-3, 4)
            for dx in range(-3, 4)
            if max(abs(dy), abs(dx)) >= 2 and ((y + dy) % height, (x + dx) % width) != (0, 0)
        ]
        ratio = float(relative[y, x] / np.median(around))
        if best is None or ratio > best.ratio:
            whole = u % 2 == 0 and v % 2 == 0  # at half the sampling frequency a wave is its own mirror image
            best = Peak(2 if whole else 4, ratio, float(np.sqrt(drawn[y, x])) / (2 if whole else 1))
    return best
