"""The masks that a painted picture tells of, to paint it again: held by its recipe, given anew, or found beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import typer
from numpy.typing import NDArray

from impasto.apps.cli.control import Painted, digest_of_file
from impasto.apps.cli.recipes import packed_masks
from impasto.apps.cli.retold import damaged
from impasto.apps.cli.terminal import say
from impasto.errors import ImpastoError, PictureError
from impasto.runtime.masks import FEATHER, Mask, open_mask
from impasto.runtime.palette import checked_colors
from impasto.runtime.recipe import Recipe
from impasto.runtime.recipe_masks import unpacked
from impasto.runtime.regions import Region
from impasto.runtime.style import StyleModel

MaskFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--mask-file",
        metavar="FILE",
        help="A mask that OUT was painted with and is too large for it to hold: known by its name. Repeatable.",
    ),
]

F32 = NDArray[np.float32]

_OVERALL = {"paint": "--mask", "protect": "--protect"}
_KINDS: dict[str, Any] = {
    "paint": dict, "protect": dict, "styles": list, "foreground": str, "feather": (str, int, float),
}  # fmt: skip
_ENTRY = {"file": str, "sha256": str, "palette": list}
_LONGEST_NAME, _SHORT = 100, 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Masks:
    """The masks of a painting that is painted again.

    Attributes:
        told: what its recipe will tell (``control.Asked.told``); None: there is no mask.
        planes: float32 [h,w] in 0..1 of ``paint``, ``protect`` and of the styles by their number.
        given: files that no output may replace.
        held: of the recipe that is followed.
    """

    told: dict[str, Any] | None = None
    planes: Mapping[str, F32]
    given: Sequence[str] = ()
    held: Mapping[str, bytes]

    def overall(self) -> Mask | None:
        """What holds for all styles; None where nothing does."""
        if self.told is None:
            return None
        planes = self.planes.get("paint"), self.planes.get("protect")
        return Mask(*planes, foreground=self.told["foreground"], feather=self.told["feather"])

    def own(self, count: int) -> list[F32 | None]:
        """The place of each of ``count`` styles, or None for one without."""
        return [self.planes.get(str(index)) for index in range(count)]

    def painted(self, recipe: Recipe, painter: StyleModel) -> Painted:
        """What a photo is painted with: the blend [D] of the recipe's styles, or regions where they have places."""
        if self.told is None or "styles" not in self.told:
            return recipe.code(painter)
        palettes = [(entry or {}).get("palette") for entry in self.told["styles"]]
        return [
            Region(code, place, one.weight, None if palette is None else checked_colors(palette))
            for one, code, place, palette in zip(
                recipe.styles, recipe.codes(painter), self.own(len(palettes)), palettes, strict=True
            )
        ]

    def packed(self) -> dict[str, bytes | None]:
        """For the recipe of the new painting: see ``Recipe.with_masks``."""
        fresh = {role: plane for role, plane in self.planes.items() if self._sha256(role) not in self.held}
        used = {sha256: self.held[sha256] for role in self.planes if (sha256 := self._sha256(role)) in self.held}
        return {**used, **packed_masks(self.told, fresh)}

    def has_palettes(self) -> bool:
        """Whether a style with a place of its own keeps to a palette."""
        return any((entry or {}).get("palette") for entry in (self.told or {}).get("styles", ()))

    def without_palettes(self) -> Self:
        """The same, each style in all of its colours."""
        if self.told is None or "styles" not in self.told:
            return self
        plain = [entry and {name: entry[name] for name in ("file", "sha256")} for entry in self.told["styles"]]
        return replace(self, told={**self.told, "styles": plain})

    def _sha256(self, role: str) -> str:
        assert self.told is not None
        entry = self.told[role] if role in _OVERALL else self.told["styles"][int(role)]
        return str(entry["sha256"])


