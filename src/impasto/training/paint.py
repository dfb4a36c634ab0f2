"""Paint by optimisation: the pixels themselves are moved until a feature network finds the photo's layout and the
paintings' manner in them (Gatys et al. 2016), size by size from coarse to fine.

Slower than a painter network by a factor of hundreds, and what such a network is measured against. Departures from the
paper, and why: styles are compared by Wasserstein distance as well as by Gram matrices, which brings the palette over;
content by correlation, which lets colours and contrast change freely; a pyramid, since features see some 100 pixels and
larger forms must be found where they are small; and steps of a quasi-Newton method without a line search.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from impasto.errors import TrainingError
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.memory import default_limit, resident, said_size
from impasto.runtime.picture import Picture, resize_plane
from impasto.runtime.pyramid import NUMBERS, band_stats, gains_of
from impasto.runtime.style import StyleModel
from impasto.training.descent import Adam, Descent, Lbfgs
from impasto.training.loop import pick_device
from impasto.training.nets.features import Vgg, load_vgg
from impasto.training.paint_objective import Features, Manner, Objective, reach_of
from impasto.training.paint_spec import EVERY, LARGEST_UNASKED, SMALLEST, PaintSpec
from impasto.training.paint_tensors import enlarged, pixels, plane, planes, scaled
from impasto.training.paint_views import PLAIN, View, order_of

SMALLEST_TILE = 128
"""Pixels a side: below it, tiles are mostly overlap."""


@dataclass(frozen=True, slots=True, eq=False)
class Brush:
    """A painting to paint in the manner of.

    Attributes:
        painting: the picture itself; what lies under transparency does not count.
        weight: its share beside other brushes, above 0.
        where: float32 [h,w] in 0..1, stretched over the photo: where this manner is wanted; None: everywhere.
    """

    painting: Picture
    weight: float = 1.0
    where: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """What came out.

    Attributes:
        picture: of the size that was asked for, with the photo's alpha and metadata.
        loss: at the last size that was begun, the least seen; NaN where no step was made.
        parts: its terms before their weights: ``content``, ``style``, ``smooth``.
        steps: made, of ``planned``.
        planned: steps in all.
        stopped: whether it was left before its end.
    """

    picture: Picture
    loss: float
    parts: dict[str, float]
    steps: int
    planned: int
    stopped: bool


class _Left(Exception):
    """Somebody wants to stop."""


def paint(
    photo: Picture,
    brushes: Sequence[Brush],
    spec: PaintSpec | None = None,
    *,
    begin: Picture | None = None,
    fast: StyleModel | None = None,
    net: Features | None = None,
    device: str | None = None,
    max_memory: int | None = None,
    progress: OnProgress = silent,
    preview: Callable[[Picture], None] | None = None,
    every: int = EVERY,
    stop: Callable[[], bool] = lambda: False,
) -> Painted:
    """Paint ``photo`` in the manner of ``brushes``; the same twice for one seed on one machine.

    Args:
        photo: what is painted; transparent parts do not count.
        brushes: at least one.
        spec: the settings; None for the defaults.
        begin: the picture to start from, in place of what ``spec.start`` says; any size.
        fast: the fast painter that begins, where ``spec.start`` says so; None: the bundled one.
        net: the feature network, in evaluation mode; None loads the one that ``spec`` names.
        device: as ``torch`` names it; None: CUDA where there is one, else the CPU.
        max_memory: bytes that this process should stay within; None: what it holds and half of what is free. A picture
            for which that is too little is seen in tiles, which changes nothing but the last bits.
        progress: told of every step, with the losses.
        preview: given what there is after every ``every`` steps, at the size that is worked on.
        every: see ``preview``; from 1 on.
        stop: asked before every pass of the network; True ends the painting with the best so far.

    Raises:
        TrainingError: nothing to paint with, a picture is too small, the memory does not do, or no weights can be had.
        ImpastoError: the fast painter cannot begin.
    """
    spec = PaintSpec() if spec is None else spec
    _check_brushes(brushes)
    if every < 1:
        raise TrainingError(f"A preview every {every} steps cannot be had: choose a number from 1 on.")
    photo = sized(photo, spec)
    where = pick_device(device)
    network: Features = load_features(spec, where, progress) if net is None else net
    canvas = _Canvas(spec, network, where, max(photo.size), max_memory, stop)
    first = _first(photo, brushes, spec, fast) if begin is None else begin
    start = planes(first.rgb, where)
    sizes = spec.sizes(*photo.size)
    counts = [spec.steps_at(level, len(sizes)) for level in range(len(sizes))]
    parts: dict[str, float] = {}
    done, result, loss, stopped = 0, start, math.nan, False

    def detail(size: tuple[int, int]) -> Tensor | None:
        # The start's own detail comes back with each size, except noise: that was for the coarsest only.
        return None if spec.start == "noise" and begin is None else scaled(start, size)

    for level, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        small = photo.resized(size)
        picture = scaled(start, small.size) if level == 0 else enlarged(result, small.size, detail(small.size))
        descent: Descent | None = None
        try:
            for view, turns in order_of(spec.views, count):
                objective = canvas.objective(small, brushes, view)
                if descent is None:
                    descent = Adam(spec.rate, spec.average) if spec.optimizer == "adam" else Lbfgs(canvas.history)
                else:
                    descent.turn()
                least = math.inf
                for _ in range(turns):
                    score = objective(view.of(picture))
                    if score.loss < least:
                        least = loss = score.loss
                        parts = score.parts
                    picture = descent.step(picture, score.loss, view.undone(score.slope))
                    done += 1
                    message, numbers = "{}x{}".format(*small.size), {"loss": score.loss, **score.parts}
                    progress(Progress(done, sum(counts), "steps", message, numbers))
                    if preview is not None and done % every == 0:
                        preview(small.with_rgb(pixels(_best(descent, picture))))
        except _Left:
            stopped = True
        result = _best(descent, picture)
        if stopped:
            break
    if not done:
        result = scaled(start, photo.size)
    elif (result.shape[3], result.shape[2]) != photo.size:
        result = enlarged(result, photo.size, detail(photo.size))
    rgb = pixels(result)
    # A style at less than full strength has less weight; near 0 the photo's own pixels take over, as in stylize.
    share = np.float32((1.0 - spec.strength) ** 2)
    rgb = (1 - share) * rgb + share * photo.rgb
    return Painted(photo.with_rgb(rgb), loss, parts, steps=done, planned=sum(counts), stopped=stopped)


def sized(photo: Picture, spec: PaintSpec) -> Picture:
    """The photo at the size that it is painted at.

    Raises:
        TrainingError: that is too small.
    """
    photo = photo.resized(spec.size or min(max(photo.size), LARGEST_UNASKED))
    if min(photo.size) < SMALLEST:
        raise TrainingError(f"{_said(photo)} is too small to paint: choose a --size with {SMALLEST} pixels a side.")
    return photo


class _Canvas:
    """Makes objectives of one painting at the sizes of its pyramid, each within the memory there is."""

    def __init__(
        self,
        spec: PaintSpec,
        net: Features,
        device: torch.device,
        longest: int,
        limit: int | None,
        stop: Callable[[], bool],
    ) -> None:
        self._spec = replace(spec, style=spec.style * spec.strength, bands=spec.bands * spec.strength)
        self._scale = spec.style_scale(longest)
        self._net, self._device, self._limit, self._stop = net, device, limit, stop
        self.history = spec.history

    def objective(self, photo: Picture, brushes: Sequence[Brush], view: View = PLAIN) -> Objective:
        """What a picture that is seen as ``view`` shows it is held to."""
        device = self._device
        # One tensor for each map, so that styles which share one share its sums.
        wheres = {
            id(brush.where): view.of(plane(brush.where, photo.size, device))
            for brush in brushes
            if brush.where is not None
        }
        manners = [
            Manner(
                view.of(planes(painting.rgb, device)),
                brush.weight,
                None if brush.where is None else wheres[id(brush.where)],
                None if painting.alpha is None else view.of(plane(painting.alpha, painting.size, device)),
            )
            for brush in brushes
            for painting in [_seen(brush.painting, photo, self._scale)]
        ]
        largest = max(photo.size[0] * photo.size[1], *(one.picture.shape[2] * one.picture.shape[3] for one in manners))
        return Objective(
            self._net,
            self._spec,
            view.of(planes(photo.rgb, device)),
            manners,
            counted=None if photo.alpha is None else view.of(plane(photo.alpha, photo.size, device)),
            tile=self._tile(largest, photo),
            check=self._check,
        )

    def _check(self) -> None:
        if self._stop():
            raise _Left

    def _tile(self, pixels: int, photo: Picture) -> int | None:
        """The side of a tile, or None where the whole fits; settles the history too."""
        limit = default_limit() if self._limit is None else self._limit
        free = limit - resident() if self._device.type == "cpu" else limit
        each = PASS_HALF if _half(self._spec, self._device) else PASS_FULL
        self.history = self._spec.history
        while self.history > 2 and pixels * _kept(self.history) > free / 2:
            self.history -= 1
        left = free - pixels * _kept(self.history)
        if left >= pixels * each:
            return None
        side = int(math.sqrt(max(0, left) / each)) - 2 * reach_of(self._net.order)
        if side < SMALLEST_TILE:
            needed = pixels * _kept(self.history) + each * (SMALLEST_TILE + 2 * reach_of(self._net.order)) ** 2
            raise TrainingError(
                f"Painting {_said(photo)} takes {said_size(needed)} more than is held now, and there are "
                f"{said_size(max(0, free))}: choose a smaller --size or a larger --max-memory."
            )
        return side


PASS_FULL, PASS_HALF = 3800, 2600
"""Bytes a pixel that a forward and a backward pass hold, in float32 and in bfloat16; measured, and rounded up."""


def _kept(history: int) -> int:
    """Bytes a pixel beside the passes: the picture, its gradient and what the descent remembers; the photo's layout."""
    return 12 * (2 * history + 8) + 40


