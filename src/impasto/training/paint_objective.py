"""What a painting is held to: the photo's layout, the paintings' manners, smoothness; in one pass or in tiles.

The losses are functions of sums over positions (``losses/moments.py``). One pass takes the sums with a gradient. In
tiles, a first pass adds the sums up, the loss is taken of them, and a second pass sends each tile's share of the
gradient back to its pixels. Tiles overlap by what the network's features reach, and only features of the inside count,
so both ways give the same gradient; the second costs one forward pass more, and the memory of one tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.training.losses.moments import (
    lost_correlation,
    matrix_root,
    relative_gram,
    relative_wasserstein,
    squared_variation,
)
from impasto.training.losses.sums import layout_sums, moment_sums
from impasto.training.paint_bands import BandDistance
from impasto.training.paint_spec import PaintSpec

QUIET = 0.05
"""Energy of the photo's features, of a mean of 1, below which places are alike quiet."""


class Features(Protocol):
    """A network as ``nets.features.Vgg`` is one: named layers ``reluB_I``, each block at half the size of the last."""

    order: tuple[str, ...]

    def __call__(self, picture: Tensor) -> dict[str, Tensor]: ...  # [1,3,H,W] -> [1,C,H/2^k,W/2^k] each


@dataclass(frozen=True, slots=True)
class Manner:
    """A painting as the objective sees it.

    Attributes:
        picture: [1,3,h,w], RGB 0..1.
        weight: its share; the objective brings them to a sum of 1.
        where: [1,1,H,W] in 0..1 at the size of the photo: how much it counts there; None for everywhere.
        opaque: [1,1,h,w] in 0..1: how much each place of the painting counts; None for all alike.
    """

    picture: Tensor
    weight: float = 1.0
    where: Tensor | None = None
    opaque: Tensor | None = None


class Score(NamedTuple):
    """The loss, what it is the weighted sum of, and its gradient [1,3,H,W]."""

    loss: float
    parts: dict[str, float]
    slope: Tensor


class _Box(NamedTuple):
    """A tile: the pixels inside, and those that the network has to see."""

    inside: tuple[int, int, int, int]  # top, bottom, left, right
    seen: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Target:
    weight: float
    means: dict[str, Tensor]  # [C]
    seconds: dict[str, Tensor]  # [C,C]
    roots: dict[str, Tensor]  # [C,C], of covariances
    map: int  # which of the objective's maps


def stride_of(layer: str) -> int:
    """Pixels between neighbouring features: 1 for ``relu1_2``, 8 for ``relu4_1``."""
    return 1 << (int(layer[4]) - 1)


