"""The settings of ``impasto paint``, each default written here and nowhere else. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from impasto.errors import TrainingError, UnknownName
from impasto.runtime.stroke import AUTO, Stroke, parse_stroke

STARTS = ("matched", "fast", "photo", "noise")
STYLE_LOSSES = ("gram", "wasserstein", "both")
OPTIMIZERS = ("lbfgs", "adam")
NETWORKS = ("vgg16", "vgg19")
PRECISIONS = ("auto", "fp32", "bf16")

LARGEST_UNASKED = 768
"""Long side in pixels at which a photo is painted where no size is given: a larger one takes hours on a CPU."""

EVERY = 10
"""Steps from one preview to the next, where nothing else is said."""

OTHER_VIEWS = 5
"""Ways to look at a picture that there are beside the plain one."""

SMALLEST = 32
"""Pixels: a picture smaller than this on either side has no layout at the deeper layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintSpec:
    """What is optimised, and how.

    Attributes:
        size: long side in pixels to paint at; None: the photo's own, up to ``LARGEST_UNASKED``.
        start: from the photo with its colours, and the contrast of its detail, matched to the paintings' (see
            ``runtime/pyramid.py``); from the fast painter's result; the photo itself; or noise around its mean colour.
        steps: at each size of the pyramid but the last; there are fewer at the last, see ``last``.
        last: share of ``steps`` that are taken at the full size, where they cost most and the forms stand already.
        views: how many other ways the network looks at the picture, one after another, before it sees it as it is
            (``paint_views.py``).
        coarsest: long side in pixels of the smallest size of the pyramid.
        factor: from one size of the pyramid to the next.
        content: weight of the layout of the photo.
        even: how evenly places count for the layout: at 0 by the energy of their features, so that flat ground hardly
            counts and is filled with strokes; at 1 by nearly the same.
        style: weight of the manner of the paintings.
        strength: from 0, the photo as it is, to 1, the style in full.
        bands: weight of how much colours vary at each size of detail, as in the paintings (``paint_bands.py``).
        smooth: weight of the squared total variation.
        stroke: size of the strokes, as in ``StyleModel.paint``; None: as in a painting whose short side is as long as
            the picture's, which is what ``"auto"`` means here too.
        style_loss: what describes a manner: Gram matrices, means and covariances as Gaussians, or the mean of both.
        content_layers, style_layers: of the feature network; they weigh the same each.
        network: ``"vgg16"`` or ``"vgg19"``.
        weights: a file of that network's weights, or None for where ``load_vgg`` looks.
        pool: ``"max"`` or ``"avg"``, of the feature network.
        optimizer: quasi-Newton (L-BFGS), or Adam with averaged iterates.
        rate: Adam's learning rate.
        average: decay of the average over Adam's iterates; 0 for the last iterate.
        history: pairs of steps that L-BFGS remembers.
        precision: what the feature network computes in; ``"auto"``: bf16 where the machine has it, which is quicker.
        seed: of the noise.
    """

    size: int | None = None
    start: str = "matched"
    steps: int = 70
    last: float = 0.9
    views: int = 5
    coarsest: int = 64
    factor: float = 2.0
    content: float = 1.55
    even: float = 1.0
    style: float = 3.5
    strength: float = 1.0
    bands: float = 4.0
    smooth: float = 0.1
    stroke: Stroke | None = None
    style_loss: str = "both"
    content_layers: tuple[str, ...] = ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_2")
    style_layers: tuple[str, ...] = ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu4_1")
    network: str = "vgg16"
    weights: str | None = None
    pool: str = "max"
    optimizer: str = "lbfgs"
    rate: float = 0.02
    average: float = 0.97
    history: int = 10
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise UnknownName(_WORDS.get(name, name), str(getattr(self, name)), known)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                most = f"from {low:g} to {high:g}" if high < math.inf else f"from {low:g} on"
                raise TrainingError(f"{_WORDS.get(name, name)} {value} cannot be used: choose a number {most}.")
        if self.content == self.style == 0:
            raise TrainingError("Neither content nor style has a weight, so nothing would be painted: give one.")
        if self.stroke is not None:
            parse_stroke(self.stroke)
        if not self.style_layers or not self.content_layers:
            raise TrainingError("Content and style need a layer each: name at least one, such as relu4_1.")

    def style_scale(self, longest: int) -> float:
        """How large paintings are seen: their short side as a multiple of the short side of the picture.

        Args:
            longest: long side of the picture as it will be, in pixels.
        """
        if self.stroke is None:
            return 1.0
        value, unit = parse_stroke(self.stroke)
        return (value / longest if unit == "px" else value) / AUTO

    def sizes(self, width: int, height: int) -> list[int]:
        """Long sides of the pyramid of a picture, the coarsest first, the picture's own last."""
        longest, slimness = max(width, height), min(width, height) / max(width, height)
        sizes = [float(longest)]
        while round(below := sizes[0] / self.factor) >= self.coarsest and below * slimness >= SMALLEST / 2:
            sizes.insert(0, below)
        return [round(size) for size in sizes]

    def steps_at(self, level: int, levels: int) -> int:
        """How many steps are taken at one of so many sizes; the coarsest is 0."""
        return self.steps if level + 1 < levels or levels == 1 else max(1, round(self.steps * self.last))


def default(name: str) -> Any:
    """The default of a setting, for a face that offers it."""
    return next(one.default for one in fields(PaintSpec) if one.name == name)


_CHOICES = {
    "start": STARTS,
    "style_loss": STYLE_LOSSES,
    "network": NETWORKS,
    "optimizer": OPTIMIZERS,
    "precision": PRECISIONS,
    "pool": ("max", "avg"),
}
_WORDS = {
    "style_loss": "style loss",
    "network": "feature network",
    "content": "The content weight",
    "style": "The style weight",
    "even": "The evenness",
    "strength": "The strength",
    "bands": "The weight of bands",
    "smooth": "The weight of smoothness",
    "size": "The size",
    "steps": "The number of steps",
    "last": "The share of steps at the full size",
    "views": "The number of views",
    "coarsest": "The coarsest size",
    "factor": "The factor of the pyramid",
    "rate": "The learning rate",
    "average": "The decay of the average",
    "history": "The history",
    "seed": "The seed",
}
_RANGES: dict[str, tuple[float, float]] = {
    "size": (SMALLEST, 16384),
    "steps": (1, math.inf),
    "last": (0, 10),
    "views": (0, OTHER_VIEWS),
    "coarsest": (SMALLEST, 16384),
    "factor": (1.1, 8),
    "content": (0, math.inf),
    "style": (0, math.inf),
    "even": (0, 1),
    "strength": (0, 1),
    "bands": (0, math.inf),
    "smooth": (0, math.inf),
    "rate": (1e-6, 1),
    "average": (0, 0.9999),
    "history": (1, 100),
    "seed": (0, 2**63 - 1),
}
