"""What a style did to a photo: which layers it came through, where it is still missing, what its strokes resemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from impasto.errors import PictureError, TrainingError
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.picture import Picture
from impasto.runtime.planes import to_pixels, to_planes
from impasto.runtime.seeing import seen_at
from impasto.runtime.style import STYLE_SCALE, Code, Style, StyleModel
from impasto.training.dissect import Seen, SplitEncoder, SplitPainter
from impasto.training.explanation import STRENGTHS, Explanation, LossLeft, Place, Source, Strokes, Variant
from impasto.training.losses.perceptual import content_loss, gram, gram_vector, relative_gram_distance
from impasto.training.nets.features import BLOCKS, load_vgg
from impasto.training.places import apart, half_lies_in, loss_places, resemblance

MATCH_LAYER = "relu3_1"
"""Where patches are compared: one of the two layers of Li and Wand 2016 (section 4)."""

LEAST_SIDE = 48
"""Pixels of the working picture's shorter side: 3x3 patches of the deepest layer need room."""

_PAIRS = 6


def explain_style(
    model: StyleModel,
    photo: Picture,
    style: Style,
    *,
    size: int = 512,
    scale: int = STYLE_SCALE,
    network: str = "vgg16",
    layers: Sequence[str] | None = None,
    threads: int | None = None,
    progress: OnProgress = silent,
) -> Explanation:
    """Paint a photo in parts of a style, and see what each of them does.

    Args:
        model: of a family that this version exports; the parity of its parts is checked.
        photo: the photo; larger ones are scaled down to ``size`` first, transparency is laid on white.
        style: the painting, as a :class:`Picture`: then all is explained. Of a name, a code or a file see
            ``StyleModel.code``: the painting itself is not known, so only strokes and colours are told apart, and
            there is nothing to hold the result against.
        size: long side of the working picture, in pixels.
        scale: short side, in pixels, at which the painting is seen (see ``StyleModel.encode``).
        network, layers: of the features that losses are measured by; None = the last layer of each of four blocks.
        threads: of onnxruntime, None = all cores.
        progress: told of each painting.

    Raises:
        PictureError: the photo is too small or too narrow.
        TrainingError: the model is built otherwise or loaded in int8, or there are no weights of the network.
        ImpastoError: as ``StyleModel.code``.
    """
    if model.graph != "painter":
        raise TrainingError(
            "The model was loaded to paint in 8 bits, and that painter is not taken apart: load it in fp32."
        )
    photo, remarks = _working(photo, size)
    encoder, painter = SplitEncoder(model, threads=threads), SplitPainter(model, threads=threads)
    own_seen = encoder.look(photo, min(STYLE_SCALE, *photo.size))
    painting = style if isinstance(style, Picture) else None
    code = model.code(style) if painting is None else model.encode(painting, scale=scale)
    eyes, shown = None, None
    if painting is not None:
        seen = encoder.look(painting, scale)
        encoder.check(seen, code)
        shown = Picture(to_pixels(seen_at(painting, scale, 1)))
        eyes = _Eyes(network, _layers(network, layers), photo, shown, progress)
        mixer = _Mixer(encoder, own_seen, seen, code)
    else:
        mixer = _Mixer(encoder, own_seen, None, code)
        remarks.append(
            "The painting itself is not known, only the code of its style, so layers, losses and strokes are left out: "
            "give the painting as a picture file to see them."
        )
    work = _Work(painter, photo, eyes, mixer.own, code, progress, paintings=_paintings(mixer, painter))
    painter.check(work.painted.picture, model.paint(photo, code))
    sources = tuple(
        Source(
            key,
            tuple(work.everywhere(mixer.only(k, share)) for share in STRENGTHS),
            work.everywhere(mixer.without(k)),
        )
        for k, key in enumerate(mixer.keys)
    )
    together = tuple(work.everywhere(mixer.together(share)) for share in STRENGTHS[:-1])
    places = tuple(Place(key, work.at(key, only=True), work.at(key, only=False)) for key in painter.places)
    explained = Explanation(
        photo=photo,
        painting=shown,
        own=work.own,
        painted=work.painted,
        sources=sources,
        together=(*together, work.painted),
        places=places,
        remarks=tuple(remarks),
    )
    if eyes is None:
        return explained
    return replace(
        explained, network=network, left=eyes.left(work.painted.picture), strokes=eyes.strokes(work.painted.picture)
    )


def _working(photo: Picture, size: int) -> tuple[Picture, list[str]]:
    """The picture to work on, opaque and no larger than wanted, and what is to be said about it."""
    remarks = []
    if max(photo.size) > size:
        photo = photo.resized(size)
    if min(photo.size) < LEAST_SIDE:
        raise PictureError(
            f"The photo is {photo.size[0]}x{photo.size[1]} at the size it is explained at, and its shorter side needs "
            f"{LEAST_SIDE} pixels: give a larger one, or a larger size."
        )
    if photo.alpha is not None:
        opacity = photo.alpha[..., None]
        photo = Picture(photo.rgb * opacity + (np.float32(1) - opacity))
        remarks.append("The photo's transparent parts were laid on white.")
    return photo, remarks


def _layers(network: str, layers: Sequence[str] | None) -> tuple[str, ...]:
    if layers is not None:
        return tuple(layers)
    # An unknown network is refused where it is loaded, with the names that there are.
    return tuple(f"relu{block}_{count}" for block, count in enumerate(BLOCKS.get(network, ())[:4], 1))


