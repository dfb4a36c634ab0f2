"""Whether a generator draws the class that it is asked for, in the eyes of a small classifier."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from impasto.errors import TrainingError
from impasto.progress import OnProgress, silent
from impasto.training.classify import Lesson, train_classifier
from impasto.training.labelled import labelled_classes
from impasto.training.measure import COUNT
from impasto.training.measure_samples import Samples, open_samples, told

LESSON = Lesson(epochs=5, shift=2)
"""Photographs and digits are not in one place, as parts are."""


@dataclass(frozen=True, slots=True)
class Conditional:
    """What was found.

    Attributes:
        samples: how many were looked at, as many of each class (a folder: as it has them).
        accuracy: share of them that the classifier takes for what was asked for, 0..1.
        by_class: the same for each class.
        classifier: share of right answers of the classifier on ``tested`` pictures that it never saw.
        tested: how many those were.
    """

    samples: int
    accuracy: float
    by_class: dict[str, float]
    classifier: float
    tested: int

    def to_fields(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure_classes(
    model: str | Path,
    data: str | Path,
    *,
    test: str | Path | None = None,
    count: int = COUNT,
    seed: int = 0,
    truncation: float = 1.0,
    size: tuple[int, int] | None = None,
    lesson: Lesson = LESSON,
    progress: OnProgress = silent,
) -> Conditional:
    """Ask a generator for every class equally often, and a classifier what came.

    Args:
        model, count, seed, truncation, size: as for :func:`impasto.training.measure_generator.measure_generator`; a
            folder has a sub-folder for each class.
        data: labelled pictures for the classifier: a folder with sub-folders, or an ``.npz`` with ``labels``.
        test: others to test the classifier on; None = a tenth of ``data``, which it does not learn from.
        lesson: how the classifier is trained.
        progress: told of the steps and the pictures.

    Raises:
        TrainingError: the model has no classes, or others than the data.
        UnknownName, BundleError: there is no such model.
    """
    made = open_samples(model, count=count, seed=seed, truncation=truncation, size=size)
    sides = made.height, made.width
    labelled = labelled_classes(data, *sides, channels=made.channels, progress=progress)
    classes = labelled.heads[0].values
    if set(made.classes) != set(classes):
        has = f"draws {', '.join(made.classes[:12])}" if made.classes else "has no classes"
        raise TrainingError(f"{model} {has}, and {data} has {', '.join(classes[:12])}: measure it on its own classes.")
    asked = _asked(made, classes)
    tests = None if test is None else labelled_classes(test, *sides, channels=made.channels, progress=progress)
    classifier = train_classifier(labelled, lesson, test=tests, progress=progress)
    names = None if made.labels is not None else [classes[label] for label in asked]
    batches = told(made.batches(names), made.count, "samples", progress)
    read = np.concatenate([classifier.read(batch)[0][:, 0] for batch in batches])
    known = asked >= 0
    right = read[known] == asked[known]
    return Conditional(
        samples=int(known.sum()),
        accuracy=float(right.mean()),
        by_class={name: float(right[asked[known] == i].mean()) for i, name in enumerate(classes) if (asked == i).any()},
        classifier=classifier.accuracy["class"],
        tested=classifier.tested,
    )


def _asked(made: Samples, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """The class of each sample as an index into ``classes``, -1 unknown."""
    if made.labels is None:
        return np.arange(made.count) % len(classes)
    places = np.array([classes.index(name) for name in made.classes] + [-1], np.int64)
    return places[made.labels]
