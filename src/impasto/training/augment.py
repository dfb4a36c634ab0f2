"""Differentiable augmentation: both real and drawn pictures are changed by chance before the discriminator sees them.

A discriminator that sees the same few pictures again and again learns them by heart; one that never sees the same
picture twice cannot. The changes are those of Zhao et al. 2020 (colour, translation, cutout) and the geometric ones of
Karras et al. 2020 (mirroring, quarter turns, scaling). As in the latter, every change is applied to a picture with a
probability, the strength, and not always: the generator then cannot mistake changed pictures for the data ("leaking"),
as long as most pictures are seen unchanged.

Everything is made of products and sums, never of ``grid_sample``, whose gradient has no gradient of its own: a penalty
on the discriminator's slope may go through it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from impasto.errors import TrainingError, UnknownName

KINDS = ("mirror", "turn", "scale", "shift", "brightness", "saturation", "contrast", "cutout")
"""Every change there is, in the order of their application."""

DEFAULT = ("mirror", "scale", "shift", "brightness", "saturation", "contrast", "cutout")
"""The changes that suit any set: quarter turns are left out, because a few sets only have no up and down."""

LIMIT = 0.8
"""Largest adaptive strength: above it the changes begin to leak (Karras et al. 2020, section 3.2)."""

SPEED = 500_000
"""Pictures in which an adaptive strength may go from 0 to 1, as in Karras et al. 2020. Faster, and it follows what D is
better at in the first thousands of pictures, long before it knows any by heart."""

WINDOW = 256
"""Pictures that are judged between two changes of an adaptive strength: four batches of 64 in Karras et al. 2020."""

_SCALE = 0.2  # deviation of log2 of the scale
_SHIFT = 1 / 8  # largest shift, of the side
_BRIGHTNESS = 0.5  # largest change, of the range's half (-1..1 has a half of 1)
_SATURATION = (0.0, 2.0)
_CONTRAST = (0.5, 1.5)
_CUTOUT = 1 / 2  # side of the hole, of the picture's side
_DRAWS = 2 * len(KINDS) + 2  # numbers drawn per picture: whether and how for each kind; two have a second "how"


def augment(pictures: Tensor, strength: float, generator: torch.Generator, *, kinds: Sequence[str] = DEFAULT) -> Tensor:
    """Pictures, each changed by chance: the same shape, type and device, differentiable in ``pictures``.

    Pixels move within a picture: what comes in from outside is its own mirror image. A hole is mid-grey, and
    transparent where there is alpha. Colour changes touch colours alone, never alpha, and grey pictures stay grey.

    Args:
        pictures: [N,C,H,W] in -1..1, C = 1 (grey), 3 (RGB) or 4 (RGBA, straight); colours may leave -1..1.
        strength: probability of each change, 0..1; 0 gives ``pictures`` itself.
        generator: where all chance comes from; every call takes as many numbers from it as any other of N pictures.
        kinds: which of ``KINDS`` to apply.

    Raises:
        TrainingError: another shape or strength.
        UnknownName: a kind that does not exist.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UnknownName("augmentation", kind, KINDS)
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3, 4):
        raise TrainingError(f"Pictures to augment are [N,1|3|4,H,W], not {list(pictures.shape)}: change their shape.")
    if not 0 <= strength <= 1:
        raise TrainingError(f"An augmentation strength of {strength} is no probability: choose one from 0 to 1.")
    draws = torch.rand(len(pictures), _DRAWS, generator=generator, device=generator.device)
    if strength == 0 or not kinds or not len(pictures):
        return pictures
    draws = draws.to(pictures.device)
    chosen = {kind: (draws[:, i] < strength) & (kind in kinds) for i, kind in enumerate(KINDS)}
    how = {kind: draws[:, len(KINDS) + i] for i, kind in enumerate(KINDS)}
    # bfloat16 would round every pixel to a hundredth, and the discriminator would see that.
    with torch.autocast(pictures.device.type, enabled=False):
        x = pictures.float()
        x = _moved(x, chosen, how, draws[:, -2:])
        x = _recoloured(x, chosen, how)
        x = _holed(x, chosen["cutout"], how["cutout"], draws[:, -1])
    return x.to(pictures.dtype)


def _moved(x: Tensor, chosen: Mapping[str, Tensor], how: Mapping[str, Tensor], extra: Tensor) -> Tensor:
    """Mirrored, turned, scaled and shifted, by one product from the left and one from the right."""
    height, width = x.shape[2:]
    turns = torch.where(chosen["turn"], (how["turn"] * 3).long() + 1, 0)  # quarters, 1..3
    if height == width:
        x = torch.where((turns % 2 == 1)[:, None, None, None], x.transpose(2, 3), x)
    # A transposed picture with its rows (or columns) in reverse is one turned by a quarter; both reversed, by a half.
    # An oblong picture cannot take a quarter: it is turned by half or not at all.
    reverse_rows = (turns == 2) | ((turns == 3) & (height == width))
    reverse_columns = (turns == 2) | ((turns == 1) & (height == width))
    reverse_columns = reverse_columns ^ (chosen["mirror"] & (how["mirror"] < 0.5))
    # The inverse of the distribution function turns an even draw into a normal one.
    normal = torch.special.ndtri(how["scale"].clamp(1e-6, 1 - 1e-6))
    scale = torch.where(chosen["scale"], torch.exp2(_SCALE * normal), 1.0)
    for dim, size, reverse, draw in (
        (2, height, reverse_rows, how["shift"]),
        (3, width, reverse_columns, extra[:, 0]),
    ):
        shift = torch.where(chosen["shift"], ((draw * 2 - 1) * _SHIFT * size).round(), 0.0)
        weights = _sampling(size, scale, shift, reverse)  # [N,size,size]
        x = weights[:, None] @ x if dim == 2 else x @ weights[:, None].transpose(2, 3)
    return x