def reach_of(order: Sequence[str]) -> int:
    """Pixels that a feature of the last of these layers sees to each side, a multiple of the largest stride."""
    reach, stride = 0, 1
    for layer in order:
        if stride_of(layer) != stride:
            reach, stride = reach + stride, stride_of(layer)
        reach += stride
    return -(-reach // stride) * stride


class Objective:
    """The loss of a picture and its gradient.

    Args:
        net: the feature network, with all layers of ``spec``; on its device everything happens.
        spec: layers, weights and the kind of style loss.
        photo: [1,3,H,W], RGB 0..1.
        manners: at least one, with weights of a sum above 0.
        counted: [1,1,H,W] in 0..1: how much a place counts at all (alpha), or None for all alike.
        tile: side in pixels of the tiles' insides; None for one pass.
        check: called between passes; may raise to leave.
    """

    def __init__(
        self,
        net: Features,
        spec: PaintSpec,
        photo: Tensor,
        manners: Sequence[Manner],
        *,
        counted: Tensor | None = None,
        tile: int | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._net, self._spec, self._tile, self._check = net, spec, tile, check
        self._size = photo.shape[2], photo.shape[3]
        # Each different map of what counts, once; the first is that of the whole picture.
        wheres = list({id(one.where): one.where for one in manners if one.where is not None}.values())
        self._maps = [counted, *(where if counted is None else where * counted for where in wheres)]
        self._counts: dict[tuple[int, str], float] = {}
        total = sum(manner.weight for manner in manners)
        ids = [id(where) for where in wheres]
        self._targets = [
            self._target(one, one.weight / total, 0 if one.where is None else 1 + ids.index(id(one.where)))
            for one in manners
        ]
        self._photo, self._spreads, self._shares = self._layout(photo)
        places = [one.where if counted is None or one.where is None else one.where * counted for one in manners]
        self._bands = BandDistance(
            [(one.picture, one.opaque) for one in manners],
            [counted if where is None else where for where in places],
            [one.weight / total for one in manners],
        )

    def __call__(self, picture: Tensor) -> Score:
        """Loss and gradient at ``picture``, [1,3,H,W] of the photo's size."""
        picture = picture.detach().requires_grad_()
        variation = squared_variation(picture)
        bands = self._bands(picture) if self._spec.bands else picture.new_zeros(())
        simple = self._spec.smooth * variation + self._spec.bands * bands
        (slope,) = torch.autograd.grad(simple, picture)
        boxes = list(self._boxes(self._size))
        if len(boxes) == 1:
            self._check()
            total, parts = self._loss(self._sums(picture, boxes[0]))
            slope = slope + torch.autograd.grad(total, picture)[0]
        else:
            total, parts, tiled = self._in_tiles(picture.detach(), boxes)
            slope = slope + tiled
        parts |= {"bands": bands.item(), "smooth": variation.item()}
        return Score(total.item() + simple.item(), parts, slope.detach())

    def _in_tiles(self, picture: Tensor, boxes: list[_Box]) -> tuple[Tensor, dict[str, float], Tensor]:
        sums: list[Tensor] = []
        for box in boxes:
            self._check()
            with torch.no_grad():
                found = self._sums(_cut(picture, box.seen), box)
            sums = found if not sums else [a + b for a, b in zip(sums, found, strict=True)]
        sums = [one.requires_grad_() for one in sums]
        total, parts = self._loss(sums)
        pulls = torch.autograd.grad(total, sums, allow_unused=True)
        slope = torch.zeros_like(picture)
        for box in boxes:
            self._check()
            part = _cut(picture, box.seen).detach().requires_grad_()
            found = self._sums(part, box)
            wanted = [(one, pull) for one, pull in zip(found, pulls, strict=True) if pull is not None]
            (pulled,) = torch.autograd.grad([one for one, _ in wanted], part, [pull for _, pull in wanted])
            top, bottom, left, right = box.seen
            slope[..., top:bottom, left:right] += pulled
        return total, parts, slope

    def _sums(self, part: Tensor, box: _Box) -> list[Tensor]:
        """What ``_loss`` takes, of one tile: for each map and style layer the sums of F [C] and of F F^T [C,C]; for
        each content layer those of x, x^2 and x y [C]."""
        spec, features = self._spec, self._net(part)
        sums: list[Tensor] = []
        for layer in spec.style_layers:
            inside = self._inside(features[layer], layer, box)
            for where in self._maps:
                sums += moment_sums(_rows(inside), self._pooled(where, layer, box), exact=spec.style_loss != "gram")
        for layer in spec.content_layers:
            here = _shrunk(box.inside, stride_of(layer))
            y, share = (_rows(_cut(one[layer], here)) for one in (self._photo, self._shares))
            sums += layout_sums(_rows(self._inside(features[layer], layer, box)), y, share)
        return sums

    def _loss(self, sums: Sequence[Tensor]) -> tuple[Tensor, dict[str, float]]:
        spec, rest = self._spec, iter(sums)
        style = content = sums[0].new_zeros(())
        for layer in spec.style_layers:
            found = [(next(rest), next(rest)) for _ in self._maps]
            for target in self._targets:
                mean, second = (one / self._count(target.map, layer) for one in found[target.map])
                distance = self._distance(target, layer, mean, second)
                style = style + target.weight / len(spec.style_layers) * distance
        for layer in spec.content_layers:
            mean, square, product = (next(rest) for _ in range(3))
            content = content + lost_correlation(mean, square, product, self._spreads[layer]) / len(spec.content_layers)
        parts = {"content": content.item(), "style": style.item()}
        return spec.content * content + spec.style * style, parts

    def _distance(self, target: _Target, layer: str, mean: Tensor, second: Tensor) -> Tensor:
        kind = self._spec.style_loss
        found = []
        if kind != "wasserstein":
            found.append(relative_gram(second, target.seconds[layer]))
        if kind != "gram":
            found.append(relative_wasserstein(mean, second, target.means[layer], target.roots[layer]))
        return torch.stack(found).mean()

    def _target(self, manner: Manner, weight: float, where: int) -> _Target:
        target, picture = _Target(weight, {}, {}, {}, where), manner.picture
        size = picture.shape[2], picture.shape[3]
        exact = self._spec.style_loss != "gram"
        counts = {layer: _total(manner.opaque, size, stride_of(layer)) for layer in self._spec.style_layers}
        for box in self._boxes(size):
            self._check()
            with torch.no_grad():
                features = self._net(_cut(picture, box.seen))
                for layer in self._spec.style_layers:
                    weights = self._pooled(manner.opaque, layer, box)
                    mean, second = moment_sums(_rows(self._inside(features[layer], layer, box)), weights, exact=exact)
                    target.means[layer] = target.means.get(layer, 0) + mean / counts[layer]
                    target.seconds[layer] = target.seconds.get(layer, 0) + second / counts[layer]
        if exact:
            for layer, second in target.seconds.items():
                target.roots[layer] = matrix_root(second - target.means[layer].outer(target.means[layer]))
        return target

    def _layout(self, photo: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """The photo's features [1,C,h,w], each channel at mean 0 and deviation 1; the deviations [C]; and each place's
        share [1,1,h,w] of the layout, with a sum of 1."""
        kept: dict[str, Tensor] = {}
        spreads: dict[str, Tensor] = {}
        shares: dict[str, Tensor] = {}
        for box in self._boxes(self._size):
            self._check()
            with torch.no_grad():
                features = self._net(_cut(photo, box.seen))
                for layer in self._spec.content_layers:
                    part = self._inside(features[layer], layer, box)
                    stride = stride_of(layer)
                    if layer not in kept:
                        kept[layer] = part.new_empty(1, part.shape[1], self._size[0] // stride, self._size[1] // stride)
                    top, bottom, left, right = _shrunk(box.inside, stride)
                    kept[layer][..., top:bottom, left:right] = part
        for layer, whole in kept.items():
            size, weights = whole.shape[2:], self._pooled(self._maps[0], layer, None)
            counted = _wide(whole).new_ones(size.numel(), 1) if weights is None else _wide(weights)
            rows = _wide(_rows(whole))
            mean, spread = _mean_and_spread(rows, counted / counted.sum())
            energy = ((rows - mean) * _inverse(spread)).square().mean(1, keepdim=True)
            share = counted * (energy + QUIET) ** -self._spec.even
            share = share / share.sum()
            mean, spread = _mean_and_spread(rows, share)
            scale = _inverse(spread)
            spreads[layer] = torch.where(scale > 0, spread, 0.0)
            kept[layer] = ((_wide(whole) - mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1)).to(whole.dtype)
            shares[layer] = share.view(1, 1, *size)
        return kept, spreads, shares

    def _count(self, k: int, layer: str) -> float:
        """How many positions of a layer count in map ``k``."""
        if (k, layer) not in self._counts:
            self._counts[k, layer] = _total(self._maps[k], self._size, stride_of(layer))
        return self._counts[k, layer]

    def _pooled(self, where: Tensor | None, layer: str, box: _Box | None) -> Tensor | None:
        """A map [1,1,H,W] as weights [P,1] of a layer's positions, of one tile or of all."""
        if where is None:
            return None
        stride = stride_of(layer)
        small = F.avg_pool2d(where, stride)
        return _rows(small if box is None else _cut(small, _shrunk(box.inside, stride)))

    def _inside(self, features: Tensor, layer: str, box: _Box) -> Tensor:
        """Of a tile's features, those of the positions inside."""
        stride = stride_of(layer)
        top, bottom, left, right = _shrunk(box.inside, stride)
        up, across = box.seen[0] // stride, box.seen[2] // stride
        if (top - up, left - across, bottom - up, right - across) == (0, 0, *features.shape[2:]):
            return features  # cutting nothing off would still copy the gradient
        return features[..., top - up : bottom - up, left - across : right - across]

    def _boxes(self, size: tuple[int, int]) -> Iterator[_Box]:
        height, width = size
        if self._tile is None or max(size) <= self._tile:
            yield _Box((0, height, 0, width), (0, height, 0, width))
            return
        reach, stride = reach_of(self._net.order), stride_of(self._net.order[-1])
        for top, bottom in _spans(height, self._tile, stride):
            for left, right in _spans(width, self._tile, stride):
                seen = (
                    max(0, top - reach),
                    min(height, bottom + reach),
                    max(0, left - reach),
                    min(width, right + reach),
                )
                yield _Box((top, bottom, left, right), seen)


def _spans(length: int, tile: int, stride: int) -> list[tuple[int, int]]:
    """Parts of about the same length, none longer than ``tile`` unless the stride is; cuts at multiples of it."""
    parts = -(-length // tile)
    step = -(-length // (parts * stride)) * stride
    return [(at, min(at + step, length)) for at in range(0, length, step)]


def _shrunk(box: tuple[int, int, int, int], stride: int) -> tuple[int, int, int, int]:
    # All but the far edges of a picture are multiples of the stride; there, pooling drops what is left over.
    top, bottom, left, right = (edge // stride for edge in box)
    return top, bottom, left, right


def _cut(planes: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    top, bottom, left, right = box
    return planes[..., top:bottom, left:right]


def _rows(features: Tensor) -> Tensor:
    """[1,C,h,w] -> [h w, C]; no copy where channels come last."""
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])


def _mean_and_spread(rows: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation [C] of rows [P,C] that have shares [P,1] of a sum of 1."""
    mean = (rows * share).sum(0)
    return mean, ((rows - mean).square() * share).sum(0).sqrt()


def _inverse(spread: Tensor) -> Tensor:
    """1 / the deviation, and 0 for channels that are dead."""
    return torch.where(spread <= 1e-3 * spread.mean(), 0.0, 1 / spread.clamp(min=1e-20))


def _total(where: Tensor | None, size: tuple[int, int], stride: int) -> float:
    """How many positions count."""
    plain = (size[0] // stride) * (size[1] // stride)
    return max(1e-6, plain if where is None else float(F.avg_pool2d(where, stride).sum()))


def _wide(values: Tensor) -> Tensor:
    """In float32, or float64 if they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