class _Mixer:
    """Codes of which some parts are the photo's own and the others the painting's."""

    def __init__(self, encoder: SplitEncoder, own: Seen, painting: Seen | None, code: Code) -> None:
        self._encoder, self._from, self._to, self._code = encoder, own, painting, code
        self.own = encoder.code(own)
        self._colors = len(own.colors)
        parts = [f"stats{stride}" for stride in encoder.strides] if painting is not None else ["strokes"]
        self.keys = (*parts, "colors")

    def only(self, part: int, share: float) -> Code:
        return self._mixed([share if k == part else 0.0 for k in range(len(self.keys))])

    def without(self, part: int) -> Code:
        return self._mixed([0.0 if k == part else 1.0 for k in range(len(self.keys))])

    def together(self, share: float) -> Code:
        """Between the codes themselves, as ``StyleModel.paint`` does for its ``strength``."""
        return self.own + np.float32(share) * (self._code - self.own)

    def _mixed(self, shares: Sequence[float]) -> Code:
        if self._to is not None:
            return self._encoder.code(self._from.towards(self._to, shares))
        every = np.full(len(self._code), shares[0], np.float32)
        every[-self._colors :] = shares[1]
        return self.own + every * (self._code - self.own)


def _paintings(mixer: _Mixer, painter: SplitPainter) -> int:
    return 2 + len(mixer.keys) * (len(STRENGTHS) + 1) + len(STRENGTHS) - 1 + 2 * len(painter.places)


class _Work:
    """Paints variants of one photo and measures them."""

    def __init__(
        self,
        painter: SplitPainter,
        photo: Picture,
        eyes: _Eyes | None,
        own: Code,
        code: Code,
        progress: OnProgress,
        *,
        paintings: int,
    ) -> None:
        self._painter, self._photo, self._eyes, self._progress = painter, photo, eyes, progress
        self._own, self._code = own, code
        self._done, self._all = 0, paintings
        # How far the full style goes is the measure for all others, so the two ends are painted first.
        ends = [self._paint(dict.fromkeys(painter.places, one)) for one in (own, code)]
        self._base, self._whole = ends[0], max(_distance(*ends), 1e-6)
        self.own, self.painted = (self._variant(picture) for picture in ends)

    def everywhere(self, code: Code) -> Variant:
        """The same code at all places."""
        return self._variant(self._paint(dict.fromkeys(self._painter.places, code)))

    def at(self, place: str, *, only: bool) -> Variant:
        """The style's code only at one place, or everywhere but there; the photo's own where the style's is not."""
        there, elsewhere = (self._code, self._own) if only else (self._own, self._code)
        return self._variant(self._paint({key: there if key == place else elsewhere for key in self._painter.places}))

    def _paint(self, codes: dict[str, Code]) -> Picture:
        self._progress(Progress(self._done, self._all, "paintings", "painting"))
        self._done += 1
        return self._painter.paint(self._photo, codes)

    def _variant(self, picture: Picture) -> Variant:
        figures = {"change": _distance(picture, self._base) / self._whole}
        return Variant(picture, figures if self._eyes is None else figures | self._eyes.figures(picture))


def _distance(a: Picture, b: Picture) -> float:
    return float(np.sqrt(np.square(a.rgb - b.rgb).mean(dtype=np.float64)))


class _Eyes:
    """A feature network that has seen the photo and the painting."""

    def __init__(
        self, network: str, layers: tuple[str, ...], photo: Picture, painting: Picture, progress: OnProgress
    ) -> None:
        self._layers, self._content = layers, layers[-2:]
        self._net = load_vgg(network, tuple(dict.fromkeys((*layers, MATCH_LAYER))), progress=progress)
        style = self._see(painting)
        self._photo = self._see(photo)
        self._matched = style[MATCH_LAYER]
        self._grams = {layer: gram(style[layer]) for layer in layers}
        self._vectors = {layer: gram_vector(style[layer]) for layer in layers}
        self._before = self._distances(self._photo)

    @torch.no_grad()
    def _see(self, picture: Picture) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self._net(torch.from_numpy(to_planes(picture.rgb)))
        return found

    def _distances(self, seen: dict[str, Tensor]) -> dict[str, float]:
        return {
            layer: float(relative_gram_distance(gram_vector(seen[layer]), self._vectors[layer]))
            for layer in self._layers
        }

    def figures(self, picture: Picture) -> dict[str, float]:
        seen = self._see(picture)
        found = self._distances(seen)
        gaps = {f"style_gap_{layer}": found[layer] / max(self._before[layer], 1e-6) for layer in self._layers}
        content = [float(content_loss(seen[layer], self._photo[layer])) for layer in self._content]
        whole = sum(found.values()) / max(sum(self._before.values()), 1e-6)
        return {"style_gap": whole, **gaps, "content_distance": sum(content) / len(content)}

    def left(self, painted: Picture) -> tuple[LossLeft, ...]:
        """What is left of the loss at each layer, and where."""
        seen = self._see(painted)
        maps = {layer: loss_places(seen[layer], self._grams[layer]).numpy() for layer in self._layers}
        return tuple(
            LossLeft(layer, places, self._before[layer], float(places.mean(dtype=np.float64)), half_lies_in(places))
            for layer, places in maps.items()
        )

    def strokes(self, painted: Picture) -> Strokes:
        """Which places of the painting the painted photo resembles."""
        found = resemblance(self._see(painted)[MATCH_LAYER], self._matched)
        before = resemblance(self._photo[MATCH_LAYER], self._matched)
        uses = found.uses_of_cells()
        return Strokes(
            MATCH_LAYER,
            found,
            tuple(apart(found, _PAIRS)),
            float(found.similarity.mean()),
            float(before.similarity.mean()),
            float((uses > 0).mean()),
            half_lies_in(uses),
        )
