"""What a painted picture tells of itself: the recipe by which ``impasto again`` paints it once more."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from numpy.typing import NDArray

from impasto.apps.cli.one import Settings
from impasto.apps.cli.recipes import BESIDE, packed_masks, told_settings
from impasto.apps.web.body import Asked
from impasto.errors import ImpastoError
from impasto.runtime.recipe import Ingredient, Recipe
from impasto.runtime.style import Code, StyleModel

MASKS = ("mask", "protect")
ROLES = ("paint", "protect")
"""What the command line's settings and recipes call the same."""


def recipe_text(
    painter: StyleModel,
    styles: Sequence[Ingredient],
    blended: Code,
    asked: Asked,
    *,
    palette: NDArray[Any] | None,
    engine: str,
) -> str:
    """The recipe as the picture carries it.

    Args:
        painter: the model.
        styles: that were asked for.
        blended: the code [D] that is painted with; it stands for all styles where they would be too long to be written.
        asked: the other fields; only those that were given are told, as the others have their defaults.
        palette: R, G and B of the colours to keep to [K,3], or None.
        engine: what runs the model.
    """
    told = {one.name for one in fields(Settings)} - set(BESIDE) - {"palette", "mask"}
    settings: dict[str, Any] = {name: value for name, value in asked.values.items() if name in told}
    if palette is not None:
        settings["palette"] = palette.tolist()
    mask = _mask(asked.values, asked.files)
    if mask is not None:
        settings["mask"] = mask
    long = Recipe(
        model=painter.bundle.manifest.name,
        model_sha256=painter.bundle.sha256,
        styles=[one for one in styles if one.weight > 0],
        settings=told_settings(painter, settings, engine),
    )
    try:
        long.to_text()
    except ImpastoError:
        long = replace(long, styles=[Ingredient(style=f"{len(styles)} styles", code=blended)])
    sent = {role: asked.files[name][0] for name, role in zip(MASKS, ROLES, strict=True) if name in asked.files}
    return long.with_masks(packed_masks(mask, sent)).to_text()


def _mask(values: Mapping[str, Any], files: Mapping[str, list[bytes]]) -> dict[str, Any] | None:
    """As the command line tells it: what the masks are, not what is in them."""
    if "foreground" not in values and not any(name in files for name in MASKS):
        return None
    told: dict[str, Any] = {"foreground": values.get("foreground"), "feather": values.get("feather")}
    for name, role in zip(MASKS, ROLES, strict=True):
        data = files[name][0] if name in files else None
        told[role] = None if data is None else {"file": name, "sha256": hashlib.sha256(data).hexdigest()}
    return told