def _sampling(size: int, scale: Tensor, shift: Tensor, reverse: Tensor) -> Tensor:
    """Weights [N,to,from] that sample a line of ``size`` pixels: linear in between, widened where the line shrinks.

    With scale 1 and a whole shift each row holds a single 1, so that pixels are moved and not changed.
    """
    at = torch.arange(size, device=scale.device, dtype=torch.float32) + 0.5
    source = (at - size / 2 - shift[:, None]) / scale[:, None] + size / 2  # [N,to], in pixels from the edge
    source = size - (size - source.remainder(2 * size)).abs()  # mirrored at both edges
    source = torch.where(reverse[:, None], size - source, source)
    wide = (1 / scale).clamp(min=1)[:, None, None]
    weights = (1 - (source[:, :, None] - at).abs() / wide).clamp(min=0)
    # Next to an edge the line between the last two centres goes on: all weight is on the outermost pixel there.
    return weights / weights.sum(2, keepdim=True)


def _recoloured(x: Tensor, chosen: Mapping[str, Tensor], how: Mapping[str, Tensor]) -> Tensor:
    """Brightness, saturation and contrast, in that order; alpha stays."""
    colours, alpha = (x[:, :3], x[:, 3:]) if x.shape[1] == 4 else (x, None)

    def drawn(kind: str, low: float, high: float, still: float) -> Tensor:
        value = low + (high - low) * how[kind]
        return torch.where(chosen[kind], value, still)[:, None, None, None].to(x.dtype)

    colours = colours + drawn("brightness", -_BRIGHTNESS, _BRIGHTNESS, 0.0)
    if colours.shape[1] == 3:
        share = drawn("saturation", *_SATURATION, 1.0)
        colours = colours * share + colours.mean(1, keepdim=True) * (1 - share)
    share = drawn("contrast", *_CONTRAST, 1.0)
    colours = colours * share + colours.mean((1, 2, 3), keepdim=True) * (1 - share)
    return colours if alpha is None else torch.cat((colours, alpha), 1)


def _holed(x: Tensor, chosen: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """A rectangle of half the sides at any place, cut by the edges, filled with 0; alpha with -1."""
    inside = torch.ones((), dtype=torch.bool, device=x.device)
    for dim, draw in ((2, down), (3, across)):
        size = x.shape[dim]
        at = torch.arange(size, device=x.device) + 0.5
        near = (at - draw[:, None] * size).abs() < _CUTOUT * size / 2  # [N,size]
        inside = inside & (near[:, None, :, None] if dim == 2 else near[:, None, None, :])
    hole = inside & chosen[:, None, None, None]  # [N,1,H,W]
    fill = x.new_zeros(1, x.shape[1], 1, 1)
    if x.shape[1] == 4:
        fill[:, 3] = -1
    return torch.where(hole, fill, x)


class AdaptiveStrength:
    """A strength that grows while the discriminator knows the training pictures by heart, and falls while it does not.

    Karras et al. 2020, section 3.3: ``r_t``, the mean sign of the logits at training pictures, is 0 where the
    discriminator cannot tell them from drawn ones and 1 where it always can. After every ``WINDOW`` pictures the
    strength takes a step of pictures / speed up where ``r_t`` is above the target, else down.

    Args:
        target: of ``r_t``, -1..1.
        start: first strength.
        speed: see ``SPEED``.
        limit: see ``LIMIT``; a larger ``start`` is kept until the first step.

    Attributes:
        value: the strength now, 0..1.
        sign: the last ``r_t``; 0 before the first.
    """

    def __init__(self, target: float = 0.6, *, start: float = 0.0, speed: float = SPEED, limit: float = LIMIT) -> None:
        if not -1 <= target <= 1 or not 0 <= start <= 1 or not speed > 0 or not 0 < limit <= 1:
            raise TrainingError(
                "An adaptive strength needs a target in -1..1, a start in 0..1, a limit in 0..1 and a speed above 0: "
                f"target {target}, start {start}, limit {limit} and speed {speed} do not fit."
            )
        self.target, self.speed, self.limit = target, speed, limit
        self.value, self.sign = float(start), 0.0
        self._count = 0
        self._total: Tensor | None = None  # kept on its device: reading it at every step would wait for a GPU

    def update(self, real: Tensor, fake: Tensor | None = None) -> None:
        """Take in what the discriminator said.

        Args:
            real: logits (or their signs) at training pictures, any shape.
            fake: logits at drawn pictures, of the same shape; for a loss that only looks at differences (relativistic,
                Wasserstein), whose logits have no zero of their own. The sign is then of real - fake.
        """
        signs = (real if fake is None else real - fake).detach().float().sign().sum()
        self._total = signs if self._total is None else self._total + signs
        self._count += real.numel()
        if self._count < WINDOW:
            return
        self.sign = float(self._total) / self._count
        step = self._count / self.speed * (1 if self.sign > self.target else -1)
        self.value = min(max(self.value + step, 0.0), self.limit)
        self._count, self._total = 0, None

    def state(self) -> dict[str, Tensor]:
        """All that moves, for a checkpoint: float64 [4]."""
        total = 0.0 if self._total is None else float(self._total)
        return {"strength": torch.tensor([self.value, self.sign, self._count, total], dtype=torch.float64)}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``state`` gave.

        Raises:
            TrainingError: it is not there.
        """
        if "strength" not in tensors or tensors["strength"].shape != (4,):
            raise TrainingError("The checkpoint holds no augmentation strength: it is of another task, start anew.")
        self.value, self.sign, count, total = tensors["strength"].double().tolist()
        self._count, self._total = int(count), torch.tensor(total) if count else None
