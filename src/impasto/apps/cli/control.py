"""Where a photo is painted and in which colours: ``--mask`` and its like, ``--palette``, ``--save-style``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from impasto.apps.cli.blend import Wanted, weight_of
from impasto.errors import BundleError, ImpastoError, PictureError
from impasto.runtime.masks import FEATHER, FOREGROUNDS, Mask, open_mask
from impasto.runtime.palette import COLORS, LARGEST
from impasto.runtime.pixels.color import color_mode
from impasto.runtime.regions import Region
from impasto.runtime.style import Code, StyleModel, save_code

if TYPE_CHECKING:
    from impasto.apps.cli.one import Settings

MaskFile = Annotated[
    str | None,
    typer.Option("--mask", metavar="FILE", help="A picture of where it is painted: white in full, black not at all."),
]
Protect = Annotated[
    str | None, typer.Option("--protect", metavar="FILE", help="The other way round: where this is white, nothing is.")
]
Foreground = Annotated[
    str | None,
    typer.Option(
        "--foreground",
        metavar="|".join(FOREGROUNDS),
        help="Find what stands in front, and paint it alone (auto) or all but it (protect); needs OpenCV.",
    ),
]
Feather = Annotated[
    str | None,
    typer.Option(
        "--feather",
        metavar="SHARE|PX",
        help=f"How soft the edges of masks become: a share of the long side ({FEATHER} unless given), or 12px.",
    ),
]
PaletteCount = Annotated[
    int | None,
    typer.Option(
        "--palette",
        metavar="[N]",
        min=2,
        max=LARGEST,
        help=f"Keep to the N main colours of the style ({COLORS} without a number).",
    ),
]
SaveStyle = Annotated[
    str | None,
    typer.Option("--save-style", metavar="FILE", help="Write the style, blend included, as a code (.npy) for -s."),
]

Painted = Code | list[Region]
"""What a photo is painted with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options, as they were given."""

    mask: str | None = None
    protect: str | None = None
    foreground: str | None = None
    feather: str | None = None
    palette: int | None = None
    save_style: str | None = None

    def check(self, wanted: Sequence[Wanted], keep_colors: str, overwrite: bool) -> None:
        """Refuse what cannot be, before the model is loaded.

        Raises:
            ImpastoError: a mask cannot be read, options contradict each other, or the code's file cannot be written.
        """
        color_mode(keep_colors)
        if self.palette is not None and color_mode(keep_colors) != "off":
            raise ImpastoError("--palette keeps the painting's colours and --keep-colors the photo's: choose one.")
        used = self._mask()
        if self.feather is not None and not self._masked(wanted):
            raise ImpastoError("--feather makes the edges of masks soft, and there is none: give --mask, or leave it.")
        for file in self._files(wanted).values():
            open_mask(file)
        if used.foreground is not None:
            from impasto.runtime.foreground import load_cv

            load_cv()
        if self.save_style is not None:
            self._check_save(wanted, overwrite)

    def kept(self, wanted: Sequence[Wanted]) -> list[str]:
        """The files that no output may replace."""
        saved = [] if self.save_style is None else [self.save_style]
        return [*self._files(wanted).values(), *saved]

    def save(self, code: Callable[[], Code], overwrite: bool) -> None:
        """Write the code where that was asked for."""
        if self.save_style is not None:
            save_code(self.save_style, code(), overwrite=overwrite)

    def painted(self, painter: StyleModel, wanted: Sequence[Wanted], codes: Sequence[Code], blended: Code) -> Painted:
        """What the photos are painted with: one code [D], or regions where styles have masks of their own.

        Args:
            codes: float32 [D] of each style.
            blended: float32 [D] of all of them.
        """
        if not any(one.mask for one in wanted):
            return blended
        return [
            Region(
                code,
                mask=None if one.mask is None else open_mask(one.mask),
                weight=weight_of(one),
                palette=None if one.mask is None else self._colors(painter, [one]),
            )
            for one, code in zip(wanted, codes, strict=True)
        ]

    def settings(self, painter: StyleModel, wanted: Sequence[Wanted]) -> dict[str, Any]:
        """What :class:`impasto.apps.cli.one.Settings` keeps of all this: only JSON's kinds of values."""
        rest = [one for one in wanted if one.mask is None]
        colors = self._colors(painter, rest) if rest else None
        told = self.told(wanted)
        for one, known in zip(wanted, (told or {}).get("styles", ()), strict=False):
            if known is not None and self.palette is not None:
                known["palette"] = self._colors(painter, [one]).tolist()
        return {
            "palette": None if colors is None else colors.tolist(),
            "mask": told,
            "mask_files": self.files(wanted) or None,
        }

    def told(self, wanted: Sequence[Wanted]) -> dict[str, Any] | None:
        """What is told of the masks: names, sha256 and settings; None for none."""
        if not self._masked(wanted):
            return None
        files = self._files(wanted)
        known = {name: {"file": Path(file).name, "sha256": digest_of_file(file)} for name, file in files.items()}
        told: dict[str, Any] = {name: known.get(name) for name in ("paint", "protect")}
        told |= {"foreground": self.foreground, "feather": self._mask().feather}
        if any(one.mask for one in wanted):
            told["styles"] = [known.get(str(index)) for index in range(len(wanted))]
        return told

    def files(self, wanted: Sequence[Wanted]) -> dict[str, str]:
        """Where the files of the masks are: ``paint``, ``protect``, and those of the styles by their number."""
        return {name: os.path.abspath(file) for name, file in self._files(wanted).items()}  # noqa: PTH100

    def film(self, wanted: Sequence[Wanted], *, morph: bool) -> dict[str, Any]:
        """What ``stylize_clip`` takes of all this.

        Raises:
            ImpastoError: what was asked for is for pictures.
        """
        if any(one.mask for one in wanted):
            raise ImpastoError("Styles with masks of their own (STYLE@MASK) paint pictures, and this is a video.")
        if morph and self.save_style is not None:
            raise ImpastoError("--save-style writes one code, and --morph moves between several: leave one out.")
        if morph and self.palette is not None:
            raise ImpastoError(
                "--palette is the colours of one style, and --morph moves between several: leave one out."
            )
        if self.foreground is not None:
            raise ImpastoError(
                "--foreground is for pictures, since it would flicker in a video: give --mask a picture."
            )
        mask = self._mask().opened() if self._masked(wanted) else None
        return {"mask": mask, "palette": self.palette}

    def _mask(self) -> Mask:
        return _mask_of(self.mask, self.protect, self.foreground, self.feather)

    def _masked(self, wanted: Sequence[Wanted]) -> bool:
        return bool(self._files(wanted)) or self.foreground is not None

    def _files(self, wanted: Sequence[Wanted]) -> dict[str, str]:
        """All masks: the two that hold everywhere, and those of the styles by their number."""
        files = {"paint": self.mask, "protect": self.protect}
        files |= {str(index): one.mask for index, one in enumerate(wanted)}
        return {name: file for name, file in files.items() if file is not None}

    def _colors(self, painter: StyleModel, wanted: Sequence[Wanted]) -> Any:
        if self.palette is None:
            return None
        from impasto.runtime.control import colors_of

        return colors_of(painter, [(one.style, weight_of(one)) for one in wanted], self.palette)

    def _check_save(self, wanted: Sequence[Wanted], overwrite: bool) -> None:
        assert self.save_style is not None
        path = Path(self.save_style)
        if any(one.mask for one in wanted):
            raise ImpastoError("--save-style writes one code, and styles with masks are several: save them one by one.")
        if path.suffix != ".npy":
            raise BundleError(f"A style code must end in .npy: {path} does not, so rename it.")
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise BundleError(f"{path} cannot be written: name a file in a folder that exists.")
        if os.path.lexists(path) and not overwrite:
            raise BundleError(f"{path} exists already: choose another name for --save-style, or add --overwrite.")
        for one in wanted:
            if path.exists() and Path(one.style).exists() and path.samefile(one.style):
                raise BundleError(f"{path} is a style as well, and it would be lost: choose another --save-style.")