def _check_brushes(brushes: Sequence[Brush]) -> None:
    if not brushes:
        raise TrainingError("There is no painting to paint in the manner of: give at least one.")
    for brush in brushes:
        if not (math.isfinite(brush.weight) and brush.weight > 0):
            raise TrainingError(f"The weight {brush.weight} of a painting cannot be used: give a number above 0.")
        if min(brush.painting.size) < SMALLEST:
            raise TrainingError(
                f"A painting of {_said(brush.painting)} shows no strokes: give one of {SMALLEST} pixels a side or more."
            )


def load_features(spec: PaintSpec, device: torch.device, progress: OnProgress = silent) -> Vgg:
    """The network that ``spec`` names, with the layers that it names, in its precision.

    Raises:
        TrainingError: its weights cannot be had.
    """
    layers = tuple(dict.fromkeys((*spec.style_layers, *spec.content_layers)))
    net = load_vgg(spec.network, layers, weights=spec.weights, pool=spec.pool, progress=progress)
    dtype = torch.bfloat16 if _half(spec, device) else torch.float32
    # Channels last: convolutions are quicker so, and rows of features need no copy.
    return net.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _half(spec: PaintSpec, device: torch.device) -> bool:
    return spec.precision == "bf16" or (spec.precision == "auto" and quick_in_half(device))


