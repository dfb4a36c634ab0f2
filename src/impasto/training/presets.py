"""A recipe for a folder of pictures, so that a newcomer sets nothing: the folder says how many, of what kind and shape.

``PRESETS`` is the one table. The first three are chosen by the number of pictures; the others are families to compare
with, as their papers have them, and are taken when they are named.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from impasto.errors import TrainingError, UnknownName
from impasto.progress import OnProgress, silent
from impasto.training import distributed
from impasto.training.pictures import PictureSet
from impasto.training.recipe import make_recipe, override
from impasto.training.recipe_gan import GanRecipe


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset says beyond the defaults of ``GanRecipe``.

    Attributes:
        images: real pictures that the discriminator sees in all.
        table: recipe keys and values.
        slope: gamma of R1 (and R2 where ``table`` has it) per pixel of a picture, divided by the batch
            (Karras et al. 2020, appendix C: 0.0002); None = as ``table`` says.
    """

    images: int
    table: Mapping[str, Any]
    slope: float | None = None


_QUICK: dict[str, Any] = {"net": {"output": "tanh"}, "batch": 8, "optim": {"lr": 0.008}}
"""Small batches and large steps: what learnt most from as many pictures, by trials on avatars (docs/experiments.md)."""

PRESETS: dict[str, Preset] = {
    "few": Preset(300_000, _QUICK | {"augment": {"strength": 0.2}}, slope=2e-3),
    "medium": Preset(600_000, _QUICK, slope=2e-3),
    "large": Preset(1_500_000, _QUICK | {"augment": {"adaptive": False}}, slope=2e-3),
    # Radford et al. 2016: plain nets, Adam with beta 0.5, no average and nothing else.
    "dcgan": Preset(
        600_000,
        {
            "net": {"kind": "dcgan"},
            "batch": 32,
            "loss": {"kind": "nonsaturating", "r1": 0.0},
            "augment": {"adaptive": False},
            "optim": {"lr": 2e-4, "betas": (0.5, 0.999), "warmup": 0, "decay": "constant", "ema": 0.0},
        },
    ),
    # Miyato et al. 2018 and Zhang et al. 2019: spectral norm, hinge, a quicker discriminator.
    "resnet": Preset(
        600_000,
        {
            "net": {"kind": "resnet"},
            "batch": 32,
            "loss": {"kind": "hinge", "r1": 0.0},
            "optim": {"lr": 1e-4, "betas": (0.0, 0.9), "rates": {"discriminator": 4.0}},
        },
    ),
    # Huang et al. 2024: relativistic pairs, a penalty on both sides, residual nets without tricks.
    "r3": Preset(
        600_000,
        {"net": {"kind": "r3"}, "loss": {"kind": "relativistic", "r2": 0.1, "every": 4}, "optim": {"lr": 5e-4}},
        slope=4e-4,
    ),
}

BY_COUNT = (("few", 1_000), ("medium", 10_000))
"""The preset up to so many pictures; ``large`` above."""

MIRROR = 0.005
"""Share of the pictures' variance by which left and right may differ on average before they are no longer mirrored.

Flowers: 0.003 at 150 pictures, which is chance; avatars that look to one side: 0.008 to 0.056; digits: 0.032.
"""


def preset_for(count: int) -> str:
    """The preset for a number of pictures."""
    return next((name for name, most in BY_COUNT if count <= most), "large")