def mask_of(settings: Settings) -> Mask | None:
    """The mask that settings speak of; files are read once for all photos.

    Raises:
        ImpastoError: a mask is told of, and its file is not known (as in a recipe).
        PictureError: it cannot be read.
    """
    if settings.mask is None:
        return None
    return _opened(json.dumps([settings.mask, settings.mask_files], sort_keys=True))


@lru_cache(maxsize=2)
def _opened(text: str) -> Mask:
    told, files = json.loads(text)
    files = files or {}
    masks = {"paint": told.get("paint"), "protect": told.get("protect")}
    masks |= {str(index): one for index, one in enumerate(told.get("styles") or [])}
    for name, mask in masks.items():
        if mask is not None and name not in files:
            raise ImpastoError(
                f"It was painted with the mask {str(mask.get('file'))!r}, which a recipe does not hold: "
                "use impasto stylize with --mask."
            )
    return _mask_of(files.get("paint"), files.get("protect"), told["foreground"], told["feather"]).opened()


def as_json(painted: Painted, settings: Settings) -> Any:
    """What a photo is painted with, for a worker."""
    if isinstance(painted, np.ndarray):
        return painted.tolist()
    files: Mapping[str, str] = settings.mask_files or {}
    return [
        {
            "code": np.asarray(one.style).tolist(),
            "mask": files.get(str(index)),
            "weight": one.weight,
            "palette": None if one.palette is None else one.palette.tolist(),
        }
        for index, one in enumerate(painted)
    ]


def from_json(value: Any) -> Painted:
    """The same again, in the worker.

    Raises:
        PictureError: a mask cannot be read.
    """
    if not value or not isinstance(value[0], dict):
        return np.array(value, np.float32)
    return [
        Region(
            np.array(one["code"], np.float32),
            mask=None if one["mask"] is None else open_mask(one["mask"]),
            weight=one["weight"],
            palette=None if one["palette"] is None else np.array(one["palette"], np.float32),
        )
        for one in value
    ]


def digest_of(painted: Painted) -> str:
    """A name for it that changes with it (the masks' contents stand in the settings)."""
    if isinstance(painted, np.ndarray):
        return hashlib.sha256(painted.tobytes()).hexdigest()
    parts = [[np.asarray(one.style).tolist(), one.weight, one.mask is None] for one in painted]
    palettes = [None if one.palette is None else one.palette.tolist() for one in painted]
    return hashlib.sha256(json.dumps([parts, palettes]).encode()).hexdigest()


def _mask_of(paint: Any, protect: Any, foreground: Any, feather: Any) -> Mask:
    mask = Mask(paint, protect, foreground)
    return mask if feather is None else replace(mask, feather=feather)


def digest_of_file(file: str) -> str:
    """The sha256 of a file, 64 hexadecimal digits.

    Raises:
        PictureError: it cannot be read.
    """
    try:
        with Path(file).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise PictureError(f"{file} cannot be read ({error.strerror or error}): check the path.") from error