def masks_again(
    recipe: Recipe, done: str, *, mask: str | None, protect: str | None, files: Sequence[str], none: bool
) -> Masks:
    """The masks that a recipe tells of. One that it does not hold must be given, or lie beside the picture.

    Args:
        recipe: its setting ``mask`` may be anything.
        done: the picture that carries it.
        mask, protect: files to take in place of those that hold for all styles, or in addition.
        files: masks that the recipe tells of, known by their sha256 or else by their names.
        none: to leave all masks out.

    Raises:
        PictureError: a mask cannot be read, or what is told of it is damaged.
        ImpastoError: one is missing, or one is given that the recipe does not tell of.
    """
    if none:
        if mask is not None or protect is not None or files:
            raise ImpastoError("--no-mask paints all of the photo, and a mask a part of it: leave one of them out.")
        return Masks(planes={}, held={})
    told = _checked(recipe, done)
    overall = {"paint": mask, "protect": protect}
    entries = dict(_entries(told))
    known = {file: digest_of_file(file) for file in files}
    planes: dict[str, F32] = {}
    used: set[str] = set()
    for role, given in overall.items():
        if given is not None:
            entries[role] = {"file": Path(given).name, "sha256": digest_of_file(given)}
            planes[role] = open_mask(given)
    for role, entry in list(entries.items()):
        if role in planes:
            continue
        file = next((file for file in files if known[file] == entry["sha256"]), None)
        if file is None:
            file = next((file for file in files if Path(file).name == entry["file"]), None)
            if file is not None:
                say(f"{file} is not the mask that {done} was painted with, so the picture will be another.")
                entries[role] = {**entry, "sha256": known[file]}
        if file is not None:
            used.add(file)
        elif (data := recipe.masks.get(entry["sha256"])) is not None:
            planes[role] = _unpacked(data, entry, done)
            continue
        else:
            file = nearby(entry["file"], entry["sha256"], done)
        if file is None:
            raise ImpastoError(_missing(role, entry, done))
        planes[role] = open_mask(file)
    spare = next((file for file in files if file not in used), None)
    if spare is not None:
        names = ", ".join(sorted({str(entry["file"])[:_LONGEST_NAME] for entry in entries.values()}))
        raise ImpastoError(
            f"{spare} is none of the masks that {done} was painted with ({names or 'there is none'}): leave it out, or "
            "give it to --mask."
        )
    given_files = [file for file in (mask, protect, *files) if file is not None]
    return Masks(told=_retold(told, entries), planes=planes, given=given_files, held=recipe.masks)


def nearby(name: str, sha256: str | None, done: str) -> str | None:
    """The file of this name beside a picture, or in the working folder, if it is the very one; None where it is not.

    Args:
        name: as a recipe has it, which a stranger may have written: a path is no name.
        sha256: of the file; None: nothing is known of it.
    """
    if sha256 is None or name in ("", ".", "..") or any(sep in name for sep in "/\\:"):
        return None
    for path in (Path(done).parent / name, Path(name)):
        try:
            if path.is_file() and digest_of_file(str(path)) == sha256:
                return str(path)
        except (OSError, ValueError, PictureError):  # a name that no file can have, or a file that is not ours to read
            continue
    return None


def _checked(recipe: Recipe, done: str) -> dict[str, Any]:
    """What the recipe tells of masks, each part of it held to what it should be."""
    told = recipe.settings.get("mask")
    if told is None:
        return {}
    if not isinstance(told, dict):
        raise damaged(done, "mask")
    if not all(name in _KINDS and (value is None or isinstance(value, _KINDS[name])) for name, value in told.items()):
        raise damaged(done, "mask")
    told = {name: value for name, value in told.items() if value is not None}
    if any(isinstance(value, bool) for value in told.values()):
        raise damaged(done, "mask")
    for entry in [*(told[name] for name in _OVERALL if name in told), *told.get("styles", ())]:
        if entry is None:
            continue
        if not isinstance(entry, dict) or not {"file", "sha256"} <= set(entry) <= set(_ENTRY):
            raise damaged(done, "mask")
        if not all(value is None or isinstance(value, _ENTRY[name]) for name, value in entry.items()):
            raise damaged(done, "mask")
        if entry["file"] is None or entry["sha256"] is None:
            raise damaged(done, "mask")
        if entry.get("palette") is not None:
            checked_colors(entry["palette"])
    if "styles" in told and len(told["styles"]) != len(recipe.styles):
        raise ImpastoError(
            f"{done} was painted with masks for {len(told['styles'])} styles, and its recipe had no room for so many: "
            "use impasto stylize with STYLE@MASK."
        )
    Mask(foreground=told.get("foreground"), feather=told.get("feather", FEATHER))  # refuses what cannot be
    return told


def _entries(told: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The masks that are told of, by ``paint``, ``protect`` and the numbers of styles."""
    yield from ((name, told[name]) for name in _OVERALL if name in told)
    yield from ((str(index), one) for index, one in enumerate(told.get("styles", ())) if one is not None)


def _retold(told: Mapping[str, Any], entries: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is told with the masks that were given anew; in the order of ``control.Asked.told``, to the letter."""
    if not told and not entries:
        return None
    out: dict[str, Any] = {name: entries.get(name) for name in _OVERALL}
    out |= {"foreground": told.get("foreground"), "feather": told.get("feather", FEATHER)}
    if "styles" in told:
        out["styles"] = [entries.get(str(index)) for index in range(len(told["styles"]))]
    return out


def _unpacked(data: bytes, entry: Mapping[str, Any], done: str) -> F32:
    try:
        return unpacked(data)
    except PictureError as error:
        raise PictureError(
            f"The mask {entry['file'][:_LONGEST_NAME]!r} in the recipe of {done} is damaged: take another copy of it, "
            "or add --no-mask."
        ) from error


def _missing(role: str, entry: Mapping[str, Any], done: str) -> str:
    option = _OVERALL.get(role, "--mask-file")
    return (
        f"{done} was painted with the mask {entry['file'][:_LONGEST_NAME]!r} (sha256 {entry['sha256'][:_SHORT]}), "
        f"which its recipe does not hold: give it to {option}, or add --no-mask."
    )