def quick_in_half(device: torch.device) -> bool:
    """Whether this device multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def digest_of(net: torch.nn.Module) -> str:
    """The sha256 of a network's weights, 64 hexadecimal digits, whatever precision they are held in."""
    sha = hashlib.sha256()
    for name, values in sorted(net.state_dict().items()):
        sha.update(name.encode())
        sha.update(values.cpu().to(torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes())
    return sha.hexdigest()


def _first(photo: Picture, brushes: Sequence[Brush], spec: PaintSpec, fast: StyleModel | None) -> Picture:
    """The picture to start from, by ``spec.start``."""
    if spec.start == "photo":
        return photo
    if spec.start == "matched":
        return _matched(photo, brushes)
    if spec.start == "noise":
        random = np.random.Generator(np.random.PCG64(spec.seed))
        mean = photo.rgb.mean((0, 1))
        return photo.with_rgb(np.clip(mean + 0.2 * random.standard_normal(photo.rgb.shape, np.float32), 0, 1))
    blend = [(brush.painting, brush.weight) for brush in brushes]
    painter = StyleModel.load() if fast is None else fast
    return painter.paint(photo, blend, strength=spec.strength, stroke=spec.stroke)


def _matched(photo: Picture, brushes: Sequence[Brush]) -> Picture:
    """The photo with the colours of the paintings, and as much contrast at every size of detail as they have."""
    own = np.ascontiguousarray(photo.rgb.transpose(2, 0, 1))
    mixed, total = np.zeros_like(photo.rgb), np.zeros((*photo.rgb.shape[:2], 1), np.float32)
    for where in {id(brush.where): brush.where for brush in brushes}.values():
        there = [brush for brush in brushes if brush.where is where]
        weight = sum(brush.weight for brush in there)
        mean, wanted = np.zeros(3, np.float32), np.zeros(NUMBERS, np.float32)
        for brush in there:
            seen = np.ascontiguousarray(_seen(brush.painting, photo, 1.0).rgb.transpose(2, 0, 1))
            mean += np.float32(brush.weight / weight) * seen.mean((1, 2))
            wanted += np.float32(brush.weight / weight) * band_stats(seen)
        wanted[-1] = 0.0  # what is flat stays flat: strokes are yet to come, and there is nothing but noise to bring up
        share = np.full(total.shape, weight, np.float32)
        if where is not None:
            share = share * resize_plane(where, photo.size)[..., None].clip(0, 1)
        mixed += share * gains_of(own, mean, wanted, photo.alpha).pixels(own)
        total += share
    return photo.with_rgb(np.where(total > 0, mixed / np.maximum(total, 1e-12), photo.rgb))


def _best(descent: Descent | None, picture: Tensor) -> Tensor:
    found = None if descent is None else descent.best()
    return picture if found is None else found


def _seen(painting: Picture, photo: Picture, scale: float) -> Picture:
    """The painting with its short side at ``scale`` of the photo's."""
    short = min(painting.size)
    # Enlarging blurs strokes, so it is done only as far as larger ones were asked for.
    wanted = max(SMALLEST, min(round(short * max(1.0, scale)), round(min(photo.size) * scale)))
    return painting.resized(max(1, round(max(painting.size) * wanted / short)))


def _said(picture: Picture) -> str:
    return "{}x{}".format(*picture.size)
