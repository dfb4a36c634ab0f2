"""What :func:`impasto.training.explain.explain_style` finds: pictures and figures, no computing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from impasto.runtime.picture import Picture
from impasto.training.places import Resemblance

F32 = NDArray[np.float32]

STRENGTHS = (0.25, 0.5, 0.75, 1.0)
"""How far each part is moved from the photo's own to the painting's."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The photo painted in one way.

    Attributes:
        figures: ``change``: root mean square difference from the photo painted in its own code, over the same of the
            full style (0 = nothing happened, 1 = as much as the full style changes). Where the painting is known also
            ``style_gap`` (Gram distance to the painting, mean over layers, over the photo's own; 0 = reached, 1 =
            none taken), ``style_gap_LAYER`` of each layer by itself, and ``content_distance`` (``content_loss`` to
            the photo, mean over the two deepest layers).
    """

    picture: Picture
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class Source:
    """One part of what the encoder sees: a layer's statistics, or the colours.

    Attributes:
        key: ``"stats4"``, ``"stats8"`` and so on (a layer, with its stride in pixels), ``"strokes"`` (all that a code
            says beside colours, where the painting is not known) or ``"colors"``.
        sweep: only this part moved to the painting's, by each of ``STRENGTHS``.
        without: all parts but this one the painting's.
    """

    key: str
    sweep: tuple[Variant, ...]
    without: Variant


@dataclass(frozen=True, slots=True)
class Place:
    """One place of the painter (see ``SplitPainter.places``): the style's code only there, and everywhere but there."""

    key: str
    only: Variant
    without: Variant


@dataclass(frozen=True, slots=True)
class LossLeft:
    """What is left of the style loss at one feature layer.

    Attributes:
        places: float32 [h,w], what each position adds (see ``places.loss_places``); its mean is ``after``.
        before, after: relative Gram distance of the photo, and of the painted photo, to the painting.
        half_lies_in: the least share of the picture that half of what adds to the loss lies in.
    """

    layer: str
    places: F32
    before: float
    after: float
    half_lies_in: float


@dataclass(frozen=True, slots=True)
class Strokes:
    """Which places of the painting the painted photo resembles.

    Attributes:
        found: the most similar place for each patch of the painted photo.
        pairs: indices into ``found`` of a few of the most similar pairs, apart from each other.
        similarity, similarity_before: mean over patches, of the painted photo and of the photo as it was.
        used: share of the painting's cells of 16x16 pixels that hold the most similar place to any patch.
        half_lies_in: the least share of those cells that half of the patches find their likes in.
    """

    layer: str
    found: Resemblance
    pairs: tuple[int, ...]
    similarity: float
    similarity_before: float
    used: float
    half_lies_in: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All that :func:`explain_style` found. Pictures are of the working size, the painting as the encoder sees it."""

    photo: Picture
    painting: Picture | None
    own: Variant
    painted: Variant
    sources: tuple[Source, ...]
    together: tuple[Variant, ...]
    places: tuple[Place, ...]
    left: tuple[LossLeft, ...] = ()
    strokes: Strokes | None = None
    network: str | None = None
    remarks: tuple[str, ...] = field(default=())

    def to_fields(self) -> dict[str, Any]:
        """The figures, for JSON: names of measures carry their protocol in ``network`` and ``size``."""
        fields: dict[str, Any] = {
            "size": list(self.photo.size),
            "network": self.network,
            "strengths": list(STRENGTHS),
            "own": self.own.figures,
            "painted": self.painted.figures,
            "together": [variant.figures for variant in self.together],
            "sources": {
                source.key: {"only": [one.figures for one in source.sweep], "without": source.without.figures}
                for source in self.sources
            },
            "places": {
                place.key: {"only": place.only.figures, "without": place.without.figures} for place in self.places
            },
            "loss_left": {
                one.layer: {"before": one.before, "after": one.after, "half_lies_in": one.half_lies_in}
                for one in self.left
            },
        }
        if self.strokes is not None:
            names = ("layer", "similarity", "similarity_before", "used", "half_lies_in")
            fields["strokes"] = {name: getattr(self.strokes, name) for name in names}
        return fields
