"""The recipe that painted pictures carry: ``--no-recipe``, and making it of what a command was told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from impasto.runtime.style import Code, StyleModel

if TYPE_CHECKING:
    from impasto.apps.cli.one import Settings

WithRecipe = Annotated[
    bool,
    typer.Option(
        "--recipe/--no-recipe",
        help="Let the picture tell how it was painted, for 'impasto again' (default); never which photo it was.",
    ),
]

NO_RECIPE = ""
"""What :class:`impasto.runtime.pixels.metadata.PictureInfo` takes for a picture that is to carry none."""

BESIDE = ("style", "suffix", "max_pixels", "max_memory", "mask_files", "recipe")
"""Of the settings: what says nothing of how the picture looks, or stands in the recipe elsewhere."""

_PLAIN = "painter"


def recipe_line(
    painter: StyleModel,
    styles: Sequence[tuple[str, float, Code]],
    code: Code,
    settings: Settings | Mapping[str, Any],
    *,
    engine: str,
    command: str = "stylize",
) -> str:
    """The recipe of a painting as the picture carries it.

    Args:
        painter: the model.
        styles: the name or file of each style, its weight, and its code [D].
        code: the code [D] that is painted with.
        settings: of the command; or those of another kind of painting, by name.
        engine: what runs the model.

    Raises:
        ImpastoError: it is too long.
    """
    # Not at the start of every command: most of its time is files that are read and hashed.
    from impasto.runtime.recipe import recipe_of

    return recipe_of(
        painter.bundle.manifest.name,
        painter.bundle.sha256,
        styles,
        told_settings(painter, settings, engine),
        named=set(painter.styles),
        blended=code,
        command=command,
        masks={} if isinstance(settings, Mapping) else packed_masks(settings.mask, settings.mask_files),
    ).to_text()


def packed_masks(told: Mapping[str, Any] | None, files: Mapping[str, Any] | None) -> dict[str, bytes | None]:
    """Masks as a recipe holds them, by the sha256 of their files.

    Args:
        told: of them (``control.Asked.told``).
        files: each by its name there: a path, or what else ``open_mask`` takes.
    """
    from impasto.runtime.masks import open_mask
    from impasto.runtime.recipe_masks import packed

    roles = {**(told or {}), **{str(index): one for index, one in enumerate((told or {}).get("styles") or [])}}
    return {roles[name]["sha256"]: packed(open_mask(file)) for name, file in (files or {}).items()}


def told_settings(painter: StyleModel, settings: Settings | Mapping[str, Any], engine: str) -> dict[str, Any]:
    """What a recipe tells of the settings: all that the picture depends on beside photo, model and styles."""
    table = settings if isinstance(settings, Mapping) else asdict(settings)
    precision = "fp32" if painter.graph == _PLAIN else painter.graph.removeprefix(f"{_PLAIN}_")
    kept = {name: value for name, value in table.items() if name not in BESIDE}
    return {**kept, "engine": engine, "precision": precision}
