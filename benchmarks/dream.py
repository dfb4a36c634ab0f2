"""How varied and how clean the styles are that a model dreams of, against the named styles that it came with.

    python benchmarks/dream.py MODEL PHOTOS                      # figures as JSON on stdout, what they mean on stderr

Every photo is painted in the named styles of the model and in as many dreamt ones. How far two styles are apart is
what the yardstick says of two pictures: |G(a) - G(b)|^2 / (|G(a)| |G(b)|), G a Gram matrix, the mean over layers; here
of two paintings of the same photo (VGG-16, the feature network that training uses).

    varied    mean pairwise distance of the dreamt styles / that of the named ones. The target is 0.5 or more.
    clipped   share of pixels with a channel at 0 or 1: blown lights, drowned shadows
    chroma    largest less smallest channel, the mean over a picture; the mean and the greatest of all pictures
    rough     total variation of the picture / that of the photo: specks and noise make it large
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from impasto.errors import ImpastoError
from impasto.runtime.dream import dream
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel
from impasto.training.losses.perceptual import gram_vector, relative_gram_distance
from impasto.training.nets.features import Vgg, load_vgg

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
"""The yardstick's: the last of the first four blocks."""

TARGET = 0.5
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

Rgb = NDArray[np.float32]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("model", help="a style model that can dream: a name or a file")
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--photo-limit", type=int, default=3, help="photos to use, evenly chosen (3)")
    parser.add_argument("--seed", type=int, default=0, help="of the first dream (0)")
    parser.add_argument("--size", type=int, default=512, help="long side of the photos in pixels (512)")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads")
    options = parser.parse_args(arguments)
    if min(options.photo_limit, options.size) < 1 or options.seed < 0:
        parser.error("--photo-limit and --size must be 1 or more, --seed 0 or more")
    return options


@torch.no_grad()
def vectors(vgg: Vgg, pictures: Sequence[Rgb]) -> list[Tensor]:
    """Gram vectors of pictures [H,W,3], a table [N,K] per layer."""
    rows = [vgg(torch.from_numpy(np.ascontiguousarray(one.transpose(2, 0, 1)))[None]) for one in pictures]
    return [torch.cat([gram_vector(row[layer]) for row in rows]) for layer in vgg.layers]


def mean_distance(tables: Sequence[Tensor]) -> float:
    """Mean style distance over all pairs of different pictures."""
    count = len(tables[0])
    first, second = torch.triu_indices(count, count, 1)
    layers = [relative_gram_distance(table[first], table[second]).mean() for table in tables]
    return float(torch.stack(layers).mean())


def looks(pictures: Sequence[Rgb], photo: Rgb) -> dict[str, list[float]]:
    """What is measured of each picture by itself: see the module."""
    found: dict[str, list[float]] = {"clipped": [], "chroma": [], "rough": []}
    for rgb in pictures:
        found["clipped"].append(float(((rgb < 1 / 512) | (rgb > 511 / 512)).any(2).mean()))
        found["chroma"].append(float((rgb.max(2) - rgb.min(2)).mean()))
        found["rough"].append(variation(rgb) / max(variation(photo), 1e-6))
    return found


def variation(rgb: Rgb) -> float:
    """Mean absolute difference of neighbouring pixels."""
    return float(np.abs(np.diff(rgb, axis=0)).mean() + np.abs(np.diff(rgb, axis=1)).mean())


def measure(model: StyleModel, photos: Sequence[Path], *, seed: int, size: int, vgg: Vgg) -> dict[str, Any]:
    """All figures: of the named styles, of as many dreamt ones, and how the two compare.

    Raises:
        ImpastoError: the model cannot dream, or has fewer than two named styles.
    """
    named = [model.code(name) for name in model.styles]
    if len(named) < 2:
        raise ImpastoError(f"{model.bundle.path} has {len(named)} named styles to compare with: take one with two.")
    kinds = {"named": named, "dreamt": list(dream(model, seed, len(named)))}
    figures: dict[str, Any] = {"photos": len(photos), "styles": len(named), "seed": seed, "size": size}
    distances: dict[str, list[float]] = {kind: [] for kind in kinds}
    seen: dict[str, dict[str, list[float]]] = {kind: {} for kind in kinds}
    for path in photos:
        photo = Picture.open(path).resized(size)
        for kind, codes in kinds.items():
            painted = [model.paint(photo, code).rgb for code in codes]
            distances[kind].append(mean_distance(vectors(vgg, painted)))
            for name, values in looks(painted, photo.rgb).items():
                seen[kind].setdefault(name, []).extend(values)
    for kind in kinds:
        figures[kind] = {"distance": round(float(np.mean(distances[kind])), 4)}
        for name, values in seen[kind].items():
            figures[kind] |= {name: round(float(np.mean(values)), 4), f"{name}_most": round(max(values), 4)}
    figures["varied"] = round(float(np.mean(distances["dreamt"]) / np.mean(distances["named"])), 3)
    return figures


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    options = parse(arguments)
    files = (
        sorted(p for p in options.photos.iterdir() if p.suffix.lower() in SUFFIXES) if options.photos.is_dir() else []
    )
    if not files:
        print(f"{options.photos} holds no pictures: name a folder of {', '.join(SUFFIXES)}.", file=sys.stderr)
        return 2
    chosen = sorted({round(i) for i in np.linspace(0, len(files) - 1, min(options.photo_limit, len(files)))})
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    try:
        model = StyleModel.load(options.model, threads=options.threads)
        vgg = load_vgg("vgg16", LAYERS)
        figures = measure(model, [files[i] for i in chosen], seed=options.seed, size=options.size, vgg=vgg)
    except ImpastoError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(figures, indent=1))
    verdict = "met" if figures["varied"] >= TARGET else "missed"
    print(f"varied {figures['varied']}, target {TARGET} or more: {verdict}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