def gan_recipe(
    folder: str | Path,
    *,
    size: int | tuple[int, int] = 64,
    preset: str | None = None,
    steps: int | None = None,
    images: int | None = None,
    overrides: Iterable[str] = (),
    cache: Path | None = None,
    progress: OnProgress = silent,
) -> GanRecipe:
    """A recipe to learn a folder of pictures by.

    Args:
        folder: of pictures, or an ``.npz`` file (see ``PictureSet``).
        size: side in pixels, or (height, width).
        preset: a name in ``PRESETS``; None = by the number of pictures.
        steps, images: how long, in updates of the discriminator or in pictures it sees; None = as the preset says.
        overrides: ``key.key=value``, as for any recipe; they have the last word.
        cache: folder for prepared pictures; None = the user's cache folder.
        progress: told of pictures being prepared.

    Raises:
        TrainingError: the folder or a value cannot be used.
        UnknownName: there is no such preset or key.
    """
    if preset is not None and preset not in PRESETS:
        raise UnknownName("preset", preset, PRESETS)
    if steps is not None and images is not None:
        raise TrainingError("A run is as long as its steps or as its images: give one of the two.")
    height, width = (size, size) if isinstance(size, int) else size
    wishes: dict[str, Any] = {}
    for text in overrides:
        override(wishes, text)
    plain: Mapping[str, Any] = {"net": {"height": height, "width": width}}
    # Once without looking at pictures, so that a slip is found before they are prepared.
    _made(folder, merged(PRESETS[preset or "medium"].table, plain, {"steps": steps or 1}, wishes))
    with distributed.first_process_first():
        labels = "none" if _asked(wishes, "data", "labels") == "none" else "folders"
        pictures = PictureSet(
            folder,
            _asked(wishes, "net", "height") or height,
            _asked(wishes, "net", "width") or width,
            channels=_asked(wishes, "net", "channels"),
            labels="none" if labels == "none" else "folders",
            cache=cache,
            progress=progress,
        )
    chosen = PRESETS[preset or preset_for(len(pictures))]
    seen = {
        "net": {"height": height, "width": width, "channels": pictures.channels, "classes": len(pictures.classes)},
        "data": {"flip": looks_alike_mirrored(pictures)},
    }
    table = merged(chosen.table, seen, {"steps": 1}, wishes)
    draft = _made(folder, table)
    per_step = draft.images_seen(1)
    if "steps" not in wishes:
        table["steps"] = steps or math.ceil((images or chosen.images) / per_step)
    if chosen.slope is not None:
        gamma = round(chosen.slope * draft.net.height * draft.net.width / per_step, 4)
        also = {"r2": gamma} if "r2" in chosen.table.get("loss", {}) else {}
        table = merged(table, {"loss": {"r1": gamma} | also}, wishes)
    return _made(folder, table)


def looks_alike_mirrored(pictures: PictureSet, most: int = 2_000) -> bool:
    """Whether left and right are the same to the pictures on average, so that mirrored ones are as good as more.

    Held against each other are the mean picture and its mirror image; what they would differ by in so few pictures
    anyhow is allowed for.
    """
    count = min(most, len(pictures))
    rows = np.linspace(0, len(pictures) - 1, count).round().astype(np.int64)
    x = pictures.arrays(rows).astype(np.float32)
    mean, variance = x.mean(0), float(x.var(0).mean())
    apart = float(np.square(mean - mean[:, ::-1]).mean()) / 2
    return apart <= variance * (MIRROR + 3 / count)


def merged(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of tables laid over each other; what comes later has the last word."""
    whole: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            old = whole.get(key)
            nested = isinstance(old, Mapping) and isinstance(value, Mapping)
            whole[key] = merged(old, value) if nested else value  # type: ignore[arg-type]
    return whole


def model_name(folder: str | Path) -> str:
    """The folder's name as a model file allows it: small letters, digits and dashes."""
    path = Path(folder).resolve()
    stem = path.stem if path.suffix.lower() == ".npz" else path.name
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:64].rstrip("-") or "pictures"


def _made(folder: str | Path, table: Mapping[str, Any]) -> GanRecipe:
    plain = {"task": "gan", "name": model_name(folder), "data": {"folder": str(Path(folder).resolve())}}
    recipe = make_recipe(merged(plain, table))
    if not isinstance(recipe, GanRecipe):
        raise TrainingError("The task of this recipe is gan: leave task out of --set.")
    return recipe


def _asked(wishes: Mapping[str, Any], table: str, key: str) -> Any:
    inner = wishes.get(table)
    return inner.get(key) if isinstance(inner, Mapping) else None
