"""``impasto again`` for what ``impasto paint`` made: the same optimisation once more, with the paintings at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from impasto.apps.cli.blend import Wanted
from impasto.apps.cli.control import digest_of_file
from impasto.apps.cli.paint import paint
from impasto.apps.cli.paint_work import Order, carry_out, refuse_streams
from impasto.apps.cli.plan import Job
from impasto.apps.cli.remasked import Masks, nearby
from impasto.apps.cli.retold import damaged, fits
from impasto.apps.cli.terminal import default_of, say
from impasto.errors import ImpastoError, PictureError
from impasto.runtime.control import checked_mode
from impasto.runtime.palette import LARGEST
from impasto.runtime.pixels.color import color_mode
from impasto.runtime.recipe import Ingredient, Recipe
from impasto.runtime.style import StyleModel
from impasto.training.paint_spec import PaintSpec

_LOOKS: dict[str, Any] = {"keep_colors": str, "palette": int | None, "detail": float}
_WRITING: dict[str, Any] = {"quality": int | None, "strip": bool}
_SHORT = 12


def paint_again(
    told: Recipe,
    done: str,
    photos: Sequence[str],
    changed: Mapping[str, Any],
    *,
    masks: Masks,
    style: Sequence[str],
    weights: str | None,
    output: str | None,
    plan: Callable[[Sequence[str]], list[Job]],
    load: Callable[[str | None, str | None], StyleModel],
    model: str | None,
    **how: Any,
) -> None:
    """Paint photos by the recipe of a painting that was optimised.

    Args:
        told: the recipe.
        done: the picture that carries it.
        photos, output: as the options.
        changed: settings by name, in place of those of the recipe.
        masks: of ``masks_again``.
        style: files of the paintings.
        weights: of the feature network; None for those that are at hand.
        plan: settles what is written where, given files that no output may replace.
        load: the fast painter of a name and sha256, which may be None where the recipe does not say.
        model: whether another one was asked for.
        how: see ``carry_out``.

    Raises:
        ImpastoError: a setting or file is not what it should be, a painting is missing, or the extra is not installed.
    """
    refuse_streams(photos, output)
    table = {**told.settings, **changed}
    table.pop("mask", None)
    fast = table.pop("fast", None)
    spec, looks, writing = _settings(table, told, done, weights)
    if looks["palette"] is not None and "keep_colors" in changed and color_mode(looks["keep_colors"]) != "off":
        say(f"{done} was painted with a palette, which the photo's colours leave no room for: it is left out.")
        looks["palette"] = None
    checked_mode(looks["keep_colors"], looks["palette"])
    named = (None, None) if fast is None else _fast(fast, done)
    if model is not None and spec.start != "fast":
        raise ImpastoError(
            f"--model is the painter that begins, and {done} was begun from {spec.start!r}: leave --model out."
        )
    wanted = _paintings(told.styles, done, style)
    jobs = plan([*(one.style for one in wanted), *masks.given])

    def check(features: str) -> None:
        if features == told.model_sha256:
            return
        other = f"The weights of {spec.network} are not those that painted {done} (sha256 {told.model_sha256[:_SHORT]})"
        if weights is None:
            raise ImpastoError(f"{other}: give their file to --weights, or the one that is to paint in their place.")
        say(f"{other}, so the picture will be another.")

    order = Order(spec=spec, wanted=wanted, looks=looks, masks=masks, **writing)
    carry_out(order, jobs, begin=lambda: load(*named), check=check, **how)


def _settings(
    table: dict[str, Any], told: Recipe, done: str, weights: str | None
) -> tuple[PaintSpec, dict[str, Any], dict[str, Any]]:
    """The settings of a recipe, each held to what it should be before hours of work are begun."""
    hints = {name: kind for name, kind in get_type_hints(PaintSpec).items() if name != "weights"}
    kinds = {**hints, **_LOOKS, **_WRITING}
    for name, value in table.items():
        if name not in kinds:
            raise PictureError(
                f"The recipe in {done} has a setting {name[:40]!r}, which impasto {told.impasto} knew and this one "
                "does not: install that version."
            )
        if not fits(value, kinds[name]):
            raise damaged(done, name)
    looks, writing = ({name: table.get(name, default_of(paint, name)) for name in part} for part in (_LOOKS, _WRITING))
    for name, value, low, high in (
        ("palette", looks["palette"], 2, LARGEST),
        ("detail", looks["detail"], 0, 1),
        ("quality", writing["quality"], 1, 100),
    ):
        if value is not None and not low <= value <= high:
            raise PictureError(
                f"The recipe in {done} is damaged (settings.{name}: should be {low} to {high}): take another copy."
            )
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in table.items() if name in hints
    }
    return PaintSpec(**given, weights=weights), looks, writing


def _fast(fast: Any, done: str) -> tuple[str, str]:
    """Name and sha256 of the painter that began."""
    match fast:
        case {"model": str(model), "sha256": str(sha256)}:
            return model, sha256
    raise damaged(done, "fast")


def _paintings(styles: Sequence[Ingredient], done: str, given: Sequence[str]) -> list[Wanted]:
    """The file of each painting: known by its sha256, then by its name, then by its place among those that are left.

    Raises:
        ImpastoError: one is missing, or there are too many.
    """
    known = {file: digest_of_file(file) for file in dict.fromkeys(given)}
    left = list(known)
    files: list[str | None] = [None] * len(styles)
    same: tuple[Callable[[Ingredient, str], bool], ...] = (
        lambda one, file: known[file] == one.sha256,
        lambda one, file: Path(file).name == one.style,
    )
    used = set()
    for fit in same:
        for at, one in enumerate(styles):
            found = None if files[at] is not None else next((file for file in left if fit(one, file)), None)
            if found is not None:
                files[at] = found
                used.add(found)
        left = [file for file in left if file not in used]
    missing = [at for at, file in enumerate(files) if file is None]
    if len(left) == len(missing):
        for at, file in zip(missing, left, strict=True):
            files[at] = file
        left, missing = [], []
    if left:
        names = ", ".join(one.style for one in styles)
        raise ImpastoError(
            f"{left[0]} is none of the paintings of {done} ({names}): leave it out, or give all of them."
        )
    for at in missing:
        files[at] = nearby(styles[at].style, styles[at].sha256, done)
    wanted = []
    for one, found in zip(styles, files, strict=True):
        if found is None:
            digits = "" if one.sha256 is None else f" (sha256 {one.sha256[:_SHORT]})"
            raise ImpastoError(
                f"{done} was painted by optimisation after {one.style!r}{digits}, which a recipe does not hold: give "
                "that picture to --style."
            )
        if found in known and known[found] != one.sha256:
            say(f"{found} is not the painting that {done} was painted after, so the picture will be another.")
        wanted.append(Wanted(found, one.weight))
    return wanted
