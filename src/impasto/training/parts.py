"""Which combinations of parts a generator makes: every value, every pair of values, and how many samples are valid.

A generator of avatars learns from compositions whose parts are known, so that what it leaves out can be counted, not
estimated. A classifier reads the parts of a sample. How a reading is judged:

- **With the layers at hand** the parts that were read are stacked again, on the sample's own ground, and held against
  the sample. A part counts as drawn when the sample is at most half as far (in squared error, where the part changes
  the picture) from the composition with the part as from the one without it, and as from the one with the
  classifier's second guess in its place, and the classifier's belief is above one half. A part that others hide
  completely can be neither drawn nor missing. Values with equal layers are one value (named ``2=6``), and an empty
  layer is drawn when it is read and nothing else.
- **Without layers** a part counts as drawn when the classifier's belief is at least 0.9.

A sample is valid when all its parts are drawn. The same judge is held against real compositions, of which it should
find nearly all valid, and against averages of two, of which it should find nearly none: both shares are reported.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from impasto.progress import OnProgress, silent
from impasto.training.classify import Classifier, Lesson, held_out, train_classifier
from impasto.training.data import Pixels
from impasto.training.labelled import Head, labelled_parts
from impasto.training.layers import Layers
from impasto.training.measure import COUNT
from impasto.training.measure_features import BATCH
from impasto.training.measure_samples import open_samples, told

BELIEF, BELIEF_ALONE = 0.5, 0.9
"""Least belief of the classifier, with and without layers."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Readings of N pictures: values int64 [N,K], parts that count as drawn and could be seen bool [N,K], valid [N]."""

    values: NDArray[np.int64]
    drawn: NDArray[np.bool_]
    valid: NDArray[np.bool_]


def judge(classifier: Classifier, layers: Layers | None, pictures: Pixels) -> Judged:
    """Read pictures uint8 [N,H,W,C], as the module describes."""
    guesses, belief = classifier.guesses(pictures)
    values = guesses[:, :, 0]
    if layers is None:
        sure = belief >= BELIEF_ALONE
        return Judged(values, sure, np.asarray(sure.all(1)))
    there, visible = layers.drawn(pictures, values, guesses[:, :, 1])
    sure = (belief >= BELIEF) & there
    return Judged(values, sure & visible, np.asarray((sure | ~visible).all(1)))


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a generator makes.

    Attributes:
        samples: how many were looked at.
        valid: share of them that are valid combinations, 0..1.
        values: head -> (values made, values there are).
        missing: head -> values that were never made.
        pairs: all heads' pairs of values: (made, there are).
        pairs_by_chance: how many pairs as many real compositions, drawn evenly, would show on average.
        accuracy: of the classifier, head -> share right on ``tested`` compositions that it never saw.
        valid_real: share of those that the judge finds valid.
        valid_blends: share of averages of two of those that the judge finds valid.
        with_layers: whether samples were held against compositions of the layers.
    """

    samples: int
    valid: float
    values: dict[str, tuple[int, int]]
    missing: dict[str, list[str]]
    pairs: tuple[int, int]
    pairs_by_chance: float
    accuracy: dict[str, float]
    tested: int
    valid_real: float
    valid_blends: float
    with_layers: bool

    def to_fields(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def count_parts(judged: Judged, heads: tuple[Head, ...]) -> dict[str, Any]:
    """The fields ``values``, ``missing``, ``pairs`` and ``pairs_by_chance`` of :class:`Coverage`."""
    values, missing, made, all_pairs, chance = {}, {}, 0, 0, 0.0
    for k, head in enumerate(heads):
        found = set(judged.values[judged.drawn[:, k], k].tolist())
        values[head.name] = (len(found), len(head.values))
        left = [value for i, value in enumerate(head.values) if i not in found]
        if left:
            missing[head.name] = left
    for a, b in combinations(range(len(heads)), 2):
        both = judged.drawn[:, a] & judged.drawn[:, b]
        possible = len(heads[a].values) * len(heads[b].values)
        made += len(np.unique(judged.values[both][:, [a, b]], axis=0))
        all_pairs += possible
        chance += possible * (1 - (1 - 1 / possible) ** len(judged.values))
    return {"values": values, "missing": missing, "pairs": (made, all_pairs), "pairs_by_chance": round(chance, 1)}


def measure_parts(
    model: str | Path,
    compositions: str | Path,
    *,
    layers: str | Path | None = None,
    count: int = COUNT,
    seed: int = 0,
    truncation: float = 1.0,
    size: tuple[int, int] | None = None,
    lesson: Lesson | None = None,
    progress: OnProgress = silent,
) -> Coverage:
    """Count the parts that a generator, or a folder that one filled, makes.

    Args:
        model, count, seed, truncation, size: as for :func:`impasto.training.measure_generator.measure_generator`.
        compositions: a folder of pictures with ``factors.tsv``, for the classifier to learn from.
        layers: the folder that the compositions were made from; see :class:`Layers`.
        lesson: how the classifier is trained.
        progress: told of the steps and the pictures.

    Raises:
        TrainingError: something cannot be used.
        UnknownName, BundleError: there is no such model.
    """
    made = open_samples(model, count=count, seed=seed, truncation=truncation, size=size)
    lesson = lesson or Lesson()
    labelled = labelled_parts(compositions, made.height, made.width, channels=made.channels, progress=progress)
    stack = None if layers is None else Layers(layers, labelled.heads, made.height, made.width)
    labelled = labelled if stack is None else stack.relabel(labelled)
    classifier = train_classifier(labelled, lesson, progress=progress)
    pieces = [judge(classifier, stack, batch) for batch in told(made.batches(None), made.count, "samples", progress)]
    judged = Judged(*(np.concatenate([getattr(piece, name) for piece in pieces]) for name in Judged.__slots__))
    _, tested = held_out(len(labelled), lesson)
    real = labelled.pictures.arrays(labelled.rows[tested[:1000]])
    blends = ((real.astype(np.uint16) + np.roll(real, 1, 0)) // 2).astype(np.uint8)
    return Coverage(
        samples=len(judged.valid),
        valid=float(judged.valid.mean()),
        **count_parts(judged, labelled.heads),
        accuracy=classifier.accuracy,
        tested=classifier.tested,
        valid_real=_valid_share(classifier, stack, real),
        valid_blends=_valid_share(classifier, stack, blends),
        with_layers=stack is not None,
    )


def _valid_share(classifier: Classifier, stack: Layers | None, pictures: Pixels) -> float:
    found = [judge(classifier, stack, pictures[at : at + BATCH]).valid for at in range(0, len(pictures), BATCH)]
    return float(np.concatenate(found).mean())
